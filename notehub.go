package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"notepay/internal/bridge"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// notehub is everything that knows Blues Notehub. Each method makes one attempt (a 401 alone brings one new token and one more)
// and returns nil or a *upstream.Error. The source of each fact is Notehub's published API description, unless a comment says else.
type notehub struct {
	base  string // of the project: .../v1/projects/{project}
	fleet string // sell only on this fleet's devices; "" for all
	http  *http.Client
	token tokens
	pace  *upstream.Pace
}

const (
	paymentFile = "payment.qi"

	// devicesPerPage: 50 is Notehub's default and 10,000 its limit; this is one call for most projects, at about 1 MB.
	devicesPerPage = 1000
	// mostReply bounds what is read of a reply, in bytes.
	mostReply = 32 << 20
)

func newNotehub(s *config.Settings, pace *upstream.Pace) *notehub {
	n := &notehub{
		base:  s.NotehubAPIURL + "/v1/projects/" + url.PathEscape(s.NotehubProjectUID),
		fleet: s.NotehubFleetUID,
		http:  &http.Client{Transport: newTransport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		pace:  pace,
	}
	if s.NotehubToken != "" {
		n.token.fixed = string(s.NotehubToken)
		return n
	}
	client := clientcredentials.Config{
		ClientID: s.NotehubClientID, ClientSecret: string(s.NotehubClientSecret), TokenURL: s.NotehubAuthURL,
		AuthStyle: oauth2.AuthStyleInParams, // Notehub documents no HTTP Basic; guessing would cost a failed call
	}
	n.token.fetch = func(ctx context.Context) (*oauth2.Token, error) {
		return client.Token(context.WithValue(ctx, oauth2.HTTPClient, n.http))
	}
	return n
}

// newTransport keeps enough idle connections for all workers; the default is two for a host.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64
	return t
}

// PostNote puts a note into the device's queue. Nothing in the call makes a repeat harmless (a .qi file takes no note id);
// only the credit id in the body does, on the machine.
func (n *notehub) PostNote(ctx context.Context, device string, note bridge.Note) error {
	body, err := json.Marshal(map[string]any{"body": note})
	if err != nil {
		return err
	}
	return n.call(ctx, call{method: http.MethodPost, path: "/devices/" + url.PathEscape(device) + "/notes/" + paymentFile, body: body, device: device})
}

// PendingCredits lists the credit ids of the notes that the device has not fetched yet.
func (n *notehub) PendingCredits(ctx context.Context, device string) ([]string, error) {
	var reply struct {
		Notes map[string]struct {
			Body struct {
				CreditID string `json:"credit_id"`
			} `json:"body"`
		} `json:"notes"`
	}
	err := n.call(ctx, call{method: http.MethodGet, path: "/devices/" + url.PathEscape(device) + "/notes/" + paymentFile, device: device, into: &reply})
	if isNoNotefile(err) {
		return nil, nil // the queue was never made: nothing is pending
	}
	if err != nil {
		return nil, err
	}
	credits := make([]string, 0, len(reply.Notes))
	for _, note := range reply.Notes {
		credits = append(credits, note.Body.CreditID)
	}
	return credits, nil
}

// Devices lists the devices to sell on. Only a nil error means that the list is complete; has_more decides, not a page's length.
func (n *notehub) Devices(ctx context.Context) (devices []ledger.Device, err error) {
	path := "/devices"
	if n.fleet != "" {
		path = "/fleets/" + url.PathEscape(n.fleet) + "/devices"
	}
	seen := map[string]bool{"": true} // a listing that shifts while it is read repeats devices
	for page := 1; ; page++ {
		var reply struct {
			Devices []device `json:"devices"`
			HasMore *bool    `json:"has_more"`
		}
		if err := n.read(ctx, call{path: path, query: fmt.Sprintf("pageSize=%d&pageNum=%d", devicesPerPage, page), into: &reply}); err != nil {
			return devices, fmt.Errorf("page %d: %w", page, err)
		}
		before := len(devices)
		for _, d := range reply.Devices {
			if !seen[d.UID] {
				seen[d.UID] = true
				devices = append(devices, d.record())
			}
		}
		switch {
		case reply.HasMore == nil:
			return devices, fmt.Errorf("page %d: %w", page, &upstream.Error{Outcome: upstream.Again, Status: 200, Detail: "no has_more in the reply"})
		case !*reply.HasMore:
			return devices, nil
		case len(devices) == before:
			return devices, fmt.Errorf("page %d: %w", page, &upstream.Error{Outcome: upstream.Again, Status: 200, Detail: "a page without a new device that is not the last"})
		}
	}
}

// Device reads one device. upstream.Refused means that it is not among those to sell on.
func (n *notehub) Device(ctx context.Context, uid string) (ledger.Device, error) {
	var d device
	if err := n.read(ctx, call{path: "/devices/" + url.PathEscape(uid), device: uid, into: &d}); err != nil {
		return ledger.Device{}, err
	}
	record := d.record()
	if d.UID != uid || (n.fleet != "" && !contains(record.Fleets, n.fleet)) {
		return ledger.Device{}, &upstream.Error{Outcome: upstream.Refused, Status: 200, Detail: "not a device of this fleet"}
	}
	return record, nil
}

