package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/stripe/stripe-go/v82"
	"golang.org/x/text/unicode/norm"

	"notepay/internal/bridge"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/stripeevent"
	"notepay/internal/terms"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// stripeAPI is everything that knows Stripe. Each method makes one attempt and returns nil or a *upstream.Error.
type stripeAPI struct {
	client  *stripe.Client
	http    *http.Client // that client's
	project string       // the metadata "project" of what is ours
	origin  string       // https://..., where the API answers
	manual  bool         // links only hold the money, until Capture
	pace    *upstream.Pace
}

// stripeTimeLimit is how long one call may take: less than the 20 s for which a step is claimed.
const stripeTimeLimit = 15 * time.Second

// stripeMaxReply bounds a reply in bytes; a page of a hundred events is the largest.
const stripeMaxReply = 4 << 20

func newStripe(s *config.Settings, pace *upstream.Pace) *stripeAPI {
	return newStripeOver(new(upstream.Replies).Over(newTransport(), stripeMaxReply), s, pace)
}

func newStripeOver(transport http.RoundTripper, s *config.Settings, pace *upstream.Pace) *stripeAPI {
	calls := &http.Client{Transport: upstream.CheckReplies(transport, stripeevent.CheckObject), Timeout: stripeTimeLimit}
	return &stripeAPI{
		client: stripe.NewClient(string(s.StripeSecretKey), stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
			URL:               stripe.String(s.StripeAPIURL),
			HTTPClient:        calls,
			MaxNetworkRetries: stripe.Int64(0), // the library's own retries sleep without a look at the context
			EnableTelemetry:   stripe.Bool(false),
			LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull}, // what went wrong is in the error
		}))),
		http:    calls,
		origin:  originOf(s.StripeAPIURL),
		project: s.NotehubProjectUID,
		manual:  s.Capture == "on_start",
		pace:    pace,
	}
}

// ready waits for a slot. Capture, Release, Refund and Refunds do not call it: they are claimed from a queue when there is one.
func (s *stripeAPI) ready(ctx context.Context) error {
	if err := s.pace.Wait(ctx); err != nil {
		return &upstream.Error{Outcome: upstream.Again, Err: err}
	}
	return nil
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
		return transportError(err)
	}
	out := &upstream.Error{Outcome: upstream.Refused, Status: e.HTTPStatusCode, Detail: excerpt([]byte(strings.TrimSpace(string(e.Code) + " " + e.Msg)))}
	switch {
	case e.HTTPStatusCode == http.StatusTooManyRequests:
		out.Outcome = upstream.Wait
		if e.LastResponse != nil {
			out.RetryAfter = retryAfter(e.LastResponse.Header, time.Now())
		}
	case e.HTTPStatusCode == http.StatusUnauthorized || e.HTTPStatusCode == http.StatusForbidden:
		out.Outcome = upstream.Trouble
	case e.HTTPStatusCode == http.StatusNotFound && e.Code != stripe.ErrorCodeResourceMissing:
		out.Outcome = upstream.Trouble // the address is not one of Stripe's API: that says nothing about the object
	case e.HTTPStatusCode == http.StatusConflict:
		out.Outcome = upstream.Again // the same key is under way
	case e.HTTPStatusCode >= 500 || e.HTTPStatusCode == 0:
		out.Outcome = upstream.Unclear
	default:
		out.Err = refusal(e)
	}
	return out
}

