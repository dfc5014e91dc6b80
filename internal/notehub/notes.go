package notehub

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// PostNote puts a note into the device's queue. Nothing in the call makes a repeat harmless (a .qi
// file takes no note id); only the credit id in the body does, on the machine.
func (n *Client) PostNote(ctx context.Context, device string, note payment.Note) error {
	body, err := json.Marshal(map[string]any{"body": note})
	if err != nil {
		return err
	}
	return n.call(
		ctx,
		call{method: http.MethodPost, path: n.devicePath(device) + "/notes/" + PaymentFile, body: body, device: device},
	)
}

// PendingNotes lists the notes in the device's queue that it has not fetched yet, in no order. What
// somebody else posted there and has another shape has no credit id.
func (n *Client) PendingNotes(ctx context.Context, device string) (notes []payment.PendingNote, err error) {
	err = n.call(
		ctx,
		call{
			method: http.MethodGet,
			path:   n.devicePath(device) + "/notes/" + PaymentFile,
			device: device,
			decode: func(text []byte) (err error) {
				var odd []Odd
				notes, odd, err = DecodePendingNotes(text)
				n.Odd.Add("Notehub's pending notes", odd...)
				return err
			},
		},
	)
	if isNoNotefile(err) {
		return nil, nil // the queue was never made: nothing is pending
	}
	if err != nil {
		return nil, err
	}
	return notes, nil
}

// DeleteNote takes a pending note out of the device's queue. upstream.Refused means that Notehub
// has no such note: it was fetched, or was deleted by an earlier call whose reply was lost. That
// the device is unknown is not among these refusals, but trouble. nil is no proof that the device
// will never see the note (docs/vendors.md, U15).
func (n *Client) DeleteNote(ctx context.Context, device, noteID string) error {
	return n.call(
		ctx,
		call{
			method: http.MethodDelete,
			path:   n.devicePath(device) + "/notes/" + PaymentFile + "/" + url.PathEscape(noteID),
		},
	)
}

// isNoNotefile: the device has never had this queue ({notefile-noexist}).
func isNoNotefile(err error) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && e.Status == http.StatusNotFound &&
		(strings.Contains(e.Detail, "{notefile-noexist}") || strings.Contains(e.Detail, "{file-noexist}"))
}
