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
	"notepay/internal/stripeapi"
	"notepay/internal/stripeevent"
	"notepay/internal/terms"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// stripeAPI is everything that knows Stripe. Each method makes one attempt and returns nil or a *upstream.Error.
type stripeAPI struct {
	client  *stripe.Client
	raw     stripeapi.Raw // the same client, for what is decoded here
	http    *http.Client  // that client's
	project string        // the metadata "project" of what is ours
	origin  string        // https://..., where the API answers
	manual  bool          // links only hold the money, until Capture
	pace    *upstream.Pace
	// odd is told which records of a list cannot be read, none if all can.
	odd func(source string, records []string)
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
	backends := stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL:               stripe.String(s.StripeAPIURL),
		HTTPClient:        calls,
		MaxNetworkRetries: stripe.Int64(0), // the library's own retries sleep without a look at the context
		EnableTelemetry:   stripe.Bool(false),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull}, // what went wrong is in the error
	})
	return &stripeAPI{
		client:  stripe.NewClient(string(s.StripeSecretKey), stripe.WithBackends(backends)),
		raw:     stripeapi.Raw{Backend: backends.API, Key: string(s.StripeSecretKey)},
		http:    calls,
		origin:  originOf(s.StripeAPIURL),
		project: s.NotehubProjectUID,
		manual:  s.Capture == "on_start",
		pace:    pace,
		odd:     func(string, []string) {},
	}
}

// ready waits for a slot. Capture, Release, Refund and Refunds do not call it: they are claimed from a queue when there is one.
func (s *stripeAPI) ready(ctx context.Context) error {
	if err := s.pace.Wait(ctx); err != nil {
		return &upstream.Error{Outcome: upstream.Again, Err: err}
	}
	return nil
}

