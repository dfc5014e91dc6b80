package stories

import (
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// A refund by the operator does not wait for a machine that is off, nor for Notehub while it is
// down.
func TestOperatorRefundDoesNotWaitForTheMachine(t *testing.T) {
	forEver := func(s *config.Settings) { s.CreditLifetime = 0 }
	for name, row := range map[string]struct {
		before func(f *apptest.Front, m *sandbox.Machine)
		body   string
		back   int64
		want   apptest.Ending
	}{
		"a part, while the note is pending": {func(_ *apptest.Front, m *sandbox.Machine) { m.SetOnline(false) },
			`{"amount":100}`, 100,
			apptest.Ends(payment.Paid, payment.Sent, "", "")},
		"a part, while Notehub is down": {func(f *apptest.Front, _ *sandbox.Machine) {
			f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 503})
		}, `{"amount":100}`, 100,
			apptest.Ends(payment.Paid, payment.Queued, "", "")},
		"a part, while Notehub rejects our credentials": {func(f *apptest.Front, _ *sandbox.Machine) {
			f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 403})
		}, `{"amount":100}`, 100,
			apptest.Ends(payment.Paid, payment.Queued, "", "")},
		"all of it, while the recall fails": {func(f *apptest.Front, m *sandbox.Machine) {
			m.SetOnline(false)
			f.Notehub.Always("GET /v1/projects/{project}/devices/{device}/files", sandbox.Outcome{Status: 503})
			f.Notehub.Always("GET /v1/projects/{project}/devices/{device}/notes/{file}", sandbox.Outcome{Status: 503})
		}, "", 350, apptest.Ends(payment.Refunded, payment.Sent, "", "")},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, forEver, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				row.before(f, m)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(20 * time.Second)
				f.Asks("refund", "/api/payments/"+session.ID+"/refund", row.body, 200, `"money":"refunding"`)
				f.Pass(20 * time.Second)
				f.Stands(session.ID, row.want)
				f.Money(session.ID, 350, 0, row.back)
			})
		})
	}
}

// The operator has refunded a part in the Dashboard, and notepay orders its refund before it knows.
func TestRefundOrderedBeforeADashboardRefundIsKnown(t *testing.T) {
	t.Run("the charge is read at once", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			f.Stripe.SetDelivery(sandbox.Delivery{Lost: true})
			session := f.Buy(sandbox.PayOptions{NoWebhook: true})
			f.Get("/payment/success?session_id=" + session.ID)
			f.Stripe.Refund(session.ID, 100)
			f.Pass(150 * time.Second)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
			f.Money(session.ID, 350, 0, 350)
		})
	})
	t.Run("an event ends the wait of a rejected refund", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			f.Stripe.Always(
				"POST /v1/refunds",
				sandbox.Outcome{
					Status: 400,
					Body:   `{"error":{"type":"invalid_request_error","message":"This refund is being reviewed."}}`,
				},
			)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(4 * time.Minute)
			p := f.Stands(
				session.ID,
				apptest.Ends(payment.Refunding, payment.Failed, payment.ReasonRecalled, payment.ReviewRefundRefused),
			)
			if n := f.Stripe.Count("POST /v1/refunds"); n != 2 || time.Until(p.DueAt) < 23*time.Hour {
				f.Errorf(
					"%d tries, the next at %v; want one, one after it was asked what is left, and then a day's wait",
					n,
					p.DueAt,
				)
			}
			f.Stripe.Clear("POST /v1/refunds")
			f.Stripe.Refund(session.ID, 100)
			f.Pass(20 * time.Second)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
			f.Money(session.ID, 350, 0, 350)
		})
	})
	t.Run("too little balance, and a partial refund by hand", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			f.Stripe.SetRefunds(sandbox.RefundsLackBalance)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(3 * time.Minute)
			f.Stripe.SetRefunds(sandbox.RefundsSucceed)
			f.Stripe.Refund(session.ID, 100)
			f.Pass(20 * time.Second)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
			f.Money(session.ID, 350, 0, 350)
		})
	})
}
