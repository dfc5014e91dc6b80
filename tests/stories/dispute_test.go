package stories

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestInquiry(t *testing.T) {
	const inquiry = "warning_needs_response"
	t.Run("an inquiry recalls nothing, and the machine starts", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Stripe.OpenDispute(session.ID, inquiry, 0)
			f.Pass(30 * time.Second)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
			m.SetOnline(true)
			f.Pass(3 * time.Minute)
			f.Started(m, 1)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
			f.Asks("a refund, which settles it", "/api/payments/"+session.ID+"/refund", "", 200, `"money":"refunding"`)
			f.Pass(20 * time.Second)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Fetched, "", ""))
			f.Money(session.ID, 350, 0, 350)
		})
	})
	t.Run("an inquiry delays no automatic refund", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Stripe.OpenDispute(session.ID, inquiry, 0)
			f.Pass(4 * time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonRecalled, ""))
		})
	})
	t.Run("it becomes a dispute", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(3 * time.Minute)
			id := f.Stripe.OpenDispute(session.ID, inquiry, 0)
			f.Pass(time.Minute)
			f.Stripe.MoveDispute(id, "needs_response")
			f.Pass(time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Disputed, payment.Fetched, "", payment.ReasonDisputed))
		})
	})
	// The charge has disputed: true for an inquiry too.
	t.Run("a disputed charge without an event", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(5 * time.Second)
			f.Stripe.SetDelivery(sandbox.Delivery{Lost: true})
			f.Stripe.OpenDispute(session.ID, inquiry, 0)
			f.Stripe.SetDelivery(sandbox.Delivery{})
			f.Stripe.Refund(session.ID, 100)
			f.Pass(10 * time.Second)
			if p := f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", "")); p.RefundedAmount != 100 {
				f.Errorf("%d are back; want 100", p.RefundedAmount)
			}
		})
	})
}

func TestDisputesTwoOfOnePayment(t *testing.T) {
	story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Pass(3 * time.Minute)
		first := f.Stripe.OpenDispute(session.ID, "warning_needs_response", 0)
		second := f.Stripe.OpenDispute(session.ID, "needs_response", 0)
		f.Pass(10 * time.Second)
		f.Stripe.MoveDispute(first, "warning_closed")
		f.Pass(10 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Disputed, payment.Fetched, "", payment.ReasonDisputed))
		f.Asks("a refund during the second", "/api/payments/"+session.ID+"/refund", "", 409, "not_possible")
		third := f.Stripe.OpenDispute(session.ID, "needs_response", 0)
		f.Stripe.MoveDispute(second, "won")
		f.Pass(10 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Disputed, payment.Fetched, "", payment.ReasonDisputed))
		f.Stripe.MoveDispute(third, "won")
		f.Pass(10 * time.Second)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))

		events := f.Stripe.Events() // the events are repeated in reverse order
		for n := range events {
			if status, err := f.Stripe.Send(events[len(events)-1-n].ID); err != nil || status != http.StatusOK {
				f.Errorf("%s: %d, %v; want 200", events[len(events)-1-n].Type, status, err)
			}
		}
		f.Pass(time.Minute)
		f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", ""))
	})
}

func TestDisputeThatWasPrevented(t *testing.T) {
	for name, refunded := range map[string]bool{
		"Stripe has refunded the customer": true,
		"the bank was content":             false,
	} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
				f.Run()
				m.SetOnline(false)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(5 * time.Second)
				f.Stripe.SetDelivery(sandbox.Delivery{Lost: refunded}) // only the dispute's event arrives
				if refunded {
					f.Stripe.Refund(session.ID, 0)
				}
				f.Stripe.SetDelivery(sandbox.Delivery{})
				f.Stripe.OpenDispute(session.ID, "prevented", 350)
				f.Pass(30 * time.Second)
				if refunded {
					f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonReversed, ""))
				} else {
					f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Sent, "", ""))
				}
			})
		})
	}
}

func TestDisputeAboutAPart(t *testing.T) {
	t.Run("lost, of a failed credit: the rest is refunded", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			m.SetOnline(false)
			session := f.Buy(sandbox.PayOptions{})
			id := f.Stripe.OpenDispute(session.ID, "needs_response", 100)
			f.Pass(3 * time.Minute)
			f.Stands(
				session.ID,
				apptest.Ends(payment.Disputed, payment.Failed, payment.ReasonDisputed, payment.ReasonDisputed),
			)
			f.Stripe.MoveDispute(id, "lost")
			f.Pass(time.Minute)
			p := f.Stands(
				session.ID,
				apptest.Ends(payment.Refunded, payment.Failed, payment.ReasonDisputed, payment.ReviewDisputeLost),
			)
			if p.LostAmount != 100 || p.RefundedAmount != 250 {
				f.Errorf("%d lost and %d refunded; want 100 and 250", p.LostAmount, p.RefundedAmount)
			}
			f.Money(session.ID, 350, 0, 250)
		})
	})
	t.Run("lost, of a delivered credit: the rest is ours", func(t *testing.T) {
		story(t, without, threeKeys, func(f *apptest.Front, m *sandbox.Machine) {
			f.Run()
			session := f.Buy(sandbox.PayOptions{})
			f.Pass(3 * time.Minute)
			id := f.Stripe.OpenDispute(session.ID, "needs_response", 100)
			f.Pass(time.Minute)
			f.Stripe.MoveDispute(id, "lost")
			f.Pass(time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Paid, payment.Fetched, "", payment.ReviewDisputeLost))
			f.Asks("more than is left", "/api/payments/"+session.ID+"/refund", `{"amount":251}`, 409, "not_possible")
			f.Asks("the rest", "/api/payments/"+session.ID+"/refund", "", 200, `"money":"refunding"`)
			f.Pass(time.Minute)
			f.Stands(session.ID, apptest.Ends(payment.Refunded, payment.Fetched, "", payment.ReviewDisputeLost))
			f.Money(session.ID, 350, 0, 250)
		})
	})
}
