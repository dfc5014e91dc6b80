package payment

import (
	"fmt"
	"time"
)

// FundsKey is the idempotency key of a capture or release. Each claim has its own: Stripe gives a
// 500 again under the same key for a day, and a second capture or release does no harm, for Stripe
// says that it was done already.
func FundsKey(p Payment) string { return fmt.Sprintf("%s:%s:%d", p.Step, p.ID, p.FencingToken) }

const NoteCompleted = "completed"

// NotesOf are the ids of a credit's notes among those that are pending for its device.
func NotesOf(p Payment, pending []PendingNote) (ids []string) {
	for _, n := range pending {
		if n.CreditID == p.ID && n.PaymentStatus == NoteCompleted {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// NoteOf is the note of a credit, or the word to a machine that has it.
func NoteOf(p Payment) Note {
	n := Note{PaymentStatus: NoteCompleted, Timestamp: p.PaidAt.Unix(), SessionID: p.SessionID, CreditID: p.ID,
		Duration: int64(
			p.Duration / time.Second,
		), DelayedStart: int64(p.DelayedStart / time.Second), Code: p.AccessCode}
	if p.PendingNotice != "" && p.Delivery != Queued {
		n.PaymentStatus, n.Duration, n.DelayedStart, n.Code = p.PendingNotice, 0, 0, ""
	}
	if !p.ExpiresAt.IsZero() {
		n.Expires = p.ExpiresAt.Unix()
	}
	return n
}
