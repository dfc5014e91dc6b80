package payment

import (
	"cmp"
	"time"

	"notepay/internal/upstream"
)

func applyPost(p Payment, o Outcome, now time.Time) Payment {
	if p.PendingNotice != "" && p.Delivery != Queued { // it was a word to a machine that runs, not the credit
		if o.Result == upstream.OK || o.Result == upstream.Rejected {
			p.PendingNotice = ""
		}
		return p
	}
	switch o.Result {
	case upstream.OK:
		p = noteAccepted(p, now)
	case upstream.Unknown:
		p.MaybeAccepted = true
		if p.Delivery == Queued { // later, what is unclear is a deletion, and this says nothing about it
			p.OutcomeUnknown = true
		}
		p = flagLateDelivery(p)
	case upstream.Rejected:
		p = noteRejected(p)
	}
	return p
}

func noteAccepted(p Payment, now time.Time) Payment {
	p.MaybeAccepted = true
	if p.Delivery == Queued { // later, what is unclear is a deletion
		p.Delivery, p.OutcomeUnknown = Sent, false
		p = markSent(p, now)
	}
	return flagLateDelivery(p)
}

// markSent notes when the note got out.
func markSent(p Payment, now time.Time) Payment {
	if p.SentAt.IsZero() {
		p.SentAt = now
	}
	return p
}

// flagLateDelivery makes a failed credit doubtful when it turns out late that Notehub took, or may
// have taken, its note.
func flagLateDelivery(p Payment) Payment {
	if p.Delivery == Failed && p.ConfirmBy.IsZero() { // a machine that confirms refuses what has expired
		p.ReviewReason = ReasonUnclear
	}
	return p
}

func noteRejected(p Payment) Payment {
	if p.Delivery != Queued && p.Delivery != Sent {
		return p
	}
	reason := ReasonRefused
	switch {
	case p.MaybeAccepted && !p.ConfirmBy.IsZero() && p.Delivery == Queued: // an earlier post may have been taken, and then the device will say so
		p.OutcomeUnknown, p.NotFoundAfterUnclear, p.CancelReason = false, true, cmp.Or(p.CancelReason, ReasonRefused)
		return p
	case p.MaybeAccepted && !p.ConfirmBy.IsZero():
		return markFetched(markSent(p, p.CreatedAt)) // a note may be with the device all the same, which will say so
	case p.MaybeAccepted:
		reason = ReasonUnclear // and this one will not
	}
	p = Fail(p, reason)
	p.ReviewReason = reason
	return p
}

// Fail ends a credit that the machine does not get.
func Fail(p Payment, reason string) Payment {
	p.Delivery, p.Reason, p.EndsAt = Failed, reason, time.Time{}
	p.OutcomeUnknown, p.CancelReason, p.RecallStatus, p.NoteIDs, p.PendingNotice = false, "", NotRecalled, "", ""
	return p
}
