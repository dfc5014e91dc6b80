package listen

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Newcomers are the open connections whose first request has not reached its handler. A server that
// shuts down closes such a connection without an answer when the request arrives, and the client
// learns of a failure. So a stop first lets them arrive. The zero value is ready for use.
type Newcomers struct {
	mu   sync.Mutex
	open map[net.Conn]bool
	none chan struct{} // closed when open becomes empty; nil unless Wait waits
}

// newcomer is the first request of a connection.
type newcomer struct {
	conn    net.Conn
	arrived atomic.Bool
}

// newcomerKey is the key of a connection's newcomer in the contexts of its requests.
type newcomerKey struct{}

// Watch makes a server tell of its connections. It is called before the server serves.
func (n *Newcomers) Watch(server *http.Server) {
	changed, next := server.ConnState, server.Handler
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.open == nil {
			n.open = map[net.Conn]bool{}
		}
		n.open[c] = true
		return context.WithValue(ctx, newcomerKey{}, &newcomer{conn: c})
	}
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			n.forget(c)
		}
		if changed != nil {
			changed(c, state)
		}
	}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first, ok := r.Context().Value(newcomerKey{}).(*newcomer); ok && !first.arrived.Swap(true) {
			n.forget(first.conn)
		}
		next.ServeHTTP(w, r)
	})
}

// forget removes a connection.
func (n *Newcomers) forget(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
	if len(n.open) == 0 && n.none != nil {
		close(n.none)
		n.none = nil
	}
}

// Wait blocks until the first request of each connection has arrived, for at most max, and closes the
// connections that are still without one. The servers accept no more connections. It is called once.
func (n *Newcomers) Wait(max time.Duration) {
	none := make(chan struct{})
	n.mu.Lock()
	if len(n.open) == 0 {
		close(none)
	} else {
		n.none = none
	}
	n.mu.Unlock()
	timer := time.NewTimer(max)
	defer timer.Stop()
	select {
	case <-none:
		return
	case <-timer.C:
	}
	n.mu.Lock()
	var late []net.Conn
	for c := range n.open {
		late = append(late, c)
	}
	n.mu.Unlock()
	for _, c := range late {
		_ = c.Close() // the client is gone, or sends nothing
	}
}
