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
		one, other := net.Pipe()
		t.Cleanup(func() { _ = other.Close() })
		c := &conn{Conn: one, limit: l, key: key, state: state, since: time.Unix(int64(since), 0)}
		l.open[c] = true
		l.count[key]++
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

func TestInheritedNeedsItsProcess(t *testing.T) {
	t.Parallel()
	for _, env := range []map[string]string{
		{}, {"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x", "LISTEN_PID": "1"},
	} {
		main, plain, err := Inherited(func(n string) string { return env[n] })
		if main != nil || plain != nil || err != nil {
			t.Errorf("%v: %v %v %v; want no sockets", env, main, plain, err)
		}
	}
}
