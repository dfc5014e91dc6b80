package stripeapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/bridge"
	"notepay/internal/upstream"
)

// Config is what a client of Stripe needs. Project and Manual go into what it creates.
type Config struct {
	APIURL  string // https://..., where the API answers
	Key     string
	Project string // the metadata "project" of what is ours
	Manual  bool   // links only hold the money, until Capture
	// Transport carries the calls. If it is nil, they go over the network, with a limit on the size
	// of the replies.
	Transport http.RoundTripper
	// EventTypes are the types of events that Events lists, and DecodeEvent decodes one of them.
	EventTypes  []string
	DecodeEvent func(record []byte) bridge.Event
}

// Client is everything that knows Stripe. Each method makes one attempt and returns nil or a
// *upstream.Error.
type Client struct {
	config  Config // for copies
	Client  *stripe.Client
	raw     Raw          // the same client, for what is decoded here
	Http    *http.Client // that client's
	project string       // the metadata "project" of what is ours
	Origin  string       // https://..., where the API answers
	Manual  bool         // links only hold the money, until Capture
	Limiter *upstream.Limiter
	// odd is told which records of a list cannot be read, none if all can.
	Odd func(source string, records []string)
}

// CallTimeout is how long one call may take: less than the 20 s for which a step is claimed.
const CallTimeout = 15 * time.Second

// maxReply bounds a reply in bytes; a page of a hundred events is the largest.
const maxReply = 4 << 20

// New returns a client of Stripe.
func New(c Config) *Client {
	if c.Transport == nil {
		c.Transport = new(upstream.Replies).Over(upstream.NewTransport(), maxReply)
	}
	calls := &http.Client{Transport: upstream.CheckReplies(c.Transport, CheckObject), Timeout: CallTimeout}
	backends := stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL:               stripe.String(c.APIURL),
		HTTPClient:        calls,
		MaxNetworkRetries: stripe.Int64(0), // the library's own retries sleep without a look at the context
		EnableTelemetry:   stripe.Bool(false),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull}, // what went wrong is in the error
	})
	return &Client{
		config:  c,
		Client:  stripe.NewClient(c.Key, stripe.WithBackends(backends)),
		raw:     Raw{Backend: backends.API, Key: c.Key},
		Http:    calls,
		Origin:  originOf(c.APIURL),
		project: c.Project,
		Manual:  c.Manual,
		Limiter: upstream.NewLimiter(0, 0), // Stripe says by 429 when it is enough
		Odd:     func(string, []string) {},
	}
}

// WithLimiter returns a client with the same settings and transport, whose calls keep to pace.
func (s *Client) WithLimiter(pace *upstream.Limiter) *Client {
	other := New(s.config)
	other.Http.Transport = s.Http.Transport
	other.Limiter = pace
	return other
}

// ready waits for a slot. Capture, Release, Refund and Refunds do not call it: they are claimed
// from a queue when there is one.
func (s *Client) ready(ctx context.Context) error {
	if err := s.Limiter.Wait(ctx); err != nil {
		return &upstream.Error{Outcome: upstream.Retryable, Err: err}
	}
	return nil
}

// checkID refuses an id that cannot be Stripe's before a call is made with it.
func checkID(id, prefix string) error {
	if err := CheckID(id, prefix); err != nil {
		return &upstream.Error{Outcome: upstream.Rejected, Detail: err.Error()}
	}
	return nil
}

// readyFor refuses an id that cannot be Stripe's, or waits for a slot.
func (s *Client) readyFor(ctx context.Context, id, prefix string) error {
	if err := checkID(id, prefix); err != nil {
		return err
	}
	return s.ready(ctx)
}

// readObject reads an object and decodes it. One that cannot be decoded is trouble: nothing is
// known of it.
func readObject[T any](
	ctx context.Context,
	s *Client,
	path string,
	query url.Values,
	decode func([]byte) (T, error),
) (object T, err error) {
	text, err := s.raw.Get(ctx, path, query)
	return decoded(s, text, err, upstream.Misconfigured, decode)
}

// createObject creates an object and decodes it. If it cannot be decoded, it is not known what was
// made.
func createObject[T any](
	ctx context.Context,
	s *Client,
	path string,
	params any,
	key string,
	decode func([]byte) (T, error),
) (object T, err error) {
	text, err := s.raw.Post(ctx, path, params, key)
	return decoded(s, text, err, upstream.Unknown, decode)
}

// decoded decodes the reply of a call, or classifies the error of the call. odd is what a reply
// that cannot be decoded counts as.
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

// readPage reads one page of a list, its records still as text. after is the id of the last record
// of the page before.
func (s *Client) readPage(ctx context.Context, path string, query url.Values, after string) (Page, error) {
	query.Set("limit", strconv.Itoa(onePage))
	if after != "" {
		query.Set("starting_after", after)
	}
	return readObject(ctx, s, path, query, DecodePage)
}

// onePage is how much Stripe lists at most at once. A full page may be followed by another.
const onePage = 100

// Page is an address at which Stripe shows something, or "" where it is not Stripe's: customers are
// led there. A simulated Stripe shows its pages where it answers.
func (s *Client) Page(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil:
	case u.Scheme == "https" && strings.HasSuffix(u.Host, ".stripe.com"), originOf(address) == s.Origin && u.Host != "":
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