// refusal is the bridge's word for what Stripe refuses because of the state that the money is in; nil for other refusals.
func refusal(e *stripe.Error) error {
	switch e.Code {
	case stripe.ErrorCodeChargeAlreadyRefunded:
		return bridge.ErrAlreadyRefunded
	case stripe.ErrorCodeChargeAlreadyCaptured:
		return bridge.ErrAlreadyCaptured
	case stripe.ErrorCodeChargeExpiredForCapture:
		return bridge.ErrAlreadyCanceled // the hold ran out
	case stripe.ErrorCodeChargeDisputed, stripe.ErrorCodeRefundDisputedPayment:
		return bridge.ErrDisputed
	case stripe.ErrorCodePaymentIntentUnexpectedState:
		switch pi := e.PaymentIntent; {
		case pi != nil && pi.Status == stripe.PaymentIntentStatusSucceeded:
			return bridge.ErrAlreadyCaptured
		case pi != nil && pi.Status == stripe.PaymentIntentStatusCanceled:
			return bridge.ErrAlreadyCanceled
		}
	}
	if lacksBalance(e) {
		return bridge.ErrBalance
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
func (s *stripeAPI) Plan(ctx context.Context, priceID string) (ledger.Plan, error) {
	if err := s.ready(ctx); err != nil {
		return ledger.Plan{}, err
	}
	params := &stripe.PriceRetrieveParams{}
	params.AddExpand("product")
	price, err := s.client.V1Prices.Retrieve(ctx, priceID, params)
	if err := s.outcome(err); err != nil {
		return ledger.Plan{}, err
	}
	refused := func(why string) (ledger.Plan, error) {
		return ledger.Plan{}, &upstream.Error{Outcome: upstream.Refused, Status: 200, Detail: "price " + priceID + " " + why}
	}
	switch {
	case !price.Active:
		return refused("is not active")
	case stripeevent.ProductProblem(price.Product) != "":
		return refused(stripeevent.ProductProblem(price.Product))
	case price.Recurring != nil:
		return refused("is recurring: machines need a one-time price")
	case price.BillingScheme == stripe.PriceBillingSchemeTiered || price.CustomUnitAmount != nil:
		return refused("has no fixed amount")
	}
	if price.UnitAmount == 0 && price.UnitAmountDecimal != 0 {
		return refused("has a fraction of the smallest unit as its amount")
	}
	plan := ledger.Plan{PriceID: priceID, Name: price.Nickname, Amount: price.UnitAmount, Currency: string(price.Currency)}
	if price.Product != nil {
		plan.Name, plan.Description = cmp.Or(price.Nickname, price.Product.Name), price.Product.Description
		if len(price.Product.Images) > 0 {
			plan.Image = price.Product.Images[0]
		}
	}
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

// Links lists the active links that this project made, oldest first. Stripe lists the newest first and cannot search by metadata.
func (s *stripeAPI) Links(ctx context.Context) (links []ledger.Link, err error) {
	params := &stripe.PaymentLinkListParams{Active: stripe.Bool(true)}
	params.Limit = stripe.Int64(onePage)
	for {
		if err := s.ready(ctx); err != nil {
			return nil, err
		}
		params.Single = true // one page, one call: each of them waits for its slot
		last, n := "", 0
		for link, err := range s.client.V1PaymentLinks.List(ctx, params) {
			if err := s.outcome(err); err != nil {
				return nil, fmt.Errorf("page after %q: %w", stripe.StringValue(params.StartingAfter), err)
			}
			last, n = link.ID, n+1
			if link.Metadata["app"] == stripeevent.App && link.Metadata["project"] == s.project && link.Metadata["device_uid"] != "" {
				links = append(links, linkRecord(link))
			}
		}
		if n < onePage {
			break
		}
		params.StartingAfter = stripe.String(last)
	}
	slices.Reverse(links)
	return links, nil
}

// captureManual holds the money until it is captured. It also stands in the metadata "capture" of what was made so.
const captureManual = "manual"

func linkRecord(link *stripe.PaymentLink) ledger.Link {
	r := ledger.Link{ID: link.ID, Livemode: link.Livemode, DeviceUID: uid.Key(link.Metadata["device_uid"]), URL: link.URL,
		Plan: ledger.Plan{PriceID: link.Metadata["price_id"]}, Manual: link.Metadata["capture"] == captureManual}
	r.Active, r.Limited, r.Closed = stripeevent.LinkState(link)
	if link.AfterCompletion != nil && link.AfterCompletion.Redirect != nil {
		r.ReturnURL = link.AfterCompletion.Redirect.URL
	}
	return r
}

// CreateLink makes the Payment Link of a device and plan. The metadata stands twice: on the link, from where it is copied to
// sessions, and on the payment intent, for the events that come without a session.
func (s *stripeAPI) CreateLink(ctx context.Context, d ledger.Device, plan ledger.Plan, returnURL, key string) (ledger.Link, error) {
	if err := s.ready(ctx); err != nil {
		return ledger.Link{}, err
	}
	metadata := map[string]string{"app": stripeevent.App, "project": s.project, "device_uid": cmp.Or(d.Spelled, d.UID), "price_id": plan.PriceID}
	params := &stripe.PaymentLinkCreateParams{
		LineItems:          []*stripe.PaymentLinkCreateLineItemParams{{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)}},
		Metadata:           metadata,
		PaymentIntentData:  &stripe.PaymentLinkCreatePaymentIntentDataParams{Metadata: metadata, Description: stripe.String(stripeevent.Description(d, plan)), StatementDescriptorSuffix: statementSuffix(d)},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		InactiveMessage:    stripe.String("This machine is not for sale through this link any more. Please scan the sticker on the machine again."),
	}
	if s.manual {
		metadata["capture"] = captureManual // on the link and on its intents: it is one map
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	if returnURL != "" {
		params.AfterCompletion = &stripe.PaymentLinkCreateAfterCompletionParams{Type: stripe.String("redirect"),
			Redirect: &stripe.PaymentLinkCreateAfterCompletionRedirectParams{URL: stripe.String(returnURL)}}
	}
	params.SetIdempotencyKey(key)
	link, err := s.client.V1PaymentLinks.Create(ctx, params)
	if err := s.outcome(err); err != nil {
		return ledger.Link{}, err
	}
	record := linkRecord(link)
	record.Plan, record.ReturnURL = plan, returnURL
	return record, nil
}

// UpdateLink makes a link active or not, and sets its return URL. Price, currency and capture method cannot be changed.
func (s *stripeAPI) UpdateLink(ctx context.Context, link ledger.Link) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	params := &stripe.PaymentLinkUpdateParams{Active: stripe.Bool(link.Active)}
	switch {
	case !link.Active:
	case link.ReturnURL != "":
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{Type: stripe.String("redirect"),
			Redirect: &stripe.PaymentLinkUpdateAfterCompletionRedirectParams{URL: stripe.String(link.ReturnURL)}}
	default:
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{Type: stripe.String("hosted_confirmation")}
	}
	_, err := s.client.V1PaymentLinks.Update(ctx, link.ID, params)
	return s.outcome(err)
}

// CreateSession makes a Checkout Session for one purchase, and returns where it is paid. As with a link, the metadata stands on it and on its
// payment intent.
func (s *stripeAPI) CreateSession(ctx context.Context, d ledger.Device, plan ledger.Plan, publicURL string, ends time.Time, key string) (ledger.Session, string, error) {
	if err := s.ready(ctx); err != nil {
		return ledger.Session{}, "", err
	}
	metadata := map[string]string{"app": stripeevent.App, "project": s.project, "device_uid": cmp.Or(d.Spelled, d.UID), "price_id": plan.PriceID}
	params := &stripe.CheckoutSessionCreateParams{
		Mode:               stripe.String(string(stripe.CheckoutSessionModePayment)),
		LineItems:          []*stripe.CheckoutSessionCreateLineItemParams{{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)}},
		Metadata:           metadata,
		PaymentIntentData:  &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: metadata, Description: stripe.String(stripeevent.Description(d, plan)), StatementDescriptorSuffix: statementSuffix(d)},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		SuccessURL:         stripe.String(successURL(publicURL)),
		CancelURL:          stripe.String(publicURL + "/payment/cancel"),
		ExpiresAt:          stripe.Int64(ends.Unix()),
	}
	if s.manual {
		metadata["capture"] = captureManual // on the session and on its intent: it is one map
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	params.SetIdempotencyKey(key)
	cs, err := s.client.V1CheckoutSessions.Create(ctx, params)
	if err := s.outcome(err); err != nil {
		return ledger.Session{}, "", err
	}
	return ledger.Session{ID: cs.ID, Livemode: cs.Livemode, DeviceUID: d.UID, Manual: s.manual, Ends: ends, Plan: plan}, cs.URL, nil
}

// SessionIsOpen says whether a session can be paid still.
func (s *stripeAPI) SessionIsOpen(ctx context.Context, id string) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	cs, err := s.client.V1CheckoutSessions.Retrieve(ctx, id, nil)
	if err := s.outcome(err); err != nil {
		return false, err
	}
	return cs.Status == stripe.CheckoutSessionStatusOpen, nil
}

