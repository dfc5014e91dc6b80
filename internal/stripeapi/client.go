package stripeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"
	"github.com/stripe/stripe-go/v82/form"

	"notepay/internal/upstream"
)

// App is the metadata "app" of everything that notepay creates at Stripe.
const App = "notepay"

// Config configures a Client.
type Config struct {
	Key string // secret or restricted
	// Backend configures Stripe's library. It should switch off the library's own retries, which
	// sleep without regard to the context. New sets its HTTPClient.
	Backend stripe.BackendConfig
	// Transport carries the calls. It should bound the replies, as upstream.NewTransport does.
	Transport http.RoundTripper
	Timeout   time.Duration // of one call
	// WebhookSecrets verify the webhooks. They may be empty.
	WebhookSecrets WebhookSecrets
	Project        string // the metadata "project" of what is ours
	Manual         bool   // new links and sessions authorize only, until Capture
}

// Client calls Stripe. Each method makes one attempt and returns nil or a *upstream.Error. It is
// safe for concurrent use once its exported fields are set.
type Client struct {
	Limiter *upstream.Limiter
	// Odd is called after a list was read, with the records that could not be decoded. It gets none
	// if all could.
	Odd func(source string, records []string)

	config  Config
	library *stripe.Client
	backend stripe.Backend // of the same library, for the replies that are decoded here
	http    *http.Client   // of that backend
	origin  string         // https://..., where the API answers
}

// New returns a client of Stripe. Its limiter sets no limit, because Stripe says by status 429 when
// to slow down.
func New(c Config) *Client {
	calls := &http.Client{Transport: upstream.CheckReplies(c.Transport, checkObject), Timeout: c.Timeout}
	backend := c.Backend
	backend.HTTPClient = calls
	backends := stripe.NewBackendsWithConfig(&backend)
	return &Client{
		Limiter: upstream.NewLimiter(0, 0),
		Odd:     func(string, []string) {},
		config:  c,
		library: stripe.NewClient(c.Key, stripe.WithBackends(backends)),
		backend: backends.API,
		http:    calls,
		origin:  originOf(stripe.StringValue(c.Backend.URL)),
	}
}

// Library returns the client of Stripe's library, for calls that only setup and the checks make.
func (s *Client) Library() *stripe.Client { return s.library }

// WebhookSecrets returns the secrets that verify Stripe's webhooks.
func (s *Client) WebhookSecrets() WebhookSecrets { return s.config.WebhookSecrets }

// Observe wraps the transport, to count or watch the calls. It must not be called during a call.
func (s *Client) Observe(wrap func(http.RoundTripper) http.RoundTripper) {
	s.http.Transport = wrap(s.http.Transport)
}

// WithLimiter returns a client with the same settings and the present transport, whose calls wait
// for l.
func (s *Client) WithLimiter(l *upstream.Limiter) *Client {
	other := New(s.config)
	other.http.Transport = s.http.Transport
	other.Limiter = l
	return other
}

// wait waits for a slot. Capture, Release, Refund and Refunds do not call it, because the bridge
// takes their slot when it claims the payment.
func (s *Client) wait(ctx context.Context) error {
	if err := s.Limiter.Wait(ctx); err != nil {
		return &upstream.Error{Outcome: upstream.Retryable, Err: err}
	}
	return nil
}

// waitFor rejects an id that Stripe cannot have issued, or waits for a slot.
func (s *Client) waitFor(ctx context.Context, id, prefix string) error {
	if err := checkID(id, prefix); err != nil {
		return err
	}
	return s.wait(ctx)
}

// maxID is the length of Stripe's longest ids, in characters.
const maxID = 255

// checkID returns an error if an id is empty or cannot be one of Stripe's with this prefix. A call
// with such an id would be another call, such as that of a list.
func checkID(id, prefix string) error {
	rest, found := strings.CutPrefix(id, prefix)
	odd := strings.ContainsFunc(rest, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
	})
	if !found || rest == "" || odd || len(id) > maxID {
		return &upstream.Error{
			Outcome: upstream.Rejected,
			Detail:  fmt.Sprintf("%q is no id of Stripe's that begins with %q, so no call was made", id, prefix),
		}
	}
	return nil
}

// get reads an object or a page of a list as text. It does not use the library's decoding, which
// fails as a whole for one odd field. The errors are the library's.
func (s *Client) get(ctx context.Context, path string, query url.Values) (json.RawMessage, error) {
	var r reply
	params := &stripe.Params{Context: ctx}
	err := s.backend.CallRaw(http.MethodGet, path, s.config.Key, []byte(query.Encode()), params, &r)
	return r.text, err
}

// post sends parameters of Stripe's library, or nil for none, and returns the reply. With an empty
// idempotency key the library makes one up for this call. The errors are the library's.
func (s *Client) post(ctx context.Context, path string, params any, key string) (r reply, err error) {
	body, call := &form.Values{}, &stripe.Params{Context: ctx}
	if params != nil {
		form.AppendTo(body, params)
	}
	if key != "" {
		call.SetIdempotencyKey(key)
	}
	err = s.backend.CallRaw(http.MethodPost, path, s.config.Key, []byte(body.Encode()), call, &r)
	return r, err
}

// readObject reads an object and decodes it. A reply that cannot be decoded counts as
// Misconfigured, because nothing is known of the object.
func readObject[T any](
	ctx context.Context,
	s *Client,
	path string,
	query url.Values,
	decode func([]byte) (T, error),
) (object T, err error) {
	text, err := s.get(ctx, path, query)
	return decoded(s, text, err, upstream.Misconfigured, decode)
}

// createObject creates an object and decodes it. A reply that cannot be decoded counts as Unknown,
// because it does not tell what was created.
func createObject[T any](
	ctx context.Context,
	s *Client,
	path string,
	params any,
	key string,
	decode func([]byte) (T, error),
) (object T, err error) {
	r, err := s.post(ctx, path, params, key)
	return decoded(s, r.text, err, upstream.Unknown, decode)
}

// decoded decodes the reply of a call, or classifies the error of the call. A reply that cannot be
// decoded counts as odd.
func decoded[T any](
	s *Client,
	text []byte,
	err error,
	odd upstream.Outcome,
	decode func([]byte) (T, error),
) (object T, _ error) {
	if err := s.outcome(err); err != nil {
		return object, err
	}
	if object, err = decode(text); err != nil {
		return object, &upstream.Error{
			Outcome: odd,
			Status:  http.StatusOK,
			Detail:  upstream.Excerpt([]byte(err.Error())),
		}
	}
	return object, nil
}

// readPage reads one page of a list. The page begins after the record with the id after, or with
// the first record if after is empty.
func (s *Client) readPage(ctx context.Context, path string, query url.Values, after string) (page, error) {
	query.Set("limit", strconv.Itoa(pageSize))
	if after != "" {
		query.Set("starting_after", after)
	}
	return readObject(ctx, s, path, query, decodePage)
}

// pageSize is Stripe's limit for one page. A full page may be followed by another.
const pageSize = 100

// pageURL returns an address that customers may be sent to, or "" if it is not Stripe's. A
// simulated Stripe shows its pages where its API answers.
func (s *Client) pageURL(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil:
	case u.Scheme == "https" && strings.HasSuffix(u.Host, ".stripe.com"), originOf(address) == s.origin && u.Host != "":
		return address
	}
	return ""
}

// originOf returns the scheme and the host of an address.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