// ProjectVariables reads the project's environment variables.
func (n *notehub) ProjectVariables(ctx context.Context) (map[string]string, error) {
	return n.variables(ctx, call{path: "/environment_variables"})
}

// FleetVariables reads the environment variables of all fleets, by fleet uid, in one call.
func (n *notehub) FleetVariables(ctx context.Context) (map[string]map[string]string, error) {
	var reply struct {
		Fleets []struct {
			UID       string            `json:"uid"`
			Variables map[string]string `json:"environment_variables"`
		} `json:"fleets"`
	}
	if err := n.read(ctx, call{path: "/fleets", into: &reply}); err != nil {
		return nil, err
	}
	fleets := make(map[string]map[string]string, len(reply.Fleets))
	for _, f := range reply.Fleets {
		fleets[f.UID] = smallNames(f.Variables)
	}
	return fleets, nil
}

// DeviceVariables reads the environment variables that are set on a device alone.
func (n *notehub) DeviceVariables(ctx context.Context, uid string) (map[string]string, error) {
	return n.variables(ctx, call{path: "/devices/" + url.PathEscape(uid) + "/environment_variables", device: uid})
}

func (n *notehub) variables(ctx context.Context, c call) (map[string]string, error) {
	var reply struct {
		Variables map[string]string `json:"environment_variables"`
	}
	c.into = &reply
	err := n.read(ctx, c)
	return smallNames(reply.Variables), err
}

// smallNames: the names of variables are not case-sensitive.
func smallNames(variables map[string]string) map[string]string {
	small := make(map[string]string, len(variables))
	for name, value := range variables {
		small[strings.ToLower(name)] = value
	}
	return small
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

// device is Notehub's Device as far as it is used. disabled is left out when false, last_activity is null if never seen.
type device struct {
	UID          string     `json:"uid"`
	SerialNumber string     `json:"serial_number"`
	Fleets       []string   `json:"fleet_uids"`
	Disabled     bool       `json:"disabled"`
	LastActivity *time.Time `json:"last_activity"`
}

func (d device) record() ledger.Device {
	r := ledger.Device{UID: d.UID, Name: printable(d.SerialNumber), Fleets: d.Fleets, Disabled: d.Disabled}
	if d.LastActivity != nil {
		r.LastActivity = d.LastActivity.UTC().Truncate(time.Millisecond)
	}
	return r
}

// call is one request below the project.
type call struct {
	method, path, query string
	body                []byte
	device              string // whom the call is about, for a refusal to name
	into                any
}

// read makes a call that no claim has taken a slot for: it waits for one.
func (n *notehub) read(ctx context.Context, c call) error {
	c.method = http.MethodGet
	if err := n.pace.Wait(ctx); err != nil {
		return &upstream.Error{Outcome: upstream.Again, Err: err}
	}
	return n.call(ctx, c)
}

func (n *notehub) call(ctx context.Context, c call) error {
	ctx, cancel := context.WithTimeout(ctx, bridge.NotehubTimeLimit)
	defer cancel()
	err := n.attempt(ctx, c, "")
	if e, ok := errors.AsType[*rejectedToken](err); ok {
		err = n.attempt(ctx, c, e.token)
		if _, again := errors.AsType[*rejectedToken](err); again {
			err = &upstream.Error{Outcome: upstream.Trouble, Status: 401, Detail: "Notehub does not accept the token: expired, revoked, or of another project"}
		}
	}
	n.pace.Observe(time.Now(), err)
	return err
}

// rejectedToken is a 401, with the token that caused it.
type rejectedToken struct{ token string }

func (*rejectedToken) Error() string { return "token rejected" }

func (n *notehub) attempt(ctx context.Context, c call, rejected string) error {
	token, err := n.token.get(ctx, rejected)
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
	req.Header.Set("User-Agent", "notepay/"+version())
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return transportError(err)
	}
	defer resp.Body.Close()
	text, readErr := io.ReadAll(io.LimitReader(resp.Body, mostReply))
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return &rejectedToken{token}
	case resp.StatusCode/100 != 2:
		return classifyNotehub(c, resp, text)
	case c.into == nil:
		return nil // any 2xx is a yes; a note's reply says nothing more
	case readErr != nil:
		return transportError(readErr)
	}
	if err := json.Unmarshal(text, c.into); err != nil {
		return &upstream.Error{Outcome: upstream.Again, Status: resp.StatusCode, Detail: "reply is not the expected JSON: " + excerpt(text), Err: err}
	}
	return nil
}

// transportError is a call without a reply: nothing was done if no connection was made, else nobody knows.
func transportError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return &upstream.Error{Outcome: upstream.Again, Err: err}
	}
	return &upstream.Error{Outcome: upstream.Unclear, Err: err}
}