// ExpireSession ends a session. Stripe refuses that of one which is not open any more.
func (s *stripeAPI) ExpireSession(ctx context.Context, id string) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	_, err := s.client.V1CheckoutSessions.Expire(ctx, id, nil)
	return s.outcome(err)
}

// successURL is where Stripe sends a customer who has paid. Stripe fills the session's id in.
func successURL(publicURL string) string {
	return publicURL + "/payment/success?session_id={CHECKOUT_SESSION_ID}"
}

// longestSuffix is what is left of a statement descriptor's 22 characters behind the longest prefix and the "* " between them (docs/vendors.md, Q12).
const longestSuffix = 10

// statementSuffix names the machine on the card's statement, behind the account's own name; nil where its name does not allow it. What Stripe
// takes is known from its documentation alone (docs/vendors.md, Q12): Latin letters, one of them at least, and none of < > \ ' " *. So nothing
// but letters without accents, digits, spaces and a few signs is left.
func statementSuffix(d ledger.Device) *string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return unicode.ToUpper(r)
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, norm.NFD.String(d.Name)) // an accent is a sign of its own then, and dropped
	clean = strings.Join(strings.Fields(clean), " ")
	clean = strings.TrimSpace(clean[:min(len(clean), longestSuffix)])
	if !strings.ContainsFunc(clean, unicode.IsLetter) {
		return nil
	}
	return &clean
}

