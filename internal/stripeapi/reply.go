package stripeapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/upstream"
)

// reply holds the text of a reply. Stripe's library fills it in.
type reply struct {
	stripe.APIResource
	text json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *reply) UnmarshalJSON(text []byte) error {
	r.text = bytes.Clone(text)
	return nil
}

// replayed reports whether Stripe repeated its first answer to this idempotency key. The object may
// have changed since (https://docs.stripe.com/error-low-level).
func (r *reply) replayed() bool {
	return r.LastResponse != nil && r.LastResponse.Header.Get("Idempotent-Replayed") == "true"
}

// checkObject returns an error unless a reply is one of Stripe's objects. Each of them names its
// kind, and a list has data.
func checkObject(body []byte) error {
	var reply struct {
		Object string          `json:"object"`
		Data   json.RawMessage `json:"data"`
	}
	err := json.Unmarshal(body, &reply)
	if err != nil || reply.Object == "" || reply.Object == "list" && (len(reply.Data) == 0 || reply.Data[0] != '[') {
		return fmt.Errorf("it is no object of Stripe's: %s", upstream.Excerpt(body))
	}
	return nil
}

// page is one page of a list, with its records still as text.
type page struct {
	records []json.RawMessage
	more    bool   // another page follows
	last    string // the id of the last record that has one, after which the next page begins
}

// decodePage decodes a page. A reply that is no list is an error, because it would count as an
// empty one.
func decodePage(text []byte) (page, error) {
	var list struct {
		Object string            `json:"object"`
		Data   []json.RawMessage `json:"data"`
		More   *bool             `json:"has_more"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return page{}, fmt.Errorf("decode a list: %w", err)
	}
	if list.Object != "list" || list.Data == nil || list.More == nil {
		return page{}, errors.New("the reply is no list of Stripe's")
	}
	p := page{records: list.Data, more: *list.More}
	for _, record := range slices.Backward(p.records) {
		if p.last = idOf(record); p.last != "" {
			break
		}
	}
	if p.more && p.last == "" {
		return page{}, errors.New("no record of the list has an id, so the next page cannot be read")
	}
	return p, nil
}

// oddRecord is the error for a record that cannot be decoded.
type oddRecord struct {
	kind  string // "session", "event", ...
	id    string // "" if it cannot be read either
	field string // such as "payment_intent.status"; "" if no field can be named
	err   error
}

// Error implements error.
func (o *oddRecord) Error() string { return fmt.Sprintf("%s: %v", o.name(), o.err) }

// Unwrap returns why the record cannot be decoded.
func (o *oddRecord) Unwrap() error { return o.err }

// name returns the record's kind, id and field, for the operator.
func (o *oddRecord) name() string {
	name := o.kind + " " + o.id
	if o.id == "" {
		name = o.kind + " without id"
	}
	if o.field != "" {
		name += " (" + o.field + ")"
	}
	return name
}

// nameOf returns the name of the record that could not be decoded, for the operator.
func nameOf(err error) string {
	if odd, ok := errors.AsType[*oddRecord](err); ok {
		return odd.name()
	}
	return err.Error()
}

// idOf returns the id of a record, or "" if none can be read.
func idOf(text []byte) string {
	var o struct {
		ID optional `json:"id"`
	}
	_ = json.Unmarshal(text, &o) // what cannot be read has no id
	return string(o.ID)
}

// decode decodes a record. The error is an *oddRecord.
func decode(kind string, text []byte, into any) error {
	err := json.Unmarshal(text, into)
	if err == nil {
		return nil
	}
	odd := &oddRecord{kind: kind, id: idOf(text), err: err}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		odd.field = wrong.Field
	}
	return odd
}

// withID returns err, or an *oddRecord if decoding went well and the record has no id.
func withID(kind, id string, err error) error {
	if err == nil && id == "" {
		return &oddRecord{kind: kind, field: "id", err: errors.New("there is no id")}
	}
	return err
}

// optional is a string on which nothing depends. Anything else than a string decodes to "".
type optional string

// UnmarshalJSON implements json.Unmarshaler.
func (o *optional) UnmarshalJSON(text []byte) error {
	var s string
	*o = ""
	if json.Unmarshal(text, &s) == nil {
		*o = optional(s)
	}
	return nil
}

// isTrue is a switch on which no payment depends. Anything else than true decodes to false.
type isTrue bool

// UnmarshalJSON implements json.Unmarshaler.
func (b *isTrue) UnmarshalJSON(text []byte) error {
	*b = string(text) == "true"
	return nil
}

// metadataMap is what programs and people attach to an object. Stripe documents texts. Another
// value is kept as its JSON text, because it must not hide the others.
type metadataMap map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *metadataMap) UnmarshalJSON(text []byte) error {
	var texts map[string]string
	if json.Unmarshal(text, &texts) == nil {
		*m = texts
		return nil
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	*m = make(metadataMap, len(values))
	for name, value := range values {
		var plain string
		if json.Unmarshal(value, &plain) != nil {
			plain = string(value)
		}
		(*m)[name] = plain
	}
	return nil
}

// maxAmount is the largest amount of one payment in any currency, in minor units: Stripe takes at
// most twelve digits. Sums of larger ones could overflow, and then no total could be shown.
const maxAmount = 999_999_999_999

// checkAmount returns an *oddRecord for an amount that no object of Stripe's has.
func checkAmount(kind, id, field string, amount int64) error {
	if amount >= -maxAmount && amount <= maxAmount {
		return nil
	}
	return &oddRecord{kind: kind, id: id, field: field, err: errors.New("it has more than twelve digits")}
}

// optionalAmount is an amount on which no sum depends. Anything else than a whole number decodes to
// 0.
type optionalAmount int64

// UnmarshalJSON implements json.Unmarshaler.
func (a *optionalAmount) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		n = 0
	}
	*a = optionalAmount(n)
	return nil
}

// maxUnix is the year 10000 in Unix seconds. JSON has no later times, so an answer with one would
// fail as a whole.
const maxUnix = 253_402_300_800

// timestamp is a time in Unix seconds. Anything else decodes to 0, the time that Stripe's objects
// never have.
type timestamp int64

// UnmarshalJSON implements json.Unmarshaler.
func (t *timestamp) UnmarshalJSON(text []byte) error {
	seconds, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || seconds < 0 || seconds >= maxUnix {
		seconds = 0
	}
	*t = timestamp(seconds)
	return nil
}

// time returns the time in UTC.
func (t timestamp) time() time.Time { return time.Unix(int64(t), 0).UTC() }

// reference is the id of another object. Stripe sends it as a string, as null, or as the expanded
// object.
type reference string

// UnmarshalJSON implements json.Unmarshaler.
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
