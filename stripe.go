package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/bridge"
	"notepay/internal/payment"
	"notepay/internal/stripeapi"
	"notepay/internal/terms"
	"notepay/internal/upstream"
)

// stripeConfig is what a client of Stripe needs. Project and Manual go into what it creates.
type stripeConfig struct {
	APIURL  string // https://..., where the API answers
	Key     string
	Project string // the metadata "project" of what is ours
	Manual  bool   // links only hold the money, until Capture
	// Transport carries the calls. If it is nil, they go over the network, with a limit on the size of the replies.
	Transport http.RoundTripper
	// EventTypes are the types of events that Events lists, and DecodeEvent decodes one of them.
	EventTypes  []string
	DecodeEvent func(record []byte) bridge.Event
}

// stripeAPI is everything that knows Stripe. Each method makes one attempt and returns nil or a *upstream.Error.
type stripeAPI struct {
	config  stripeConfig // for copies
	client  *stripe.Client
	raw     stripeapi.Raw // the same client, for what is decoded here
	http    *http.Client  // that client's
	project string        // the metadata "project" of what is ours
	origin  string        // https://..., where the API answers
	manual  bool          // links only hold the money, until Capture
	pace    *upstream.Limiter
	// odd is told which records of a list cannot be read, none if all can.
	odd func(source string, records []string)
}

// stripeTimeLimit is how long one call may take: less than the 20 s for which a step is claimed.
const stripeTimeLimit = 15 * time.Second

// stripeMaxReply bounds a reply in bytes; a page of a hundred events is the largest.
const stripeMaxReply = 4 << 20

// newStripeClient returns a client of Stripe.
func newStripeClient(c stripeConfig) *stripeAPI {
	if c.Transport == nil {
		c.Transport = new(upstream.Replies).Over(upstream.NewTransport(), stripeMaxReply)
	}
	calls := &http.Client{Transport: upstream.CheckReplies(c.Transport, stripeapi.CheckObject), Timeout: stripeTimeLimit}
	backends := stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL:               stripe.String(c.APIURL),
		HTTPClient:        calls,
		MaxNetworkRetries: stripe.Int64(0), // the library's own retries sleep without a look at the context
		EnableTelemetry:   stripe.Bool(false),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull}, // what went wrong is in the error
	})
	return &stripeAPI{
		config:  c,
		client:  stripe.NewClient(c.Key, stripe.WithBackends(backends)),
		raw:     stripeapi.Raw{Backend: backends.API, Key: c.Key},
		http:    calls,
		origin:  originOf(c.APIURL),
		project: c.Project,
		manual:  c.Manual,
		pace:    upstream.NewLimiter(0, 0), // Stripe says by 429 when it is enough
		odd:     func(string, []string) {},
	}
}

// withPace returns a client with the same settings and transport, whose calls keep to pace.
func (s *stripeAPI) withPace(pace *upstream.Limiter) *stripeAPI {
	other := newStripeClient(s.config)
	other.http.Transport = s.http.Transport
	other.pace = pace
	return other
}

// ready waits for a slot. Capture, Release, Refund and Refunds do not call it: they are claimed from a queue when there is one.
func (s *stripeAPI) ready(ctx context.Context) error {
	if err := s.pace.Wait(ctx); err != nil {
		return &upstream.Error{Outcome: upstream.Retryable, Err: err}
	}
	return nil
}

// valid refuses an id that cannot be Stripe's before a call is made with it.
func valid(id, prefix string) error {
	if err := stripeapi.CheckID(id, prefix); err != nil {
		return &upstream.Error{Outcome: upstream.Rejected, Detail: err.Error()}
	}
	return nil
}

// readyFor refuses an id that cannot be Stripe's, or waits for a slot.
func (s *stripeAPI) readyFor(ctx context.Context, id, prefix string) error {
	if err := valid(id, prefix); err != nil {
		return err
	}
	return s.ready(ctx)
}

