package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// A credit that Notehub never took is nowhere said to have reached the machine, and its machine is not blamed.
func TestACreditThatNotehubNeverTook(t *testing.T) {
	for name, o := range map[string]sandbox.Outcome{"a gateway's 502": {Status: 502}, "500": {Status: 500}, "cut": {}, "too slow": {Delay: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
				f.run()
				for range 2 {
					f.notehub.Always(postNote, o)
					session := f.buy(sandbox.PayOptions{})
					p := f.paid(session.ID)
					for p.Delivery == payment.Queued && time.Since(p.CreatedAt) < 5*time.Minute {
						f.pass(5 * time.Second)
						p = f.paid(session.ID)
						if page := f.get(f.livePage(session)).Body.String(); strings.Contains(page, "got it") || strings.Contains(page, "The machine got your payment") {
							f.Fatalf("the page of a credit that was never taken: %s", page)
						}
					}
					f.pass(30 * time.Second)
					f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonExpired, ""})
					if p := f.paid(session.ID); !p.SentAt.IsZero() {
						f.Errorf("it is said to have been sent at %v", p.SentAt)
					}
					f.notehub.Clear(postNote)
					f.pass(time.Minute)
				}
				if metrics := f.asOperator("/metrics").Body.String(); !strings.Contains(metrics, `notepay_deliveries_total{outcome="fetched"} 0`) {
					f.Error("metrics count a delivery that was not")
				}
				f.answers("the machine sells on", f.get("/pay?device="+washer), http.StatusTemporaryRedirect, "")
				f.started(m, 0)
			})
		})
	}
}
