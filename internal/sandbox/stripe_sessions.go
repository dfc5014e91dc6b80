package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	statusPaid   = "paid"
	statusUnpaid = "unpaid"
)

// PayOptions describes how a customer pays. The zero value is a card payment that succeeds.
type PayOptions struct {
	// Unpaid completes the session with payment_status "unpaid", as a delayed method does. Succeed
	// or Fail settles it.
	Unpaid    bool
	Method    string // card number; "": 4242424242424242; "paypal": no card
	Email     string // of the customer; "": casey@example.com
	NoWebhook bool   // the events exist (GET /v1/events) but are not sent
	// EventsFirst is the order of the first deliveries. With "session" or "",
	// checkout.session.completed comes before the intent's event, and with "intent" after it. With
	// "only-session" or "only-intent", the other event is not sent.
	EventsFirst string
	Amount      int64         // minor units; replaces the price's amount; 0: the price
	Promotion   string        // a promotion code that the customer enters
	Free        bool          // 100 % discount: amount 0, no_payment_required, no intent
	SessionAge  time.Duration // age of the session when it is paid
	Presentment string        // currency that the customer chose under Adaptive Pricing; "": none
	Converted   string        // currency that Stripe converts the price to, as in older sessions; "": none
	Currency    string        // one of the price's currency options; "": its own currency
}

// Session is a Checkout Session. DeviceUID is its metadata's device_uid, and PriceID the price of
// its first line item. URL is "" unless the session is open. PaidAt is zero until the money is
// captured.
type Session struct {
	ID, PaymentIntent, PaymentLink, DeviceUID, PriceID, Status, PaymentStatus, Currency, URL, SuccessURL string
	// minor units
	Amount          int64
	Created, PaidAt time.Time
	Metadata        map[string]string
}

type session struct {
	Session
	items               []item
	expires             time.Time
	cancelURL           string
	text                object // custom_text, as given; a link's sessions show that of the link
	reference           string // client_reference_id
	intentMetadata      map[string]string
	intentDescription   string
	captureMethod       string
	email               string // of the customer
	presentmentCurrency string
	sourceCurrency      string // original currency of a converted session; "": not converted
	sourceAmount        int64
	sourceDiscount      int64
	promotionCodes      bool // allow_promotion_codes
	promotion           *promotionCode
	discount            int64  // what the promotion code took off Amount
	linkReturnURL       string // destination of a link's session; not shown as success_url
}

// open finds the session of a URL or id. For a Payment Link it begins a new session.
func (s *Stripe) open(ref string, age time.Duration) (*session, error) {
	id := lastSegment(ref)
	if x := s.sessions.get(id); x != nil {
		s.expireOld(x)
		return x, nil
	}
	l := s.links.get(id)
	switch {
	case l == nil:
		return nil, errors.New("no such link")
	case !l.Active:
		return nil, errors.New("the link is inactive")
	case l.limit > 0 && l.completed >= l.limit:
		return nil, errors.New("the link has reached its limit of completed sessions")
	}
	x := &session{
		items:             l.items,
		intentMetadata:    cloned(l.IntentMetadata),
		intentDescription: l.description,
		captureMethod:     l.CaptureMethod,
		linkReturnURL:     l.ReturnURL,
		promotionCodes:    l.PromotionCodes,
	}
	x.PaymentLink, x.Currency, x.Metadata = l.ID, l.currency, cloned(l.Metadata)
	x.SuccessURL = linkSuccessURL
	s.begin(x, age)
	return x, nil
}

// begin sets the fields that every new session has, and stores it.
func (s *Stripe) begin(x *session, age time.Duration) {
	x.ID = "cs_" + s.mode() + "_a1" + randomText(56)
	x.Status, x.PaymentStatus = "open", statusUnpaid
	x.Created = s.Now().Add(-age)
	if x.expires.IsZero() {
		x.expires = x.Created.Add(24 * time.Hour)
	}
	for _, i := range x.items {
		x.Amount += s.prices.get(i.price).Amount * i.quantity
	}
	s.sessions.put(x.ID, x)
}

