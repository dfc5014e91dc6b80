// Package stripeevent reads Stripe's events, whether they come as webhooks or are listed.
//
// It promises that an event counts only with Stripe's signature, that the same event comes to the
// same however it arrives, whatever release of the API it was rendered in, and that nothing of it
// is kept that tells who paid. It does not know what follows from an event: that is the bridge's.
package stripeapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82/webhook"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/vendortime"
)

// WebhookSecrets are the signing secrets of Stripe's webhooks. With none everything is refused: an
// empty secret would verify what anybody signs with it.
type WebhookSecrets []string

// ErrSignature is for events that Stripe did not sign, or not lately.
var ErrSignature = errors.New("no valid signature")

// ErrTooOld is for events that Stripe signed too long ago. It is an ErrSignature.
var ErrTooOld = fmt.Errorf("%w: signed too long ago", ErrSignature)

// ErrTimeUnknown is for signed events of which nobody knows yet whether Stripe signed them lately.
var ErrTimeUnknown = errors.New(
	"signed at another time than the host's clock shows, and Stripe's time is not known yet",
)

// ErrMalformed is for signed events that cannot be read.
var ErrMalformed = errors.New("malformed event")

// Plausible reports whether a header may be a signature of Stripe's: it has a time and a signature
// of the version that is checked. It costs next to nothing, so that what cannot be signed is
// refused before its body is read.
func (s WebhookSecrets) Plausible(header string) bool {
	timed, signed := false, false
	for part := range strings.SplitSeq(header, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch key {
		case "t":
			_, err := strconv.ParseInt(value, 10, 64)
			timed = timed || err == nil
		case "v1":
			sum, err := hex.DecodeString(value)
			signed = signed || err == nil && len(sum) == sha256.Size
		}
	}
	return len(s) > 0 && timed && signed
}

// Verify checks the signature of the raw body against each secret, and its age against Stripe's
// time, and then decodes the few stable fields that are used. The library's own event would refuse
// another release train of the API and takes five times as long, and the library's own tolerance is
// of the host's clock.
func (s WebhookSecrets) Verify(body []byte, header string, clock *vendortime.Clock) (bridge.Event, error) {
	err := ErrSignature
	for _, secret := range s {
		if secret == "" {
			continue
		}
		if err = webhook.ValidatePayloadIgnoringTolerance(body, header, secret); err == nil {
			break
		}
	}
	if err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	switch age := clock.Now().Sub(signedAt(header)); {
	case !clock.Known() && age.Abs() > vendortime.Tolerance:
		return bridge.Event{}, ErrTimeUnknown
	case age > webhook.DefaultTolerance:
		return bridge.Event{}, fmt.Errorf("%w: %s", ErrTooOld, age.Round(time.Second))
	}
	return DecodeEvent(body)
}

// signedAt returns the time in the header of a good signature. Of several, the last one was signed.
func signedAt(header string) (at time.Time) {
	for part := range strings.SplitSeq(header, ",") {
		if text, ok := strings.CutPrefix(part, "t="); ok {
			seconds, _ := strconv.ParseInt(text, 10, 64) // the library has read it
			at = time.Unix(seconds, 0)
		}
	}
	return at
}

// envelope is what is used of an event beside its object. Fields that tell whose event it is may
// have any shape.
type envelope struct {
	ID       string          `json:"id"`
	Object   Text            `json:"object"`
	Type     string          `json:"type"`
	Created  json.RawMessage `json:"created"`
	Livemode bool            `json:"livemode"`
	Account  json.RawMessage `json:"account"`
	Context  json.RawMessage `json:"context"`
	Pending  json.RawMessage `json:"pending_webhooks"`
	Data     json.RawMessage `json:"data"`
}

// DecodeEvent reads an event. The error wraps ErrMalformed. If the event has at least an id and a
// type, the event that is returned with the error holds what can be read of it.
func DecodeEvent(body []byte) (bridge.Event, error) {
	kept, err := withoutPersonalData(body)
	if err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var e envelope
	if err := json.Unmarshal(kept, &e); err != nil {
		return bridge.Event{}, malformedEvent(IDOf(kept), err)
	}
	if e.ID == "" || e.Type == "" {
		return bridge.Event{}, fmt.Errorf("%w: no id or no type", ErrMalformed)
	}
	event := bridge.Event{
		ID:       e.ID,
		Type:     e.Type,
		Livemode: e.Livemode,
		Pending:  pendingWebhooks(e.Pending),
		Body:     string(kept),
		Foreign:  isFieldSet(e.Account) || isFieldSet(e.Context),
	}
	var ok bool
	if event.Created, ok = eventTime(e.Created); !ok {
		return event, malformedEvent(e.ID, errors.New("field created: no time"))
	}
	if e.Object == thin || strings.HasPrefix(e.Type, "v2.") {
		event.Skipped = "it is a thin event, which carries no object"
		return event, nil
	}
	if event.Foreign { // what it looks like is not our concern
		return event, nil
	}
	var data struct {
		Object json.RawMessage `json:"object"`
	}
	kind := kindOf(e.Type)
	if len(e.Data) > 0 {
		err = json.Unmarshal(e.Data, &data)
	}
	if kind == otherObject { // likewise
		event.ObjectID = IDOf(data.Object)
		event.Active, event.Limited = offerState(data.Object)
		return event, nil
	}
	if err == nil {
		err = fillEvent(&event, kind, data.Object)
	}
	if err != nil {
		event.ObjectID = IDOf(data.Object)
		event.Intent = string(intentOf(event, kind, data.Object))
		return event, malformedEvent(e.ID, fmt.Errorf("%s: %w", e.Type, err))
	}
	return event, nil
}

