package stripeapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/checkout"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// checkoutSession holds the fields of a Checkout Session that notepay uses.
type checkoutSession struct {
	ID            string         `json:"id"`
	Livemode      bool           `json:"livemode"`
	Mode          string         `json:"mode"`
	Status        string         `json:"status"`
	PaymentStatus string         `json:"payment_status"`
	AmountTotal   *int64         `json:"amount_total"`
	Currency      string         `json:"currency"`
	Created       timestamp      `json:"created"`
	Metadata      metadataMap    `json:"metadata"`
	PaymentLink   reference      `json:"payment_link"`
	PaymentIntent expandedIntent `json:"payment_intent"`
	Subtotal      optionalAmount `json:"amount_subtotal"`
	Totals        totalDetails   `json:"total_details"`
	Conversion    conversion     `json:"currency_conversion"`
	Presentment   presentment    `json:"presentment_details"`
}

// conversion holds from what Stripe converted the amount. Another shape counts as no conversion, so
// that the amount is compared with the price itself.
type conversion struct {
	total, subtotal int64
	currency        string
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *conversion) UnmarshalJSON(text []byte) error {
	var object struct {
		AmountTotal    int64  `json:"amount_total"`
		AmountSubtotal int64  `json:"amount_subtotal"`
		SourceCurrency string `json:"source_currency"`
	}
	*c = conversion{}
	if json.Unmarshal(text, &object) == nil {
		*c = conversion{object.AmountTotal, object.AmountSubtotal, object.SourceCurrency}
	}
	return nil
}

// presentment holds the currency that the customer saw. Another shape counts as that of the
// session.
type presentment struct{ currency string }

// UnmarshalJSON implements json.Unmarshaler.
func (p *presentment) UnmarshalJSON(text []byte) error {
	var object struct {
		Currency optional `json:"presentment_currency"`
	}
	*p = presentment{}
	if json.Unmarshal(text, &object) == nil {
		p.currency = string(object.Currency)
	}
	return nil
}

// totalDetails holds what promotion codes took off the price. Another shape counts as no discount, so
// that the amount is compared with the full price.
type totalDetails struct{ discount int64 }

// UnmarshalJSON implements json.Unmarshaler.
func (d *totalDetails) UnmarshalJSON(text []byte) error {
	var object struct {
		AmountDiscount int64 `json:"amount_discount"`
	}
	*d = totalDetails{}
	if json.Unmarshal(text, &object) == nil && object.AmountDiscount <= maxAmount {
		d.discount = max(object.AmountDiscount, 0)
	}
	return nil
}

