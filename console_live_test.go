package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/sandbox"
)

func TestAPageOfTheConsoleIsToldWhatChanges(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		b := f.browser()
		_, pipes := f.serve()
		page := pipes.read(f, "/operator/live", "Cookie", b.cookie)
		page.hears("retry: ")
		told := func(name string, want int) {
			f.Helper()
			if n := strings.Count(page.hears(), "event: changed"); n != want {
				f.Errorf("%s: told %d times; want %d", name, n, want)
			}
		}
		f.pass(20 * time.Second)
		told("nothing happens", 0)
		f.buy(sandbox.PayOptions{})
		f.buy(sandbox.PayOptions{})
		f.pass(time.Second)
		told("two pay within a second", 1)
		f.notehub.Fetch(washer, "payment.qi")
		f.pass(30 * time.Second)
		told("a while without news", 1)
		f.stripe.PaySession(map[string]string{"shop": "1"}, 500, "eur", sandbox.PayOptions{})
		f.pass(2 * time.Second)
		told("an event that changes no payment", 1)

		again := pipes.read(f, "/operator/live", "Cookie", b.cookie, "Last-Event-ID", "1")
		again.hears("event: changed") // it may have missed something
		var more []*reader
		for range 30 {
			more = append(more, pipes.read(f, "/operator/live", "Cookie", b.cookie))
		}
		if w := b.send("GET", "/operator/live", ""); w.Code != http.StatusTooManyRequests {
			f.Errorf("one more: %d; want 429", w.Code)
		}
		_ = again.conn.Close()
		f.pass(31 * time.Second)
		more = append(more, pipes.read(f, "/operator/live", "Cookie", b.cookie))
		f.server.EndStreams()
		for _, one := range append(more, page) {
			if _, ended := one.heard(); !ended {
				f.Error("a stream goes on although the server stops")
			}
		}
	})
}