// expireOld expires an open session that is past its time. It runs whenever a session is read, and
// sends no event.
func (s *Stripe) expireOld(x *session) {
	if x.Status == "open" && !s.Now().Before(x.expires) {
		x.Status = "expired"
	}
}

// Open begins a session, like a customer that opens a link (its id or URL) and has not paid yet.
// Pass its ID to Pay.
func (s *Stripe) Open(link string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.open(link, 0)
	if err != nil {
		return Session{}, fmt.Errorf("open %s: %w", link, err)
	}
	return s.sessionView(x), nil
}

// Pay pays a link or an open session, given by its id or URL. It returns an error if the link is
// inactive, the session is not open or the card is declined. A session whose card is declined stays
// open.
func (s *Stripe) Pay(link string, o PayOptions) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.open(link, o.SessionAge)
	if err != nil {
		return Session{}, fmt.Errorf("pay %s: %w", link, err)
	}
	if _, err := s.attempt(x, o); err != nil {
		return s.sessionView(x), fmt.Errorf("pay %s: %w", link, err)
	}
	return s.sessionView(x), nil
}

// PaySession creates a session without a link, as `stripe trigger` does, and pays it. The amount is
// in minor units. A declined card leaves the session open.
func (s *Stripe) PaySession(metadata map[string]string, amount int64, currency string, o PayOptions) Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &session{intentMetadata: map[string]string{}, captureMethod: "automatic_async"}
	x.Metadata, x.Currency = cloned(metadata), currency
	s.begin(x, o.SessionAge)
	x.Amount = amount
	_, _ = s.attempt(x, o)
	return s.sessionView(x)
}

// Succeed completes the delayed payment of an unpaid session.
func (s *Stripe) Succeed(sessionID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, i := s.processing(sessionID); i != nil {
		s.collect(x, i)
		s.emit(send{"checkout.session.async_payment_succeeded", x.ID, s.sessionObject(x, nil), true},
			s.charged(i),
			send{"payment_intent.succeeded", i.id, s.intentObject(i, nil), true})
	}
}

// Fail fails the delayed payment of an unpaid session.
func (s *Stripe) Fail(sessionID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, i := s.processing(sessionID); i != nil {
		i.status, i.failure = "requires_payment_method", "payment_intent_payment_attempt_failed"
		s.emit(send{"checkout.session.async_payment_failed", x.ID, s.sessionObject(x, nil), true},
			send{"payment_intent.payment_failed", i.id, s.intentObject(i, nil), true})
	}
}

func (s *Stripe) processing(sessionID string) (*session, *intent) {
	if x := s.sessions.get(sessionID); x != nil {
		if i := s.intents.get(x.PaymentIntent); i != nil && i.status == "processing" {
			return x, i
		}
	}
	return nil, nil
}

// Session returns a session by its id.
func (s *Stripe) Session(id string) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.sessions.get(id); x != nil {
		return s.sessionView(x), true
	}
	return Session{}, false
}

// Sessions returns all sessions, oldest first.
func (s *Stripe) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	sessions := make([]Session, 0, len(s.sessions.order))
	for _, x := range s.sessions.order {
		sessions = append(sessions, s.sessionView(x))
	}
	return sessions
}

func (s *Stripe) sessionView(x *session) Session {
	s.expireOld(x)
	view := x.Session
	view.DeviceUID, view.Metadata = x.Metadata["device_uid"], maps.Clone(x.Metadata)
	if len(x.items) > 0 {
		view.PriceID = x.items[0].price
	}
	if x.linkReturnURL != "" {
		view.SuccessURL = x.linkReturnURL
	}
	if x.Status == "open" {
		view.URL = s.base + "/c/pay/" + x.ID
	}
	return view
}

// declined is the error of a declined card.
type declined struct{ code, declineCode, message string }

func (d *declined) Error() string { return d.message }

