package sandbox

import (
	"math"
	"net/http"
)

// This file holds the calls that only `stripe trigger checkout.session.completed` makes. The
// command creates a product, a price and a session, and pays in the customer's place. Stripe
// documents no calls to payment pages. They follow version 1.52 of its command line tool.

// method is a payment method: a test card.
type method struct{ id, card string }

func (s *Stripe) triggerOperations() []operation {
	return []operation{
		{"POST", "/v1/payment_methods", "type card[token] billing_details[**]", "", s.createMethod},
		{"GET", "/v1/payment_pages/{id}", "", "", s.retrievePage},
		{"POST", "/v1/payment_pages/{id}/confirm", "payment_method expected_amount", "", s.confirmPage},
	}
}

func (s *Stripe) createMethod(q *query) (any, *apiError) {
	if q.Get("type") != "card" {
		return nil, malformed("type", "The sandbox knows only payment methods of type card, not %q.", q.Get("type"))
	}
	made := &method{id: "pm_1" + randomText(23)}
	switch q.Get("card[token]") { // docs.stripe.com/testing
	case "tok_visa":
		made.card = "4242424242424242"
	case "tok_chargeDeclined":
		made.card = "4000000000000002"
	default:
		return nil, missing("token", q.Get("card[token]"), "card[token]")
	}
	s.methods.put(made.id, made)
	return object{"id": made.id, "object": "payment_method", "type": "card", "livemode": s.config.Livemode}, nil
}

func (s *Stripe) retrievePage(q *query) (any, *apiError) {
	x := s.sessions.get(q.id)
	if x == nil {
		return nil, missing("checkout.session", q.id, "")
	}
	return object{"id": x.ID, "object": "checkout.session", "payment_status": x.PaymentStatus, "status": x.Status}, nil
}

func (s *Stripe) confirmPage(q *query) (any, *apiError) {
	x := s.sessions.get(q.id)
	if x == nil {
		return nil, missing("checkout.session", q.id, "")
	}
	s.expireOld(x)
	with := s.methods.get(q.Get("payment_method"))
	switch expected := q.integer("expected_amount", -1, 0, math.MaxInt32); {
	case with == nil:
		return nil, missing("payment_method", q.Get("payment_method"), "payment_method")
	case expected != x.Amount:
		return nil, refused(http.StatusBadRequest, "", "expected_amount",
			"The expected amount %d is not the amount %d of the session.", expected, x.Amount)
	case x.Status != "open":
		return nil, refused(http.StatusBadRequest, "", "", "This Checkout Session is not open.")
	}
	if q.problem != nil {
		return nil, q.problem
	}
	if _, err := s.attempt(x, PayOptions{Method: with.card}); err != nil {
		problem := refused(http.StatusPaymentRequired, "card_declined", "", "%v", err)
		problem.kind = "card_error"
		return nil, problem
	}
	return s.retrievePage(q)
}
