package stripeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/stripe/stripe-go/v82"
	"github.com/stripe/stripe-go/v82/form"
)

// Raw makes calls through Stripe's library without its decoding, which fails as a whole for one odd
// field.
type Raw struct {
	Backend stripe.Backend
	Key     string
}

// Get reads an object or a page of a list as text. The errors are those of Stripe's library.
func (r Raw) Get(ctx context.Context, path string, query url.Values) (json.RawMessage, error) {
	var reply Reply
	err := r.Backend.CallRaw(http.MethodGet, path, r.Key, []byte(query.Encode()), &stripe.Params{Context: ctx}, &reply)
	return reply.Text, err
}

// Post sends parameters of Stripe's library, or none, and returns the object of the reply as text.
// Without an idempotency key each call has one of its own. The errors are those of Stripe's
// library.
func (r Raw) Post(ctx context.Context, path string, params any, key string) (json.RawMessage, error) {
	var reply Reply
	body, call := &form.Values{}, &stripe.Params{Context: ctx}
	if params != nil {
		form.AppendTo(body, params)
	}
	if key != "" {
		call.SetIdempotencyKey(key)
	}
	err := r.Backend.CallRaw(http.MethodPost, path, r.Key, []byte(body.Encode()), call, &reply)
	return reply.Text, err
}

// maxID is the longest id that Stripe gives, in characters.
const maxID = 255

// CheckID returns an error if an id is empty or cannot be one of Stripe's with this prefix. A call
// with such an id would be another call: that of a list, or of another object.
func CheckID(id, prefix string) error {
	rest, found := strings.CutPrefix(id, prefix)
	odd := strings.ContainsFunc(rest, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
	})
	if !found || rest == "" || odd || len(id) > maxID {
		return fmt.Errorf("%q is no id of Stripe's that begins with %q, so no call was made", id, prefix)
	}
	return nil
}