// cardProblem returns the error of a test card, or nil if the card pays. The numbers and texts are
// those of docs.stripe.com/testing.
func cardProblem(number string) *declined {
	switch strings.ReplaceAll(number, " ", "") {
	case "", "4242424242424242", cardToConfirm, noCard:
		return nil
	case "4000000000000002":
		return &declined{"card_declined", "generic_decline", "Your card was declined."}
	case "4000000000009995":
		return &declined{"card_declined", "insufficient_funds", "Your card has insufficient funds."}
	case "4100000000000019":
		return &declined{"card_declined", "fraudulent", "Your card was declined."}
	}
	return &declined{"incorrect_number", "", "Your card number is incorrect. Use one of the test cards."}
}

// cardToConfirm is a test card that requires an authentication.
const cardToConfirm = "4000002500003155"

// noCard is a payment method that is not a card.
const noCard = "paypal"

// attempt pays an open session. The returned channel is closed after the first attempt to send the
// session's event.
func (s *Stripe) attempt(x *session, o PayOptions) (sent <-chan struct{}, err error) {
	if x.Status != "open" {
		return nil, fmt.Errorf("the session is %s", x.Status)
	}
	if o.Amount > 0 {
		x.Amount = o.Amount
	}
	if o.Free {
		x.Amount = 0
	}
	x.presentmentCurrency, x.email = o.Presentment, cmp.Or(o.Email, "casey@example.com")
	if o.Currency != "" && len(x.items) == 1 {
		amount, ok := s.prices.get(x.items[0].price).CurrencyOptions[o.Currency]
		if !ok {
			return nil, fmt.Errorf("the price has no amount in %s", o.Currency)
		}
		x.Currency, x.Amount = o.Currency, cmp.Or(o.Amount, amount)
	}
	if o.Promotion != "" {
		if err := s.discount(x, o.Promotion); err != nil {
			return nil, err
		}
	}
	if o.Converted != "" && o.Currency == "" {
		x.sourceCurrency, x.sourceAmount, x.sourceDiscount = x.Currency, x.Amount, x.discount
		x.Currency, x.Amount, x.discount = o.Converted, 2*x.Amount, 2*x.discount
	}
	var i *intent
	if x.Amount > 0 {
		i = s.intentOf(x)
	}
	if problem := cardProblem(o.Method); problem != nil && i != nil {
		i.status, i.failure = "requires_payment_method", problem.code
		s.emit(send{"payment_intent.payment_failed", i.id, s.intentObject(i, nil), !o.NoWebhook})
		return nil, problem
	}
	if i != nil {
		i.method = strings.ReplaceAll(o.Method, " ", "")
	}
	x.Status = "complete"
	if l := s.links.get(x.PaymentLink); l != nil {
		l.completed++
	}
	if x.promotion != nil {
		x.promotion.redeemed++
	}
	intentEvent := "payment_intent.succeeded"
	switch {
	case i == nil:
		x.PaymentStatus, x.PaidAt = "no_payment_required", s.Now()
	case o.Unpaid:
		i.status, intentEvent = "processing", "payment_intent.processing"
	case x.captureMethod == "manual":
		i.authorize(s.Now())
		x.PaymentStatus, intentEvent = s.config.Unknown.manualStatus(), s.config.Unknown.manualEvent()
	default:
		s.collect(x, i)
	}
	events := []send{
		{"checkout.session.completed", x.ID, s.sessionObject(x, nil), !o.NoWebhook && o.EventsFirst != "only-intent"},
	}
	if i != nil && intentEvent != "" {
		events = append(events, send{intentEvent, i.id, s.intentObject(i, nil), !o.NoWebhook &&
			o.EventsFirst != "only-session"})
		if o.EventsFirst == "intent" {
			events[0], events[1] = events[1], events[0]
		}
	}
	if i != nil && i.charge != "" { // between the two, because Stripe guarantees no order
		events = slices.Insert(events, 1, s.charged(i))
	}
	return s.emit(events...)["checkout.session.completed"], nil
}

// charged returns the event of a charge. It is listed and not sent, because no endpoint subscribes
// to it.
func (s *Stripe) charged(i *intent) send {
	return send{listedOnly, i.charge, s.chargeObject(i, nil), false}
}

