package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// soldWash is a payment of 350 through a link with a capture method. It reports the events since
// the last check.
type soldWash struct {
	*testing.T
	*Stripe
	Session
	inbox  *inbox
	before int // events
}

func sellWash(t *testing.T, c StripeConfig, captureMethod string) *soldWash {
	t.Helper()
	s, got, _ := payable(t, c)
	link := s.AddLink(Link{PriceID: "price_wash", Active: true, CaptureMethod: captureMethod})
	x, err := s.Pay(link.ID, PayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &soldWash{T: t, Stripe: s, Session: x, inbox: got, before: len(s.Events())}
}

// refund creates a refund through the API, and returns its status or the error's code.
func (w *soldWash) refund(params string, header ...string) string {
	w.Helper()
	status, answer, _ := stripeCall(w.T, w.Stripe, "POST /v1/refunds",
		"payment_intent="+w.PaymentIntent+params, header...)
	if status != 200 {
		return at(answer, "error.code") + " " + at(answer, "error.message")
	}
	return at(answer, "status")
}

// want compares the funds, and the events since the last check, with the wanted ones.
func (w *soldWash) want(name, money, events string) {
	w.Helper()
	charged, held, refunded, status := w.Money(w.Session.ID)
	if got := fmt.Sprint(charged, held, refunded, " ", status); got != money {
		w.Errorf("%s: the money is %s; want %s", name, got, money)
	}
	var kinds []string
	for _, e := range w.Events()[w.before:] {
		kinds = append(kinds, e.Type)
	}
	w.before += len(kinds)
	if got := strings.Join(kinds, " "); got != events {
		w.Errorf("%s: got events %q; want %q", name, got, events)
	}
}

func TestRefundPendsOrFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sellWash(t, StripeConfig{}, "")
		w.want("paid", "350 0 0 succeeded", "")
		if w.SettleRefund(w.Session.ID, true) || w.SettleRefund(w.Session.ID, false) ||
			w.SettleRefund("cs_none", true) {
			t.Error("a refund was settled before there was one")
		}
		w.SetRefunds(RefundsPend)
		if got := w.refund("&amount=100"); got != "pending" {
			t.Errorf("got %s; want it pending", got)
		}
		w.want("pending", "350 0 100 succeeded", "refund.created charge.refunded")
		if !w.SettleRefund(w.Session.ID, true) || w.SettleRefund(w.Session.ID, true) {
			t.Error("the refund did not succeed, or twice")
		}
		w.want("succeeded", "350 0 100 succeeded", "refund.updated charge.refund.updated")
		if !w.TraceRefund(w.Session.ID, "7431") || w.TraceRefund("cs_none", "7431") {
			t.Error("the refund has no reference, or one of another session has")
		}
		w.want("traced", "350 0 100 succeeded", "refund.updated charge.refund.updated")
		_, traced, _ := stripeCall(t, w.Stripe, "GET /v1/refunds", "payment_intent="+w.PaymentIntent)
		if at(traced, "data.0.destination_details.card.reference") != "7431" {
			t.Errorf("got %v; want the reference", traced)
		}
		if !w.SettleRefund(w.Session.ID, false) || w.SettleRefund(w.Session.ID, false) {
			t.Error("the refund did not fail, or failed twice")
		}
		w.want("sent back by the bank", "350 0 0 succeeded", "refund.updated charge.refund.updated refund.failed")
		w.SetRefunds(RefundsFail)
		if got := w.refund(""); got != "failed" {
			t.Errorf("got %s; want it failed", got)
		}
		w.want("failed at once", "350 0 0 succeeded", "refund.created refund.failed")
		_, list, _ := stripeCall(t, w.Stripe, "GET /v1/refunds", "payment_intent="+w.PaymentIntent)
		if at(list, "data.0.failure_reason") == "<nil>" || at(list, "data.1.status") != "failed" {
			t.Errorf("got %v; want two that failed, and why", list)
		}
		synctest.Wait()
		if !slices.Contains(w.inbox.seen(), "refund.failed") {
			t.Errorf("got webhooks %v; want refund.failed among them", w.inbox.seen())
		}
	})
}

func TestRejectedRefundIsStoredUnderItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := sellWash(t, StripeConfig{}, "")
		const refusal = "<nil> Insufficient funds in your Stripe balance to refund this amount."
		w.SetRefunds(RefundsLackBalance)
		if w.Refund(w.Session.ID, 0) {
			t.Error("the Dashboard gave back what is not there")
		}
		if got := w.refund("&amount=350", "Idempotency-Key", "1"); got != refusal {
			t.Errorf("got %q; want %q", got, refusal)
		}
		w.SetRefunds(RefundsSucceed)
		if got := w.refund("&amount=350", "Idempotency-Key", "1"); got != refusal {
			t.Errorf("under the same key got %q; want %q again", got, refusal)
		}
		if got := w.refund("&amount=350", "Idempotency-Key", "2"); got != "succeeded" {
			t.Errorf("under another key got %q; want it to succeed", got)
		}
		w.want("in the end", "350 0 350 succeeded", "refund.created charge.refunded")
	})
}

