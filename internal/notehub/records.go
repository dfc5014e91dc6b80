package notehub

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// DecodeDevice decodes one device. A record without a readable UID is an error, because nothing
// else names the device. Of the other fields only those that notepay uses are decoded:
//
//   - an unreadable name or last_activity is left out, and the device's Problem names it;
//   - an unreadable "disabled" or "fleet_uids" decides whether and at what price the device sells. Then the device is
//     Unreadable, so that nothing is sold on a guess.
func DecodeDevice(raw json.RawMessage) (d ledger.Device, odd []Odd, err error) {
	var fields struct {
		UID          json.RawMessage `json:"uid"`
		SerialNumber json.RawMessage `json:"serial_number"`
		Fleets       json.RawMessage `json:"fleet_uids"`
		Disabled     json.RawMessage `json:"disabled"`      // left out when false
		LastActivity json.RawMessage `json:"last_activity"` // null for a device that was never seen
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return d, nil, errors.New("it is no object")
	}
	if !field(fields.UID, &d.UID) || d.UID == "" {
		return d, nil, errors.New("it has no uid")
	}
	unread := func(name string, value json.RawMessage) {
		odd = append(odd, Odd{ID: Name(d.UID), Field: name})
		text := fmt.Sprintf("Notehub sends %s as %s, which cannot be read.", name, upstream.Excerpt(value))
		d.Problem = strings.TrimSpace(d.Problem + " " + text)
	}
	if !field(fields.SerialNumber, &d.Name) {
		unread("serial_number", fields.SerialNumber)
	}
	d.Name = upstream.Printable(d.Name)
	if !field(fields.Fleets, &d.Fleets) {
		d.Fleets, d.Unreadable = nil, true
		unread("fleet_uids", fields.Fleets)
	}
	if !field(fields.Disabled, &d.Disabled) {
		d.Unreadable = true
		unread("disabled", fields.Disabled)
	}
	if !field(fields.LastActivity, &d.LastActivity) {
		d.LastActivity = time.Time{}
		unread("last_activity", fields.LastActivity)
	}
	d.LastActivity = d.LastActivity.UTC().Truncate(time.Millisecond)
	return d, odd, nil
}

// Name returns the id of a record for a log line or a problem: on one line and not too long, for it
// comes from outside.
func Name(id string) string {
	const maxRunes = 64
	r := []rune(upstream.Excerpt([]byte(id)))
	if len(r) > maxRunes {
		return string(r[:maxRunes]) + "..."
	}
	return string(r)
}

// Place returns the name of a record that has no id: its place in its list, from 1.
func Place(index int) string { return fmt.Sprintf("record %d", index+1) }

// DecodePendingNotes decodes the reply to a read of a queue. Notehub documents none of its members
// as required, so a reply without notes shows an empty queue only if it counts none, and one that
// counts more notes than it lists is an error: a note that is not listed counts as fetched. A note
// of another shape than ours has no credit id.
func DecodePendingNotes(body []byte) (notes []payment.PendingNote, odd []Odd, err error) {
	members, err := Members(body)
	if err != nil {
		return nil, nil, err
	}
	var listed map[string]json.RawMessage
	if !field(members["notes"], &listed) {
		return nil, nil, errors.New("the notes in the reply are no object")
	}
	total := -1
	if !field(members["total"], &total) {
		return nil, nil, errors.New("the total in the reply is no number")
	}
	switch {
	case listed == nil && total != 0:
		return nil, nil, errors.New("no notes in the reply")
	case total > len(listed):
		return nil, nil, fmt.Errorf("the reply lists %d of %d notes", len(listed), total)
	}
	for _, id := range slices.Sorted(maps.Keys(listed)) {
		var note struct {
			Body json.RawMessage `json:"body"`
		}
		if isNull(listed[id]) || json.Unmarshal(listed[id], &note) != nil {
			odd = append(odd, Odd{ID: "note " + Name(id)})
		}
		var body struct {
			CreditID      json.RawMessage `json:"credit_id"`
			PaymentStatus json.RawMessage `json:"payment_status"`
		}
		ours := payment.PendingNote{ID: id}
		if isNull(note.Body) || json.Unmarshal(note.Body, &body) != nil || !field(body.CreditID, &ours.CreditID) ||
			!field(body.PaymentStatus, &ours.PaymentStatus) {
			ours = payment.PendingNote{ID: id, Unreadable: true} // another's note may hold anything
		}
		notes = append(notes, ours)
	}
	return notes, odd, nil
}

// DecodeVariables decodes environment variables. Notehub documents texts as their values. Another
// value is taken as its JSON text, because what was set must not count as not set: the terms of a
// machine then say what is wrong. A null value is not set, and null instead of the variables is how
// Go writes an empty map.
func DecodeVariables(raw json.RawMessage) (map[string]string, error) {
	var members map[string]json.RawMessage
	if len(raw) == 0 || json.Unmarshal(raw, &members) != nil {
		return nil, errors.New("no environment_variables in the reply")
	}
	variables := make(map[string]string, len(members))
	// capitals sort first: of two names that fold to one, lower case wins
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var text string
		switch {
		case isNull(members[name]):
			continue
		case !field(members[name], &text):
			text = string(members[name])
		}
		variables[strings.ToLower(upstream.Printable(name))] = upstream.Printable(text)
	}
	return variables, nil
}

// DecodeFleets decodes the list of fleets into their variables by UID. What an odd record leaves
// unknown stays as it was in known, the result of the last reading. A fleet whose variables could
// never be read takes no payments, rather than be sold at a price that is a guess.
func DecodeFleets(
	records []json.RawMessage,
	known map[string]map[string]string,
) (fleets map[string]map[string]string, odd []Odd) {
	fleets = make(map[string]map[string]string, len(records))
	unnamed := false
	for i, raw := range records {
		var fields struct {
			UID       json.RawMessage `json:"uid"`
			Variables json.RawMessage `json:"environment_variables"` // optional
		}
		var uid string
		if json.Unmarshal(raw, &fields) != nil || !field(fields.UID, &uid) || uid == "" {
			unnamed = true
			odd = append(odd, Odd{ID: Place(i), Field: "uid"})
			continue
		}
		fleets[uid] = map[string]string{}
		if isNull(fields.Variables) {
			continue
		}
		variables, err := DecodeVariables(fields.Variables)
		if err != nil {
			odd = append(odd, Odd{ID: Name(uid), Field: "environment_variables"})
			if variables = known[uid]; variables == nil {
				variables = map[string]string{"payment_enabled": "unreadable"}
			}
		}
		fleets[uid] = variables
	}
	if unnamed { // it may be any of those that are missing now
		for uid, variables := range known {
			if _, listed := fleets[uid]; !listed {
				fleets[uid] = variables
			}
		}
	}
	return fleets, odd
}
