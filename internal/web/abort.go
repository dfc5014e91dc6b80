package web

import (
	"crypto/tls"
	"net/http"
)

// Abort ends an unfinished answer, so that the reader does not take the sent part for the whole. It
// does not return.
//
// An HTTP/1.1 answer then lacks its last chunk. An HTTP/1.0 answer ends with its connection, and
// only a reset shows that it is incomplete. nginx speaks HTTP/1.0 to its backends by default.
func Abort(w http.ResponseWriter, r *http.Request) {
	if !r.ProtoAtLeast(1, 1) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if secure, ok := conn.(*tls.Conn); ok {
				conn = secure.NetConn() // its own close would tell the reader that the answer is complete
			}
			if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
				_ = tcp.SetLinger(0) // turns the close into a reset
			}
			_ = conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}
