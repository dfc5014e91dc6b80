package notehub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// Config is what a client of Notehub needs.
type Config struct {
	APIURL  string
	AuthURL string // where tokens are issued
	Project string // app:...
	Fleet   string // sell only on this fleet's devices; "" for all
	// Token is a personal access token. If it is "", ClientID and ClientSecret are those of an
	// OAuth client.
	Token                  string
	ClientID, ClientSecret string
	PerMinute              uint   // requests that Notehub allows in any minute; 0 for no limit of our own
	Version                string // of notepay, for the user agent
	// Transport carries the calls. If it is nil, they go over the network, with a limit on the size
	// of the replies.
	Transport http.RoundTripper
}

// Client is everything that knows Blues Notehub. Each method makes one attempt (a 401 alone brings
// one new token and one more) and returns nil or a *upstream.Error. The source of each fact is
// Notehub's published API description, unless a comment says else.
type Client struct {
	config  Config // for copies
	base    string // of the project: .../v1/projects/{project}
	fleet   string // sell only on this fleet's devices; "" for all
	Http    *http.Client
	token   tokens
	Limiter *upstream.Limiter
	Odd     *OddRecords // where records that cannot be read are named; nil: nowhere

	Counted func(outcome string) // told of answers that are not applied; nil: nobody

	lastFleets atomic.Pointer[map[string]map[string]string] // variables by fleet, as they were read last

	Spelled uid.Spellings
}

// devicePath is a device's path below the project.
func (n *Client) devicePath(key string) string {
	return "/devices/" + url.PathEscape(n.Spelled.Of(key))
}

const (
	PaymentFile = "payment.qi"

	// Why an answer is not applied to any payment, beside what the bridge says.
	IgnoredNoCredit  = "no_credit"
	ignoredMalformed = "malformed"
	IgnoredProject   = "other_project"

	// devicesPerPage: 50 is Notehub's default and 10,000 its limit; this is one call for most
	// projects, at about 1 MB.
	DevicesPerPage = 1000
	// EventsPerPage is Notehub's default. It documents no limit, so nothing larger is tried.
	EventsPerPage = 50
	// hubMaxReply bounds a reply in bytes; a page of devices is the largest.
	hubMaxReply = 8 << 20

	oddDevices = "Notehub's devices" // the source of odd records, for the operator
)

// New returns a client of Notehub.
func New(c Config) *Client {
	if c.Transport == nil {
		c.Transport = new(upstream.Replies).Over(upstream.NewTransport(), hubMaxReply)
	}
	pace := upstream.NewWindow(int(min(c.PerMinute, math.MaxInt32)))
	n := &Client{
		config: c,
		base:   c.APIURL + "/v1/projects/" + url.PathEscape(c.Project),
		fleet:  c.Fleet,
		Http: &http.Client{
			Transport:     c.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Limiter: pace,
	}
	if c.Token != "" {
		n.token.fixed = c.Token
		return n
	}
	client := clientcredentials.Config{
		ClientID:     c.ClientID,
		ClientSecret: c.ClientSecret,
		TokenURL:     c.AuthURL,
		AuthStyle:    oauth2.AuthStyleInParams, // Notehub documents no HTTP Basic; guessing would cost a failed call
	}
	n.token.fetching = make(chan struct{}, 1)
	n.token.fetch = func(ctx context.Context) (*oauth2.Token, error) {
		return client.Token(context.WithValue(ctx, oauth2.HTTPClient, n.Http))
	}
	return n
}

// WithLimiter returns a client with the same settings and transport, but with a token of its own,
// whose calls keep to pace.
func (n *Client) WithLimiter(pace *upstream.Limiter) *Client {
	c := n.config
	c.Transport = n.Http.Transport
	other := New(c)
	other.Limiter = pace
	return other
}

// SignIn gets a token, where there is not one already. That a personal access token is good only
// shows when it is used.
func (n *Client) SignIn(ctx context.Context) error {
	slot, err := n.Limiter.Slot(ctx)
	if err != nil {
		return err
	}
	defer slot.Close()
	_, err = n.token.get(ctx, slot)
	return err
}

// Read reads what nobody but the checks asks for: a path below the project and its query, decoded
// into what it points to.
func (n *Client) Read(ctx context.Context, path, query string, into any) error {
	return n.read(
		ctx,
		call{path: path, query: query, decode: func(text []byte) error { return json.Unmarshal(text, into) }},
	)
}

// call is one request below the project.
type call struct {
	method, path, query string
	body                []byte
	device              string // whom the call is about, for a refusal to name
	// reads the reply of a GET; nil: the call changes something, and its reply says no more than
	// yes
	decode func([]byte) error
}

// read makes a call that no claim has taken a slot for: it waits for one.
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

func (n *Client) callWith(ctx context.Context, c call, slot *upstream.Slot) error {
	defer slot.Close()
	ctx, cancel := context.WithTimeout(ctx, payment.CallTimeout)
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
		n.Limiter.Hold(time.Now().Add(hold)) // for all calls: they would be rejected like this one
		err = n.token.notAccepted()
	}
	n.Limiter.Observe(time.Now(), err)
	return err
}

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
	req.Header.Set("User-Agent", "notepay/"+n.config.Version)
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := slot.Use(ctx); err != nil {
		return err
	}
	defer slot.Ended() // when its body is read: only then is it known that Notehub has counted it
	resp, err := n.Http.Do(req)
	if err != nil {
		return upstream.TransportError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		n.token.accept(token)
	}
	unexpected := upstream.Retryable
	if c.decode == nil { // a yes that is none may be anybody's: the note may have been taken or not
		c.decode, unexpected = CheckAcknowledged, upstream.Unknown
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
