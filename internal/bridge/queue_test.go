package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// While one vendor cannot be called, the due step of the other vendor is found by its worker.
func TestYieldStepToTheOtherVendor(t *testing.T) {
	t.Parallel()
	for name, closed := range map[string]func(*Config, *upstream.Limiter){
		"Notehub limits the rate": func(c *Config, p *upstream.Limiter) { c.NotehubLimiter = p },
		"Stripe limits the rate":  func(c *Config, p *upstream.Limiter) { c.StripeLimiter = p },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pace := upstream.NewLimiter(0, 1)
				h := newHouse(t, func(c *Config) { c.Lifetime = 0; closed(c, pace) })
				pace.Observe(time.Now(), &upstream.Error{Outcome: upstream.RateLimited, RetryAfter: time.Hour})
				h.paid("cs_1", "dev:1")
				_, err := h.b.Refund(t.Context(), payment.CreditID("cs_1"), 100, Actor{"operator", "late"})
				if err != nil {
					t.Fatal(err)
				}
				h.run()
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if pace == h.b.c.NotehubLimiter {
					h.stands("cs_1", payment.Queued, "", payment.Paid, "")
				} else {
					h.stands("cs_1", payment.Sent, "", payment.Refunding, "")
				}
				h.close()
			})
		})
	}
}
