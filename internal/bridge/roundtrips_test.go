package bridge

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"notepay/internal/ledger/pgtest"
)

// tripCounter is a proxy in front of PostgreSQL. It counts the round trips of connections that write.
type tripCounter struct {
	trips atomic.Int64
	url   string
}

func newTripCounter(t *testing.T, database string) *tripCounter {
	t.Helper()
	c := &tripCounter{}
	c.url = pgtest.Line(t, database, func(client, server net.Conn) { go c.carry(client, server) })
	return c
}

// carry passes on what client and server say. A round trip begins when the client speaks after the
// server.
func (c *tripCounter) carry(client, server net.Conn) {
	var mu sync.Mutex
	answered, writes := true, false
	pass := func(to, from net.Conn, asks bool) {
		buffer := make([]byte, 1<<16)
		for {
			n, err := from.Read(buffer)
			if err != nil {
				_, _ = to.Close(), from.Close()
				return
			}
			mu.Lock()
			if writes = writes || asks && bytes.Contains(buffer[:n], []byte("BEGIN ISOLATION LEVEL")); writes {
				if asks && answered {
					c.trips.Add(1)
				}
				answered = !asks
			}
			mu.Unlock()
			if _, err := to.Write(buffer[:n]); err != nil {
				_, _ = to.Close(), from.Close()
				return
			}
		}
	}
	go pass(server, client, true)
	pass(client, server, false)
}

// The database may be a network away, so a transaction must not ask it often.
func TestInstanceRoundTrips(t *testing.T) {
	t.Parallel()
	counter := newTripCounter(t, pgtest.Database(t))
	h := newHouseAt(t, counter.url, nil)
	count := func(what string, limit int64, do func()) {
		t.Helper()
		before := counter.trips.Load()
		do()
		if n := counter.trips.Load() - before; n < 1 || n > limit {
			t.Errorf("%s took %d round trips; want %d at most", what, n, limit)
		} else {
			t.Logf("%s took %d round trips", what, n)
		}
	}
	for _, session := range []string{"cs_test_1", "cs_test_2"} { // the first prepares the statements
		e := h.pays(session, "dev:1")
		limits := [3]int64{20, 20, 20}
		if session == "cs_test_2" {
			limits = [3]int64{4, 4, 2} // one of them may be a ping
		}
		count("the webhook", limits[0], func() { h.receive(e) })
		p := h.payment(session)
		count("the claim", limits[1], func() { p = h.claim(h.b.notehub(), 1)[0] })
		count("the call and its result", limits[2], func() { h.b.execute(context.Background(), p) })
	}
}