// readObject reads an object and decodes it. One that cannot be decoded is trouble: nothing is known of it.
func readObject[T any](ctx context.Context, s *stripeAPI, path string, query url.Values, decode func([]byte) (T, error)) (object T, err error) {
	text, err := s.raw.Get(ctx, path, query)
	return decoded(s, text, err, upstream.Misconfigured, decode)
}

// createObject creates an object and decodes it. If it cannot be decoded, it is not known what was made.
func createObject[T any](ctx context.Context, s *stripeAPI, path string, params any, key string, decode func([]byte) (T, error)) (object T, err error) {
	text, err := s.raw.Post(ctx, path, params, key)
	return decoded(s, text, err, upstream.Unknown, decode)
}

// decoded decodes the reply of a call, or classifies the error of the call. odd is what a reply that cannot be decoded counts as.
func decoded[T any](s *stripeAPI, text []byte, err error, odd upstream.Outcome, decode func([]byte) (T, error)) (object T, _ error) {
	if err := s.outcome(err); err != nil {
		return object, err
	}
	if object, err = decode(text); err != nil {
		return object, &upstream.Error{Outcome: odd, Status: http.StatusOK, Detail: upstream.Excerpt([]byte(err.Error()))}
	}
	return object, nil
}

// readPage reads one page of a list, its records still as text. after is the id of the last record of the page before.
func (s *stripeAPI) readPage(ctx context.Context, path string, query url.Values, after string) (stripeapi.Page, error) {
	query.Set("limit", strconv.Itoa(onePage))
	if after != "" {
		query.Set("starting_after", after)
	}
	return readObject(ctx, s, path, query, stripeapi.DecodePage)
}

// outcome classifies what a call returned, and lets the pace know. On an error the library's other result is not nil but empty.
func (s *stripeAPI) outcome(err error) error {
	err = classifyStripe(err)
	s.pace.Observe(time.Now(), err)
	return err
}

func classifyStripe(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*stripe.Error](err)
	if !ok {
		return upstream.TransportError(err)
	}
	out := &upstream.Error{Outcome: upstream.Rejected, Status: e.HTTPStatusCode, Detail: upstream.Excerpt([]byte(strings.TrimSpace(string(e.Code) + " " + e.Msg)))}
	switch {
	case e.HTTPStatusCode == http.StatusTooManyRequests:
		out.Outcome = upstream.RateLimited
		if e.LastResponse != nil {
			out.RetryAfter = upstream.RetryAfter(e.LastResponse.Header, time.Now())
		}
	case e.HTTPStatusCode == http.StatusUnauthorized || e.HTTPStatusCode == http.StatusForbidden:
		out.Outcome = upstream.Misconfigured
	case e.HTTPStatusCode == http.StatusNotFound && e.Code != stripe.ErrorCodeResourceMissing:
		out.Outcome = upstream.Misconfigured // the address is not one of Stripe's API: that says nothing about the object
	case e.HTTPStatusCode == http.StatusConflict:
		out.Outcome = upstream.Retryable // the same key is under way
	case e.HTTPStatusCode >= 500 || e.HTTPStatusCode == 0:
		out.Outcome = upstream.Unknown
	default:
		out.Err = refusal(e)
	}
	return out
}

// refusal is the bridge's word for what Stripe refuses because of the state that the money is in; nil for other refusals.
func refusal(e *stripe.Error) error {
	switch e.Code {
	case stripe.ErrorCodeChargeAlreadyRefunded:
		return payment.ErrAlreadyRefunded
	case stripe.ErrorCodeChargeAlreadyCaptured:
		return payment.ErrAlreadyCaptured
	case stripe.ErrorCodeChargeExpiredForCapture:
		return payment.ErrAlreadyCanceled // the hold ran out
	case stripe.ErrorCodeChargeDisputed, stripe.ErrorCodeRefundDisputedPayment:
		return payment.ErrDisputed
	case stripe.ErrorCodePaymentIntentUnexpectedState:
		switch pi := e.PaymentIntent; {
		case pi != nil && pi.Status == stripe.PaymentIntentStatusSucceeded:
			return payment.ErrAlreadyCaptured
		case pi != nil && pi.Status == stripe.PaymentIntentStatusCanceled:
			return payment.ErrAlreadyCanceled
		}
	}
	if lacksBalance(e) {
		return payment.ErrBalance
	}
	return nil
}

