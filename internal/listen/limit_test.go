package listen

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestLimitClosesTheIdle opens more connections than allowed. The newest must be answered.
func TestLimitClosesTheIdle(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const max = 8
	l := Limit(inner, max)
	server := &http.Server{
		ConnState: l.ConnState,
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for i := range 5 * max {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			continue // a connection on which nothing is sent
		}
		answer := make([]byte, 1)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if err == nil {
			_, err = io.ReadFull(c, answer)
		}
		if err != nil {
			t.Fatalf("connection %d: %v; want an answer", i, err)
		}
		if open := l.Open(); open > max {
			t.Fatalf("%d connections are open; want at most %d", open, max)
		}
	}
}

// TestLimitSparesOthers shows that an address loses its own connections.
func TestLimitSparesOthers(t *testing.T) {
	t.Parallel()
	l := Limit(nil, 8)
	add := func(key string, state http.ConnState, since int) *conn {
		c := accepted(t, l, key, state)
		c.since = time.Unix(int64(since), 0)
		return c
	}
	customer := add("customer", http.StateIdle, 1) // the oldest of all
	paying := add("payer", http.StateActive, 0)
	first := add("stranger", http.StateActive, 2)
	idle := add("stranger", http.StateIdle, 3)
	add("stranger", http.StateActive, 4)
	add("stranger", http.StateActive, 5)
	for _, victim := range []*conn{idle, first} {
		if !l.evict(nil) || l.open[victim] || !l.open[customer] || !l.open[paying] {
			t.Fatalf("closed another than the %s one of the stranger", victim.state)
		}
	}
	if !l.evict(nil) || l.open[customer] || l.evict(nil) || !l.open[paying] {
		t.Error("a connection in use was closed, or an idle one was not")
	}
}

// accepted returns a connection of an address as Accept does.
func accepted(t *testing.T, l *Limited, key string, state http.ConnState) *conn {
	t.Helper()
	one, other := net.Pipe()
	t.Cleanup(func() { _ = other.Close() })
	c := &conn{Conn: one, limit: l, key: key, since: time.Now()}
	l.open[c] = true
	l.count[key]++
	l.ConnState(c, state)
	return c
}

// TestLimitOfIdle makes more connections idle than a quarter of all. Those of the address with the
// most are closed, the oldest first, and none that is in use.
func TestLimitOfIdle(t *testing.T) {
	t.Parallel()
	const max = 400
	l := Limit(nil, max)
	customer := accepted(t, l, "customer", http.StateIdle) // the oldest of all
	working := accepted(t, l, "stranger", http.StateActive)
	var strangers []*conn
	for range 3 * max / idleShare {
		strangers = append(strangers, accepted(t, l, "stranger", http.StateIdle))
		if l.idle > max/idleShare {
			t.Fatalf("%d connections are idle; want at most %d", l.idle, max/idleShare)
		}
	}
	for i, c := range strangers[1:] {
		if l.open[strangers[i]] && !l.open[c] {
			t.Fatalf("connection %d is closed before the older one", i+1)
		}
	}
	if newest := strangers[len(strangers)-1]; !l.open[customer] || !l.open[working] || !l.open[newest] {
		t.Error("another connection than an old one of the stranger is closed")
	}
	closed := strangers[0]
	if _, err := closed.Write([]byte("x")); err == nil {
		t.Error("a connection that is not counted is open")
	}
	before := l.idle
	for range 2 { // what the server does with it afterwards
		_ = closed.Close()
		l.ConnState(closed, http.StateClosed)
	}
	open := len(l.open)
	l.ConnState(customer, http.StateActive)
	_ = customer.Close()
	if l.idle != before-1 || len(l.open) != open-1 {
		t.Errorf("%d idle of %d; want %d of %d", l.idle, len(l.open), before-1, open-1)
	}
}

func TestInheritedNeedsItsProcess(t *testing.T) {
	t.Parallel()
	for _, env := range []map[string]string{
		{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x", "LISTEN_PID": "1"},
	} {
		h, err := inherited(func(n string) string { return env[n] })
		if h.main != nil || h.redirect != nil || len(h.kept) > 0 || err != nil {
			t.Errorf("%v: %v %v; want no sockets", env, h, err)
		}
	}
}
