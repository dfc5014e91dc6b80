package web

import (
	"net"
	"net/http"
)

// Abort ends an answer that was begun and cannot be finished, so that its part does not look like the whole. It does not return.
//
// With HTTP/1.1 the last chunk is missing then. With HTTP/1.0, which nginx speaks to what is behind it unless told otherwise, the
// answer ends with the connection, and only a reset tells the reader that there was to be more.
func Abort(w http.ResponseWriter, r *http.Request) {
	if !r.ProtoAtLeast(1, 1) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // makes of the close a reset
			}
			_ = conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}
