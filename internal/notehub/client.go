package notehub

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"notepay/internal/notefile"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// Config configures a Client.
type Config struct {
	APIURL  string
	Project string // app:...
	Fleet   string // sell only on this fleet's devices; "" for all
	AckFile string // the notefile of the machines' answers; "": payment_ack.qo
	// Token is a personal access token. If it is "", FetchToken gets access tokens.
	Token string
	// FetchToken gets a new access token, as the method Token of an oauth2 configuration does. Its
	// context carries the HTTP client to use, under the key oauth2.HTTPClient.
	FetchToken func(context.Context) (*oauth2.Token, error)
	// Transport carries the calls. It should bound the replies, as upstream.NewTransport does.
	Transport http.RoundTripper
	Timeout   time.Duration // of one call, including a new token and a second attempt
	PerMinute uint          // requests that Notehub allows in any minute; 0 for no limit of our own
	UserAgent string
}

// answers returns the notefile of the machines' answers.
func (c Config) answers() string { return cmp.Or(c.AckFile, notefile.Answers) }

// Client calls Blues Notehub. Each method makes one attempt and returns nil or a *upstream.Error.
// Only status 401 causes a second attempt, with a new token. A Client is safe for concurrent use
// once its exported fields are set.
type Client struct {
	Limiter *upstream.Limiter
	Odd     *OddRecords          // where records that cannot be decoded are reported; nil: nowhere
	Counted func(outcome string) // counts the confirmations that are not applied; nil: nothing does

	config Config
	base   string // URL of the project: .../v1/projects/{project}
	http   *http.Client
	token  tokens

	spellings uid.Spellings
}

// New returns a client of Notehub.
func New(c Config) *Client {
	n := &Client{
		Limiter: upstream.NewWindow(int(min(c.PerMinute, math.MaxInt32))),
		config:  c,
		base:    c.APIURL + "/v1/projects/" + url.PathEscape(c.Project),
		http: &http.Client{
			Transport: c.Transport,
			// The request and its token are for this host alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if c.Token != "" {
		n.token.fixed = c.Token
		return n
	}
	n.token.fetching = make(chan struct{}, 1)
	n.token.fetch = func(ctx context.Context) (*oauth2.Token, error) {
		return c.FetchToken(context.WithValue(ctx, oauth2.HTTPClient, n.http))
	}
	return n
}

// Observe wraps the transport, to count or watch the calls. It must not be called during a call.
func (n *Client) Observe(wrap func(http.RoundTripper) http.RoundTripper) {
	n.http.Transport = wrap(n.http.Transport)
}

// WithLimiter returns a client with the same settings and the present transport, whose calls wait
// for l. It signs in with a token of its own.
func (n *Client) WithLimiter(l *upstream.Limiter) *Client {
	c := n.config
	c.Transport = n.http.Transport
	other := New(c)
	other.Limiter = l
	return other
}

// Learn records how Notehub spells a device's UID, for the paths of later calls.
func (n *Client) Learn(uid, spelled string) { n.spellings.Learn(uid, spelled) }

// devicePath returns a device's path below the project.
func (n *Client) devicePath(key string) string {
	return "/devices/" + url.PathEscape(n.spellings.Of(key))
}

// SignIn gets a token if the client has none. It cannot tell whether a personal access token is
// valid, which only the first call shows.
func (n *Client) SignIn(ctx context.Context) error {
	slot, err := n.Limiter.Slot(ctx)
	if err != nil {
		return err
	}
	defer slot.Close()
	_, err = n.token.get(ctx, slot)
	return err
}

// Read reads a path below the project, with a query, and decodes the reply into what into points
// to. It is for the checks, which read more than notepay does.
func (n *Client) Read(ctx context.Context, path, query string, into any) error {
	decode := func(text []byte) error { return json.Unmarshal(text, into) }
	return n.read(ctx, call{path: path, query: query, decode: decode})
}

// call is one request below the project.
type call struct {
	method, path, query string
	body                []byte
	device              string // the device that the call is about, which Notehub may reject
	// decode decodes the reply. If it is nil, the reply only has to acknowledge the change.
	decode func([]byte) error
}

// read makes a GET call. It waits for a slot.
func (n *Client) read(ctx context.Context, c call) error {
	c.method = http.MethodGet
	slot, err := n.Limiter.Slot(ctx)
	if err != nil {
		return err
	}
	return n.callWith(ctx, c, slot)
}

// call makes a call for which the caller has taken a slot.
func (n *Client) call(ctx context.Context, c call) error {
	return n.callWith(ctx, c, n.Limiter.Taken())
}

// callWith makes a call, with a second attempt after status 401, and reports the outcome to the
// limiter.
func (n *Client) callWith(ctx context.Context, c call, slot *upstream.Slot) error {
	defer slot.Close()
	ctx, cancel := context.WithTimeout(ctx, n.config.Timeout)
	defer cancel()
	err := n.attempt(ctx, c, slot)
	for tries := 1; ; tries++ {
		e, ok := errors.AsType[*rejectedToken](err)
		if !ok {
			break
		}
		another, hold := n.token.reject(e.token)
		if another && tries == 1 {
			err = n.attempt(ctx, c, slot)
			continue
		}
		n.Limiter.Hold(time.Now().Add(hold)) // Notehub would reject every other call, too
		err = n.token.notAccepted()
	}
	n.Limiter.Observe(time.Now(), err)
	return err
}

// attempt makes one request. The error of status 401 is a *rejectedToken.
func (n *Client) attempt(ctx context.Context, c call, slot *upstream.Slot) error {
	token, err := n.token.get(ctx, slot)
	if err != nil {
		return err
	}
	target := n.base + c.path
	if c.query != "" {
		target += "?" + c.query
	}
	req, err := http.NewRequestWithContext(ctx, c.method, target, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", n.config.UserAgent)
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := slot.Use(ctx); err != nil {
		return err
	}
	defer slot.Ended() // after the body was read, when Notehub has certainly counted the request
	resp, err := n.http.Do(req)
	if err != nil {
		return upstream.TransportError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		n.token.accept(token)
	}
	unexpected := upstream.Retryable
	if c.decode == nil { // an unexpected reply may be a proxy's, so Notehub may have taken the note or not
		c.decode, unexpected = checkAcknowledged, upstream.Unknown
	}
	var reply bytes.Buffer // which grows with less waste than io.ReadAll
	_, readErr := reply.ReadFrom(resp.Body)
	text := reply.Bytes()
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return &rejectedToken{token}
	case resp.StatusCode/100 != 2:
		return classify(c, resp, text)
	case readErr != nil:
		return upstream.TransportError(readErr)
	}
	if err := c.decode(text); err != nil {
		return &upstream.Error{
			Outcome: unexpected,
			Status:  resp.StatusCode,
			Detail:  fmt.Sprintf("the reply is not Notehub's (%v): %s", err, upstream.Excerpt(text)),
			Err:     err,
		}
	}
	return nil
}
