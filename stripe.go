package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"
	"github.com/stripe/stripe-go/v82/webhook"

	"notepay/internal/bridge"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// stripeAPI is everything that knows Stripe. Each method makes one attempt and returns nil or a *upstream.Error.
type stripeAPI struct {
	client  *stripe.Client
	project string // the metadata "project" of what is ours
	pace    *upstream.Pace
}

// stripeTimeLimit is how long one call may take.
const stripeTimeLimit = 20 * time.Second

// app is the metadata "app" of everything we make at Stripe.
const app = "notepay"

func newStripe(s *config.Settings, pace *upstream.Pace) *stripeAPI {
	return newStripeOver(newTransport(), s, pace)
}

func newStripeOver(transport http.RoundTripper, s *config.Settings, pace *upstream.Pace) *stripeAPI {
	return &stripeAPI{
		client: stripe.NewClient(string(s.StripeSecretKey), stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
			URL:               stripe.String(s.StripeAPIURL),
			HTTPClient:        &http.Client{Transport: transport, Timeout: stripeTimeLimit},
			MaxNetworkRetries: stripe.Int64(0), // the library's own retries sleep without a look at the context
			EnableTelemetry:   stripe.Bool(false),
			LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull}, // what went wrong is in the error
		}))),
		project: s.NotehubProjectUID,
		pace:    pace,
	}
}

// ready waits for a slot; no call to Stripe is claimed from a queue that has one already.
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
	}
	return out
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
		if plan.AccessCode, err = strconv.ParseBool(strings.ToLower(text)); err != nil {
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

// Links lists the active links that this project made, oldest first. Stripe lists the newest first and cannot search by metadata.
func (s *stripeAPI) Links(ctx context.Context) (links []ledger.Link, err error) {
	params := &stripe.PaymentLinkListParams{Active: stripe.Bool(true)}
	params.Limit = stripe.Int64(100)
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
			if link.Metadata["app"] == app && link.Metadata["project"] == s.project && link.Metadata["device_uid"] != "" {
				links = append(links, linkRecord(link))
			}
		}
		if n < 100 {
			break
		}
		params.StartingAfter = stripe.String(last)
	}
	for i, j := 0, len(links)-1; i < j; i, j = i+1, j-1 {
		links[i], links[j] = links[j], links[i]
	}
	return links, nil
}

