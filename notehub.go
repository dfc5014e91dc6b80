package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
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
	"notepay/internal/uid"
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

	spelled uid.Spellings
}

// devicePath is a device's path below the project.
func (n *notehub) devicePath(key string) string {
	return "/devices/" + url.PathEscape(n.spelled.Of(key))
}

const (
	paymentFile      = "payment.qi"
	confirmationFile = "payment_ack.qo"

	// devicesPerPage: 50 is Notehub's default and 10,000 its limit; this is one call for most projects, at about 1 MB.
	devicesPerPage = 1000
	// eventsPerPage is Notehub's default. It documents no limit, so nothing larger is tried.
	eventsPerPage = 50
	// hubMaxReply bounds a reply in bytes; a page of devices is the largest.
	hubMaxReply = 8 << 20
)

func newNotehub(s *config.Settings, pace *upstream.Pace) *notehub {
	n := &notehub{
		base:  s.NotehubAPIURL + "/v1/projects/" + url.PathEscape(s.NotehubProjectUID),
		fleet: s.NotehubFleetUID,
		http:  &http.Client{Transport: new(upstream.Replies).Over(newTransport(), hubMaxReply), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
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
	return n.call(ctx, call{method: http.MethodPost, path: n.devicePath(device) + "/notes/" + paymentFile, body: body, device: device})
}

// PendingNotes lists the notes in the device's queue that it has not fetched yet, in no order. What somebody else posted there
// and has another shape has no credit id.
func (n *notehub) PendingNotes(ctx context.Context, device string) ([]bridge.PendingNote, error) {
	var reply struct {
		Notes map[string]struct {
			Body json.RawMessage `json:"body"`
		} `json:"notes"`
	}
	err := n.call(ctx, call{method: http.MethodGet, path: n.devicePath(device) + "/notes/" + paymentFile, device: device, into: &reply})
	if isNoNotefile(err) {
		return nil, nil // the queue was never made: nothing is pending
	}
	if err != nil {
		return nil, err
	}
	notes := make([]bridge.PendingNote, 0, len(reply.Notes))
	for id, note := range reply.Notes {
		var body bridge.Note
		_ = json.Unmarshal(note.Body, &body) // one strange note must not hide the others
		notes = append(notes, bridge.PendingNote{ID: id, CreditID: body.CreditID, PaymentStatus: body.PaymentStatus})
	}
	return notes, nil
}

// DeleteNote takes a pending note out of the device's queue. upstream.Refused means that Notehub has no such note: it was fetched,
// or was deleted by an earlier call whose reply was lost. That the device is unknown is not among these refusals, but trouble.
// nil is no proof that the device will never see the note (docs/vendors.md, U15).
func (n *notehub) DeleteNote(ctx context.Context, device, noteID string) error {
	return n.call(ctx, call{method: http.MethodDelete, path: n.devicePath(device) + "/notes/" + paymentFile + "/" + url.PathEscape(noteID)})
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
			if key := uid.Key(d.UID); !seen[key] {
				seen[key] = true
				devices = append(devices, n.record(d))
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
	if err := n.read(ctx, call{path: n.devicePath(uid), device: uid, into: &d}); err != nil {
		return ledger.Device{}, err
	}
	record := n.record(d)
	if record.UID != uid || (n.fleet != "" && !slices.Contains(record.Fleets, n.fleet)) {
		return ledger.Device{}, &upstream.Error{Outcome: upstream.Refused, Status: 200, Detail: "not a device of this fleet"}
	}
	return record, nil
}

// device is Notehub's Device as far as it is used. disabled is left out when false, last_activity is null if never seen.
type device struct {
	UID          string     `json:"uid"`
	SerialNumber string     `json:"serial_number"`
	Fleets       []string   `json:"fleet_uids"`
	Disabled     bool       `json:"disabled"`
	LastActivity *time.Time `json:"last_activity"`
}

func (n *notehub) record(d device) ledger.Device {
	r := ledger.Device{UID: uid.Key(d.UID), Name: printable(d.SerialNumber), Fleets: d.Fleets, Disabled: d.Disabled}
	r.Spelled = n.spelled.Learn(r.UID, d.UID)
	if d.LastActivity != nil {
		r.LastActivity = d.LastActivity.UTC().Truncate(time.Millisecond)
	}
	return r
}

// Confirmations reads a page of machines' answers, oldest first. The cursor is the id of the last event that was seen, "" to begin with
// the oldest that Notehub keeps, as it also does where it no longer knows the cursor. The event under the cursor comes once more: who
// reads tells repeats by their EventID. next is the cursor for the next call; more says that there is something behind it already.
// What is no confirmation is passed over. That nothing is recorded before the cursor later on is assumed (docs/vendors.md, U21).
func (n *notehub) Confirmations(ctx context.Context, cursor string) (list []bridge.Confirmation, next string, more bool, err error) {
	query := url.Values{"files": {confirmationFile}, "sortOrder": {"asc"}, "limit": {strconv.Itoa(eventsPerPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	var reply struct {
		Events  []json.RawMessage `json:"events"`
		HasMore *bool             `json:"has_more"`
	}
	if err := n.read(ctx, call{path: "/events-cursor", query: query.Encode(), into: &reply}); err != nil {
		return nil, cursor, false, err
	}
	if reply.HasMore == nil {
		return nil, cursor, false, &upstream.Error{Outcome: upstream.Again, Status: 200, Detail: "no has_more in the reply"}
	}
	next = cursor
	for _, raw := range reply.Events {
		var event struct {
			ID string `json:"event"`
		}
		if json.Unmarshal(raw, &event) == nil && event.ID != "" {
			next = event.ID
		}
		if c, _, err := decodeConfirmation(raw); err == nil {
			list = append(list, c)
		}
	}
	if *reply.HasMore && next == cursor {
		return nil, cursor, false, &upstream.Error{Outcome: upstream.Again, Status: 200, Detail: "a page without a new event that is not the last"}
	}
	return list, next, *reply.HasMore, nil
}

var (
	creditID = regexp.MustCompile(`^cr_[a-z2-7]{16}$`)
	// errNotConfirmation is for events that can be read and are no machine's answer: there is nothing to do about them.
	errNotConfirmation = errors.New("not a confirmation")
	errMalformed       = errors.New("malformed event")
)

// decodeConfirmation reads an event as a route sends it and as events-cursor lists it (note.Event of blues/note-go), and the project
// (app:...) that it is from. The error is errMalformed or errNotConfirmation. A strange code is no reason to lose a state: it is
// cut to 64 printable characters.
func decodeConfirmation(body []byte) (c bridge.Confirmation, app string, err error) {
	var event struct {
		ID       string          `json:"event"`
		File     string          `json:"file"`
		Device   string          `json:"device"`
		App      string          `json:"app"`
		Received float64         `json:"received"` // Unix seconds, with a fraction
		Body     json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return c, "", fmt.Errorf("notehub event: %w: %w", errMalformed, err)
	}
	var answer struct {
		CreditID string          `json:"credit_id"`
		State    string          `json:"state"`
		Code     json.RawMessage `json:"code"`
	}
	device := uid.Key(event.Device)
	switch {
	case event.File != confirmationFile:
		return c, event.App, fmt.Errorf("notehub event of %q: %w", excerpt([]byte(event.File)), errNotConfirmation)
	case event.ID == "" || len(event.ID) > 128 || printable(event.ID) != event.ID || !uid.Valid(device):
		return c, event.App, fmt.Errorf("notehub event without an id or a device: %w", errNotConfirmation)
	case json.Unmarshal(event.Body, &answer) != nil || !creditID.MatchString(answer.CreditID):
		return c, event.App, fmt.Errorf("notehub event without a credit: %w", errNotConfirmation)
	}
	switch answer.State {
	case "started", "done", "failed", "busy", "expired", "duplicate":
	default:
		return c, event.App, fmt.Errorf("notehub event with state %q: %w", excerpt([]byte(answer.State)), errNotConfirmation)
	}
	c = bridge.Confirmation{EventID: event.ID, DeviceUID: device, CreditID: answer.CreditID, State: answer.State, Code: machineCode(answer.Code)}
	if 0 < event.Received && event.Received < 1e11 { // until the year 5138; what is beyond is no time
		c.At = time.UnixMilli(int64(event.Received * 1000)).UTC()
	}
	return c, event.App, nil
}

// machineCode is a machine's own code on one line; one that is no string is taken as it stands.
func machineCode(raw json.RawMessage) string {
	const most = 64
	var code string
	if json.Unmarshal(raw, &code) != nil {
		code = string(raw)
	}
	r := []rune(strings.Join(strings.FieldsFunc(printable(code), func(r rune) bool { return !unicode.IsPrint(r) }), " "))
	return strings.TrimSpace(string(r[:min(len(r), most)]))
}

// ProjectVariables reads the environment variables of the project, their names in small letters: Notecards do not tell the case.
func (n *notehub) ProjectVariables(ctx context.Context) (map[string]string, error) {
	return n.variables(ctx, call{path: "/environment_variables"})
}

// FleetVariables reads those of all fleets, by fleet UID, in one call.
func (n *notehub) FleetVariables(ctx context.Context) (map[string]map[string]string, error) {
	var fleets []struct {
		UID       string            `json:"uid"`
		Variables map[string]string `json:"environment_variables"` // optional
	}
	if err := n.readMember(ctx, call{path: "/fleets"}, "fleets", &fleets); err != nil {
		return nil, err
	}
	byFleet := make(map[string]map[string]string, len(fleets))
	for _, f := range fleets {
		byFleet[f.UID] = smallNames(f.Variables)
	}
	return byFleet, nil
}

// DeviceVariables reads those that are set on the device itself, without what it inherits. upstream.Refused: there is no such device.
func (n *notehub) DeviceVariables(ctx context.Context, uid string) (map[string]string, error) {
	return n.variables(ctx, call{path: n.devicePath(uid) + "/environment_variables", device: uid})
}

func (n *notehub) variables(ctx context.Context, c call) (map[string]string, error) {
	var variables map[string]string
	if err := n.readMember(ctx, c, "environment_variables", &variables); err != nil {
		return nil, err
	}
	return smallNames(variables), nil
}

// smallNames writes all names in small letters. Of two that differ in nothing else, the one that had more of them wins.
func smallNames(variables map[string]string) map[string]string {
	small := make(map[string]string, len(variables))
	for _, name := range slices.Sorted(maps.Keys(variables)) { // capitals sort first
		small[strings.ToLower(printable(name))] = printable(variables[name])
	}
	return small
}

// readMember reads one member of a reply. A reply without it is not the one that was asked for, and no evidence of emptiness.
func (n *notehub) readMember(ctx context.Context, c call, name string, into any) error {
	var reply map[string]json.RawMessage
	c.into = &reply
	if err := n.read(ctx, c); err != nil {
		return err
	}
	if err := json.Unmarshal(reply[name], into); err != nil {
		return &upstream.Error{Outcome: upstream.Again, Status: 200, Detail: name + " in the reply are missing or not as expected: " + excerpt(reply[name]), Err: err}
	}
	return nil
}

// SignIn gets a token, where there is not one already. That a personal access token is good only shows when it is used.
func (n *notehub) SignIn(ctx context.Context) error {
	_, err := n.token.get(ctx, "")
	return err
}

// Read reads what nobody but the checks asks for: a path below the project and its query, decoded into what it points to.
func (n *notehub) Read(ctx context.Context, path, query string, into any) error {
	return n.read(ctx, call{path: path, query: query, into: into})
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
	ctx, cancel := context.WithTimeout(ctx, bridge.TimeLimit)
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
	var reply bytes.Buffer // which grows with less waste than io.ReadAll
	_, readErr := reply.ReadFrom(resp.Body)
	text := reply.Bytes()
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

// classifyNotehub says what a reply other than 2xx and 401 means. Notehub documents no statuses for single calls (docs/vendors.md, U5, U6, U15): what is
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
	case status/100 == 4 && c.method == http.MethodDelete && names("{note-noexist}", "{notefile-noexist}", "{file-noexist}"): // U15
		e.Outcome = upstream.Refused // an answer: there is no such note. A Notehub that says 200 of it cannot be told from one that deleted it
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
		if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
			now = theirs // their clock set the end of the wait, and ours may be wrong
		}
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