// Session reads a Checkout Session, by its id or by its payment intent.
func (s *stripeAPI) Session(ctx context.Context, id string) (bridge.Session, error) {
	if err := s.ready(ctx); err != nil {
		return bridge.Session{}, err
	}
	if strings.HasPrefix(id, "pi_") {
		return s.sessionOfIntent(ctx, id)
	}
	params := &stripe.CheckoutSessionRetrieveParams{}
	params.AddExpand("payment_intent.latest_charge")
	cs, err := s.client.V1CheckoutSessions.Retrieve(ctx, id, params)
	if err := s.outcome(err); err != nil {
		return bridge.Session{}, err
	}
	return s.withDisputes(ctx, s.sessionRecord(cs))
}

// withDisputes returns a session with the disputes of its charge. A key that may not read them leaves them unknown.
func (s *stripeAPI) withDisputes(ctx context.Context, r bridge.Session) (bridge.Session, error) {
	if !r.Disputed {
		return r, nil
	}
	list, err := stripeevent.Disputes(ctx, s.client, r.PaymentIntent)
	if e, ok := errors.AsType[*stripe.Error](err); ok && (e.HTTPStatusCode == http.StatusForbidden || e.HTTPStatusCode == http.StatusUnauthorized) {
		return r, nil
	}
	r.Disputes = list
	return r, s.outcome(err)
}

func (s *stripeAPI) sessionOfIntent(ctx context.Context, intent string) (bridge.Session, error) {
	params := &stripe.CheckoutSessionListParams{PaymentIntent: stripe.String(intent)}
	params.Single = true
	params.AddExpand("data.payment_intent.latest_charge")
	for cs, err := range s.client.V1CheckoutSessions.List(ctx, params) {
		if err := s.outcome(err); err != nil {
			return bridge.Session{}, err
		}
		return s.withDisputes(ctx, s.sessionRecord(cs))
	}
	return bridge.Session{}, &upstream.Error{Outcome: upstream.Refused, Status: 200, Detail: "no session of " + intent}
}

