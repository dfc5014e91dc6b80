package sandbox

import (
	"net/http"
)

type refund struct {
	id, reason string
	of         *intent
	amount     int64 // minor units
	created    int64 // unix seconds
	metadata   map[string]string
	status     string // "pending", "succeeded" or "failed"
	reference  string // the bank's number of it; "" until TraceRefund
}

// RefundMode sets the result of refunds.
type RefundMode int

const (
	RefundsSucceed     RefundMode = iota // at once
	RefundsPend                          // until SettleRefund
	RefundsFail                          // at once: they are created with status failed
	RefundsLackBalance                   // they are rejected
)

// SetRefunds sets the result of refunds created from now on, through the API or by hand.
func (s *Stripe) SetRefunds(m RefundMode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refundMode = m
}

func (s *Stripe) refundOperations() []operation {
	return []operation{
		{"POST", "/v1/refunds", "payment_intent charge amount reason metadata metadata[*]",
			"payment_intent charge", s.createRefund},
		{"GET", "/v1/refunds", "payment_intent charge" + createdParams + pageParams,
			"data.charge data.payment_intent", s.listRefunds},
		{"GET", "/v1/refunds/{id}", "", "payment_intent charge", s.retrieveRefund},
	}
}

func (s *Stripe) createRefund(q *query) (any, *apiError) {
	i := s.intents.get(q.Get("payment_intent"))
	switch {
	case q.Has("charge") == q.Has("payment_intent"):
		return nil, malformed("",
			"One of the following params should be provided for this request: payment_intent or charge.")
	case q.Has("charge"):
		if i = s.chargedIntent(q.Get("charge")); i == nil {
			return nil, missing("charge", q.Get("charge"), "charge")
		}
	case i == nil:
		return nil, missing("payment_intent", q.Get("payment_intent"), "payment_intent")
	}
	r := &refund{of: i, amount: q.integer("amount", i.left(), 1, 1<<40), metadata: q.metadata("metadata", nil)}
	r.reason = q.oneOf("reason", "", "duplicate", "fraudulent", "requested_by_customer")
	if q.problem != nil {
		return nil, q.problem
	}
	if problem := s.makeRefund(r); problem != nil {
		return nil, problem
	}
	return s.refundObject(r, q.expand), nil
}

// makeRefund makes a refund, or returns why it is rejected.
func (s *Stripe) makeRefund(r *refund) *apiError {
	i := r.of
	left := i.left()
	switch {
	case i.status != "succeeded":
		return refused(http.StatusBadRequest, "", "",
			"This PaymentIntent (%s) does not have a successful charge to refund.", i.id)
	case i.takenBack(), left <= 0 && i.lost() > 0:
		return refused(http.StatusBadRequest, "charge_disputed", "",
			"Charge %s has been charged back; cannot issue a refund.", i.charge)
	case left <= 0:
		return refused(http.StatusBadRequest, "charge_already_refunded", "",
			"Charge %s has already been refunded.", i.charge)
	case r.amount > left:
		return refused(http.StatusBadRequest, "", "amount", "Refund amount (%s) is greater than unrefunded amount on "+
			"charge (%s)", money(r.amount, i.currency), money(left, i.currency))
	case s.refundMode == RefundsLackBalance:
		return refused(http.StatusBadRequest, s.config.Unknown.BalanceCode, "",
			"Insufficient funds in your Stripe balance to refund this amount.")
	}
	r.id, r.created, r.status = timedID("re_3", s.Now()), s.Now().Unix(), "succeeded"
	switch s.refundMode {
	case RefundsPend:
		r.status = "pending"
	case RefundsFail:
		r.status = "failed"
	}
	s.refunds.put(r.id, r)
	if r.status == "failed" {
		s.emit(send{"refund.created", r.id, s.refundObject(r, nil), true},
			send{"refund.failed", r.id, s.refundObject(r, nil), true})
		return nil
	}
	i.refunded += r.amount
	s.emit(send{"refund.created", r.id, s.refundObject(r, nil), true},
		send{"charge.refunded", i.charge, s.chargeObject(i, nil), true})
	return nil
}

