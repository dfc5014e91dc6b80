package notehub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"notepay/internal/bridge"
	"notepay/internal/notefile"
	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

var (
	// ErrOtherFile is returned for an event of another notefile, which is no confirmation.
	ErrOtherFile = errors.New("an event of another notefile")
	// ErrNoCredit is returned for a confirmation that names no credit.
	ErrNoCredit = errors.New("a confirmation without a credit")

	errMalformed = errors.New("malformed event")
)

var creditID = regexp.MustCompile(`^cr_[a-z2-7]{16}$`)

// The reasons why a confirmation is not applied to any payment, beside those of the bridge.
const (
	IgnoredNoCredit  = "no_credit"
	IgnoredProject   = "other_project"
	ignoredMalformed = "malformed"
)

const (
	// eventsPerPage is Notehub's default. It documents no limit, so a larger page is not tried.
	eventsPerPage = 50
	maxEventID    = 128 // bytes
	maxWord       = 64  // characters of a state or a code
)

// DecodeConfirmation decodes an event in the form of a route and of events-cursor (note.Event of
// blues/note-go). It also returns the event's project, or "" if it names none. parseUID normalizes a
// device's UID. file is ACK_FILE; a confirmation may also be in the file of the same name with the
// other kind of transport. Decoding is lenient, because firmware and routes write names and states in any case
// and with spaces, and a route may leave fields out.
//
// A confirmation that names a credit and is Unusable is no error, because the operator has to see
// it on the payment.
func DecodeConfirmation(
	raw []byte, file string, parseUID func(string) (string, bool),
) (c payment.Confirmation, project string, err error) {
	var event struct {
		ID       json.RawMessage `json:"event"`
		File     json.RawMessage `json:"file"`
		Device   json.RawMessage `json:"device"`
		App      json.RawMessage `json:"app"`
		Project  json.RawMessage `json:"project"` // some routes send it instead of app, as an object
		Received json.RawMessage `json:"received"`
		When     json.RawMessage `json:"when"`
		Body     json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(raw, &event); err != nil {
		return c, "", errMalformed
	}
	var in struct {
		ID json.RawMessage `json:"id"`
	}
	_ = json.Unmarshal(event.Project, &in) // anything but an object names no project
	if project = text(event.App); project == "" {
		project = text(in.ID)
	}
	if !slices.Contains(notefile.Both(file), strings.ToLower(text(event.File))) {
		return c, project, ErrOtherFile
	}
	var answer struct {
		CreditID json.RawMessage `json:"credit_id"`
		State    json.RawMessage `json:"state"`
		Code     json.RawMessage `json:"code"`
	}
	_ = json.Unmarshal(event.Body, &answer) // anything but an object names no credit
	credit := strings.ToLower(text(answer.CreditID))
	state := strings.ToLower(word(text(answer.State)))
	ofItself := isNull(answer.CreditID) && (state == payment.MachineOut || state == payment.MachineReady)
	if !creditID.MatchString(credit) && !ofItself {
		return c, project, ErrNoCredit
	}
	c = payment.Confirmation{
		EventID:  text(event.ID),
		CreditID: credit,
		State:    state,
		Code:     machineCode(answer.Code),
		At:       unixTime(event.Received),
		SaidAt:   unixTime(event.When),
	}
	if c.EventID == "" || len(c.EventID) > maxEventID || upstream.Printable(c.EventID) != c.EventID {
		sum := sha256.Sum256(raw)
		c.EventID = "sha256:" + hex.EncodeToString(sum[:16]) // the same text counts as the same event
	}
	var isDevice bool
	if c.DeviceUID, isDevice = parseUID(text(event.Device)); !isDevice {
		c.Unusable = bridge.ConfirmationNoDevice
	}
	switch c.State {
	case payment.MachineOut, payment.MachineReady:
		if !ofItself {
			c.Unusable = bridge.ConfirmationNoState
		} else if !isDevice {
			return c, project, ErrNoCredit // nothing says which machine it is
		}
	case "started", "done", "failed", "busy", "expired", "duplicate":
	default:
		c.Unusable = bridge.ConfirmationNoState
	}
	return c, project, nil
}

// text returns a JSON string without surrounding spaces, or "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if !field(raw, &s) {
		return ""
	}
	return strings.TrimSpace(s)
}

// word returns a text from outside on one line, cut to the length that the ledger stores.
func word(s string) string {
	r := []rune(
		strings.Join(strings.FieldsFunc(upstream.Printable(s), func(r rune) bool { return !unicode.IsPrint(r) }), " "),
	)
	return strings.TrimSpace(string(r[:min(len(r), maxWord)]))
}

// machineCode returns a machine's own code. A code that is no string is kept as its JSON text,
// because an odd code is no reason to lose the state.
func machineCode(raw json.RawMessage) string {
	var code string
	if json.Unmarshal(raw, &code) != nil {
		code = string(raw)
	}
	return word(code)
}

// unixTime decodes a time of an event, in Unix seconds with a fraction. It returns the zero time for
// anything else.
func unixTime(raw json.RawMessage) time.Time {
	seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `" `), 64)
	if err != nil || !(0 < seconds && seconds < 1e11) { // until the year 5138
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC()
}

// Confirmations reads a page of confirmations, oldest first. The cursor is the id of the last event
// that was seen. An empty or unknown cursor begins with the oldest event that Notehub keeps. The
// event of the cursor is listed again, so the caller must recognize repeats by their EventID. next
// is the cursor for the next call, and more reports whether further events are there already. Other
// events are skipped. It is assumed that Notehub never adds events before the cursor
// (docs/vendors.md, U21).
func (n *Client) Confirmations(
	ctx context.Context,
	cursor string,
) (list []payment.Confirmation, next string, more bool, err error) {
	files := strings.Join(notefile.Both(n.config.answers()), ",")
	query := url.Values{"files": {files}, "sortOrder": {"asc"}, "limit": {strconv.Itoa(eventsPerPage)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	var reply replyPage
	err = n.read(ctx, call{path: "/events-cursor", query: query.Encode(), decode: func(text []byte) (err error) {
		reply, err = decodePage(text, "events")
		return err
	}})
	if err != nil {
		return nil, cursor, false, err
	}
	next = cursor
	for _, raw := range reply.records {
		var event struct {
			ID string `json:"event"`
		}
		if json.Unmarshal(raw, &event) == nil && event.ID != "" {
			next = event.ID
		}
		switch c, _, err := DecodeConfirmation(raw, n.config.answers(), uid.Parse); {
		case err == nil:
			list = append(list, c)
		case errors.Is(err, ErrNoCredit):
			n.Ignored(event.ID, IgnoredNoCredit)
		case errors.Is(err, errMalformed):
			n.Ignored(event.ID, ignoredMalformed)
		}
	}
	if reply.more && next == cursor && reply.next != "" {
		next = reply.next // none of the page's events has an id
	}
	if reply.more && next == cursor {
		return nil, cursor, false, &upstream.Error{
			Outcome: upstream.Retryable,
			Status:  200,
			Detail:  "a page without a new event that is not the last",
		}
	}
	return list, next, reply.more, nil
}

// Ignored reports a confirmation that is not applied to any payment: on the problem board, in the
// log and in the metrics. It does so once for an event.
func (n *Client) Ignored(event, why string) {
	if n.Odd.add("machines' answers", oddRecord{id: "event " + displayID(event), field: why}) && n.Counted != nil {
		n.Counted(why)
	}
}
