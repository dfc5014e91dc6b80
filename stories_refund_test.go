package main

import (
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// What the operator gives back does not wait for a machine that is off, nor for a Notehub that is.
func TestAnOperatorsRefundDoesNotWaitForTheMachine(t *testing.T) {
	forEver := func(s *config.Settings) { s.CreditLifetime = 0 }
	for name, row := range map[string]struct {
		before func(f *front, m *sandbox.Machine)
		body   string
		back   int64
		want   ending
	}{
		"a part, while the note waits": {func(_ *front, m *sandbox.Machine) { m.SetOnline(false) }, `{"amount":100}`, 100,
			ending{payment.Paid, payment.Sent, "", ""}},
		"a part, while Notehub is down": {func(f *front, _ *sandbox.Machine) { f.notehub.Always(postNote, sandbox.Outcome{Status: 503}) }, `{"amount":100}`, 100,
			ending{payment.Paid, payment.Queued, "", ""}},
		"a part, while Notehub refuses us": {func(f *front, _ *sandbox.Machine) { f.notehub.Always(postNote, sandbox.Outcome{Status: 403}) }, `{"amount":100}`, 100,
			ending{payment.Paid, payment.Queued, "", ""}},
		"all of it, while the note cannot be taken back": {func(f *front, m *sandbox.Machine) {
			m.SetOnline(false)
			f.notehub.Always("GET /v1/projects/{project}/devices/{device}/files", sandbox.Outcome{Status: 503})
			f.notehub.Always("GET /v1/projects/{project}/devices/{device}/notes/{file}", sandbox.Outcome{Status: 503})
		}, "", 350, ending{payment.Refunded, payment.Sent, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, forEver, threeKeys, func(f *front, m *sandbox.Machine) {
				f.run()
				row.before(f, m)
				session := f.buy(sandbox.PayOptions{})
				f.pass(20 * time.Second)
				f.asks("refund", "/api/payments/"+session.ID+"/refund", row.body, 200, `"money":"refunding"`)
				f.pass(20 * time.Second)
				f.stands(session.ID, row.want)
				f.money(session.ID, 350, 0, row.back)
			})
		})
	}
}

// The operator has given a part back in the Dashboard, of which we have not heard when ours is made.
func TestARefundThatWasOrderedBeforeAPartWasGivenBackByHand(t *testing.T) {
	t.Run("it is asked at once what is left", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			f.stripe.SetDelivery(sandbox.Delivery{Lost: true})
			session := f.buy(sandbox.PayOptions{NoWebhook: true})
			f.get("/payment/success?session_id=" + session.ID)
			f.stripe.Refund(session.ID, 100)
			f.pass(150 * time.Second)
			f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
			f.money(session.ID, 350, 0, 350)
		})
	})
	t.Run("what an event tells ends the wait of one that was refused", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			f.stripe.Always("POST /v1/refunds", sandbox.Outcome{Status: 400, Body: `{"error":{"type":"invalid_request_error","message":"This refund is being reviewed."}}`})
			session := f.buy(sandbox.PayOptions{})
			f.pass(4 * time.Minute)
			p := f.stands(session.ID, ending{payment.Refunding, payment.Failed, payment.ReasonRecalled, payment.ReviewRefundRefused})
			if n := f.stripe.Count("POST /v1/refunds"); n != 2 || time.Until(p.DueAt) < 23*time.Hour {
				f.Errorf("%d tries, the next at %v; want one, one after it was asked what is left, and then a day's wait", n, p.DueAt)
			}
			f.stripe.Clear("POST /v1/refunds")
			f.stripe.Refund(session.ID, 100)
			f.pass(20 * time.Second)
			f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
			f.money(session.ID, 350, 0, 350)
		})
	})
	t.Run("too little balance, and a part by hand", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			f.stripe.SetRefunds(sandbox.RefundsLackBalance)
			session := f.buy(sandbox.PayOptions{})
			f.pass(3 * time.Minute)
			f.stripe.SetRefunds(sandbox.RefundsSucceed)
			f.stripe.Refund(session.ID, 100)
			f.pass(20 * time.Second)
			f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
			f.money(session.ID, 350, 0, 350)
		})
	})
}
