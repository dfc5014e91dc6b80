package notehub

import (
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// A call that takes long arrives at Notehub at an unknown moment: its slot is free again a minute
// after its end.
func TestNotehubLimitCountsSlowCallsFromTheirEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(_ *Config, c *sandbox.NotehubConfig) { c.PerMinute = 1 })
		h.client.Limiter = upstream.NewWindow(1)
		h.Next(
			fixture.HubDevice,
			sandbox.Outcome{Applied: true, Status: 200, Delay: 10 * time.Second, DelayEffect: true},
		)
		for range 3 {
			fixture.Meant(t, "device", h.ask(), upstream.OK)
		}
	})
}

// A token that has to be fetched for a claimed call uses the slot of that call, and the call waits
// for another.
func TestNotehubLimitCountsTheTokenCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(s *Config, c *sandbox.NotehubConfig) { withOAuth(s, c); c.PerMinute = 1 })
		h.client.Limiter = upstream.NewWindow(1)
		claimed := func() error {
			for !h.client.Limiter.Take() {
				time.Sleep(time.Second)
			}
			return h.client.PostNote(
				t.Context(),
				fixture.Washer,
				payment.Note{PaymentStatus: "completed", CreditID: "cr_1"},
			)
		}
		fixture.Meant(t, "the claim that fetches the token", claimed(), upstream.Retryable)
		fixture.Meant(t, "the next claim", claimed(), upstream.OK)
		if n := len(h.Notes(fixture.Washer)); n != 1 {
			t.Errorf("%d notes; want 1", n)
		}
		for _, r := range h.Requests("{any} /{rest...}") {
			if r.Status == 429 {
				t.Errorf("%s %s: 429", r.Method, r.Path)
			}
		}
	})
}
