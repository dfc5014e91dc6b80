package stripeapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
)

// EventTypes returns the events that change a payment or what is sold. Setup creates the webhook
// endpoint with them. Stripe lists at most 20 types at once.
func EventTypes() []string {
	return []string{
		"checkout.session.completed",
		"checkout.session.async_payment_succeeded",
		"checkout.session.async_payment_failed",
		"payment_intent.succeeded",
		"payment_intent.amount_capturable_updated",
		"payment_intent.canceled",
		"charge.refunded",
		"refund.created",
		"refund.updated",
		"refund.failed",
		"charge.refund.updated",
		"charge.dispute.created",
		"charge.dispute.updated",
		"charge.dispute.closed",
		fleet.LinkUpdated,
		fleet.PriceUpdated,
		fleet.ProductUpdated,
	}
}

// listedEventTypes returns the events that Events lists: those of the webhook endpoint, and the
// charges, which alone name the card.
func listedEventTypes() []string { return append(EventTypes(), bridge.ChargeSucceeded) }

// Events lists one page of events of the followed types, newest first, created since a time. Stripe
// keeps events for 30 days. The page begins after the event with the id after, or at the newest.
// last is the value of after for the next page. An event that cannot be decoded has Odd set, and
// does not hold up the others.
func (s *Client) Events(
	ctx context.Context,
	since time.Time,
	after string,
) (events []bridge.Event, last string, more bool, err error) {
	if err := s.wait(ctx); err != nil {
		return nil, "", false, err
	}
	query := url.Values{
		"types[]":      listedEventTypes(),
		"created[gte]": {strconv.FormatInt(since.Unix(), 10)},
	}
	page, err := s.readPage(ctx, "/v1/events", query, after)
	if err != nil {
		return nil, "", false, err
	}
	for _, record := range page.records {
		events = append(events, decodeListedEvent(record))
	}
	return events, page.last, page.more, nil
}

// AskTime makes the cheapest call that a restricted key allows. The client's transport reads
// Stripe's time from the reply's Date header, whatever the reply says.
func (s *Client) AskTime(ctx context.Context) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	_, err := s.get(ctx, "/v1/events", url.Values{"limit": {"1"}})
	return s.outcome(err)
}

// decodeListedEvent decodes an event of a list. If it cannot be decoded, Odd says why, and the id
// may be empty.
func decodeListedEvent(record []byte) bridge.Event {
	e, err := decodeEvent(record, true)
	e.Listed = true
	if err != nil {
		e.Odd = err.Error()
	}
	return e
}

// envelope holds the fields of an event around its object. Fields that tell which account the event
// is of may have any shape.
type envelope struct {
	ID       string          `json:"id"`
	Object   optional        `json:"object"`
	Type     string          `json:"type"`
	Created  json.RawMessage `json:"created"`
	Livemode json.RawMessage `json:"livemode"`
	Account  json.RawMessage `json:"account"`
	Context  json.RawMessage `json:"context"`
	Pending  json.RawMessage `json:"pending_webhooks"`
	Data     json.RawMessage `json:"data"`
}

// decodeEvent decodes an event. The error wraps ErrMalformed. If the event has at least an id and a
// type, the event that is returned with the error holds what could be decoded. A listed event is of
// the key's own account, also if it names its context.
//
// It decodes only the few stable fields that notepay uses. The library's own event type rejects
// other release trains of the API, and takes five times as long.
func decodeEvent(body []byte, listed bool) (bridge.Event, error) {
	kept, err := withoutPersonalData(body)
	if err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var e envelope
	if err := json.Unmarshal(kept, &e); err != nil {
		return bridge.Event{}, malformedEvent(idOf(kept), err)
	}
	if e.ID == "" || e.Type == "" {
		return bridge.Event{}, fmt.Errorf("%w: no id or no type", ErrMalformed)
	}
	event := bridge.Event{
		ID:      e.ID,
		Type:    e.Type,
		Pending: pendingWebhooks(e.Pending),
		Body:    string(kept),
		Foreign: isFieldSet(e.Account) || isFieldSet(e.Context) && !listed,
	}
	var timed bool
	if event.Created, timed = eventTime(e.Created); !timed {
		err = errors.New("field created: no time")
	}
	thin := e.Object == thinEvent || strings.HasPrefix(e.Type, "v2.")
	if thin {
		event.Skipped = "it is a thin event, which carries no object"
	}
	if thin || event.Foreign { // another account's object may have any shape
		event.Livemode = isLive(e.Livemode, nil)
		if err != nil {
			err = malformedEvent(e.ID, err)
		}
		return event, err
	}
	var data struct {
		Object json.RawMessage `json:"object"`
	}
	kind := kindOf(e.Type)
	if len(e.Data) > 0 {
		err = cmp.Or(err, json.Unmarshal(e.Data, &data))
	}
	event.Livemode = isLive(e.Livemode, data.Object)
	if kind == otherObject { // it may have any shape, too
		event.ObjectID = idOf(data.Object)
		event.Active, event.Limited = offerState(data.Object)
		if !timed {
			return event, malformedEvent(e.ID, err)
		}
		return event, nil
	}
	if err == nil {
		err = fillEvent(&event, kind, data.Object)
	}
	if err != nil {
		event.ObjectID = idOf(data.Object)
		event.Intent = string(intentOf(event, kind, data.Object))
		return event, malformedEvent(e.ID, fmt.Errorf("%s: %w", e.Type, err))
	}
	return event, nil
}