const sessionExpand = "payment_intent payment_intent.latest_charge payment_link line_items " +
	"line_items.data.price.product"

func (s *Stripe) sessionOperations() []operation {
	return []operation{
		{
			"POST",
			"/v1/checkout/sessions",
			"mode success_url cancel_url expires_at client_reference_id locale submit_type metadata metadata[*]" +
				" payment_intent_data[metadata] payment_intent_data[metadata][*] payment_intent_data[description]" +
				" payment_intent_data[capture_method] payment_intent_data[statement_descriptor_suffix] " +
				"payment_intent_data[shipping][**]" +
				" payment_method_types[#]" +
				" custom_text[**] allow_promotion_codes" + itemParams,
			sessionExpand,
			s.createSession,
		},
		{"GET", "/v1/checkout/sessions",
			"payment_intent payment_link status customer_details[email]" + createdParams + pageParams,
			"data.payment_intent data.payment_intent.latest_charge data.line_items data.payment_link", s.listSessions},
		{"GET", "/v1/checkout/sessions/{id}", "", sessionExpand, s.retrieveSession},
		{"GET", "/v1/checkout/sessions/{id}/line_items", pageParams, "data.price.product", s.sessionItems},
		{"POST", "/v1/checkout/sessions/{id}/expire", "", sessionExpand, s.expireSession},
	}
}

func (s *Stripe) createSession(q *query) (any, *apiError) {
	items, currency, problem := s.lineItems(q)
	if problem != nil {
		return nil, problem
	}
	if q.oneOf("mode", "", "payment") == "" {
		return nil, malformed("mode", "Missing required param: mode.")
	}
	if q.address("success_url") == "" {
		return nil, malformed("success_url", "Missing required param: success_url.")
	}
	x := &session{
		items:             items,
		cancelURL:         q.address("cancel_url"),
		text:              q.tree("custom_text"),
		reference:         q.Get("client_reference_id"),
		intentMetadata:    q.metadata("payment_intent_data[metadata]", nil),
		intentDescription: q.Get("payment_intent_data[description]"),
		captureMethod:     q.oneOf("payment_intent_data[capture_method]", "automatic_async", "automatic", "manual"),
		promotionCodes:    q.flag("allow_promotion_codes", false),
	}
	x.Currency, x.SuccessURL, x.Metadata = currency, q.Get("success_url"), q.metadata("metadata", nil)
	if q.Has("expires_at") {
		x.expires = time.Unix(q.integer("expires_at", 0, 0, math.MaxInt32*2), 0)
		if ahead := x.expires.Sub(s.Now()); ahead < 30*time.Minute-time.Second || ahead > 24*time.Hour+time.Second {
			return nil, malformed("expires_at",
				"The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.")
		}
	}
	if len(x.reference) > 200 {
		return nil, malformed("client_reference_id", "Invalid string: must be at most 200 characters.")
	}
	if q.problem != nil {
		return nil, q.problem
	}
	s.begin(x, 0)
	return s.sessionObject(x, q.expand), nil
}

func (s *Stripe) retrieveSession(q *query) (any, *apiError) {
	x := s.sessions.get(q.id)
	if x == nil {
		return nil, missing("checkout.session", q.id, "")
	}
	return s.sessionObject(x, q.expand), nil
}

func (s *Stripe) listSessions(q *query) (any, *apiError) {
	created := q.createdWanted()
	status := q.oneOf("status", "", "open", "complete", "expired")
	wanted := func(x *session) bool {
		s.expireOld(x)
		return (status == "" || x.Status == status) && created(x.Created.Unix()) &&
			(!q.Has("payment_intent") || x.PaymentIntent == q.Get("payment_intent")) &&
			(!q.Has("customer_details[email]") ||
				x.Status == "complete" && x.email == q.Get("customer_details[email]")) &&
			(!q.Has("payment_link") || x.PaymentLink == q.Get("payment_link"))
	}
	return listPage(q, &s.sessions, "/v1/checkout/sessions", wanted, s.sessionObject)
}

