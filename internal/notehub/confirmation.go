package notehub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"notepay/internal/bridge"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// The notefiles in which machines answer. A Notecard sends the second one over TLS.
const (
	confirmationFile       = "payment_ack.qo"
	secureConfirmationFile = "payment_ack.qos"

	// ConfirmationFiles names both as Notehub's filter takes them.
	ConfirmationFiles = confirmationFile + "," + secureConfirmationFile
)

var (
	// ErrOtherFile is for events of other notefiles, which are no answers.
	ErrOtherFile = errors.New("an event of another notefile")
	// ErrNoCredit is for answers that name no credit.
	ErrNoCredit = errors.New("an answer without a credit")
	// ErrMalformed is for what is no event.
	ErrMalformed = errors.New("malformed event")
)

var creditID = regexp.MustCompile(`^cr_[a-z2-7]{16}$`)

const (
	maxEventID = 128
	maxWord    = 64 // characters of a state or a code
)

// DecodeConfirmation decodes an event as a route sends it and as events-cursor lists it (note.Event
// of blues/note-go), and the project that it is from, "" if it names none. parseUID cleans a
// device's UID. Firmware and routes write names and states in any letters and with spaces, and a
// route may leave fields out, so both are read leniently.
//
// An answer that names a credit and is Unusable is no error, because the operator has to see it on
// the payment.
func DecodeConfirmation(
	raw []byte, parseUID func(string) (string, bool),
) (c payment.Confirmation, project string, err error) {
	var event struct {
		ID       json.RawMessage `json:"event"`
		File     json.RawMessage `json:"file"`
		Device   json.RawMessage `json:"device"`
		App      json.RawMessage `json:"app"`
		Project  json.RawMessage `json:"project"` // some routes send it instead of app, as an object
		Received json.RawMessage `json:"received"`
		Body     json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(raw, &event); err != nil {
		return c, "", ErrMalformed
	}
	var in struct {
		ID json.RawMessage `json:"id"`
	}
	_ = json.Unmarshal(event.Project, &in) // no object names no project
	if project = text(event.App); project == "" {
		project = text(in.ID)
	}
	if file := strings.ToLower(text(event.File)); file != confirmationFile && file != secureConfirmationFile {
		return c, project, ErrOtherFile
	}
	var answer struct {
		CreditID json.RawMessage `json:"credit_id"`
		State    json.RawMessage `json:"state"`
		Code     json.RawMessage `json:"code"`
	}
	_ = json.Unmarshal(event.Body, &answer) // no object names no credit
	credit := strings.ToLower(text(answer.CreditID))
	if !creditID.MatchString(credit) {
		return c, project, ErrNoCredit
	}
	c = payment.Confirmation{
		EventID:  text(event.ID),
		CreditID: credit,
		State:    strings.ToLower(word(text(answer.State))),
		Code:     machineCode(answer.Code),
		At:       received(event.Received),
	}
	if c.EventID == "" || len(c.EventID) > maxEventID || upstream.Printable(c.EventID) != c.EventID {
		sum := sha256.Sum256(raw)
		c.EventID = "sha256:" + hex.EncodeToString(sum[:16]) // a repeat of the same text is the same event
	}
	var isDevice bool
	if c.DeviceUID, isDevice = parseUID(text(event.Device)); !isDevice {
		c.Unusable = bridge.ConfirmationNoDevice
	}
	switch c.State {
	case "started", "done", "failed", "busy", "expired", "duplicate":
	default:
		c.Unusable = bridge.ConfirmationNoState
	}
	return c, project, nil
}

// text returns a JSON string without the spaces around it, and "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if !field(raw, &s) {
		return ""
	}
	return strings.TrimSpace(s)
}

// word returns an outside text on one line, cut to what the ledger keeps.
func word(s string) string {
	r := []rune(
		strings.Join(strings.FieldsFunc(upstream.Printable(s), func(r rune) bool { return !unicode.IsPrint(r) }), " "),
	)
	return strings.TrimSpace(string(r[:min(len(r), maxWord)]))
}

// machineCode returns a machine's own code. One that is no string is taken as it stands: a strange
// code is no reason to lose a state.
func machineCode(raw json.RawMessage) string {
	var code string
	if json.Unmarshal(raw, &code) != nil {
		code = string(raw)
	}
	return word(code)
}

// received decodes when Notehub received an event, in Unix seconds with a fraction; zero if that is
// no time.
func received(raw json.RawMessage) time.Time {
	seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `" `), 64)
	if err != nil || !(0 < seconds && seconds < 1e11) { // until the year 5138
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC()
}
