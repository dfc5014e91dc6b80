package sandbox

import (
	"net/http"
	"time"
)

// intent is a PaymentIntent together with its one charge.
type intent struct {
	id, session, status string
	currency            string
	amount              int64 // minor units, as all amounts here
	received            int64
	refunded            int64
	captureMethod       string
	description         string
	metadata            map[string]string
	created             int64  // unix seconds
	failure             string // error code of the last attempt
	cancelReason        string

	charge         string // "" until a card was charged or the money held
	charged        int64  // unix seconds
	chargeMetadata map[string]string
}

type refund struct {
	id, reason string
	of         *intent
	amount     int64
	created    int64
	metadata   map[string]string
}

// intentOf returns the intent of a session, made at its first attempt to pay.
func (s *Stripe) intentOf(x *session) *intent {
	if i := s.intents.get(x.PaymentIntent); i != nil {
		return i
	}
	i := &intent{
		id: "pi_3" + randomText(23), session: x.ID, currency: x.Currency, amount: x.Amount, captureMethod: x.captureMethod,
		description: x.intentDescription, metadata: cloned(x.intentMetadata), created: time.Now().Unix(), status: "requires_payment_method",
	}
	x.PaymentIntent = i.id
	s.intents.put(i.id, i)
	return i
}

// hold authorizes the money. The intent's metadata is copied to the charge here, once.
func (i *intent) hold() {
	i.status, i.failure = "requires_capture", ""
	i.charge, i.charged, i.chargeMetadata = "ch_3"+randomText(23), time.Now().Unix(), cloned(i.metadata)
}

// collect takes the money of a session.
func (s *Stripe) collect(x *session, i *intent) {
	if i.charge == "" {
		i.hold()
	}
	i.status, i.received = "succeeded", i.amount
	x.PaymentStatus, x.PaidAt = statusPaid, time.Now()
}

func (s *Stripe) moneyOperations() []operation {
	return []operation{
		{"GET", "/v1/payment_intents/{id}", "", "latest_charge", s.retrieveIntent},
		{"POST", "/v1/payment_intents/{id}/capture", "amount_to_capture", "latest_charge", s.captureIntent},
		{"POST", "/v1/payment_intents/{id}/cancel", "cancellation_reason", "latest_charge", s.cancelIntent},
		{"POST", "/v1/refunds", "payment_intent charge amount reason metadata metadata[*]", "payment_intent charge", s.createRefund},
		{"GET", "/v1/refunds", "payment_intent charge" + createdParams + pageParams, "data.charge data.payment_intent", s.listRefunds},
		{"GET", "/v1/refunds/{id}", "", "payment_intent charge", s.retrieveRefund},
		{"GET", "/v1/charges/{id}", "", "payment_intent", s.retrieveCharge},
		{"GET", "/v1/balance", "", "", s.retrieveBalance},
		{"GET", "/v1/account", "", "", s.retrieveAccount},
	}
}

func (s *Stripe) retrieveIntent(q *query) (any, *apiError) {
	i := s.intents.get(q.id)
	if i == nil {
		return nil, missing("payment_intent", q.id, "")
	}
	return s.intentObject(i, q.expand), nil
}

func (s *Stripe) captureIntent(q *query) (any, *apiError) {
	i := s.intents.get(q.id)
	if i == nil {
		return nil, missing("payment_intent", q.id, "")
	}
	if i.status != "requires_capture" {
		return nil, refused(http.StatusBadRequest, "payment_intent_unexpected_state", "", "This PaymentIntent could not be captured because it has a status of %s. Only a PaymentIntent with one of the following statuses may be captured: requires_capture.", i.status)
	}
	amount := q.integer("amount_to_capture", i.amount, 1, 1<<40)
	if amount > i.amount {
		return nil, refused(http.StatusBadRequest, "amount_too_large", "amount_to_capture", "The amount to capture is greater than the authorized amount.")
	}
	if q.problem != nil {
		return nil, q.problem
	}
	s.collect(s.sessions.get(i.session), i)
	i.received = amount
	s.emit(send{"payment_intent.succeeded", i.id, s.intentObject(i, nil), true}, send{"charge.captured", i.charge, s.chargeObject(i, nil), true})
	return s.intentObject(i, q.expand), nil
}