// Refund refunds an amount of a session's money, as in the Dashboard. The amount is in minor units;
// 0 refunds all that is left. It returns false if the refund is rejected.
func (s *Stripe) Refund(sessionID string, amount int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.intentOfSession(sessionID)
	if i == nil {
		return false
	}
	if amount == 0 {
		amount = i.left()
	}
	return s.makeRefund(&refund{of: i, amount: amount, metadata: map[string]string{}}) == nil
}

// SettleRefund ends the newest pending refund of a session. If it fails, the charge's refunded
// amount falls. A refund that succeeded can also fail later, as when a bank returns it. It returns
// false if there is no such refund.
func (s *Stripe) SettleRefund(sessionID string, succeeded bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r *refund
	for _, other := range s.refunds.order {
		if other.of.session == sessionID && (other.status == "pending" || other.status == "succeeded" && !succeeded) {
			r = other
		}
	}
	if r == nil {
		return false
	}
	kinds := []string{"refund.updated", "charge.refund.updated"}
	r.status = "succeeded"
	if !succeeded {
		r.status = "failed"
		r.of.refunded -= r.amount
		kinds = append(kinds, "refund.failed")
	}
	var events []send
	for _, kind := range kinds {
		events = append(events, send{kind, r.id, s.refundObject(r, nil), true})
	}
	s.emit(events...)
	return true
}

// TraceRefund gives the newest refund of a session the number by which the customer's bank finds it,
// as happens some days after a refund. It returns false if there is no refund that succeeded.
func (s *Stripe) TraceRefund(sessionID, reference string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r *refund
	for _, other := range s.refunds.order {
		if other.of.session == sessionID && other.status == "succeeded" {
			r = other
		}
	}
	if r == nil {
		return false
	}
	r.reference = reference
	s.emit(send{"refund.updated", r.id, s.refundObject(r, nil), true},
		send{"charge.refund.updated", r.id, s.refundObject(r, nil), true})
	return true
}

// Refunded returns how much of a session's money was refunded, in minor units. A canceled
// authorization counts with its amount.
func (s *Stripe) Refunded(sessionID string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.intentOfSession(sessionID)
	switch {
	case i == nil:
		return 0
	case i.status == "canceled":
		return i.amount
	}
	return i.refunded
}

func (s *Stripe) listRefunds(q *query) (any, *apiError) {
	created := q.createdWanted()
	wanted := func(r *refund) bool {
		return (!q.Has("payment_intent") || r.of.id == q.Get("payment_intent")) &&
			(!q.Has("charge") || r.of.charge == q.Get("charge")) && created(r.created)
	}
	return listPage(q, &s.refunds, "/v1/refunds", wanted, s.refundObject)
}

func (s *Stripe) retrieveRefund(q *query) (any, *apiError) {
	r := s.refunds.get(q.id)
	if r == nil {
		return nil, missing("refund", q.id, "")
	}
	return s.refundObject(r, q.expand), nil
}

func (s *Stripe) refundObject(r *refund, e expansion) object {
	rendered := object{
		"id":             r.id,
		"object":         "refund",
		"amount":         r.amount,
		"charge":         r.of.charge,
		"created":        r.created,
		"currency":       r.of.currency,
		"metadata":       r.metadata,
		"payment_intent": r.of.id,
		"reason":         nullable(r.reason),
		"status":         r.status,
	}
	switch r.status {
	case "pending":
		rendered["pending_reason"] = "processing"
	case "failed":
		rendered["failure_reason"] = "lost_or_stolen_card"
	}
	card := object{"type": "refund", "reference_type": "acquirer_reference_number", "reference_status": "pending"}
	switch {
	case r.reference != "":
		card["reference"], card["reference_status"] = r.reference, "available"
	case r.status == "failed":
		card["reference_status"] = "unavailable"
	}
	rendered["destination_details"] = object{"type": "card", "card": card}
	if inner, ok := e.into("payment_intent"); ok {
		rendered["payment_intent"] = s.intentObject(r.of, inner)
	}
	if inner, ok := e.into("charge"); ok {
		rendered["charge"] = s.chargeObject(r.of, inner)
	}
	return rendered
}
