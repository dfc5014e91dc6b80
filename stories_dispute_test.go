package main

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestAnInquiryOfABank(t *testing.T) {
	const inquiry = "warning_needs_response"
	t.Run("it takes nothing back, and the machine starts", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			session := f.buy(sandbox.PayOptions{})
			f.stripe.OpenDispute(session.ID, inquiry, 0)
			f.pass(30 * time.Second)
			f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
			m.SetOnline(true)
			f.pass(3 * time.Minute)
			f.started(m, 1)
			f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", ""})
			f.asks("a refund, which settles it", "/api/payments/"+session.ID+"/refund", "", 200, `"money":"refunding"`)
			f.pass(20 * time.Second)
			f.stands(session.ID, ending{payment.Refunded, payment.Fetched, "", ""})
			f.money(session.ID, 350, 0, 350)
		})
	})
	t.Run("it holds up no money that goes back by itself", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			session := f.buy(sandbox.PayOptions{})
			f.stripe.OpenDispute(session.ID, inquiry, 0)
			f.pass(4 * time.Minute)
			f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
		})
	})
	t.Run("it becomes a dispute", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			session := f.buy(sandbox.PayOptions{})
			f.pass(3 * time.Minute)
			id := f.stripe.OpenDispute(session.ID, inquiry, 0)
			f.pass(time.Minute)
			f.stripe.MoveDispute(id, "needs_response")
			f.pass(time.Minute)
			f.stands(session.ID, ending{payment.Disputed, payment.Fetched, "", payment.ReasonDisputed})
		})
	})
	// The charge says disputed: true of an inquiry, too.
	t.Run("the charge that is read while no event told of it", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			session := f.buy(sandbox.PayOptions{})
			f.pass(5 * time.Second)
			f.stripe.SetDelivery(sandbox.Delivery{Lost: true})
			f.stripe.OpenDispute(session.ID, inquiry, 0)
			f.stripe.SetDelivery(sandbox.Delivery{})
			f.stripe.Refund(session.ID, 100)
			f.pass(10 * time.Second)
			if p := f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""}); p.RefundedAmount != 100 {
				f.Errorf("%d are back; want 100", p.RefundedAmount)
			}
		})
	})
}

func TestTwoDisputesAboutOnePayment(t *testing.T) {
	story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.pass(3 * time.Minute)
		first := f.stripe.OpenDispute(session.ID, "warning_needs_response", 0)
		second := f.stripe.OpenDispute(session.ID, "needs_response", 0)
		f.pass(10 * time.Second)
		f.stripe.MoveDispute(first, "warning_closed")
		f.pass(10 * time.Second)
		f.stands(session.ID, ending{payment.Disputed, payment.Fetched, "", payment.ReasonDisputed})
		f.asks("a refund during the second", "/api/payments/"+session.ID+"/refund", "", 409, "not_possible")
		third := f.stripe.OpenDispute(session.ID, "needs_response", 0)
		f.stripe.MoveDispute(second, "won")
		f.pass(10 * time.Second)
		f.stands(session.ID, ending{payment.Disputed, payment.Fetched, "", payment.ReasonDisputed})
		f.stripe.MoveDispute(third, "won")
		f.pass(10 * time.Second)
		f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", ""})

		events := f.stripe.Events() // again, the last first
		for n := range events {
			if status, err := f.stripe.Send(events[len(events)-1-n].ID); err != nil || status != http.StatusOK {
				f.Errorf("%s: %d, %v; want 200", events[len(events)-1-n].Type, status, err)
			}
		}
		f.pass(time.Minute)
		f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", ""})
	})
}

func TestADisputeThatWasPrevented(t *testing.T) {
	for name, refunded := range map[string]bool{"Stripe has refunded the customer": true, "the bank was content": false} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
				f.run()
				m.SetOnline(false)
				session := f.buy(sandbox.PayOptions{})
				f.pass(5 * time.Second)
				f.stripe.SetDelivery(sandbox.Delivery{Lost: refunded}) // the dispute alone has the charge be read
				if refunded {
					f.stripe.Refund(session.ID, 0)
				}
				f.stripe.SetDelivery(sandbox.Delivery{})
				f.stripe.OpenDispute(session.ID, "prevented", 350)
				f.pass(30 * time.Second)
				if refunded {
					f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonReversed, ""})
				} else {
					f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
				}
			})
		})
	}
}

func TestADisputeAboutAPart(t *testing.T) {
	t.Run("lost, of a credit that failed: the rest goes back", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			m.SetOnline(false)
			session := f.buy(sandbox.PayOptions{})
			id := f.stripe.OpenDispute(session.ID, "needs_response", 100)
			f.pass(3 * time.Minute)
			f.stands(session.ID, ending{payment.Disputed, payment.Failed, payment.ReasonDisputed, payment.ReasonDisputed})
			f.stripe.MoveDispute(id, "lost")
			f.pass(time.Minute)
			p := f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonDisputed, payment.ReviewDisputeLost})
			if p.LostAmount != 100 || p.RefundedAmount != 250 {
				f.Errorf("%d lost and %d refunded; want 100 and 250", p.LostAmount, p.RefundedAmount)
			}
			f.money(session.ID, 350, 0, 250)
		})
	})
	t.Run("lost, of a credit that was delivered: the rest is ours", func(t *testing.T) {
		story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
			f.run()
			session := f.buy(sandbox.PayOptions{})
			f.pass(3 * time.Minute)
			id := f.stripe.OpenDispute(session.ID, "needs_response", 100)
			f.pass(time.Minute)
			f.stripe.MoveDispute(id, "lost")
			f.pass(time.Minute)
			f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", payment.ReviewDisputeLost})
			f.asks("more than is left", "/api/payments/"+session.ID+"/refund", `{"amount":251}`, 409, "not_possible")
			f.asks("the rest", "/api/payments/"+session.ID+"/refund", "", 200, `"money":"refunding"`)
			f.pass(time.Minute)
			f.stands(session.ID, ending{payment.Refunded, payment.Fetched, "", payment.ReviewDisputeLost})
			f.money(session.ID, 350, 0, 250)
		})
	})
}
