// Package listen opens the sockets of the HTTP server, or takes those that systemd opened, and bounds
// how many connections are open.
//
// It promises that idle strangers cannot keep out a customer: when too many connections are open, the
// address with the most of them loses its oldest idle one. It does not know what is sent over them.
package listen

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"notepay/internal/clientaddr"
)

// MaxConnections is how many connections may be open at once.
const MaxConnections = 10_000

// idleShare is the share of all connections, one in so many, that may wait for another request. An idle
// connection takes some 40 kB, and closing it costs its client one handshake.
const idleShare = 4

// greedyShare is the share of all connections, one in so many, above which an address also loses
// connections that are in use.
const greedyShare = 4

// Limited is a listener that bounds the open connections. Its ConnState must be the server's.
type Limited struct {
	net.Listener
	max, maxIdle int

	mu    sync.Mutex
	open  map[*conn]bool
	count map[string]int // open connections by clientaddr.Key
	idle  int            // open connections in http.StateIdle
}

// Limit returns a listener with at most max open connections.
func Limit(l net.Listener, max int) *Limited {
	return &Limited{
		Listener: l,
		max:      max,
		maxIdle:  max / idleShare,
		open:     map[*conn]bool{},
		count:    map[string]int{},
	}
}

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	limit *Limited
	key   string
	state http.ConnState // guarded by the limit's mutex
	since time.Time      // of the state
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limit.mu.Lock()
	c.limit.forget(c)
	c.limit.mu.Unlock()
	return c.Conn.Close()
}

// forget does not count a connection any more. The caller holds the mutex.
func (l *Limited) forget(c *conn) {
	if !l.open[c] {
		return
	}
	delete(l.open, c)
	if l.count[c.key]--; l.count[c.key] == 0 {
		delete(l.count, c.key)
	}
	if c.state == http.StateIdle {
		l.idle--
	}
}

// SetLinger sets the linger time, so that web.Abort can reset the connection.
func (c *conn) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// Accept implements net.Listener. It closes other connections if there are too many, or if the
// system has no more file descriptors.
func (l *Limited) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			if (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && l.evict(nil) {
				continue
			}
			return nil, err
		}
		c := &conn{Conn: accepted, limit: l, key: clientaddr.Key(accepted.RemoteAddr().String()), since: time.Now()}
		l.mu.Lock()
		l.open[c] = true
		l.count[c.key]++
		full := len(l.open) > l.max
		l.mu.Unlock()
		if full && !l.evict(c) {
			_ = c.Close() // all others are in use
			continue
		}
		return c, nil
	}
}

// evict closes one connection in favor of newcomer. It returns false if there is none to close.
func (l *Limited) evict(newcomer *conn) bool {
	l.mu.Lock()
	var victim *conn
	for c := range l.open {
		if c != newcomer && l.evictable(c) && (victim == nil || l.before(c, victim)) {
			victim = c
		}
	}
	l.mu.Unlock()
	if victim == nil {
		return false
	}
	_ = victim.Close()
	return true
}

// evictable reports whether a connection may be closed: if it is not in use, or if its address has
// taken far more than its share. The caller holds the mutex.
func (l *Limited) evictable(c *conn) bool {
	return c.state == http.StateIdle || c.state == http.StateNew || l.count[c.key] > l.max/greedyShare
}

// before reports whether a is closed before b. The caller holds the mutex.
func (l *Limited) before(a, b *conn) bool {
	if x, y := l.count[a.key], l.count[b.key]; x != y {
		return x > y
	}
	if x, y := a.state == http.StateIdle, b.state == http.StateIdle; x != y {
		return x
	}
	return a.since.Before(b.since)
}

// ConnState is the hook of http.Server that tells which connections are idle. It closes some of them if
// there are too many.
func (l *Limited) ConnState(c net.Conn, state http.ConnState) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	counted, ok := c.(*conn)
	if !ok {
		return
	}
	l.mu.Lock()
	var victims []*conn
	if l.open[counted] {
		if counted.state == http.StateIdle {
			l.idle--
		}
		if state == http.StateIdle {
			l.idle++
		}
		counted.state, counted.since = state, time.Now()
		victims = l.excess()
	}
	l.mu.Unlock()
	for _, v := range victims {
		_ = v.Conn.Close()
	}
}

// excess forgets idle connections if there are too many, and returns them for closing. It forgets more
// than it has to, so that it is seldom called. The caller holds the mutex.
func (l *Limited) excess() []*conn {
	if l.idle <= l.maxIdle {
		return nil
	}
	var idle []*conn
	for c := range l.open {
		if c.state == http.StateIdle {
			idle = append(idle, c)
		}
	}
	slices.SortFunc(idle, func(a, b *conn) int {
		if l.before(a, b) {
			return -1
		}
		return 1
	})
	victims := idle[:l.idle-l.maxIdle+l.maxIdle/8]
	for _, c := range victims {
		l.forget(c)
	}
	return victims
}

// Open returns the number of open connections.
func (l *Limited) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}
