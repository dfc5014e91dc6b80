package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

func TestLiveSendsChanges(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		b := f.Browser()
		_, pipes := f.Serve()
		page := pipes.Read(f, "/operator/live", "Cookie", b.Cookie)
		page.Hears("retry: ")
		told := func(name string, want int) {
			f.Helper()
			if n := strings.Count(page.Hears(), "event: changed"); n != want {
				f.Errorf("%s: told %d times; want %d", name, n, want)
			}
		}
		f.Pass(20 * time.Second)
		told("nothing happens", 0)
		f.Buy(sandbox.PayOptions{})
		f.Buy(sandbox.PayOptions{})
		f.Pass(time.Second)
		told("two pay within a second", 1)
		f.Notehub.Fetch(fixture.Washer, "payment.qi")
		f.Pass(30 * time.Second)
		told("a while without news", 1)
		f.Stripe.PaySession(map[string]string{"shop": "1"}, 500, "eur", sandbox.PayOptions{})
		f.Pass(2 * time.Second)
		told("an event that changes no payment", 1)

		again := pipes.Read(f, "/operator/live", "Cookie", b.Cookie, "Last-Event-ID", "1")
		again.Hears("event: changed") // it may have missed changes
		var more []*apptest.Reader
		for range 30 {
			more = append(more, pipes.Read(f, "/operator/live", "Cookie", b.Cookie))
		}
		if w := b.Send("GET", "/operator/live", ""); w.Code != http.StatusTooManyRequests {
			f.Errorf("one more: %d; want 429", w.Code)
		}
		_ = again.Conn.Close()
		f.Pass(31 * time.Second)
		more = append(more, pipes.Read(f, "/operator/live", "Cookie", b.Cookie))
		f.Server.EndStreams()
		for _, one := range append(more, page) {
			if _, ended := one.Heard(); !ended {
				f.Error("a stream goes on although the server stops")
			}
		}
	})
}