func (s *Stripe) cancelIntent(q *query) (any, *apiError) {
	i := s.intents.get(q.id)
	if i == nil {
		return nil, missing("payment_intent", q.id, "")
	}
	if i.status == "succeeded" || i.status == "canceled" {
		return nil, refused(http.StatusBadRequest, "payment_intent_unexpected_state", "", "You cannot cancel this PaymentIntent because it has a status of %s. Only a PaymentIntent with one of the following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, requires_action, processing.", i.status)
	}
	i.cancelReason = q.oneOf("cancellation_reason", "", "duplicate", "fraudulent", "requested_by_customer", "abandoned")
	if q.problem != nil {
		return nil, q.problem
	}
	i.status = "canceled"
	s.emit(send{"payment_intent.canceled", i.id, s.intentObject(i, nil), true})
	return s.intentObject(i, q.expand), nil
}

func (s *Stripe) createRefund(q *query) (any, *apiError) {
	i := s.intents.get(q.Get("payment_intent"))
	switch {
	case q.Has("charge") == q.Has("payment_intent"):
		return nil, malformed("", "One of the following params should be provided for this request: payment_intent or charge.")
	case q.Has("charge"):
		if i = s.chargedIntent(q.Get("charge")); i == nil {
			return nil, missing("charge", q.Get("charge"), "charge")
		}
	case i == nil:
		return nil, missing("payment_intent", q.Get("payment_intent"), "payment_intent")
	}
	left := i.received - i.refunded
	amount := q.integer("amount", left, 1, 1<<40)
	r := &refund{of: i, amount: amount, created: time.Now().Unix(), metadata: q.metadata("metadata", nil)}
	r.reason = q.oneOf("reason", "", "duplicate", "fraudulent", "requested_by_customer")
	switch {
	case q.problem != nil:
		return nil, q.problem
	case i.status != "succeeded":
		return nil, refused(http.StatusBadRequest, "", "", "This PaymentIntent (%s) does not have a successful charge to refund.", i.id)
	case left == 0:
		return nil, refused(http.StatusBadRequest, "charge_already_refunded", "", "Charge %s has already been refunded.", i.charge)
	case amount > left:
		return nil, refused(http.StatusBadRequest, "", "amount", "Refund amount (%s) is greater than unrefunded amount on charge (%s)", money(amount, i.currency), money(left, i.currency))
	}
	s.putRefund(r)
	return s.refundObject(r, q.expand), nil
}

func (s *Stripe) putRefund(r *refund) {
	r.id = "re_3" + randomText(23)
	r.of.refunded += r.amount
	s.refunds.put(r.id, r)
	s.emit(send{"refund.created", r.id, s.refundObject(r, nil), true}, send{"charge.refunded", r.of.charge, s.chargeObject(r.of, nil), true})
}

// Refund gives back an amount (minor units; 0: all that is left) of a session's money by hand, as in the Dashboard. It tells
// whether there was that much.
func (s *Stripe) Refund(sessionID string, amount int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions.get(sessionID)
	if x == nil || s.intents.get(x.PaymentIntent) == nil {
		return false
	}
	i := s.intents.get(x.PaymentIntent)
	left := i.received - i.refunded
	if amount == 0 {
		amount = left
	}
	if amount == 0 || amount > left {
		return false
	}
	s.putRefund(&refund{of: i, amount: amount, created: time.Now().Unix(), metadata: map[string]string{}})
	return true
}

// Refunded returns how much of a session's money was given back, in minor units; a released hold counts with its amount.
func (s *Stripe) Refunded(sessionID string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions.get(sessionID)
	if x == nil || s.intents.get(x.PaymentIntent) == nil {
		return 0
	}
	i := s.intents.get(x.PaymentIntent)
	if i.status == "canceled" {
		return i.amount
	}
	return i.refunded
}