// valid refuses an id that cannot be Stripe's before a call is made with it.
func valid(id, prefix string) error {
	if err := stripeapi.CheckID(id, prefix); err != nil {
		return &upstream.Error{Outcome: upstream.Refused, Detail: err.Error()}
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
	return decoded(s, text, err, upstream.Trouble, decode)
}

// createObject creates an object and decodes it. If it cannot be decoded, it is not known what was made.
func createObject[T any](ctx context.Context, s *stripeAPI, path string, params any, key string, decode func([]byte) (T, error)) (object T, err error) {
	text, err := s.raw.Post(ctx, path, params, key)
	return decoded(s, text, err, upstream.Unclear, decode)
}

// decoded decodes the reply of a call, or classifies the error of the call. odd is what a reply that cannot be decoded counts as.
func decoded[T any](s *stripeAPI, text []byte, err error, odd upstream.Outcome, decode func([]byte) (T, error)) (object T, _ error) {
	if err := s.outcome(err); err != nil {
		return object, err
	}
	if object, err = decode(text); err != nil {
		return object, &upstream.Error{Outcome: odd, Status: http.StatusOK, Detail: excerpt([]byte(err.Error()))}
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
	if err := s.readyFor(ctx, priceID, "price_"); err != nil {
		return ledger.Plan{}, err
	}
	query := url.Values{"expand[]": {"product", "currency_options"}}
	price, err := readObject(ctx, s, "/v1/prices/"+priceID, query, stripeapi.DecodePrice)
	if err != nil {
		return ledger.Plan{}, err
	}
	refused := func(why string) (ledger.Plan, error) {
		return ledger.Plan{}, &upstream.Error{Outcome: upstream.Refused, Status: 200, Detail: "price " + priceID + " " + why}
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
	plan := ledger.Plan{PriceID: priceID, Name: cmp.Or(string(price.Nickname), price.Product.Name), Description: price.Product.Description,
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

// Links lists the active links that this project made, oldest first. Stripe lists the newest first and cannot search by metadata.
func (s *stripeAPI) Links(ctx context.Context) (links []ledger.Link, err error) {
	var odd []string
	for after, more := "", true; more; {
		if err := s.ready(ctx); err != nil { // one page, one call: each of them waits for its slot
			return nil, err
		}
		page, err := s.readPage(ctx, "/v1/payment_links", url.Values{"active": {"true"}}, after)
		if err != nil {
			return nil, fmt.Errorf("page after %q: %w", after, err)
		}
		for _, record := range page.Records {
			link, err := stripeapi.DecodeLink(record)
			if err != nil {
				odd = append(odd, stripeapi.NameOf(err))
				continue
			}
			if link.Metadata["app"] == stripeapi.App && link.Metadata["project"] == s.project && link.Metadata["device_uid"] != "" {
				links = append(links, linkRecord(link))
			}
		}
		after, more = page.Last, page.More
	}
	s.odd("Stripe's payment links", odd)
	slices.Reverse(links)
	return links, nil
}

// captureManual holds the money until it is captured. It also stands in the metadata "capture" of what was made so.
const captureManual = "manual"

func linkRecord(link stripeapi.Link) ledger.Link {
	r := ledger.Link{ID: link.ID, Livemode: link.Livemode, DeviceUID: uid.Key(link.Metadata["device_uid"]), URL: link.URL,
		ReturnURL: link.AfterCompletion.ReturnURL, Plan: ledger.Plan{PriceID: link.Metadata["price_id"]},
		Manual: link.Metadata["capture"] == captureManual, SignedBy: cmp.Or(link.Metadata[stripeapi.Signature], ledger.Unsigned)}
	r.Active, r.Limited, r.Closed = link.State()
	return r
}

// CreateLink makes the Payment Link of a device and plan. The metadata stands twice: on the link, from where it is copied to
// sessions, and on the payment intent, for the events that come without a session.
func (s *stripeAPI) CreateLink(ctx context.Context, d ledger.Device, plan ledger.Plan, returnURL, process, key string) (ledger.Link, error) {
	if err := s.readyFor(ctx, plan.PriceID, "price_"); err != nil {
		return ledger.Link{}, err
	}
	metadata := map[string]string{"app": stripeapi.App, "project": s.project, "device_uid": cmp.Or(d.Spelled, d.UID), "price_id": plan.PriceID}
	params := &stripe.PaymentLinkCreateParams{
		LineItems:          []*stripe.PaymentLinkCreateLineItemParams{{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)}},
		Metadata:           metadata,
		PaymentIntentData:  &stripe.PaymentLinkCreatePaymentIntentDataParams{Metadata: metadata, Description: stripe.String(stripeapi.Description(d, plan)), StatementDescriptorSuffix: statementSuffix(d)},
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
	params.Metadata = signedBy(process, metadata)
	link, err := createObject(ctx, s, "/v1/payment_links", params, key, stripeapi.DecodeLink)
	if err != nil {
		return ledger.Link{}, err
	}
	record := linkRecord(link)
	record.Plan, record.ReturnURL = plan, returnURL
	return record, nil
}

// UpdateLink makes a link active or not, and sets its return URL. Price, currency and capture method cannot be changed.
func (s *stripeAPI) UpdateLink(ctx context.Context, link ledger.Link) error {
	if err := s.readyFor(ctx, link.ID, "plink_"); err != nil {
		return err
	}
	params := &stripe.PaymentLinkUpdateParams{Active: stripe.Bool(link.Active), Metadata: signature(link.SignedBy)}
	switch {
	case !link.Active:
	case link.ReturnURL != "":
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{Type: stripe.String("redirect"),
			Redirect: &stripe.PaymentLinkUpdateAfterCompletionRedirectParams{URL: stripe.String(link.ReturnURL)}}
	default:
		params.AfterCompletion = &stripe.PaymentLinkUpdateAfterCompletionParams{Type: stripe.String("hosted_confirmation")}
	}
	_, err := s.raw.Post(ctx, "/v1/payment_links/"+link.ID, params, "")
	return s.outcome(err)
}

// CreateSession makes a Checkout Session for one purchase, and returns where it is paid. As with a link, the metadata stands on it and on its
// payment intent.
func (s *stripeAPI) CreateSession(ctx context.Context, d ledger.Device, plan ledger.Plan, publicURL string, ends time.Time, key string) (ledger.Session, string, error) {
	if err := s.readyFor(ctx, plan.PriceID, "price_"); err != nil {
		return ledger.Session{}, "", err
	}
	metadata := map[string]string{"app": stripeapi.App, "project": s.project, "device_uid": cmp.Or(d.Spelled, d.UID), "price_id": plan.PriceID}
	params := &stripe.CheckoutSessionCreateParams{
		Mode:               stripe.String(string(stripe.CheckoutSessionModePayment)),
		LineItems:          []*stripe.CheckoutSessionCreateLineItemParams{{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)}},
		Metadata:           metadata,
		PaymentIntentData:  &stripe.CheckoutSessionCreatePaymentIntentDataParams{Metadata: metadata, Description: stripe.String(stripeapi.Description(d, plan)), StatementDescriptorSuffix: statementSuffix(d)},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		SuccessURL:         stripe.String(successURL(publicURL)),
		CancelURL:          stripe.String(publicURL + "/payment/cancel"),
		ExpiresAt:          stripe.Int64(ends.Unix()),
	}
	if s.manual {
		metadata["capture"] = captureManual // on the session and on its intent: it is one map
		params.PaymentIntentData.CaptureMethod = stripe.String(captureManual)
	}
	cs, err := createObject(ctx, s, "/v1/checkout/sessions", params, key, stripeapi.DecodeOpenSession)
	if err != nil {
		return ledger.Session{}, "", err
	}
	return ledger.Session{ID: cs.ID, Livemode: cs.Livemode, DeviceUID: d.UID, Manual: s.manual, Ends: ends, Plan: plan}, cs.URL, nil
}

// SessionIsOpen says whether a session can be paid still.
func (s *stripeAPI) SessionIsOpen(ctx context.Context, id string) (bool, error) {
	if err := s.readyFor(ctx, id, "cs_"); err != nil {
		return false, err
	}
	cs, err := readObject(ctx, s, "/v1/checkout/sessions/"+id, nil, stripeapi.DecodeOpenSession)
	return cs.Status == "open", err
}

// ExpireSession ends a session. Stripe refuses that of one which is not open any more.
func (s *stripeAPI) ExpireSession(ctx context.Context, id string) error {
	if err := s.readyFor(ctx, id, "cs_"); err != nil {
		return err
	}
	_, err := s.raw.Post(ctx, "/v1/checkout/sessions/"+id+"/expire", nil, "")
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
	if err := valid(id, "cs_"); err != nil {
		return bridge.Session{}, err
	}
	query := url.Values{"expand[]": {"payment_intent.latest_charge"}}
	r, err := readObject(ctx, s, "/v1/checkout/sessions/"+id, query, s.sessionRecord)
	if err == nil && r.ID != id {
		err = &upstream.Error{Outcome: upstream.Trouble, Status: http.StatusOK, Detail: "the reply is of another object than " + id}
	}
	return s.withDisputes(ctx, r, err)
}

// withDisputes returns a session that was read with the disputes of its charge. A key that may not read them leaves them unknown.
func (s *stripeAPI) withDisputes(ctx context.Context, r bridge.Session, err error) (bridge.Session, error) {
	if err != nil || !r.Disputed {
		return r, err
	}
	text, err := s.raw.Get(ctx, "/v1/disputes", url.Values{"payment_intent": {r.PaymentIntent}, "limit": {strconv.Itoa(onePage)}})
	if e, ok := errors.AsType[*stripe.Error](err); ok && (e.HTTPStatusCode == http.StatusForbidden || e.HTTPStatusCode == http.StatusUnauthorized) {
		return r, nil
	}
	r.Disputes, err = decoded(s, text, err, upstream.Trouble, stripeapi.DecodeDisputes)
	return r, err
}

func (s *stripeAPI) sessionOfIntent(ctx context.Context, intent string) (bridge.Session, error) {
	if err := valid(intent, "pi_"); err != nil {
		return bridge.Session{}, err
	}
	query := url.Values{"payment_intent": {intent}, "expand[]": {"data.payment_intent.latest_charge"}}
	page, err := readObject(ctx, s, "/v1/checkout/sessions", query, stripeapi.DecodePage)
	if err != nil {
		return bridge.Session{}, err
	}
	if len(page.Records) == 0 {
		return bridge.Session{}, &upstream.Error{Outcome: upstream.Refused, Status: 200, Detail: "no session of " + intent}
	}
	r, err := decoded(s, page.Records[0], nil, upstream.Trouble, s.sessionRecord)
	return s.withDisputes(ctx, r, err)
}

// Sessions lists one page of the sessions that were completed, the newest first, of those that were created since then (they may have
// been paid up to a day later). It begins behind the session with the id after, or at the newest; last is where the next page begins.
// A session that cannot be read holds up none of the others: odd names it.
func (s *stripeAPI) Sessions(ctx context.Context, since time.Time, after string) (sessions []bridge.Session, odd []string, last string, more bool, err error) {
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
func (s *stripeAPI) sessionRecord(text []byte) (bridge.Session, error) {
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
	query := url.Values{"types[]": stripeevent.ListedTypes(), "created[gte]": {strconv.FormatInt(since.Unix(), 10)}}
	page, err := s.readPage(ctx, "/v1/events", query, after)
	if err != nil {
		return nil, "", false, err
	}
	for _, record := range page.Records {
		events = append(events, stripeevent.Listed(record))
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
		err = &upstream.Error{Outcome: upstream.Unclear, Status: http.StatusOK, Detail: fmt.Sprintf("intent %q is %q, not %s", pi.ID, pi.Status, want)}
	}
	return err
}

// Refund gives money back. What the record says counts: a refund that was taken may still be pending, or have failed already. Stripe
// keeps its answer under the credit and number for a day, a refusal and a 500 as well: after these only another number asks anew.
func (s *stripeAPI) Refund(ctx context.Context, o bridge.RefundOrder) (bridge.RefundRecord, error) {
	if err := valid(o.Intent, "pi_"); err != nil {
		return bridge.RefundRecord{}, err
	}
	number := strconv.Itoa(o.Number)
	params := &stripe.RefundCreateParams{PaymentIntent: stripe.String(o.Intent), Amount: stripe.Int64(o.Amount),
		Metadata: map[string]string{"app": stripeapi.App, "project": s.project, "credit": o.Credit, "number": number}}
	return createObject(ctx, s, "/v1/refunds", params, "refund:"+o.Credit+":"+number, stripeapi.DecodeOrdered(o))
}

// Refunds lists what was given back of an intent, or is on its way, or failed: the newest first, ours and those made in the Dashboard.
// It reads one page of 100, which is more than a payment of a machine is ever given back in.
func (s *stripeAPI) Refunds(ctx context.Context, intent string) (refunds []bridge.RefundRecord, err error) {
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
			return nil, &upstream.Error{Outcome: upstream.Trouble, Status: http.StatusOK, Detail: excerpt([]byte(err.Error()))}
		}
		refunds = append(refunds, r)
	}
	return refunds, nil
}
