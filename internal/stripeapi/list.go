// Package stripeapi reads what Stripe's API answers, record by record and field by field.
//
// A record that cannot be read never hides the others of its list, and a field that is not used may
// hold anything. The package decides nothing: it turns text into the few fields that notepay uses,
// or says which field is odd.
package stripeapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/stripe/stripe-go/v82"
)

// Reply is what a call returned, still as text. Stripe's library fills it in.
type Reply struct {
	stripe.APIResource
	Text json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Reply) UnmarshalJSON(text []byte) error {
	r.Text = bytes.Clone(text)
	return nil
}

// Page is one page of a list, with its records still as text.
type Page struct {
	Records []json.RawMessage
	More    bool   // there are records behind these
	Last    string // the id of the last record that has one: the next page begins behind it
}

// DecodePage reads a page. A reply that is no list is an error, because it would count as an empty
// one.
func DecodePage(text []byte) (Page, error) {
	var list struct {
		Object string            `json:"object"`
		Data   []json.RawMessage `json:"data"`
		More   *bool             `json:"has_more"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return Page{}, fmt.Errorf("decode a list: %w", err)
	}
	if list.Object != "list" || list.Data == nil || list.More == nil {
		return Page{}, errors.New("the reply is no list of Stripe's")
	}
	page := Page{Records: list.Data, More: *list.More}
	for _, record := range slices.Backward(page.Records) {
		if page.Last = IDOf(record); page.Last != "" {
			break
		}
	}
	if page.More && page.Last == "" {
		return Page{}, errors.New("no record of the list has an id, so the next page cannot be read")
	}
	return page, nil
}

// Odd is the error for a record that cannot be read.
type Odd struct {
	Kind  string // "session", "event", ...
	ID    string // "" if that cannot be read either
	Field string // such as "payment_intent.status"; "" if no field can be named
	Err   error
}

// Error implements error.
func (o *Odd) Error() string { return fmt.Sprintf("%s: %v", o.Name(), o.Err) }

// Unwrap returns why the record cannot be read.
func (o *Odd) Unwrap() error { return o.Err }

// Name names the record and its field, for the operator.
func (o *Odd) Name() string {
	name := o.Kind + " " + o.ID
	if o.ID == "" {
		name = o.Kind + " without id"
	}
	if o.Field != "" {
		name += " (" + o.Field + ")"
	}
	return name
}

// NameOf names the record that an error is about, for the operator.
func NameOf(err error) string {
	if odd, ok := errors.AsType[*Odd](err); ok {
		return odd.Name()
	}
	return err.Error()
}

// IDOf reads the id of a record, "" if it has none that can be read.
func IDOf(text []byte) string {
	var o struct {
		ID Text `json:"id"`
	}
	_ = json.Unmarshal(text, &o) // what is left is no id
	return string(o.ID)
}

// decode reads a record. The error is an *Odd.
func decode(kind string, text []byte, into any) error {
	err := json.Unmarshal(text, into)
	if err == nil {
		return nil
	}
	odd := &Odd{Kind: kind, ID: IDOf(text), Err: err}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		odd.Field = wrong.Field
	}
	return odd
}

// Text is a string that is not needed: anything else counts as "".
type Text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *Text) UnmarshalJSON(text []byte) error {
	var s string
	*t = ""
	if json.Unmarshal(text, &s) == nil {
		*t = Text(s)
	}
	return nil
}

// Reference is the id of another object: a bare string, null, or the object itself where it was
// expanded.
type Reference string

// UnmarshalJSON implements json.Unmarshaler.
func (r *Reference) UnmarshalJSON(text []byte) error {
	var id string
	if json.Unmarshal(text, &id) == nil {
		*r = Reference(id)
		return nil
	}
	var object struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	*r = Reference(object.ID)
	return nil
}
