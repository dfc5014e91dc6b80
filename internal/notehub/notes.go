package notehub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"notepay/internal/notecrypt"
	"notepay/internal/notefile"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// PaymentFile is the notefile in which a machine receives its payments, unless NOTE_FILE names
// another.
const PaymentFile = notefile.Payments

// PostNote adds a note to the device's queue, the notefile file. Notehub does not recognize a repeated call, because a
// .qi file takes no note id. Only the machine recognizes it, by the credit id in the body.
func (n *Client) PostNote(ctx context.Context, device, file string, note payment.Note) error {
	return n.post(ctx, device, file, note)
}

// PostEncrypted adds an encrypted note to the device's queue, in the same way.
func (n *Client) PostEncrypted(ctx context.Context, device, file string, note notecrypt.Body) error {
	return n.post(ctx, device, file, note)
}

func (n *Client) post(ctx context.Context, device, file string, note any) error {
	body, err := json.Marshal(map[string]any{"body": note})
	if err != nil {
		return err
	}
	return n.call(ctx, call{
		method: http.MethodPost,
		path:   n.devicePath(device) + "/notes/" + file,
		body:   body,
		device: device,
	})
}

// PendingNotes lists the notes in the device's queue that it has not fetched yet, in no order. A
// note of another program has no credit id, and an encrypted one has a digest instead.
func (n *Client) PendingNotes(ctx context.Context, device, file string) (notes []payment.PendingNote, err error) {
	err = n.call(ctx, call{
		method: http.MethodGet,
		path:   n.devicePath(device) + "/notes/" + file,
		device: device,
		decode: func(text []byte) (err error) {
			var odd []oddRecord
			notes, odd, err = decodePendingNotes(text)
			n.Odd.add("Notehub's pending notes", odd...)
			return err
		},
	})
	if isNoNotefile(err) {
		return nil, nil // without a queue nothing is pending
	}
	if err != nil {
		return nil, err
	}
	return notes, nil
}

// DeleteNote deletes a pending note from the device's queue. The outcome upstream.Rejected means
// that Notehub has no such note: the device fetched it, or an earlier call deleted it and its reply
// was lost. An unknown device counts as upstream.Misconfigured instead. A nil error is no proof that
// the device will never see the note (docs/vendors.md, U15).
func (n *Client) DeleteNote(ctx context.Context, device, file, noteID string) error {
	return n.call(ctx, call{
		method: http.MethodDelete,
		path:   n.devicePath(device) + "/notes/" + file + "/" + url.PathEscape(noteID),
	})
}

// isNoNotefile reports whether a call failed because the device has never had this queue.
func isNoNotefile(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && e.Status == http.StatusNotFound &&
		(strings.Contains(e.Detail, "{notefile-noexist}") || strings.Contains(e.Detail, "{file-noexist}"))
}

// decodePendingNotes decodes the notes of a queue. Notehub documents none of the reply's members as
// required. So a reply without notes shows an empty queue only if its total is zero. A reply that
// counts more notes than it lists is an error, because an unlisted note would count as fetched. A
// note of another shape than ours has no credit id.
func decodePendingNotes(body []byte) (notes []payment.PendingNote, odd []oddRecord, err error) {
	members, err := replyMembers(body)
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
			odd = append(odd, oddRecord{id: "note " + displayID(id)})
		}
		var body struct {
			CreditID      json.RawMessage `json:"credit_id"`
			PaymentStatus json.RawMessage `json:"payment_status"`
		}
		ours := payment.PendingNote{ID: id}
		if isNull(note.Body) || json.Unmarshal(note.Body, &body) != nil || !field(body.CreditID, &ours.CreditID) ||
			!field(body.PaymentStatus, &ours.PaymentStatus) {
			ours = payment.PendingNote{ID: id, Unreadable: true} // a note that another program posted may hold anything
		}
		if encrypted, ok := notecrypt.Parse(note.Body); ok {
			ours = payment.PendingNote{ID: id, Unreadable: true, Digest: encrypted.Digest()}
		}
		notes = append(notes, ours)
	}
	return notes, odd, nil
}

// checkAcknowledged returns an error unless the body of a 2xx reply acknowledges a note or its
// deletion. Notehub documents an empty object. An empty body and an object without an error member
// are accepted too, because Notehub may add members. Any other body comes from a proxy or portal
// between us and Notehub.
func checkAcknowledged(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	_, err := replyMembers(body)
	return err
}