// lacksBalance tells that our balance at Stripe does not cover a refund. What Stripe says then is not published: it was seen in
// words, without a code (docs/vendors.md, Q14), so the codes of the neighbouring calls count as well. A card's lack of money does not.
func lacksBalance(e *stripe.Error) bool {
	return e.Type != stripe.ErrorTypeCard && (e.Code == stripe.ErrorCodeBalanceInsufficient || e.Code == stripe.ErrorCodeInsufficientFunds ||
		strings.HasPrefix(e.Msg, "Insufficient funds in your Stripe balance"))
}

// Plan reads a price. upstream.Refused means that it cannot be sold: missing, inactive or recurring.
func (s *stripeAPI) Plan(ctx context.Context, priceID string) (payment.Offer, error) {
	if err := s.readyFor(ctx, priceID, "price_"); err != nil {
		return payment.Offer{}, err
	}
	query := url.Values{"expand[]": {"product", "currency_options"}}
	price, err := readObject(ctx, s, "/v1/prices/"+priceID, query, stripeapi.DecodePrice)
	if err != nil {
		return payment.Offer{}, err
	}
	refused := func(why string) (payment.Offer, error) {
		return payment.Offer{}, &upstream.Error{Outcome: upstream.Rejected, Status: 200, Detail: "price " + priceID + " " + why}
	}
	switch {
	case !price.Active || price.Product.Archived:
		return refused("is not active, or of a product that was archived")
	case price.Recurring != nil:
		return refused("is recurring: machines need a one-time price")
	case price.BillingScheme == "tiered" || price.CustomAmount != nil:
		return refused("has no fixed amount")
	case price.UnitAmount == nil:
		return refused("has a fraction of the smallest unit as its amount")
	}
	plan := payment.Offer{PriceID: priceID, Name: cmp.Or(string(price.Nickname), price.Product.Name), Description: price.Product.Description,
		Image: price.Product.Image, Amount: *price.UnitAmount, Currency: price.Currency, CurrencyOptions: price.Options()}
	if text := strings.TrimSpace(price.Metadata["access_code"]); text != "" {
		var ok bool
		if plan.AccessCode, ok = terms.Switch(text); !ok {
			return refused(fmt.Sprintf("has metadata access_code=%q, which is neither true nor false", text))
		}
	}
	if plan.Duration, err = metadataDuration(price.Metadata, "duration"); err != nil {
		return refused(err.Error())
	}
	if plan.DelayedStart, err = metadataDuration(price.Metadata, "delayed_start"); err != nil {
		return refused(err.Error())
	}
	return plan, nil
}

// metadataDuration reads a duration such as 30m from a price's metadata, in whole seconds; 0 if there is none.
func metadataDuration(metadata map[string]string, key string) (time.Duration, error) {
	text := strings.TrimSpace(metadata[key])
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 30*24*time.Hour {
		return 0, fmt.Errorf("has metadata %s=%q, which is no duration such as 30m", key, text)
	}
	return d.Round(time.Second), nil
}

// onePage is how much Stripe lists at most at once. A full page may be followed by another.
const onePage = 100

// Session reads a Checkout Session, by its id or by its payment intent.
func (s *stripeAPI) Session(ctx context.Context, id string) (payment.CheckoutSession, error) {
	if err := s.ready(ctx); err != nil {
		return payment.CheckoutSession{}, err
	}
	if strings.HasPrefix(id, "pi_") {
		return s.sessionOfIntent(ctx, id)
	}
	if err := valid(id, "cs_"); err != nil {
		return payment.CheckoutSession{}, err
	}
	query := url.Values{"expand[]": {"payment_intent.latest_charge"}}
	r, err := readObject(ctx, s, "/v1/checkout/sessions/"+id, query, s.sessionRecord)
	if err == nil && r.ID != id {
		err = &upstream.Error{Outcome: upstream.Misconfigured, Status: http.StatusOK, Detail: "the reply is of another object than " + id}
	}
	return s.withDisputes(ctx, r, err)
}

