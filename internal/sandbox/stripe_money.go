package sandbox

import (
	"cmp"
	"net/http"
	"time"
)

// intent is a PaymentIntent with its one charge.
type intent struct {
	id, session, status string
	currency            string
	amount              int64 // minor units, like all amounts of this struct
	received            int64
	refunded            int64 // refunded, without failed refunds
	captureMethod       string
	description         string
	metadata            map[string]string
	created             int64  // unix seconds
	failure             string // error code of the last attempt
	method              string // card number that paid, noCard, or "" for the usual card
	cancelReason        string

	charge         string // "" until a card is charged or authorized
	charged        int64  // unix seconds
	chargeMetadata map[string]string
	disputes       []*dispute
}

// intentOf returns the intent of a session. It creates the intent at the first attempt to pay.
func (s *Stripe) intentOf(x *session) *intent {
	if i := s.intents.get(x.PaymentIntent); i != nil {
		return i
	}
	i := &intent{
		id:            timedID("pi_3", s.Now()),
		session:       x.ID,
		currency:      x.Currency,
		amount:        x.Amount,
		captureMethod: x.captureMethod,
		description:   x.intentDescription,
		metadata:      cloned(x.intentMetadata),
		created:       s.Now().Unix(),
		status:        "requires_payment_method",
	}
	x.PaymentIntent = i.id
	s.intents.put(i.id, i)
	return i
}

// authorize reserves the amount on the card. It copies the intent's metadata to the charge, once.
func (i *intent) authorize(at time.Time) {
	i.status, i.failure = "requires_capture", ""
	i.charge, i.charged, i.chargeMetadata = timedID("ch_3", at), at.Unix(), cloned(i.metadata)
}

// collect captures the money of a session.
func (s *Stripe) collect(x *session, i *intent) {
	if i.charge == "" {
		i.authorize(s.Now())
	}
	i.status, i.received = "succeeded", i.amount
	x.PaymentStatus, x.PaidAt = statusPaid, s.Now()
}

func (s *Stripe) moneyOperations() []operation {
	return []operation{
		{"GET", "/v1/payment_intents/{id}", "", "latest_charge", s.retrieveIntent},
		{"POST", "/v1/payment_intents/{id}/capture", "amount_to_capture", "latest_charge", s.captureIntent},
		{"POST", "/v1/payment_intents/{id}/cancel", "cancellation_reason", "latest_charge", s.cancelIntent},
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
		return nil, s.unexpectedState(i, "This PaymentIntent could not be captured because it has a status of %s. "+
			"Only a PaymentIntent with one of the following statuses may be captured: requires_capture.")
	}
	amount := q.integer("amount_to_capture", i.amount, 1, 1<<40)
	if amount > i.amount {
		return nil, refused(http.StatusBadRequest, "amount_too_large", "amount_to_capture",
			"The amount to capture is greater than the authorized amount.")
	}
	if q.problem != nil {
		return nil, q.problem
	}
	s.collect(s.sessions.get(i.session), i)
	i.received = amount
	s.emit(send{"payment_intent.succeeded", i.id, s.intentObject(i, nil), true},
		send{"charge.captured", i.charge, s.chargeObject(i, nil), true})
	return s.intentObject(i, q.expand), nil
}

func (s *Stripe) cancelIntent(q *query) (any, *apiError) {
	i := s.intents.get(q.id)
	if i == nil {
		return nil, missing("payment_intent", q.id, "")
	}
	if i.status == "succeeded" || i.status == "canceled" {
		return nil, s.unexpectedState(i, "You cannot cancel this PaymentIntent because it has a status of %s. "+
			"Only a PaymentIntent with one of the following statuses may be canceled: requires_payment_method, "+
			"requires_capture, requires_confirmation, requires_action, processing.")
	}
	reason := q.oneOf("cancellation_reason", "", "duplicate", "fraudulent", "requested_by_customer", "abandoned")
	if q.problem != nil {
		return nil, q.problem
	}
	s.release(i, reason)
	return s.intentObject(i, q.expand), nil
}

// unexpectedState returns the error for an operation that the intent's status forbids. The error
// contains the intent.
func (s *Stripe) unexpectedState(i *intent, format string) *apiError {
	problem := refused(http.StatusBadRequest, "payment_intent_unexpected_state", "", format, i.status)
	problem.intent = s.intentObject(i, nil)
	return problem
}

