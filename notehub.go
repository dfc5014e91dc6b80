package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"notepay/internal/ledger"
	notehubapi "notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// hubConfig is what a client of Notehub needs.
type hubConfig struct {
	APIURL  string
	AuthURL string // where tokens are issued
	Project string // app:...
	Fleet   string // sell only on this fleet's devices; "" for all
	// Token is a personal access token. If it is "", ClientID and ClientSecret are those of an OAuth client.
	Token                  string
	ClientID, ClientSecret string
	PerMinute              uint   // requests that Notehub allows in any minute; 0 for no limit of our own
	Version                string // of notepay, for the user agent
	// Transport carries the calls. If it is nil, they go over the network, with a limit on the size of the replies.
	Transport http.RoundTripper
}

// notehub is everything that knows Blues Notehub. Each method makes one attempt (a 401 alone brings one new token and one more)
// and returns nil or a *upstream.Error. The source of each fact is Notehub's published API description, unless a comment says else.
type notehub struct {
	config hubConfig // for copies
	base   string    // of the project: .../v1/projects/{project}
	fleet  string    // sell only on this fleet's devices; "" for all
	http   *http.Client
	token  tokens
	pace   *upstream.Limiter
	odd    *notehubapi.OddRecords // where records that cannot be read are named; nil: nowhere

	counted func(outcome string) // told of answers that are not applied; nil: nobody

	lastFleets atomic.Pointer[map[string]map[string]string] // variables by fleet, as they were read last

	spelled uid.Spellings
}

// devicePath is a device's path below the project.
func (n *notehub) devicePath(key string) string {
	return "/devices/" + url.PathEscape(n.spelled.Of(key))
}

const (
	paymentFile = "payment.qi"

	// Why an answer is not applied to any payment, beside what the bridge says.
	ignoredNoCredit  = "no_credit"
	ignoredMalformed = "malformed"
	ignoredProject   = "other_project"

	// devicesPerPage: 50 is Notehub's default and 10,000 its limit; this is one call for most projects, at about 1 MB.
	devicesPerPage = 1000
	// eventsPerPage is Notehub's default. It documents no limit, so nothing larger is tried.
	eventsPerPage = 50
	// hubMaxReply bounds a reply in bytes; a page of devices is the largest.
	hubMaxReply = 8 << 20

	oddDevices = "Notehub's devices" // the source of odd records, for the operator
)