// Sessions lists one page of the sessions that were completed, the newest first, of those that were created since then (they may have
// been paid up to a day later). It begins behind the session with the id after, or at the newest; last is where the next page begins.
func (s *stripeAPI) Sessions(ctx context.Context, since time.Time, after string) (sessions []bridge.Session, last string, more bool, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", false, err
	}
	params := &stripe.CheckoutSessionListParams{Status: stripe.String(string(stripe.CheckoutSessionStatusComplete)),
		CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: since.Unix()}, ListParams: pageAfter(after)}
	params.AddExpand("data.payment_intent.latest_charge")
	for cs, err := range s.client.V1CheckoutSessions.List(ctx, params) {
		if err != nil {
			return nil, "", false, s.outcome(err)
		}
		sessions, last = append(sessions, s.sessionRecord(cs)), cs.ID
	}
	return sessions, last, len(sessions) == onePage, s.outcome(nil)
}

// pageAfter asks for one page behind an object, or for the first. The library would go on by itself, without waiting for slots.
func pageAfter(after string) stripe.ListParams {
	p := stripe.ListParams{Limit: stripe.Int64(onePage), Single: true}
	if after != "" {
		p.StartingAfter = stripe.String(after)
	}
	return p
}

func (s *stripeAPI) sessionRecord(cs *stripe.CheckoutSession) bridge.Session {
	r := bridge.Session{ID: cs.ID, PaymentStatus: string(cs.PaymentStatus), Amount: cs.AmountTotal, Currency: string(cs.Currency), Livemode: cs.Livemode,
		Metadata: cs.Metadata, Created: time.Unix(cs.Created, 0).UTC()}
	if cs.PaymentLink != nil {
		r.PaymentLink = cs.PaymentLink.ID
	}
	if pi := cs.PaymentIntent; pi != nil {
		r.PaymentIntent, r.IntentStatus = pi.ID, string(pi.Status)
		if charge := pi.LatestCharge; charge != nil && charge.Created != 0 {
			r.PaidAt = time.Unix(charge.Created, 0).UTC() // the session may have been opened long before it was paid
			r.Refunded, r.Disputed, r.ReceiptURL = charge.AmountRefunded, charge.Disputed, s.page(charge.ReceiptURL)
			if paid := charge.PaymentMethodDetails; paid != nil && paid.Card != nil {
				r.CardLast4 = paid.Card.Last4
			}
		}
	}
	if cs.Status != stripe.CheckoutSessionStatusComplete {
		r.PaymentStatus, r.IntentStatus = "unpaid", "" // open or expired: nobody has paid
	}
	return r
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
//
// An event that cannot be read holds up none of the others: err then wraps stripeevent.ErrMalformed and names each of them, and the events, last
// and more are good nevertheless. Any other error is a *upstream.Error, and there are no events.
func (s *stripeAPI) Events(ctx context.Context, since time.Time, after string) (events []bridge.Event, last string, more bool, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", false, err
	}
	params := &stripe.EventListParams{Types: stripe.StringSlice(stripeevent.ListedTypes()),
		CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: since.Unix()}, ListParams: pageAfter(after)}
	var unread []error
	read := 0
	for e, err := range s.client.V1Events.List(ctx, params) {
		if err != nil {
			return nil, "", false, s.outcome(err)
		}
		last, read = e.ID, read+1
		if event, err := stripeevent.Listed(e); err != nil {
			unread = append(unread, fmt.Errorf("event %s: %w", e.ID, err))
		} else {
			events = append(events, event)
		}
	}
	_ = s.outcome(nil) // the call was answered
	return events, last, read == onePage, errors.Join(unread...)
}