// expandedIntent holds the fields of a session's PaymentIntent. It holds only the id if Stripe did
// not expand the intent.
type expandedIntent struct {
	id           string
	status       string
	latestCharge *charge // nil if Stripe did not expand it
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *expandedIntent) UnmarshalJSON(text []byte) error {
	*i = expandedIntent{}
	if json.Unmarshal(text, &i.id) == nil {
		return nil
	}
	var object struct {
		ID           string          `json:"id"`
		Status       string          `json:"status"`
		LatestCharge json.RawMessage `json:"latest_charge"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	i.id, i.status = object.ID, object.Status
	if len(object.LatestCharge) > 0 && object.LatestCharge[0] == '{' {
		c, err := decodeCharge(object.LatestCharge)
		i.latestCharge = &c
		return err
	}
	return nil
}

// openSession holds the fields of a Checkout Session that is not paid yet.
type openSession struct {
	ID       string `json:"id"`
	URL      string `json:"url"`
	Status   string `json:"status"`
	Livemode bool   `json:"livemode"`
}

// decodeOpenSession decodes a Checkout Session that may be open.
func decodeOpenSession(text []byte) (s openSession, err error) {
	err = decode("session", text, &s)
	return s, withID("session", s.ID, err)
}

// decodeSession decodes a Checkout Session from an event or a reply. complete reports whether the
// customer has finished it. PaidAt is zero unless the session's charge is expanded.
func decodeSession(text []byte) (s payment.CheckoutSession, complete bool, err error) {
	var w checkoutSession
	err = decode("session", text, &w)
	if err = withID("session", w.ID, err); err != nil {
		return s, false, err
	}
	paid := (w.PaymentStatus == "paid" || w.PaymentIntent.status == "succeeded" ||
		w.PaymentIntent.status == "requires_capture") &&
		(w.Status == "complete" || w.Status == "") &&
		(w.Metadata["device_uid"] != "" || w.PaymentLink != "") // the ledger may know the machine of the link
	if paid && (w.AmountTotal == nil || *w.AmountTotal < 0 || w.Currency == "") { // a refund would have no amount
		err := errors.New("it is paid, and no amount is named")
		return s, false, &oddRecord{kind: "session", id: w.ID, field: "amount_total", err: err}
	}
	if w.AmountTotal != nil {
		if err := checkAmount("session", w.ID, "amount_total", *w.AmountTotal); err != nil {
			return s, false, err
		}
	}
	s = payment.CheckoutSession{
		ID:            w.ID,
		Mode:          w.Mode,
		PaymentStatus: w.PaymentStatus,
		IntentStatus:  w.PaymentIntent.status,
		PaymentIntent: w.PaymentIntent.id,
		PaymentLink:   string(w.PaymentLink),
		Currency:      strings.ToLower(w.Currency),
		Livemode:      w.Livemode,
		Created:       w.Created.time(),
		Metadata:      w.Metadata,
		PriceAmount:   w.Conversion.total,
		PriceSubtotal: w.Conversion.subtotal,
		PriceCurrency: w.Conversion.currency,
		ShownCurrency: w.Presentment.currency,
		Subtotal:      int64(w.Subtotal),
		Discount:      w.Totals.discount,
	}
	if s.Discount > 0 && w.Conversion.subtotal > 0 {
		s.PriceAmount = w.Conversion.subtotal
	}
	if w.AmountTotal != nil {
		s.Amount = *w.AmountTotal
	}
	if c := w.PaymentIntent.latestCharge; c != nil {
		if c.Created > 0 {
			// The session may have been opened long before it was paid.
			s.PaidAt = c.Created.time()
		}
		s.Refunded, s.Disputed = c.AmountRefunded, c.Disputed
		s.ReceiptURL, s.CardLast4 = string(c.ReceiptURL), c.Details.last4
	}
	return s, w.Status == "complete", nil
}

// decodeReadSession decodes a session from a reply. An open or expired session counts as unpaid.
func (s *Client) decodeReadSession(text []byte) (payment.CheckoutSession, error) {
	r, complete, err := decodeSession(text)
	r.ReceiptURL = s.pageURL(r.ReceiptURL)
	if !complete {
		r.PaymentStatus, r.IntentStatus = "unpaid", ""
	}
	if err == nil && complete && r.PaidAt.IsZero() && r.Created.Unix() == 0 {
		err := errors.New("nothing tells when it was made")
		return r, &oddRecord{kind: "session", id: r.ID, field: "created", err: err}
	}
	return r, err
}

// Session reads a Checkout Session, by its id or by the id of its PaymentIntent.
func (s *Client) Session(ctx context.Context, id string) (payment.CheckoutSession, error) {
	if err := s.wait(ctx); err != nil {
		return payment.CheckoutSession{}, err
	}
	if strings.HasPrefix(id, "pi_") {
		return s.sessionOfIntent(ctx, id)
	}
	if err := checkID(id, "cs_"); err != nil {
		return payment.CheckoutSession{}, err
	}
	query := url.Values{"expand[]": {"payment_intent.latest_charge"}}
	r, err := readObject(ctx, s, "/v1/checkout/sessions/"+id, query, s.decodeReadSession)
	if err == nil && r.ID != id {
		err = &upstream.Error{
			Outcome: upstream.Misconfigured,
			Status:  http.StatusOK,
			Detail:  "the reply is of another object than " + id,
		}
	}
	return s.withDisputes(ctx, r, err)
}

// sessionOfIntent reads the Checkout Session of a PaymentIntent.
func (s *Client) sessionOfIntent(ctx context.Context, intent string) (payment.CheckoutSession, error) {
	if err := checkID(intent, "pi_"); err != nil {
		return payment.CheckoutSession{}, err
	}
	query := url.Values{"payment_intent": {intent}, "expand[]": {"data.payment_intent.latest_charge"}}
	page, err := readObject(ctx, s, "/v1/checkout/sessions", query, decodePage)
	if err != nil {
		return payment.CheckoutSession{}, err
	}
	if len(page.records) == 0 {
		return payment.CheckoutSession{}, &upstream.Error{
			Outcome: upstream.Rejected,
			Status:  200,
			Detail:  "no session of " + intent,
		}
	}
	r, err := decoded(s, page.records[0], nil, upstream.Misconfigured, s.decodeReadSession)
	return s.withDisputes(ctx, r, err)
}

// withDisputes adds the disputes of a disputed session's charge. They stay unknown if the key may
// not read them.
func (s *Client) withDisputes(
	ctx context.Context,
	r payment.CheckoutSession,
	err error,
) (payment.CheckoutSession, error) {
	if err != nil || !r.Disputed {
		return r, err
	}
	query := url.Values{"payment_intent": {r.PaymentIntent}, "limit": {strconv.Itoa(pageSize)}}
	text, err := s.get(ctx, "/v1/disputes", query)
	if e, ok := errors.AsType[*stripe.Error](err); ok &&
		(e.HTTPStatusCode == http.StatusForbidden || e.HTTPStatusCode == http.StatusUnauthorized) {
		return r, nil
	}
	r.Disputes, err = decoded(s, text, err, upstream.Misconfigured, decodeDisputes)
	return r, err
}

// Sessions lists one page of completed sessions, newest first. It lists those created since a time,
// which may have been paid up to a day later. The page begins after the session with the id after,
// or at the newest. last is the value of after for the next page. odd names the sessions that
// cannot be decoded, which do not hold up the others.
func (s *Client) Sessions(
	ctx context.Context,
	since time.Time,
	after string,
) (sessions []payment.CheckoutSession, odd []string, last string, more bool, err error) {
	if err := s.wait(ctx); err != nil {
		return nil, nil, "", false, err
	}
	query := url.Values{
		"status":       {"complete"},
		"created[gte]": {strconv.FormatInt(since.Unix(), 10)},
		"expand[]":     {"data.payment_intent.latest_charge"},
	}
	page, err := s.readPage(ctx, "/v1/checkout/sessions", query, after)
	if err != nil {
		return nil, nil, "", false, err
	}
	for _, record := range page.records {
		if session, err := s.decodeReadSession(record); err != nil {
			odd = append(odd, nameOf(err))
		} else {
			sessions = append(sessions, session)
		}
	}
	return sessions, odd, page.last, page.more, nil
}

// SessionsOfEmail returns the ids of the completed sessions whose payer gave an e-mail address, newest
// first. more reports whether Stripe has others, which are older. Whether case counts is not known
// (docs/vendors.md, Q34), so the address is also asked for in lower case.
// The replies' personal data is not decoded.
func (s *Client) SessionsOfEmail(ctx context.Context, email string) (ids []string, more bool, err error) {
	for _, spelled := range []string{email, strings.ToLower(email)} {
		if err := s.wait(ctx); err != nil {
			return nil, false, err
		}
		query := url.Values{"customer_details[email]": {spelled}, "status": {"complete"}}
		page, err := s.readPage(ctx, "/v1/checkout/sessions", query, "")
		if err != nil {
			return nil, false, err
		}
		for _, record := range page.records {
			if id := idOf(record); id != "" && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		more = more || page.more
		if spelled == strings.ToLower(email) {
			break
		}
	}
	return ids, more, nil
}

// CreateSession creates a Checkout Session for one purchase. It returns the session and the address
// of its payment page. As with a link, the PaymentIntent carries the same metadata.
func (s *Client) CreateSession(ctx context.Context, n checkout.NewSession) (ledger.Session, string, error) {
	d, plan := n.Device, n.Plan
	if err := s.waitFor(ctx, plan.PriceID, "price_"); err != nil {
		return ledger.Session{}, "", err
	}
	metadata := s.purchaseMetadata(d, plan)
	params := &stripe.CheckoutSessionCreateParams{
		Mode: stripe.String(string(stripe.CheckoutSessionModePayment)),
		LineItems: []*stripe.CheckoutSessionCreateLineItemParams{
			{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)},
		},
		Metadata: metadata,
		PaymentIntentData: &stripe.CheckoutSessionCreatePaymentIntentDataParams{
			Metadata:                  metadata,
			Description:               stripe.String(description(d, plan)),
			StatementDescriptorSuffix: StatementSuffix(d),
		},
		PaymentMethodTypes: paymentMethods(),
		SuccessURL:         stripe.String(SuccessURL(n.PublicURL)),
		CancelURL:          stripe.String(n.PublicURL + "/payment/cancel?device=" + url.QueryEscape(d.UID)),
		ExpiresAt:          stripe.Int64(n.Ends.Unix()),
	}
	if s.config.Manual {
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	if n.PromotionCodes {
		params.AllowPromotionCodes = stripe.Bool(true)
	}
	if n.Text != "" {
		params.CustomText = &stripe.CheckoutSessionCreateCustomTextParams{
			Submit: &stripe.CheckoutSessionCreateCustomTextSubmitParams{Message: stripe.String(n.Text)},
		}
	}
	cs, err := createObject(ctx, s, "/v1/checkout/sessions", params, n.IdempotencyKey, decodeOpenSession)
	if errors.Is(err, errText) {
		params.CustomText = nil
		cs, err = createObject(ctx, s, "/v1/checkout/sessions", params, n.IdempotencyKey+withoutText, decodeOpenSession)
	}
	if err != nil {
		return ledger.Session{}, "", err
	}
	return ledger.Session{
		ID:        cs.ID,
		Livemode:  cs.Livemode,
		DeviceUID: d.UID,
		Manual:    s.config.Manual,
		Ends:      n.Ends,
		Plan:      plan,
	}, cs.URL, nil
}

// SessionIsOpen reports whether the customer can still pay a session.
func (s *Client) SessionIsOpen(ctx context.Context, id string) (bool, error) {
	if err := s.waitFor(ctx, id, "cs_"); err != nil {
		return false, err
	}
	cs, err := readObject(ctx, s, "/v1/checkout/sessions/"+id, nil, decodeOpenSession)
	return cs.Status == "open", err
}

// ExpireSession ends a session. Stripe rejects the call if the session is not open.
func (s *Client) ExpireSession(ctx context.Context, id string) error {
	if err := s.waitFor(ctx, id, "cs_"); err != nil {
		return err
	}
	_, err := s.post(ctx, "/v1/checkout/sessions/"+id+"/expire", nil, "")
	return s.outcome(err)
}