// release cancels an intent and its authorization, if any.
func (s *Stripe) release(i *intent, reason string) {
	held := i.status == "requires_capture"
	i.status, i.cancelReason = "canceled", reason
	var events []send
	if held && reason == reasonExpired {
		events = append(events, send{"charge.expired", i.charge, s.chargeObject(i, nil), true})
	}
	if held && s.config.Unknown.ReleaseIsRefund {
		events = append(events, send{"charge.refunded", i.charge, s.chargeObject(i, nil), true})
	}
	s.emit(append(events, send{"payment_intent.canceled", i.id, s.intentObject(i, nil), true})...)
}

// reasonExpired is the cancellation reason that Stripe sets when an authorization expires.
const reasonExpired = "automatic"

// CancelAuthorization cancels the authorization of a session, as in the Dashboard. It returns false if there is
// none.
func (s *Stripe) CancelAuthorization(sessionID string) bool {
	return s.cancelHeld(sessionID, "requested_by_customer")
}

// ExpireAuthorization lets the authorization of a session expire, as happens after some days. It returns
// false if there is none.
func (s *Stripe) ExpireAuthorization(sessionID string) bool {
	return s.cancelHeld(sessionID, reasonExpired)
}

func (s *Stripe) cancelHeld(sessionID, reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.intentOfSession(sessionID)
	if i == nil || i.status != "requires_capture" {
		return false
	}
	s.release(i, reason)
	return true
}

// intentOfSession returns the intent of a session, or nil if the session or its intent does not
// exist.
func (s *Stripe) intentOfSession(sessionID string) *intent {
	if x := s.sessions.get(sessionID); x != nil {
		return s.intents.get(x.PaymentIntent)
	}
	return nil
}

// Money returns a session's captured, authorized and refunded amounts in minor units, and its
// intent's status. The refunded amount includes pending refunds, but no failed refunds and no
// disputes. The status is "" if there is no intent.
func (s *Stripe) Money(sessionID string) (charged, held, refunded int64, intentStatus string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.intentOfSession(sessionID)
	if i == nil {
		return 0, 0, 0, ""
	}
	if i.status == "requires_capture" {
		held = i.amount
	}
	return i.received, held, i.refunded, i.status
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
		"id":                "acct_1Sandbox",
		"object":            "account",
		"country":           "US",
		"default_currency":  "usd",
		"charges_enabled":   true,
		"payouts_enabled":   true,
		"details_submitted": true,
		"settings":          object{"dashboard": object{"display_name": "Sandbox"}},
	}, nil
}

func (s *Stripe) intentObject(i *intent, e expansion) object {
	var failure any
	if i.failure != "" {
		failure = object{"type": "card_error", "code": i.failure, "message": "Your card was declined."}
	}
	rendered := object{
		"id":                   i.id,
		"object":               "payment_intent",
		"livemode":             s.config.Livemode,
		"status":               i.status,
		"amount":               i.amount,
		"amount_received":      i.received,
		"amount_capturable":    0,
		"currency":             i.currency,
		"capture_method":       i.captureMethod,
		"created":              i.created,
		"description":          nullable(i.description),
		"metadata":             i.metadata,
		"latest_charge":        nullable(i.charge),
		"last_payment_error":   failure,
		"cancellation_reason":  nullable(i.cancelReason),
		"payment_method_types": []string{"card"},
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
	given, full := i.refunded, i.received > 0 && i.refunded == i.received
	if i.status == "canceled" && s.config.Unknown.ReleaseIsRefund {
		given, full = i.amount, true
	}
	rendered := object{
		"id":                     i.charge,
		"object":                 "charge",
		"livemode":               s.config.Livemode,
		"status":                 "succeeded",
		"paid":                   true,
		"amount":                 i.amount,
		"amount_captured":        i.received,
		"amount_refunded":        given,
		"captured":               i.received > 0,
		"created":                i.charged,
		"currency":               i.currency,
		"description":            nullable(i.description),
		"disputed":               len(i.disputes) > 0,
		"metadata":               i.chargeMetadata,
		"payment_intent":         i.id,
		"receipt_url":            s.base + receipts + i.charge,
		"refunded":               full,
		"payment_method_details": paymentMethod(i.method),
		"billing_details": object{"name": "Casey Example", "email": "casey@example.com", "phone": nil,
			"address": object{"country": "US", "postal_code": "94107"}},
	}
	if inner, ok := e.into("payment_intent"); ok {
		rendered["payment_intent"] = s.intentObject(i, inner)
	}
	return rendered
}

// paymentMethod renders the payment method.
func paymentMethod(method string) object {
	if method == noCard {
		return object{"type": noCard, noCard: object{"payer_email": "casey@example.com"}}
	}
	number := cmp.Or(method, "4242424242424242")
	return object{"type": "card", "card": object{"brand": "visa", "last4": number[max(len(number)-4, 0):]}}
}