// AskTime makes the cheapest call that a restricted key allows. What counts is the reply's Date, whatever the reply says.
func (s *stripeAPI) AskTime(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	params := &stripe.EventListParams{ListParams: stripe.ListParams{Limit: stripe.Int64(1), Single: true}}
	for _, err := range s.client.V1Events.List(ctx, params) {
		if err != nil {
			return s.outcome(err)
		}
	}
	return s.outcome(nil)
}

// Capture takes the money that an intent holds, all of it. The key makes a repeat harmless for a day.
func (s *stripeAPI) Capture(ctx context.Context, intent, key string) error {
	params := &stripe.PaymentIntentCaptureParams{}
	params.SetIdempotencyKey(key)
	pi, err := s.client.V1PaymentIntents.Capture(ctx, intent, params)
	return s.moved(pi, err, stripe.PaymentIntentStatusSucceeded)
}

// Release cancels an intent, and so lets go of the money that it holds. The key makes a repeat harmless for a day.
func (s *stripeAPI) Release(ctx context.Context, intent, key string) error {
	params := &stripe.PaymentIntentCancelParams{}
	params.SetIdempotencyKey(key)
	pi, err := s.client.V1PaymentIntents.Cancel(ctx, intent, params)
	return s.moved(pi, err, stripe.PaymentIntentStatusCanceled)
}

// moved is what moving an intent came to. A yes that leaves it in another state than it was moved to is not taken for one.
func (s *stripeAPI) moved(pi *stripe.PaymentIntent, err error, want stripe.PaymentIntentStatus) error {
	if err := s.outcome(err); err != nil {
		return err
	}
	if pi.Status != want {
		return &upstream.Error{Outcome: upstream.Unclear, Status: http.StatusOK, Detail: fmt.Sprintf("intent %q is %q, not %s", pi.ID, pi.Status, want)}
	}
	return nil
}

// Refund gives money back. What the record says counts: a refund that was taken may still be pending, or have failed already. Stripe
// keeps its answer under the credit and number for a day, a refusal and a 500 as well: after these only another number asks anew.
func (s *stripeAPI) Refund(ctx context.Context, o bridge.RefundOrder) (bridge.RefundRecord, error) {
	number := strconv.Itoa(o.Number)
	params := &stripe.RefundCreateParams{PaymentIntent: stripe.String(o.Intent), Amount: stripe.Int64(o.Amount),
		Metadata: map[string]string{"app": stripeevent.App, "project": s.project, "credit": o.Credit, "number": number}}
	params.SetIdempotencyKey("refund:" + o.Credit + ":" + number)
	r, err := s.client.V1Refunds.Create(ctx, params)
	if err := s.outcome(err); err != nil {
		return bridge.RefundRecord{}, err
	}
	if r.ID == "" {
		return bridge.RefundRecord{}, &upstream.Error{Outcome: upstream.Unclear, Status: http.StatusOK, Detail: "a refund without id"}
	}
	return refundRecord(r), nil
}

// Refunds lists what was given back of an intent, or is on its way, or failed: the newest first, ours and those made in the Dashboard.
// It reads one page of 100, which is more than a payment of a machine is ever given back in.
func (s *stripeAPI) Refunds(ctx context.Context, intent string) (refunds []bridge.RefundRecord, err error) {
	params := &stripe.RefundListParams{PaymentIntent: stripe.String(intent), ListParams: pageAfter("")}
	for r, err := range s.client.V1Refunds.List(ctx, params) {
		if err != nil {
			return nil, s.outcome(err)
		}
		refunds = append(refunds, refundRecord(r))
	}
	return refunds, s.outcome(nil)
}

func refundRecord(r *stripe.Refund) bridge.RefundRecord {
	record := bridge.RefundRecord{ID: r.ID, Amount: r.Amount, Status: string(r.Status)}
	if r.PaymentIntent != nil {
		record.Intent = r.PaymentIntent.ID
	}
	record.Credit, record.Number = stripeevent.Order(r.Metadata)
	return record
}
