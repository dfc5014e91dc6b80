package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"
	"github.com/stripe/stripe-go/v82/webhook"

	"notepay/internal/bridge"
)

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
	var o eventObject
	kind := kindOf(e.Type)
	err = json.Unmarshal(e.Data.Object, &o)
	if err == nil && o.ID == "" {
		err = errors.New("it has no id")
	}
	if err != nil && kind != otherObject { // what other objects look like is not our concern
		return bridge.Event{}, fmt.Errorf("%w: object of %s: %w", errMalformed, e.Type, err)
	}
	event := bridge.Event{ID: e.ID, Type: e.Type, ObjectID: o.ID, Intent: string(o.PaymentIntent), Livemode: e.Livemode,
		Created: time.Unix(e.Created, 0).UTC(), Metadata: o.Metadata, Body: string(kept)}
	switch kind {
	case sessionObject:
		event.Session = &bridge.Session{ID: o.ID, PaymentStatus: o.PaymentStatus, PaymentIntent: string(o.PaymentIntent), PaymentLink: string(o.PaymentLink),
			Amount: o.AmountTotal, Currency: o.Currency, Livemode: e.Livemode, PaidAt: event.Created, Metadata: o.Metadata}
	case intentObject:
		event.Intent = o.ID
	case chargeObject:
		event.Refunded = o.AmountRefunded
	case refundObject:
		event.Refund = &bridge.RefundRecord{ID: o.ID, Intent: string(o.PaymentIntent), Amount: o.Amount, Status: o.Status}
		event.Refund.Credit, event.Refund.Number = orderOf(o.Metadata)
	case disputeObject:
		event.Dispute = o.Status
	}
	return event, nil
}

// eventObject is what is read of the objects of events, whichever they are.
type eventObject struct {
	ID             string            `json:"id"`
	Metadata       map[string]string `json:"metadata"`
	PaymentIntent  reference         `json:"payment_intent"`
	PaymentStatus  string            `json:"payment_status"`  // of a session
	PaymentLink    reference         `json:"payment_link"`    // of a session
	AmountTotal    int64             `json:"amount_total"`    // of a session
	Currency       string            `json:"currency"`        // of a session
	AmountRefunded int64             `json:"amount_refunded"` // of a charge
	Amount         int64             `json:"amount"`          // of a refund
	Status         string            `json:"status"`          // of a refund or a dispute
}

// objectKind is what an event is about.
type objectKind int

const (
	otherObject objectKind = iota // one that is not followed
	sessionObject
	intentObject
	chargeObject
	refundObject
	disputeObject
)

func kindOf(eventType string) objectKind {
	switch {
	case strings.HasPrefix(eventType, "checkout.session."):
		return sessionObject
	case strings.HasPrefix(eventType, "payment_intent."):
		return intentObject
	case eventType == "charge.refunded":
		return chargeObject
	case strings.HasPrefix(eventType, "refund."), eventType == "charge.refund.updated": // the latter is the older name
		return refundObject
	case strings.HasPrefix(eventType, "charge.dispute."):
		return disputeObject
	}
	return otherObject
}

// followedTypes are the events that change a payment, for the list of events and for whoever makes an endpoint. Stripe lists at
// most 20 types at once.
func followedTypes() []string {
	return []string{
		"checkout.session.completed", "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
		"payment_intent.succeeded", "payment_intent.amount_capturable_updated", "payment_intent.canceled",
		"charge.refunded", "refund.created", "refund.updated", "refund.failed", "charge.refund.updated",
		"charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed",
	}
}

// Events lists one page of the events of the followed types, the newest first, of those that were created since then; Stripe
// keeps them for 30 days. It begins behind the event with the id after, or at the newest; last is where the next page begins.
//
// An event that cannot be read holds up none of the others: err then wraps errMalformed and names each of them, and the events, last
// and more are good nevertheless. Any other error is a *upstream.Error, and there are no events.
func (s *stripeAPI) Events(ctx context.Context, since time.Time, after string) (events []bridge.Event, last string, more bool, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", false, err
	}
	params := &stripe.EventListParams{Types: stripe.StringSlice(followedTypes()),
		CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: since.Unix()}, ListParams: pageAfter(after)}
	var unread []error
	read := 0
	for e, err := range s.client.V1Events.List(ctx, params) {
		if err != nil {
			return nil, "", false, s.outcome(err)
		}
		last, read = e.ID, read+1
		if event, err := decodeListed(e); err != nil {
			unread = append(unread, fmt.Errorf("event %s: %w", e.ID, err))
		} else {
			events = append(events, event)
		}
	}
	_ = s.outcome(nil) // the call was answered
	return events, last, read == onePage, errors.Join(unread...)
}

// decodeListed reads an event of a list by the way of a webhook's body, so that both come to the same.
func decodeListed(e *stripe.Event) (bridge.Event, error) {
	var body struct {
		ID         string `json:"id"`
		Object     string `json:"object"`
		APIVersion string `json:"api_version"`
		Created    int64  `json:"created"`
		Data       struct {
			Object json.RawMessage `json:"object,omitempty"`
		} `json:"data"`
		Livemode bool   `json:"livemode"`
		Type     string `json:"type"`
	}
	body.ID, body.Object, body.APIVersion, body.Created, body.Livemode, body.Type = e.ID, "event", e.APIVersion, e.Created, e.Livemode, string(e.Type)
	if e.Data != nil {
		body.Data.Object = e.Data.Raw
	}
	var text bytes.Buffer
	plain := json.NewEncoder(&text)
	plain.SetEscapeHTML(false) // as Stripe sends it
	if err := plain.Encode(body); err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return decodeEvent(text.Bytes())
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