func TestDispute(t *testing.T) {
	t.Parallel()
	for _, won := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := sellWash(t, StripeConfig{}, "")
			if w.CloseDispute(w.Session.ID, won) || w.Dispute("cs_none") {
				t.Error("there is a dispute before there was one")
			}
			w.Refund(w.Session.ID, 100)
			w.want("refunded in part", "350 0 100 succeeded", "refund.created charge.refunded")
			if !w.Dispute(w.Session.ID) || w.Dispute(w.Session.ID) {
				t.Error("the payment was not disputed, or twice")
			}
			w.want("disputed", "350 0 100 succeeded", "charge.dispute.created")
			_, charge, _ := stripeCall(t, w.Stripe, "GET /v1/payment_intents/"+w.PaymentIntent,
				"expand[]=latest_charge")
			if got := at(charge, "latest_charge.disputed"); got != "true" {
				t.Errorf("got disputed %s; want true", got)
			}
			if got := w.refund(""); !strings.HasPrefix(got, "charge_disputed ") || w.Refund(w.Session.ID, 0) {
				t.Errorf("got %s; want no refund while disputed", got)
			}
			if !w.CloseDispute(w.Session.ID, won) || w.CloseDispute(w.Session.ID, won) {
				t.Error("the dispute was not closed, or twice")
			}
			w.want("closed", "350 0 100 succeeded", "charge.dispute.closed")
			_, list, _ := stripeCall(t, w.Stripe, "GET /v1/events",
				"types[]=charge.dispute.closed&types[]=charge.dispute.created")
			want := map[bool]string{true: "won", false: "lost"}[won]
			if at(list, "data.0.data.object.status") != want ||
				at(list, "data.1.data.object.status") != "needs_response" ||
				at(list, "data.0.data.object.amount") != "250" ||
				at(list, "data.0.data.object.payment_intent") != w.PaymentIntent {
				t.Errorf("got %v; want 250 asked for, and then %s", list, want)
			}
			if got := w.refund(""); (got == "succeeded") != won {
				t.Errorf("after it was %s a refund is %s", want, got)
			}
		})
	}
}

func TestAuthorizationEndsInFourWays(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		end           func(*soldWash) bool
		money, reason string
		events        string // with ReleaseIsRefund: with a refund of the charge
		other         string
	}{
		{"captured", func(w *soldWash) bool {
			status, _, _ := stripeCall(w.T, w.Stripe, "POST /v1/payment_intents/"+w.PaymentIntent+"/capture", "")
			return status == 200
		}, "350 0 0 succeeded", "<nil>", "payment_intent.succeeded charge.captured",
			"payment_intent.succeeded charge.captured"},
		{"canceled", func(w *soldWash) bool {
			status, _, _ := stripeCall(w.T, w.Stripe, "POST /v1/payment_intents/"+w.PaymentIntent+"/cancel", "")
			return status == 200
		}, "0 0 0 canceled", "<nil>", "payment_intent.canceled", "charge.refunded payment_intent.canceled"},
		{"canceled by hand", func(w *soldWash) bool { return w.CancelAuthorization(w.Session.ID) },
			"0 0 0 canceled", "requested_by_customer", "payment_intent.canceled",
			"charge.refunded payment_intent.canceled"},
		{"run out", func(w *soldWash) bool { return w.ExpireAuthorization(w.Session.ID) },
			"0 0 0 canceled", "automatic", "charge.expired payment_intent.canceled",
			"charge.expired charge.refunded payment_intent.canceled"},
	} {
		for _, other := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := sellWash(t, StripeConfig{Unknown: StripeUnknown{ReleaseIsRefund: other}}, "manual")
				w.want(row.name+": before", "0 350 0 requires_capture", "")
				if !row.end(w) || w.CancelAuthorization(w.Session.ID) || w.ExpireAuthorization(w.Session.ID) ||
					w.CancelAuthorization("cs_none") {
					t.Errorf("%s: the hold did not end, or once more", row.name)
				}
				events := row.events
				if other {
					events = row.other
				}
				w.want(row.name, row.money, events)
				_, intent, _ := stripeCall(t, w.Stripe, "GET /v1/payment_intents/"+w.PaymentIntent,
					"expand[]=latest_charge")
				refunded := map[bool]string{true: "350", false: "0"}[other && row.name != "captured"]
				if at(intent, "cancellation_reason") != row.reason ||
					at(intent, "latest_charge.amount_refunded") != refunded {
					t.Errorf("%s: got %v; want the reason %s and %s refunded", row.name, intent, row.reason, refunded)
				}
				for _, call := range []string{"capture", "cancel"} {
					_, answer, _ := stripeCall(t, w.Stripe, "POST /v1/payment_intents/"+w.PaymentIntent+"/"+call, "")
					if at(answer, "error.code") != "payment_intent_unexpected_state" ||
						at(answer, "error.payment_intent.id") != w.PaymentIntent ||
						!strings.HasSuffix(row.money, at(answer, "error.payment_intent.status")) {
						t.Errorf("%s: %s answers %v; want the intent in the refusal", row.name, call, answer)
					}
				}
			})
		}
	}
}

func TestMoneyOfAnUnknownSession(t *testing.T) {
	t.Parallel()
	s, _, link := payable(t, StripeConfig{})
	free, err := s.Pay(link.ID, PayOptions{Free: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"cs_none", free.ID} {
		if charged, held, refunded, status := s.Money(id); charged != 0 || held != 0 || refunded != 0 || status != "" {
			t.Errorf("got %d, %d, %d, %q for %s; want nothing", charged, held, refunded, status, id)
		}
		if s.Dispute(id) || s.Refund(id, 0) || s.Refunded(id) != 0 {
			t.Errorf("%s was disputed or refunded; want that there is nothing", id)
		}
	}
}
