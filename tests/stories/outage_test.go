package stories

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// A credit that Notehub never accepted is not reported as delivered, and its machine is not paused.
func TestCreditThatNotehubNeverAccepted(t *testing.T) {
	for name, o := range map[string]sandbox.Outcome{
		"a gateway's 502": {Status: 502},
		"500":             {Status: 500},
		"cut":             {},
		"too slow":        {Delay: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, confirming, confirms, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				for range 2 {
					f.Notehub.Always(fixture.PostNote, o)
					session := f.Buy(sandbox.PayOptions{})
					p := f.Paid(session.ID)
					for p.Delivery == payment.Queued && time.Since(p.CreatedAt) < 5*time.Minute {
						f.Pass(5 * time.Second)
						p = f.Paid(session.ID)
						if page := f.Get(f.LivePage(session)).Body.String(); strings.Contains(page, "got it") ||
							strings.Contains(page, "The machine got your payment") {
							f.Fatalf("the page of a credit that was never taken: %s", page)
						}
					}
					f.Pass(30 * time.Second)
					f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonExpired, ""))
					if p := f.Paid(session.ID); !p.SentAt.IsZero() {
						f.Errorf("it is said to have been sent at %v", p.SentAt)
					}
					f.Notehub.Clear(fixture.PostNote)
					f.Pass(time.Minute)
				}
				if metrics := f.AsOperator("/metrics").Body.String(); !strings.Contains(
					metrics, `notepay_deliveries_total{outcome="fetched"} 0`,
				) {
					f.Error("metrics count a delivery that was not")
				}
				f.Answers(
					"the machine sells on",
					f.Get("/pay?device="+fixture.Washer),
					http.StatusTemporaryRedirect,
					"",
				)
				f.Started(m, 0)
			})
		})
	}
}