func linkRecord(link *stripe.PaymentLink) ledger.Link {
	r := ledger.Link{ID: link.ID, Livemode: link.Livemode, DeviceUID: link.Metadata["device_uid"], URL: link.URL, Active: link.Active,
		Plan: ledger.Plan{PriceID: link.Metadata["price_id"]}}
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
	metadata := map[string]string{"app": app, "project": s.project, "device_uid": d.UID, "price_id": plan.PriceID}
	params := &stripe.PaymentLinkCreateParams{
		LineItems:          []*stripe.PaymentLinkCreateLineItemParams{{Price: stripe.String(plan.PriceID), Quantity: stripe.Int64(1)}},
		Metadata:           metadata,
		PaymentIntentData:  &stripe.PaymentLinkCreatePaymentIntentDataParams{Metadata: metadata, Description: stripe.String(description(d, plan))},
		PaymentMethodTypes: stripe.StringSlice([]string{"card"}), // which brings the wallets; others may pay days later
		InactiveMessage:    stripe.String("This machine is not for sale through this link any more. Please scan the sticker on the machine again."),
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

// description names machine and plan on the payment in Stripe's Dashboard.
func description(d ledger.Device, plan ledger.Plan) string {
	return cmp.Or(d.Name, d.UID) + ": " + cmp.Or(plan.Name, plan.PriceID)
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
	return sessionRecord(cs), nil
}

func (s *stripeAPI) sessionOfIntent(ctx context.Context, intent string) (bridge.Session, error) {
	params := &stripe.CheckoutSessionListParams{PaymentIntent: stripe.String(intent)}
	params.Single = true
	params.AddExpand("data.payment_intent.latest_charge")
	for cs, err := range s.client.V1CheckoutSessions.List(ctx, params) {
		if err := s.outcome(err); err != nil {
			return bridge.Session{}, err
		}
		return sessionRecord(cs), nil
	}
	return bridge.Session{}, &upstream.Error{Outcome: upstream.Refused, Status: 200, Detail: "no session of " + intent}
}

func sessionRecord(cs *stripe.CheckoutSession) bridge.Session {
	r := bridge.Session{ID: cs.ID, PaymentStatus: string(cs.PaymentStatus), Amount: cs.AmountTotal, Currency: string(cs.Currency), Livemode: cs.Livemode,
		Metadata: cs.Metadata, Created: time.Unix(cs.Created, 0).UTC()}
	if cs.PaymentLink != nil {
		r.PaymentLink = cs.PaymentLink.ID
	}
	if pi := cs.PaymentIntent; pi != nil {
		r.PaymentIntent, r.IntentStatus = pi.ID, string(pi.Status)
		if pi.LatestCharge != nil && pi.LatestCharge.Created != 0 {
			r.PaidAt = time.Unix(pi.LatestCharge.Created, 0).UTC() // the session may have been opened long before it was paid
		}
	}
	if cs.Status != stripe.CheckoutSessionStatusComplete {
		r.PaymentStatus, r.IntentStatus = "unpaid", "" // open or expired: nobody has paid
	}
	return r
}

// webhooks verifies Stripe's webhooks. With no secret it refuses everything: an empty secret would verify what anybody signs with it.
type webhooks struct{ secrets []string }

// errSignature is for events that Stripe did not sign, or not lately.
var errSignature = errors.New("no valid signature")

// errMalformed is for signed events that cannot be read.
var errMalformed = errors.New("malformed event")

// verify checks the signature of the raw body against each secret, with five minutes' tolerance, and then decodes the few stable fields
// that are used. The library's own event would refuse another release train of the API and takes five times as long.
func (w webhooks) verify(body []byte, header string) (bridge.Event, error) {
	err := errSignature
	for _, secret := range w.secrets {
		if secret == "" {
			continue
		}
		if err = webhook.ValidatePayloadWithTolerance(body, header, secret, webhook.DefaultTolerance); err == nil {
			break
		}
	}
	if err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", errSignature, err)
	}
	return decodeEvent(body)
}

func decodeEvent(body []byte) (bridge.Event, error) {
	kept, err := withoutPersonalData(body)
	if err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	var e struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Created  int64  `json:"created"`
		Livemode bool   `json:"livemode"`
		Data     struct {
			Object json.RawMessage `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal(kept, &e); err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if e.ID == "" || e.Type == "" || e.Created <= 0 {
		return bridge.Event{}, fmt.Errorf("%w: no id, type or time", errMalformed)
	}
	var o struct {
		ID            string            `json:"id"`
		Metadata      map[string]string `json:"metadata"`
		PaymentStatus string            `json:"payment_status"`
		PaymentIntent reference         `json:"payment_intent"`
		PaymentLink   reference         `json:"payment_link"`
		AmountTotal   int64             `json:"amount_total"`
		Currency      string            `json:"currency"`
	}
	err = json.Unmarshal(e.Data.Object, &o)
	session := strings.HasPrefix(e.Type, "checkout.session.")
	followed := session || strings.HasPrefix(e.Type, "payment_intent.") // what other objects look like is not our concern
	if err == nil && o.ID == "" {
		err = errors.New("it has no id")
	}
	if followed && err != nil {
		return bridge.Event{}, fmt.Errorf("%w: object of %s: %w", errMalformed, e.Type, err)
	}
	created := time.Unix(e.Created, 0).UTC()
	event := bridge.Event{ID: e.ID, Type: e.Type, ObjectID: o.ID, Livemode: e.Livemode, Created: created, Metadata: o.Metadata, Body: string(kept)}
	if session {
		event.Session = &bridge.Session{ID: o.ID, PaymentStatus: o.PaymentStatus, PaymentIntent: string(o.PaymentIntent), PaymentLink: string(o.PaymentLink),
			Amount: o.AmountTotal, Currency: o.Currency, Livemode: e.Livemode, PaidAt: created, Metadata: o.Metadata}
	}
	return event, nil
}

// reference is the id of another object: a bare string, null, or the object itself where it was expanded.
type reference string

func (r *reference) UnmarshalJSON(text []byte) error {
	var id string
	if json.Unmarshal(text, &id) == nil {
		*r = reference(id)
		return nil
	}
	var object struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	*r = reference(object.ID)
	return nil
}

// personal are the keys of Stripe's objects that tell who paid. They are not kept.
var personal = []string{"customer_details", "billing_details", "shipping", "shipping_details", "collected_information", "customer_email", "receipt_email",
	"customer_name", "customer_phone", "customer_address", "customer_shipping", "email", "phone", "address", "evidence"}

// withoutPersonalData is the event's body without who paid, at any depth, and without the spaces between. It cuts the text
// instead of decoding it: half of a webhook's work was to make a tree of the event and a text of that again.
func withoutPersonalData(body []byte) ([]byte, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		return nil, err
	}
	text := compact.Bytes()
	kept := make([]byte, 0, len(text))
	for at := 0; at < len(text); {
		if text[at] != '"' {
			kept = append(kept, text[at])
			at++
			continue
		}
		end := endOfString(text, at)
		if end == len(text) || text[end] != ':' || !isPersonal(text[at:end]) {
			kept = append(kept, text[at:end]...)
			at = end
			continue
		}
		if at = endOfValue(text, end+1); text[at] == ',' {
			at++
		} else {
			kept = bytes.TrimSuffix(kept, []byte(",")) // it was the last of its object
		}
	}
	return bytes.ToValidUTF8(kept, []byte("\uFFFD")), nil // PostgreSQL takes nothing else
}

// isPersonal judges a key with its quotation marks.
func isPersonal(key []byte) bool {
	name := key[1 : len(key)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		_ = json.Unmarshal(key, &plain) // it is valid
		return slices.Contains(personal, plain)
	}
	return slices.Contains(personal, string(name))
}

// endOfString is behind the string that begins at a place in valid JSON.
func endOfString(text []byte, at int) int {
	for at++; text[at] != '"'; at++ {
		if text[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// endOfValue is behind the value that begins at a place within an object of valid JSON without spaces.
func endOfValue(text []byte, at int) int {
	for depth := 0; ; {
		switch text[at] {
		case '"':
			at = endOfString(text, at)
			continue
		case '{', '[':
			depth++
		case ',':
			if depth == 0 {
				return at
			}
		case '}', ']':
			if depth == 0 {
				return at
			}
			depth--
		}
		at++
	}
}