// withDisputes returns a session that was read with the disputes of its charge. A key that may not read them leaves them unknown.
func (s *stripeAPI) withDisputes(ctx context.Context, r payment.CheckoutSession, err error) (payment.CheckoutSession, error) {
	if err != nil || !r.Disputed {
		return r, err
	}
	text, err := s.raw.Get(ctx, "/v1/disputes", url.Values{"payment_intent": {r.PaymentIntent}, "limit": {strconv.Itoa(onePage)}})
	if e, ok := errors.AsType[*stripe.Error](err); ok && (e.HTTPStatusCode == http.StatusForbidden || e.HTTPStatusCode == http.StatusUnauthorized) {
		return r, nil
	}
	r.Disputes, err = decoded(s, text, err, upstream.Misconfigured, stripeapi.DecodeDisputes)
	return r, err
}

func (s *stripeAPI) sessionOfIntent(ctx context.Context, intent string) (payment.CheckoutSession, error) {
	if err := valid(intent, "pi_"); err != nil {
		return payment.CheckoutSession{}, err
	}
	query := url.Values{"payment_intent": {intent}, "expand[]": {"data.payment_intent.latest_charge"}}
	page, err := readObject(ctx, s, "/v1/checkout/sessions", query, stripeapi.DecodePage)
	if err != nil {
		return payment.CheckoutSession{}, err
	}
	if len(page.Records) == 0 {
		return payment.CheckoutSession{}, &upstream.Error{Outcome: upstream.Rejected, Status: 200, Detail: "no session of " + intent}
	}
	r, err := decoded(s, page.Records[0], nil, upstream.Misconfigured, s.sessionRecord)
	return s.withDisputes(ctx, r, err)
}

// Sessions lists one page of the sessions that were completed, the newest first, of those that were created since then (they may have
// been paid up to a day later). It begins behind the session with the id after, or at the newest; last is where the next page begins.
// A session that cannot be read holds up none of the others: odd names it.
func (s *stripeAPI) Sessions(ctx context.Context, since time.Time, after string) (sessions []payment.CheckoutSession, odd []string, last string, more bool, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, nil, "", false, err
	}
	query := url.Values{"status": {"complete"}, "created[gte]": {strconv.FormatInt(since.Unix(), 10)}, "expand[]": {"data.payment_intent.latest_charge"}}
	page, err := s.readPage(ctx, "/v1/checkout/sessions", query, after)
	if err != nil {
		return nil, nil, "", false, err
	}
	for _, record := range page.Records {
		if session, err := s.sessionRecord(record); err != nil {
			odd = append(odd, stripeapi.NameOf(err))
		} else {
			sessions = append(sessions, session)
		}
	}
	return sessions, odd, page.Last, page.More, nil
}

// sessionRecord decodes a session that was read.
func (s *stripeAPI) sessionRecord(text []byte) (payment.CheckoutSession, error) {
	r, complete, err := stripeapi.DecodeSession(text)
	r.ReceiptURL = s.page(r.ReceiptURL)
	if !complete {
		r.PaymentStatus, r.IntentStatus = "unpaid", "" // open or expired: nobody has paid
	}
	return r, err
}

// page is an address at which Stripe shows something, or "" where it is not Stripe's: customers are led there. A simulated Stripe shows its pages
// where it answers.
func (s *stripeAPI) page(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil:
	case u.Scheme == "https" && strings.HasSuffix(u.Host, ".stripe.com"), originOf(address) == s.origin && u.Host != "":
		return address
	}
	return ""
}