// fillEvent reads the event's object.
func fillEvent(event *bridge.Event, kind objectKind, object []byte) error {
	if len(object) == 0 || string(object) == "null" {
		return errors.New("field data.object: there is no object")
	}
	switch kind {
	case sessionObject:
		s, _, err := DecodeSession(object)
		if err != nil {
			return err
		}
		s.Livemode, s.PaidAt = event.Livemode, event.Created
		event.Session, event.ObjectID, event.Intent, event.Metadata = &s, s.ID, s.PaymentIntent, s.Metadata
	case intentObject:
		i, err := DecodeIntent(object)
		if err != nil {
			return err
		}
		event.ObjectID, event.Intent, event.Metadata = i.ID, i.ID, i.Metadata
	case chargeObject:
		c, err := DecodeCharge(object)
		if err != nil {
			return err
		}
		event.ObjectID, event.Intent, event.Metadata = c.ID, string(c.PaymentIntent), c.Metadata
		event.Refunded, event.Card, event.ReceiptURL = c.AmountRefunded, c.Details.Last4, string(c.ReceiptURL)
	case refundObject:
		r, metadata, err := DecodeRefund(object)
		if err != nil {
			return err
		}
		event.Refund, event.ObjectID, event.Intent, event.Metadata = &r, r.ID, r.Intent, metadata
	case disputeObject:
		d, err := DecodeDispute(object)
		if err != nil {
			return err
		}
		event.ObjectID, event.Intent, event.Metadata = d.ID, string(d.PaymentIntent), d.Metadata
		event.Dispute, event.DisputeAmount, event.DisputeCurrency, event.Refundable = d.Status, d.Amount, d.Currency, d.Refundable
	}
	return nil
}

// intentOf returns the PaymentIntent of an event that cannot be read, so that Stripe can be asked
// for it.
func intentOf(event bridge.Event, kind objectKind, object []byte) Reference {
	if kind == intentObject {
		return Reference(event.ObjectID)
	}
	var o struct {
		Intent json.RawMessage `json:"payment_intent"`
	}
	var intent Reference
	if json.Unmarshal(object, &o) != nil || len(o.Intent) == 0 || json.Unmarshal(o.Intent, &intent) != nil {
		return ""
	}
	return intent
}

// thin is the "object" of events that carry no object of their own.
const thin = "v2.core.event"

func malformedEvent(id string, err error) error {
	return fmt.Errorf("%w: event %s: %w", ErrMalformed, id, err)
}

// eventTime reads a time in Unix seconds, or in the words of a thin event.
func eventTime(text json.RawMessage) (time.Time, bool) {
	var seconds int64
	if json.Unmarshal(text, &seconds) == nil {
		return time.Unix(seconds, 0).UTC(), seconds > 0
	}
	var t time.Time
	if json.Unmarshal(text, &t) == nil {
		return t.UTC().Truncate(time.Second), t.Unix() > 0
	}
	return time.Time{}, false
}

// isFieldSet reports whether a field holds anything. "" and null are how a field says that there is
// nothing.
func isFieldSet(field json.RawMessage) bool {
	return len(field) > 0 && string(field) != "null" && string(field) != `""`
}

// pendingWebhooks reads how many endpoints have not accepted an event, -1 if that is not told.
func pendingWebhooks(text json.RawMessage) int {
	var n int
	if len(text) == 0 || string(text) == "null" || json.Unmarshal(text, &n) != nil || n < 0 {
		return -1
	}
	return n
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
	case eventType == "charge.refunded", eventType == bridge.ChargeSucceeded:
		return chargeObject
	case strings.HasPrefix(eventType, "refund."), eventType == "charge.refund.updated": // the latter is the older name
		return refundObject
	case strings.HasPrefix(eventType, "charge.dispute."):
		return disputeObject
	}
	return otherObject
}

// EventTypes are the events that change a payment or what is sold, for the list of events and for
// whoever makes an endpoint. Stripe lists at most 20 types at once.
func EventTypes() []string {
	return []string{
		"checkout.session.completed", "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
		"payment_intent.succeeded", "payment_intent.amount_capturable_updated", "payment_intent.canceled",
		"charge.refunded", "refund.created", "refund.updated", "refund.failed", "charge.refund.updated",
		"charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed",
		fleet.LinkUpdated, fleet.PriceUpdated, fleet.ProductUpdated,
	}
}

// ListedEventTypes are the events that are asked for of the list: those that an endpoint sends, and
// the charges, which alone tell the card.
func ListedEventTypes() []string { return append(EventTypes(), bridge.ChargeSucceeded) }

// DecodeListedEvent reads an event of a list. If it cannot be read, Odd says why; then it may have
// no id.
func DecodeListedEvent(record []byte) bridge.Event {
	e, err := DecodeEvent(record)
	e.Listed = true
	if err != nil {
		e.Odd = err.Error()
	}
	return e
}

// offerState reads of a Payment Link whether it is active, and whether it is limited to some
// payments.
func offerState(object json.RawMessage) (active, limited bool) {
	var link struct {
		Active       json.RawMessage `json:"active"`
		Restrictions json.RawMessage `json:"restrictions"`
	}
	_ = json.Unmarshal(object, &link) // of another shape neither is true, and Stripe is asked
	return string(link.Active) == "true", isFieldSet(link.Restrictions)
}
