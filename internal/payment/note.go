package payment

import (
	"cmp"
	"fmt"
	"time"

	"notepay/internal/notefile"
)

// FundsKey returns the idempotency key of a capture or release. Each claim has its own key, because
// Stripe repeats a 500 under the same key for a day. A second capture or release does no harm:
// Stripe replies that it was done already.
func FundsKey(p Payment) string { return fmt.Sprintf("%s:%s:%d", p.Step, p.ID, p.FencingToken) }

// NoteCompleted is the payment_status of a note that grants a credit.
const NoteCompleted = "completed"

// NotesOf returns the ids of a credit's notes among the pending notes of its device.
func NotesOf(p Payment, pending []PendingNote) (ids []string) {
	for _, n := range pending {
		if n.CreditID == p.ID && n.PaymentStatus == NoteCompleted {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// AssignNoteFile sets the notefile of a credit's notes. A credit keeps the file of the first post that
// Notehub may have accepted, so that a check or recall looks where its note is, although the
// setting has changed since.
func AssignNoteFile(p Payment, file string) Payment {
	if p.Delivery != Queued || p.MaybeAccepted || p.InFlight {
		return p
	}
	if p.NoteFile = file; file == notefile.Payments {
		p.NoteFile = ""
	}
	return p
}

// NoteFileOf returns the notefile of a credit's notes.
func NoteFileOf(p Payment) string { return cmp.Or(p.NoteFile, notefile.Payments) }

// NoteOf returns the note of a credit, or the notice to a machine that already has the credit.
func NoteOf(p Payment) Note {
	n := Note{
		PaymentStatus: NoteCompleted,
		Timestamp:     p.PaidAt.Unix(),
		SessionID:     p.SessionID,
		CreditID:      p.ID,
		Duration:      int64(p.Duration / time.Second),
		DelayedStart:  int64(p.DelayedStart / time.Second),
		Code:          p.AccessCode,
		Pulses:        p.Pulses,
		Output:        p.Output,
	}
	if p.PendingNotice != "" && p.Delivery != Queued {
		n.PaymentStatus, n.Duration, n.DelayedStart, n.Code = p.PendingNotice, 0, 0, ""
		n.Pulses, n.Output = 0, 0
	}
	if !p.ExpiresAt.IsZero() {
		n.Expires = p.ExpiresAt.Unix()
	}
	return n
}