func (s *Stripe) sessionItems(q *query) (any, *apiError) {
	x := s.sessions.get(q.id)
	if x == nil {
		return nil, missing("checkout.session", q.id, "")
	}
	inner, _ := q.expand.into("data")
	return s.itemList(x.items, "/v1/checkout/sessions/"+x.ID+"/line_items", inner), nil
}

func (s *Stripe) expireSession(q *query) (any, *apiError) {
	x := s.sessions.get(q.id)
	if x == nil {
		return nil, missing("checkout.session", q.id, "")
	}
	s.expireOld(x)
	if x.Status != "open" {
		return nil, refused(http.StatusBadRequest, "", "", "Only Checkout Sessions with a status in [\"open\"] can "+
			"be expired. This Checkout Session has a status of %q.", x.Status)
	}
	x.Status = "expired"
	s.emit(send{"checkout.session.expired", x.ID, s.sessionObject(x, nil), true})
	return s.sessionObject(x, q.expand), nil
}

func (s *Stripe) sessionObject(x *session, e expansion) object {
	view := s.sessionView(x)
	var customer, presentment any
	total := x.Amount
	if x.Status == "complete" {
		customer = object{"name": "Casey Example", "email": x.email, "phone": nil, "tax_exempt": "none",
			"address": object{
				"city":        nil,
				"country":     "US",
				"line1":       nil,
				"line2":       nil,
				"postal_code": "94107",
				"state":       nil,
			}}
	}
	currency := x.Currency
	if x.presentmentCurrency != "" {
		presentment = object{"presentment_amount": x.Amount * 2, "presentment_currency": x.presentmentCurrency}
		if s.config.Unknown.PresentmentCharged {
			total, currency = x.Amount*2, x.presentmentCurrency
		}
	}
	var conversion any
	if x.sourceCurrency != "" {
		conversion = object{
			"amount_subtotal": x.sourceAmount + x.sourceDiscount,
			"amount_total":    x.sourceAmount,
			"fx_rate":         "2",
			"source_currency": x.sourceCurrency,
		}
	}
	rendered := object{
		"currency_conversion": conversion,
		"id":                  x.ID, "object": "checkout.session", "livemode": s.config.Livemode, "mode": "payment",
		"created":               x.Created.Unix(),
		"expires_at":            x.expires.Unix(),
		"status":                x.Status,
		"payment_status":        x.PaymentStatus,
		"amount_subtotal":       total + x.discount,
		"amount_total":          total,
		"total_details":         object{"amount_discount": x.discount, "amount_shipping": 0, "amount_tax": 0},
		"discounts":             x.discounts(),
		"allow_promotion_codes": x.promotionCodes,
		"currency":              currency,
		"metadata":              x.Metadata,
		"payment_intent":        nullable(x.PaymentIntent),
		"payment_link":          nullable(x.PaymentLink),
		"client_reference_id":   nullable(x.reference),
		"customer":              nil,
		"customer_details":      customer,
		"presentment_details":   presentment,
		"success_url":           nullable(x.SuccessURL),
		"cancel_url":            nullable(x.cancelURL),
		"url":                   nullable(view.URL),
		"ui_mode":               "hosted",
		"payment_method_types":  []string{"card"},
	}
	if i := s.intents.get(x.PaymentIntent); i != nil {
		if inner, ok := e.into("payment_intent"); ok {
			rendered["payment_intent"] = s.intentObject(i, inner)
		}
	}
	if l := s.links.get(x.PaymentLink); l != nil {
		if inner, ok := e.into("payment_link"); ok {
			rendered["payment_link"] = s.linkObject(l, inner)
		}
	}
	if inner, ok := e.into("line_items"); ok {
		data, _ := inner.into("data")
		rendered["line_items"] = s.itemList(x.items, "/v1/checkout/sessions/"+x.ID+"/line_items", data)
	}
	return rendered
}

// SessionsMade returns how many sessions were created through the API, without a link.
func (s *Stripe) SessionsMade() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sessions.order {
		if x.PaymentLink == "" {
			n++
		}
	}
	return n
}
