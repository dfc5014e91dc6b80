package stories

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// Notehub issues tokens and rejects them all. Once it accepts them, queued payments are delivered
// within a minute.
func TestRejectedTokensPauseTheCallsToNotehub(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Notehub.RevokeTokens()
		f.Notehub.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 401})
		tokens, calls := f.Notehub.Count(fixture.HubTokens), f.Notehub.Count("{any} /v1/{rest...}")
		var sessions []sandbox.Session
		for range 20 {
			sessions = append(sessions, f.Buy(sandbox.PayOptions{}))
			f.Pass(2 * time.Second)
		}
		f.Pass(20 * time.Second)
		tokens, calls = f.Notehub.Count(fixture.HubTokens)-tokens, f.Notehub.Count("{any} /v1/{rest...}")-calls
		if tokens > 8 || calls > 100 {
			f.Errorf("%d token calls and %d others in a minute; want at most 8 and 100", tokens, calls)
		}
		f.Answers(
			"a scan",
			f.Get("/pay?device="+fixture.Washer),
			http.StatusServiceUnavailable,
			"Machines cannot be reached",
		)
		f.Notehub.Clear("{any} /v1/{rest...}")
		f.Pass(time.Minute)
		for _, s := range sessions {
			if p := f.Paid(s.ID); p.Delivery != "sent" {
				f.Errorf("payment of %s is %s; want it sent", s.ID, p.Delivery)
			}
		}
		f.Answers("a scan when it is over", f.Get("/pay?device="+fixture.Washer), http.StatusTemporaryRedirect, "")
	})
}