func (s *Stripe) listRefunds(q *query) (any, *apiError) {
	created := q.createdWanted()
	wanted := func(r *refund) bool {
		return (!q.Has("payment_intent") || r.of.id == q.Get("payment_intent")) && (!q.Has("charge") || r.of.charge == q.Get("charge")) &&
			created(r.created)
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

func (s *Stripe) retrieveCharge(q *query) (any, *apiError) {
	i := s.chargedIntent(q.id)
	if i == nil {
		return nil, missing("charge", q.id, "")
	}
	return s.chargeObject(i, q.expand), nil
}

func (s *Stripe) chargedIntent(charge string) *intent {
	for _, i := range s.intents.order {
		if i.charge == charge && charge != "" {
			return i
		}
	}
	return nil
}

func (s *Stripe) retrieveBalance(*query) (any, *apiError) {
	available := map[string]int64{}
	for _, i := range s.intents.order {
		available[i.currency] += i.received - i.refunded
	}
	funds := []object{}
	for currency, amount := range available {
		funds = append(funds, object{"currency": currency, "amount": amount, "source_types": object{"card": amount}})
	}
	return object{"object": "balance", "livemode": s.config.Livemode, "available": funds, "pending": []object{}}, nil
}

func (s *Stripe) retrieveAccount(*query) (any, *apiError) {
	return object{
		"id": "acct_1Sandbox", "object": "account", "country": "US", "default_currency": "usd", "charges_enabled": true,
		"payouts_enabled": true, "details_submitted": true, "settings": object{"dashboard": object{"display_name": "Sandbox"}},
	}, nil
}

func (s *Stripe) intentObject(i *intent, e expansion) object {
	var failure any
	if i.failure != "" {
		failure = object{"type": "card_error", "code": i.failure, "message": "Your card was declined."}
	}
	rendered := object{
		"id": i.id, "object": "payment_intent", "livemode": s.config.Livemode, "status": i.status, "amount": i.amount,
		"amount_received": i.received, "amount_capturable": 0, "currency": i.currency, "capture_method": i.captureMethod,
		"created": i.created, "description": nullable(i.description), "metadata": i.metadata, "latest_charge": nullable(i.charge),
		"last_payment_error": failure, "cancellation_reason": nullable(i.cancelReason), "payment_method_types": []string{"card"},
	}
	if i.status == "requires_capture" {
		rendered["amount_capturable"] = i.amount
	}
	if inner, ok := e.into("latest_charge"); ok && i.charge != "" {
		rendered["latest_charge"] = s.chargeObject(i, inner)
	}
	return rendered
}

func (s *Stripe) chargeObject(i *intent, e expansion) object {
	rendered := object{
		"id": i.charge, "object": "charge", "livemode": s.config.Livemode, "status": "succeeded", "paid": true, "amount": i.amount,
		"amount_captured": i.received, "amount_refunded": i.refunded, "captured": i.received > 0, "created": i.charged,
		"currency": i.currency, "description": nullable(i.description), "disputed": false, "metadata": i.chargeMetadata,
		"payment_intent": i.id, "refunded": i.received > 0 && i.refunded == i.received,
		"billing_details": object{"name": "Casey Example", "email": "casey@example.com", "phone": nil,
			"address": object{"country": "US", "postal_code": "94107"}},
	}
	if inner, ok := e.into("payment_intent"); ok {
		rendered["payment_intent"] = s.intentObject(i, inner)
	}
	return rendered
}

func (s *Stripe) refundObject(r *refund, e expansion) object {
	rendered := object{
		"id": r.id, "object": "refund", "amount": r.amount, "charge": r.of.charge, "created": r.created, "currency": r.of.currency,
		"metadata": r.metadata, "payment_intent": r.of.id, "reason": nullable(r.reason), "status": "succeeded",
	}
	if inner, ok := e.into("payment_intent"); ok {
		rendered["payment_intent"] = s.intentObject(r.of, inner)
	}
	if inner, ok := e.into("charge"); ok {
		rendered["charge"] = s.chargeObject(r.of, inner)
	}
	return rendered
}