// classifyNotehub says what a reply other than 2xx and 401 means. Notehub documents no statuses for single calls (docs/vendors.md, U5, U6): what is
// assumed of them stands here and nowhere else. When in doubt it is our trouble, which is tried again, not a refusal, which is final.
func classifyNotehub(c call, resp *http.Response, text []byte) error {
	var reply struct {
		Err string `json:"err"`
	}
	e := &upstream.Error{Outcome: upstream.Trouble, Status: resp.StatusCode, Detail: excerpt(text), RetryAfter: retryAfter(resp.Header, time.Now())}
	if json.Unmarshal(text, &reply) == nil && reply.Err != "" {
		e.Detail = excerpt([]byte(reply.Err))
	}
	names := func(tokens ...string) bool {
		for _, t := range tokens {
			if strings.Contains(reply.Err, t) {
				return true
			}
		}
		return false
	}
	aboutDevice := c.device != "" && names("{device-noexist}", "{device-none}", "{device-id-invalid}", "{device-disabled}")
	switch status := resp.StatusCode; {
	case names("notes may be pending"): // U6: the status is not known, the text is
		e.Outcome = upstream.Again
	case status == http.StatusTooManyRequests:
		e.Outcome = upstream.Wait
	case status == http.StatusRequestTimeout || status >= 500:
		e.Outcome = upstream.Unclear
		// Notehub's own words end the call; a gateway may say so of one that goes on behind it.
		e.Over = reply.Err != "" && status != http.StatusBadGateway && status != http.StatusGatewayTimeout
	case (status == http.StatusNotFound || status == http.StatusForbidden || status == http.StatusBadRequest) && aboutDevice: // U5
		e.Outcome = upstream.Refused
	case status == http.StatusNotFound && c.method == http.MethodGet && names("{notefile-noexist}", "{file-noexist}"):
		e.Outcome = upstream.Refused // an answer: there is no such queue
	case (status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge) && c.method == http.MethodPost && reply.Err != "":
		e.Outcome = upstream.Refused // Notehub itself, and not a proxy, refuses this note
	}
	return e
}

// isNoNotefile: the device has never had this queue ({notefile-noexist}).
func isNoNotefile(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && e.Status == http.StatusNotFound && (strings.Contains(e.Detail, "{notefile-noexist}") || strings.Contains(e.Detail, "{file-noexist}"))
}

// retryAfter reads Retry-After, in seconds or as a date; 0 if there is none that makes sense.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const most = 24 * time.Hour
	v := strings.TrimSpace(h.Get("Retry-After"))
	d := time.Duration(0)
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), most)
}

// printable takes out what no name or message needs and not every database stores.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// excerpt is the beginning of a reply on one line, for the log.
func excerpt(text []byte) string {
	const most = 200
	s := strings.Join(strings.Fields(printable(string(text[:min(len(text), 4*most)]))), " ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "..."
	}
	return s
}

// tokens keeps the access token. Those who need a new one at the same time share one token call, and a token call that
// failed is not repeated for a moment: a wrong secret must not become a storm.
type tokens struct {
	fixed string // a personal access token: there is no other to get
	fetch func(context.Context) (*oauth2.Token, error)

	mu      sync.Mutex // held over the token call, so that all wait for the one
	current string
	renew   time.Time // when current is replaced, some time before its end
	failed  error
	until   time.Time // failed is answered until then
}

const (
	tokenFailureHolds = 5 * time.Second
	// tokenSpare is how long before its end a token is renewed, at the most; a very short-lived one is used for half its life.
	tokenSpare = 2 * time.Minute
	// tokenLife is assumed where Notehub does not say (it documents 30 minutes).
	tokenLife = 25 * time.Minute
)

// get returns a token that is not the rejected one.
func (t *tokens) get(ctx context.Context, rejected string) (string, error) {
	if t.fixed != "" {
		if rejected != "" {
			return "", &rejectedToken{t.fixed}
		}
		return t.fixed, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.current != "" && t.current != rejected && now.Before(t.renew) {
		return t.current, nil
	}
	if now.Before(t.until) {
		return "", t.failed
	}
	token, err := t.fetch(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.failed, t.until = classifyToken(err), now.Add(tokenFailureHolds)
			return "", t.failed
		}
		return "", &upstream.Error{Outcome: upstream.Again, Err: ctx.Err()}
	}
	life := tokenLife
	if !token.Expiry.IsZero() {
		life = token.Expiry.Sub(now)
	}
	t.current, t.renew = token.AccessToken, now.Add(max(life-tokenSpare, life/2))
	return t.current, nil
}

// classifyToken: whatever a token call comes to, nothing was done at the device. Its errors have OAuth's shape, not Notehub's.
func classifyToken(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return &upstream.Error{Outcome: upstream.Again, Err: fmt.Errorf("token: %w", err)}
	}
	out := &upstream.Error{Outcome: upstream.Again, Detail: excerpt([]byte("token: " + e.ErrorCode + " " + e.ErrorDescription))}
	if e.Response != nil {
		out.Status, out.RetryAfter = e.Response.StatusCode, retryAfter(e.Response.Header, time.Now())
	}
	switch {
	case out.Status == http.StatusTooManyRequests:
		out.Outcome = upstream.Wait
	case out.Status/100 == 4:
		out.Outcome = upstream.Trouble
	}
	return out
}