// newHub returns a client of Notehub.
func newHub(c hubConfig) *notehub {
	if c.Transport == nil {
		c.Transport = new(upstream.Replies).Over(upstream.NewTransport(), hubMaxReply)
	}
	pace := upstream.NewWindow(int(min(c.PerMinute, math.MaxInt32)))
	n := &notehub{
		config: c,
		base:   c.APIURL + "/v1/projects/" + url.PathEscape(c.Project),
		fleet:  c.Fleet,
		http: &http.Client{
			Transport:     c.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		pace: pace,
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
		return client.Token(context.WithValue(ctx, oauth2.HTTPClient, n.http))
	}
	return n
}

// withPace returns a client with the same settings and transport, but with a token of its own, whose calls keep to pace.
func (n *notehub) withPace(pace *upstream.Limiter) *notehub {
	c := n.config
	c.Transport = n.http.Transport
	other := newHub(c)
	other.pace = pace
	return other
}

// PostNote puts a note into the device's queue. Nothing in the call makes a repeat harmless (a .qi file takes no note id);
// only the credit id in the body does, on the machine.
func (n *notehub) PostNote(ctx context.Context, device string, note payment.Note) error {
	body, err := json.Marshal(map[string]any{"body": note})
	if err != nil {
		return err
	}
	return n.call(ctx, call{method: http.MethodPost, path: n.devicePath(device) + "/notes/" + paymentFile, body: body, device: device})
}

// PendingNotes lists the notes in the device's queue that it has not fetched yet, in no order. What somebody else posted there
// and has another shape has no credit id.
func (n *notehub) PendingNotes(ctx context.Context, device string) (notes []payment.PendingNote, err error) {
	err = n.call(ctx, call{method: http.MethodGet, path: n.devicePath(device) + "/notes/" + paymentFile, device: device, decode: func(text []byte) (err error) {
		var odd []notehubapi.Odd
		notes, odd, err = notehubapi.DecodePendingNotes(text)
		n.odd.Add("Notehub's pending notes", odd...)
		return err
	}})
	if isNoNotefile(err) {
		return nil, nil // the queue was never made: nothing is pending
	}
	if err != nil {
		return nil, err
	}
	return notes, nil
}

// DeleteNote takes a pending note out of the device's queue. upstream.Refused means that Notehub has no such note: it was fetched,
// or was deleted by an earlier call whose reply was lost. That the device is unknown is not among these refusals, but trouble.
// nil is no proof that the device will never see the note (docs/vendors.md, U15).
func (n *notehub) DeleteNote(ctx context.Context, device, noteID string) error {
	return n.call(ctx, call{method: http.MethodDelete, path: n.devicePath(device) + "/notes/" + paymentFile + "/" + url.PathEscape(noteID)})
}

// Devices lists the devices to sell on. Only a nil error means that the list is complete; has_more decides, not a page's length. An
// odd device hides no other: its Problem says what is wrong with it, and one without a UID is left out.
func (n *notehub) Devices(ctx context.Context) (devices []ledger.Device, err error) {
	path := "/devices"
	if n.fleet != "" {
		path = "/fleets/" + url.PathEscape(n.fleet) + "/devices"
	}
	var odd []notehubapi.Odd
	seen := map[string]bool{} // a listing that shifts while it is read repeats devices
	for page := 1; ; page++ {
		var reply notehubapi.Page
		err := n.read(ctx, call{path: path, query: fmt.Sprintf("pageSize=%d&pageNum=%d", devicesPerPage, page), decode: func(text []byte) (err error) {
			reply, err = notehubapi.DecodePage(text, "devices")
			return err
		}})
		before := len(devices)
		for i, raw := range reply.Records {
			d, fields, err := notehubapi.DecodeDevice(raw)
			if err != nil {
				fields = []notehubapi.Odd{{ID: fmt.Sprintf("page %d, %s", page, notehubapi.Place(i)), Field: "uid"}}
			} else if d.UID, d.Spelled = n.spelled.Split(d.UID); !uid.Valid(d.UID) && !seen[d.UID] {
				d.Unreadable = true
				d.Problem = strings.TrimSpace("Payments need a UID of the form dev:..., and this device has another. " + d.Problem)
				fields = append(fields, notehubapi.Odd{ID: notehubapi.Name(d.UID), Field: "uid"})
			}
			if err == nil && seen[d.UID] {
				continue
			}
			odd = append(odd, fields...)
			if err == nil {
				seen[d.UID] = true
				devices = append(devices, d)
			}
		}
		switch {
		case err != nil:
			return devices, fmt.Errorf("page %d: %w", page, err)
		case !reply.More:
			n.odd.Set(oddDevices, odd...)
			return devices, nil
		case len(devices) == before:
			return devices, fmt.Errorf("page %d: %w", page, &upstream.Error{Outcome: upstream.Retryable, Status: 200, Detail: "a page without a new device that is not the last"})
		}
	}
}

// Device reads one device. upstream.Refused means that it is not among those to sell on.
func (n *notehub) Device(ctx context.Context, uid string) (d ledger.Device, err error) {
	err = n.read(ctx, call{path: n.devicePath(uid), device: uid, decode: func(text []byte) (err error) {
		var odd []notehubapi.Odd
		d, odd, err = notehubapi.DecodeDevice(text)
		n.odd.Add(oddDevices, odd...)
		return err
	}})
	if err != nil {
		return ledger.Device{}, err
	}
	if d.UID, d.Spelled = n.spelled.Split(d.UID); d.UID != uid || d.Unreadable || (n.fleet != "" && !slices.Contains(d.Fleets, n.fleet)) {
		return ledger.Device{}, &upstream.Error{Outcome: upstream.Rejected, Status: 200, Detail: "not a device of this fleet"}
	}
	return d, nil
}

// Confirmations reads a page of machines' answers, oldest first. The cursor is the id of the last event that was seen, "" to begin with
// the oldest that Notehub keeps, as it also does where it no longer knows the cursor. The event under the cursor comes once more: who
// reads tells repeats by their EventID. next is the cursor for the next call; more says that there is something behind it already.
// What is no confirmation is passed over. That nothing is recorded before the cursor later on is assumed (docs/vendors.md, U21).
func (n *notehub) Confirmations(ctx context.Context, cursor string) (list []payment.Confirmation, next string, more bool, err error) {
	query := url.Values{"files": {notehubapi.ConfirmationFiles}, "sortOrder": {"asc"}, "limit": {strconv.Itoa(eventsPerPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	var reply notehubapi.Page
	err = n.read(ctx, call{path: "/events-cursor", query: query.Encode(), decode: func(text []byte) (err error) {
		reply, err = notehubapi.DecodePage(text, "events")
		return err
	}})
	if err != nil {
		return nil, cursor, false, err
	}
	next = cursor
	for _, raw := range reply.Records {
		var event struct {
			ID string `json:"event"`
		}
		if json.Unmarshal(raw, &event) == nil && event.ID != "" {
			next = event.ID
		}
		switch c, _, err := notehubapi.DecodeConfirmation(raw, uid.Parse); {
		case err == nil:
			list = append(list, c)
		case errors.Is(err, notehubapi.ErrNoCredit):
			n.ignored(event.ID, ignoredNoCredit)
		case errors.Is(err, notehubapi.ErrMalformed):
			n.ignored(event.ID, ignoredMalformed)
		}
	}
	if reply.More && next == cursor && reply.Next != "" {
		next = reply.Next // none of the page's events has an id
	}
	if reply.More && next == cursor {
		return nil, cursor, false, &upstream.Error{Outcome: upstream.Retryable, Status: 200, Detail: "a page without a new event that is not the last"}
	}
	return list, next, reply.More, nil
}

// ignored names, logs and counts an answer that is not applied to any payment, once.
func (n *notehub) ignored(event, why string) {
	if n.odd.Add("machines' answers", notehubapi.Odd{ID: "event " + notehubapi.Name(event), Field: why}) && n.counted != nil {
		n.counted(why)
	}
}

// ProjectVariables reads the environment variables of the project, their names in small letters: Notecards do not tell the case.
func (n *notehub) ProjectVariables(ctx context.Context) (map[string]string, error) {
	return n.variables(ctx, call{path: "/environment_variables"})
}

// FleetVariables reads those of all fleets, by fleet UID, in one call. What an odd record leaves unknown is as it was when it could last
// be read. A fleet that could never be read takes no payments, rather than be sold at a price that is a guess.
func (n *notehub) FleetVariables(ctx context.Context) (map[string]map[string]string, error) {
	var records []json.RawMessage
	err := n.read(ctx, call{path: "/fleets", decode: func(text []byte) (err error) {
		records, err = notehubapi.DecodeList(text, "fleets")
		return err
	}})
	if err != nil {
		return nil, err
	}
	var known map[string]map[string]string
	if last := n.lastFleets.Load(); last != nil {
		known = *last
	}
	fleets, odd := notehubapi.DecodeFleets(records, known)
	n.odd.Set("Notehub's fleets", odd...)
	n.lastFleets.Store(&fleets)
	return fleets, nil
}

// DeviceVariables reads those that are set on the device itself, without what it inherits. upstream.Refused: there is no such device.
func (n *notehub) DeviceVariables(ctx context.Context, uid string) (map[string]string, error) {
	return n.variables(ctx, call{path: n.devicePath(uid) + "/environment_variables", device: uid})
}

// variables reads what a level has. A reply without them is not the one that was asked for, and no evidence of emptiness.
func (n *notehub) variables(ctx context.Context, c call) (variables map[string]string, err error) {
	c.decode = func(text []byte) error {
		members, err := notehubapi.Members(text)
		if err == nil {
			variables, err = notehubapi.DecodeVariables(members["environment_variables"])
		}
		return err
	}
	if err := n.read(ctx, c); err != nil {
		return nil, err
	}
	return variables, nil
}

// SignIn gets a token, where there is not one already. That a personal access token is good only shows when it is used.
func (n *notehub) SignIn(ctx context.Context) error {
	slot, err := n.pace.Slot(ctx)
	if err != nil {
		return err
	}
	defer slot.Close()
	_, err = n.token.get(ctx, slot)
	return err
}

// Read reads what nobody but the checks asks for: a path below the project and its query, decoded into what it points to.
func (n *notehub) Read(ctx context.Context, path, query string, into any) error {
	return n.read(ctx, call{path: path, query: query, decode: func(text []byte) error { return json.Unmarshal(text, into) }})
}

// call is one request below the project.
type call struct {
	method, path, query string
	body                []byte
	device              string             // whom the call is about, for a refusal to name
	decode              func([]byte) error // reads the reply of a GET; nil: the call changes something, and its reply says no more than yes
}

// read makes a call that no claim has taken a slot for: it waits for one.
func (n *notehub) read(ctx context.Context, c call) error {
	c.method = http.MethodGet
	slot, err := n.pace.Slot(ctx)
	if err != nil {
		return err
	}
	return n.callWith(ctx, c, slot)
}

// call makes a call for which the caller has taken a slot.
func (n *notehub) call(ctx context.Context, c call) error {
	return n.callWith(ctx, c, n.pace.Taken())
}

func (n *notehub) callWith(ctx context.Context, c call, slot *upstream.Slot) error {
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
		n.pace.Hold(time.Now().Add(hold)) // for all calls: they would be rejected like this one
		err = n.token.notAccepted()
	}
	n.pace.Observe(time.Now(), err)
	return err
}

// rejectedToken is a 401, with the token that caused it.
type rejectedToken struct{ token string }

func (*rejectedToken) Error() string { return "token rejected" }

func (n *notehub) attempt(ctx context.Context, c call, slot *upstream.Slot) error {
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
	resp, err := n.http.Do(req)
	if err != nil {
		return upstream.TransportError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		n.token.accept(token)
	}
	unexpected := upstream.Retryable
	if c.decode == nil { // a yes that is none may be anybody's: the note may have been taken or not
		c.decode, unexpected = notehubapi.CheckAcknowledged, upstream.Unknown
	}
	var reply bytes.Buffer // which grows with less waste than io.ReadAll
	_, readErr := reply.ReadFrom(resp.Body)
	text := reply.Bytes()
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return &rejectedToken{token}
	case resp.StatusCode/100 != 2:
		return classifyNotehub(c, resp, text)
	case readErr != nil:
		return upstream.TransportError(readErr)
	}
	if err := c.decode(text); err != nil {
		return &upstream.Error{Outcome: unexpected, Status: resp.StatusCode, Detail: fmt.Sprintf("the reply is not Notehub's (%v): %s", err, upstream.Excerpt(text)), Err: err}
	}
	return nil
}

// classifyNotehub says what a reply other than 2xx and 401 means. Notehub documents no statuses for single calls (docs/vendors.md, U5, U6, U15): what is
// assumed of them stands here and nowhere else. When in doubt it is our trouble, which is tried again, not a refusal, which is final.
func classifyNotehub(c call, resp *http.Response, text []byte) error {
	var reply struct {
		Err string `json:"err"`
	}
	e := &upstream.Error{Outcome: upstream.Misconfigured, Status: resp.StatusCode, Detail: upstream.Excerpt(text), RetryAfter: upstream.RetryAfter(resp.Header, time.Now())}
	if json.Unmarshal(text, &reply) == nil && reply.Err != "" {
		e.Detail = upstream.Excerpt([]byte(reply.Err))
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
		e.Outcome = upstream.Retryable
	case status == http.StatusTooManyRequests:
		e.Outcome = upstream.RateLimited
	case status == http.StatusRequestTimeout || status >= 500:
		e.Outcome = upstream.Unknown
		// Notehub's own words end the call; a gateway may say so of one that goes on behind it.
		e.Over = reply.Err != "" && status != http.StatusBadGateway && status != http.StatusGatewayTimeout
	case (status == http.StatusNotFound || status == http.StatusForbidden || status == http.StatusBadRequest) && aboutDevice: // U5
		e.Outcome = upstream.Rejected
	case status == http.StatusNotFound && c.method == http.MethodGet && names("{notefile-noexist}", "{file-noexist}"):
		e.Outcome = upstream.Rejected // an answer: there is no such queue
	case status/100 == 4 && c.method == http.MethodDelete && names("{note-noexist}", "{notefile-noexist}", "{file-noexist}"): // U15
		e.Outcome = upstream.Rejected // an answer: there is no such note. A Notehub that says 200 of it cannot be told from one that deleted it
	case (status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge) && c.method == http.MethodPost && reply.Err != "":
		e.Outcome = upstream.Rejected // Notehub itself, and not a proxy, refuses this note
	}
	return e
}

// isNoNotefile: the device has never had this queue ({notefile-noexist}).
func isNoNotefile(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && e.Status == http.StatusNotFound && (strings.Contains(e.Detail, "{notefile-noexist}") || strings.Contains(e.Detail, "{file-noexist}"))
}
