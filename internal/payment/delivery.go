package payment

import (
	"cmp"
	"time"

	"notepay/internal/upstream"
)

func applyPost(p Payment, o Outcome, now time.Time) Payment {
	if p.PendingNotice != "" && p.Delivery != Queued { // this was a notice to a running machine, not the credit
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
		// After Queued, the unknown outcome is that of a deletion, which this post does not settle.
		if p.Delivery == Queued {
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
	// After Queued, the unknown outcome is that of a deletion.
	if p.Delivery == Queued {
		p.Delivery, p.OutcomeUnknown = Sent, false
		p = markSent(p, now)
	}
	return flagLateDelivery(p)
}

// markSent stores when the note was first accepted.
func markSent(p Payment, now time.Time) Payment {
	if p.SentAt.IsZero() {
		p.SentAt = now
	}
	return p
}

// flagLateDelivery marks a failed credit for review, because Notehub accepted its note after all,
// or may have.
func flagLateDelivery(p Payment) Payment {
	if p.Delivery == Failed && p.ConfirmBy.IsZero() { // a confirming machine rejects expired credits
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
	case p.MaybeAccepted && !p.ConfirmBy.IsZero() && p.Delivery == Queued:
		// An earlier post may have been accepted. Then the machine will confirm.
		p.OutcomeUnknown, p.NotFoundAfterUnclear, p.CancelReason = false, true, cmp.Or(p.CancelReason, ReasonRefused)
		return p
	case p.MaybeAccepted && !p.ConfirmBy.IsZero():
		// The machine may have the note. Then it will confirm.
		return markFetched(markSent(p, p.CreatedAt))
	case p.MaybeAccepted:
		reason = ReasonUnclear // this machine does not confirm
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
