// Package stripeevent reads Stripe's events, whether they come as webhooks or are listed.
//
// It promises that an event counts only with Stripe's signature, that the same event comes to the same however it arrives, whatever
// release of the API it was rendered in, and that nothing of it is kept that tells who paid. It does not know what follows from an
// event: that is the bridge's.
package stripeevent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"
	"github.com/stripe/stripe-go/v82/webhook"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/vendortime"
)

// App is the metadata "app" of everything we make at Stripe.
const App = "notepay"

// Secrets are the signing secrets of Stripe's webhooks. With none everything is refused: an empty secret would verify what anybody signs with it.
type Secrets []string

// ErrSignature is for events that Stripe did not sign, or not lately.
var ErrSignature = errors.New("no valid signature")

// ErrTooOld is for events that Stripe signed too long ago. It is an ErrSignature.
var ErrTooOld = fmt.Errorf("%w: signed too long ago", ErrSignature)

// ErrTimeUnknown is for signed events of which nobody knows yet whether Stripe signed them lately.
var ErrTimeUnknown = errors.New("signed at another time than the host's clock shows, and Stripe's time is not known yet")

// ErrMalformed is for signed events that cannot be read.
var ErrMalformed = errors.New("malformed event")

// Plausible reports whether a header may be a signature of Stripe's: it has a time and a signature
// of the version that is checked. It costs next to nothing, so that what cannot be signed is
// refused before its body is read.
func (s Secrets) Plausible(header string) bool {
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

// Verify checks the signature of the raw body against each secret, and its age against Stripe's time, and then decodes the few
// stable fields that are used. The library's own event would refuse another release train of the API and takes five times as
// long, and the library's own tolerance is of the host's clock.
func (s Secrets) Verify(body []byte, header string, clock *vendortime.Clock) (bridge.Event, error) {
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
	return Decode(body)
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

// Decode reads an event. The error wraps ErrMalformed.
func Decode(body []byte) (bridge.Event, error) {
	kept, err := withoutPersonalData(body)
	if err != nil {
		return bridge.Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
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
		return bridge.Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if e.ID == "" || e.Type == "" || e.Created <= 0 {
		return bridge.Event{}, fmt.Errorf("%w: no id, type or time", ErrMalformed)
	}
	var o eventObject
	kind := kindOf(e.Type)
	err = json.Unmarshal(e.Data.Object, &o)
	if err == nil && o.ID == "" {
		err = errors.New("it has no id")
	}
	if err != nil && kind != otherObject { // what other objects look like is not our concern
		return bridge.Event{}, fmt.Errorf("%w: object of %s: %w", ErrMalformed, e.Type, err)
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
		event.Refunded, event.Card, event.ReceiptURL = o.AmountRefunded, o.Paid.Card.Last4, o.ReceiptURL
	case refundObject:
		event.Refund = &bridge.RefundRecord{ID: o.ID, Intent: string(o.PaymentIntent), Amount: o.Amount, Status: o.Status}
		event.Refund.Credit, event.Refund.Number = Order(o.Metadata)
	case disputeObject:
		event.Dispute, event.DisputeAmount, event.DisputeCurrency, event.Refundable = o.Status, o.Amount, o.Currency, o.Refundable
	case otherObject:
		event.Active, event.Limited = string(o.Active) == "true", len(o.Restrictions) > 0 && string(o.Restrictions) != "null"
	}
	return event, nil
}

// eventObject is what is read of the objects of events, whichever they are.
type eventObject struct {
	ID             string            `json:"id"`
	Metadata       map[string]string `json:"metadata"`
	PaymentIntent  reference         `json:"payment_intent"`
	PaymentStatus  string            `json:"payment_status"`       // of a session
	PaymentLink    reference         `json:"payment_link"`         // of a session
	AmountTotal    int64             `json:"amount_total"`         // of a session
	Currency       string            `json:"currency"`             // of a session or a dispute
	AmountRefunded int64             `json:"amount_refunded"`      // of a charge
	ReceiptURL     string            `json:"receipt_url"`          // of a charge
	Amount         int64             `json:"amount"`               // of a refund or a dispute
	Refundable     bool              `json:"is_charge_refundable"` // of a dispute
	Status         string            `json:"status"`               // of a refund or a dispute
	Active         json.RawMessage   `json:"active"`               // of a link
	Restrictions   json.RawMessage   `json:"restrictions"`         // of a link
	Paid           struct {
		Card struct {
			Last4 string `json:"last4"`
		} `json:"card"`
	} `json:"payment_method_details"` // of a charge
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

// Types are the events that change a payment or what is sold, for the list of events and for whoever makes an endpoint. Stripe lists at
// most 20 types at once.
func Types() []string {
	return []string{
		"checkout.session.completed", "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
		"payment_intent.succeeded", "payment_intent.amount_capturable_updated", "payment_intent.canceled",
		"charge.refunded", "refund.created", "refund.updated", "refund.failed", "charge.refund.updated",
		"charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed",
		fleet.LinkUpdated, fleet.PriceUpdated, fleet.ProductUpdated,
	}
}

// ListedTypes are the events that are asked for of the list: those that an endpoint sends, and the charges, which alone tell the card.
func ListedTypes() []string { return append(Types(), bridge.ChargeSucceeded) }

// Listed reads an event of a list by the way of a webhook's body, so that both come to the same.
func Listed(e *stripe.Event) (bridge.Event, error) {
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
		return bridge.Event{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return Decode(text.Bytes())
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

// Order reads from a refund's metadata which of our orders it carries out; none for one that was made in the Dashboard.
func Order(metadata map[string]string) (credit string, number int) {
	number, err := strconv.Atoi(metadata["number"])
	if err != nil || number < 1 || metadata["app"] != App || metadata["credit"] == "" {
		return "", 0
	}
	return metadata["credit"], number
}