// isLive reports whether an event is of live mode. If the event does not say so, its object tells:
// a session by its id, others by a field of their own.
func isLive(field json.RawMessage, object []byte) bool {
	switch string(field) {
	case "true", "false":
		return string(field) == "true"
	}
	var o struct {
		ID       optional `json:"id"`
		Livemode isTrue   `json:"livemode"`
	}
	_ = json.Unmarshal(object, &o) // anything but an object says nothing
	return bool(o.Livemode) || strings.HasPrefix(string(o.ID), "cs_live_")
}

// fillEvent decodes the event's object into the event.
func fillEvent(event *bridge.Event, kind objectKind, object []byte) error {
	if len(object) == 0 || string(object) == "null" {
		return errors.New("field data.object: there is no object")
	}
	switch kind {
	case sessionObject:
		s, _, err := decodeSession(object)
		if err != nil {
			return err
		}
		s.Livemode, s.PaidAt = event.Livemode, event.Created
		event.Session, event.ObjectID, event.Intent, event.Metadata = &s, s.ID, s.PaymentIntent, s.Metadata
	case intentObject:
		i, err := decodeIntent(object)
		if err != nil {
			return err
		}
		event.ObjectID, event.Intent, event.Metadata = i.ID, i.ID, i.Metadata
	case chargeObject:
		c, err := decodeCharge(object)
		if err != nil {
			return err
		}
		event.ObjectID, event.Intent, event.Metadata = c.ID, string(c.PaymentIntent), c.Metadata
		event.Refunded, event.Card, event.ReceiptURL = c.AmountRefunded, c.Details.last4, string(c.ReceiptURL)
	case refundObject:
		r, metadata, err := decodeRefund(object)
		if err != nil {
			return err
		}
		event.Refund, event.ObjectID, event.Intent, event.Metadata = &r, r.ID, r.Intent, metadata
	case disputeObject:
		d, err := decodeDispute(object)
		if err != nil {
			return err
		}
		event.ObjectID, event.Intent, event.Metadata = d.ID, string(d.PaymentIntent), d.Metadata
		event.Dispute, event.Refundable = d.Status, bool(d.Refundable)
		event.DisputeAmount, event.DisputeCurrency, event.DisputeDue = d.Amount, d.Currency, d.dueAt()
	}
	return nil
}

// intentOf returns the PaymentIntent of an event whose object cannot be decoded, so that the bridge
// can look it up.
func intentOf(event bridge.Event, kind objectKind, object []byte) reference {
	if kind == intentObject {
		return reference(event.ObjectID)
	}
	var o struct {
		Intent json.RawMessage `json:"payment_intent"`
	}
	var intent reference
	if json.Unmarshal(object, &o) != nil || len(o.Intent) == 0 || json.Unmarshal(o.Intent, &intent) != nil {
		return ""
	}
	return intent
}

// thinEvent is the "object" of events that carry no object of their own.
const thinEvent = "v2.core.event"

// malformedEvent returns the error of an event that cannot be decoded.
func malformedEvent(id string, err error) error {
	return fmt.Errorf("%w: event %s: %w", ErrMalformed, id, err)
}

// eventTime decodes a time in Unix seconds, or in the text of a thin event. It reports whether there
// is one.
func eventTime(text json.RawMessage) (time.Time, bool) {
	var seconds int64
	if json.Unmarshal(text, &seconds) == nil {
		if seconds <= 0 || seconds >= maxUnix {
			return time.Time{}, false
		}
		return time.Unix(seconds, 0).UTC(), true
	}
	var t time.Time
	if json.Unmarshal(text, &t) == nil {
		return t.UTC().Truncate(time.Second), t.Unix() > 0
	}
	return time.Time{}, false
}

// isFieldSet reports whether a field holds anything. Stripe sends "" or null for nothing.
func isFieldSet(field json.RawMessage) bool {
	return len(field) > 0 && string(field) != "null" && string(field) != `""`
}

// pendingWebhooks returns how many endpoints have not accepted an event, or -1 if that is unknown.
func pendingWebhooks(text json.RawMessage) int {
	var n int
	if len(text) == 0 || string(text) == "null" || json.Unmarshal(text, &n) != nil || n < 0 {
		return -1
	}
	return n
}

// objectKind is the kind of an event's object.
type objectKind int

const (
	otherObject objectKind = iota // not followed
	sessionObject
	intentObject
	chargeObject
	refundObject
	disputeObject
)

// kindOf returns the kind of object that events of a type carry.
func kindOf(eventType string) objectKind {
	switch {
	case strings.HasPrefix(eventType, "checkout.session."):
		return sessionObject
	case strings.HasPrefix(eventType, "payment_intent."):
		return intentObject
	case eventType == "charge.refunded", eventType == bridge.ChargeSucceeded:
		return chargeObject
	case strings.HasPrefix(eventType, "refund."), eventType == "charge.refund.updated": // the older name
		return refundObject
	case strings.HasPrefix(eventType, "charge.dispute."):
		return disputeObject
	}
	return otherObject
}

// offerState reports whether a Payment Link is active, and whether the number of its payments is
// limited. It reports false for an object of another shape, and the fleet then asks Stripe.
func offerState(object json.RawMessage) (active, limited bool) {
	var link struct {
		Active       json.RawMessage `json:"active"`
		Restrictions json.RawMessage `json:"restrictions"`
	}
	_ = json.Unmarshal(object, &link)
	return string(link.Active) == "true", isFieldSet(link.Restrictions)
}