// originOf is the scheme and the host of an address.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Events lists one page of the events of the followed types, the newest first, of those that were created since then; Stripe
// keeps them for 30 days. It begins behind the event with the id after, or at the newest; last is where the next page begins.
// An event that cannot be read is given with Odd, and holds up none of the others.
func (s *stripeAPI) Events(ctx context.Context, since time.Time, after string) (events []bridge.Event, last string, more bool, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", false, err
	}
	query := url.Values{"types[]": s.config.EventTypes, "created[gte]": {strconv.FormatInt(since.Unix(), 10)}}
	page, err := s.readPage(ctx, "/v1/events", query, after)
	if err != nil {
		return nil, "", false, err
	}
	for _, record := range page.Records {
		events = append(events, s.config.DecodeEvent(record))
	}
	return events, page.Last, page.More, nil
}

// AskTime makes the cheapest call that a restricted key allows. What counts is the reply's Date, whatever the reply says.
func (s *stripeAPI) AskTime(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := s.raw.Get(ctx, "/v1/events", url.Values{"limit": {"1"}})
	return s.outcome(err)
}

// Capture takes the money that an intent holds, all of it. The key makes a repeat harmless for a day.
func (s *stripeAPI) Capture(ctx context.Context, intent, key string) error {
	return s.move(ctx, intent, "capture", key, "succeeded")
}

// Release cancels an intent, and so lets go of the money that it holds. The key makes a repeat harmless for a day.
func (s *stripeAPI) Release(ctx context.Context, intent, key string) error {
	return s.move(ctx, intent, "cancel", key, "canceled")
}

// move captures or cancels an intent. A success reply that leaves the intent in another status than wanted counts as unclear.
func (s *stripeAPI) move(ctx context.Context, intent, action, key, want string) error {
	if err := valid(intent, "pi_"); err != nil {
		return err
	}
	pi, err := createObject(ctx, s, "/v1/payment_intents/"+intent+"/"+action, nil, key, stripeapi.DecodeIntent)
	if err == nil && string(pi.Status) != want {
		err = &upstream.Error{Outcome: upstream.Unknown, Status: http.StatusOK, Detail: fmt.Sprintf("intent %q is %q, not %s", pi.ID, pi.Status, want)}
	}
	return err
}

// Refund gives money back. What the record says counts: a refund that was taken may still be pending, or have failed already. Stripe
// keeps its answer under the credit and number for a day, a refusal and a 500 as well: after these only another number asks anew.
func (s *stripeAPI) Refund(ctx context.Context, o payment.RefundOrder) (payment.RefundRecord, error) {
	if err := valid(o.Intent, "pi_"); err != nil {
		return payment.RefundRecord{}, err
	}
	number := strconv.Itoa(o.Number)
	params := &stripe.RefundCreateParams{PaymentIntent: stripe.String(o.Intent), Amount: stripe.Int64(o.Amount),
		Metadata: map[string]string{"app": stripeapi.App, "project": s.project, "credit": o.Credit, "number": number}}
	return createObject(ctx, s, "/v1/refunds", params, "refund:"+o.Credit+":"+number, stripeapi.DecodeOrdered(o))
}

// Refunds lists what was given back of an intent, or is on its way, or failed: the newest first, ours and those made in the Dashboard.
// It reads one page of 100, which is more than a payment of a machine is ever given back in.
func (s *stripeAPI) Refunds(ctx context.Context, intent string) (refunds []payment.RefundRecord, err error) {
	if err := valid(intent, "pi_"); err != nil {
		return nil, err
	}
	page, err := s.readPage(ctx, "/v1/refunds", url.Values{"payment_intent": {intent}}, "")
	if err != nil {
		return nil, err
	}
	for _, record := range page.Records {
		r, err := stripeapi.DecodeRefundRecord(record)
		if err != nil { // the sum is not known without it, and more might be given back than was paid
			return nil, &upstream.Error{Outcome: upstream.Misconfigured, Status: http.StatusOK, Detail: upstream.Excerpt([]byte(err.Error()))}
		}
		refunds = append(refunds, r)
	}
	return refunds, nil
}
