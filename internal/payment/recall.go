package payment

import (
	"slices"
	"strings"
	"time"

	"notepay/internal/upstream"
)

// Where a credit's note is, and how it is taken back. A look says which of its notes are pending at
// Notehub, each of them is deleted, and another look has to show that none is left: the Notecard
// may have been faster than a deletion, and a deletion nobody saw the end of proves nothing. A
// credit that was taken back fails, or is sent anew; one that was not is fetched. Where it is in
// doubt, a machine that confirms will say, and of another the customer gets the money back.

// applyCheck takes in which notes of the credit are pending.
func applyCheck(p Payment, o Outcome, now time.Time) Payment {
	if o.Result == upstream.Rejected {
		return noteRejected(p)
	}
	if o.Result != upstream.OK {
		return p
	}
	pending := len(o.NoteIDs) > 0
	listed := p.SentAt.Add(MaxListingDelay)
	// the one note that was posted has been listed already
	alone := p.RecallStatus != NotRecalled && !p.NotFoundAfterUnclear
	if p.Delivery == Sent && p.OutcomeUnknown && !o.Stale { // a deletion may have been applied
		p.OutcomeUnknown = false
		if !slices.Contains(o.NoteIDs, NextRecallNote(p)) {
			p = recallWorst(p, RecallUnclear)
		}
		p.NoteIDs = ""
	}
	if pending {
		p = noteAccepted(p, now)
	}
	if o.Stale {
		return p // an old look says nothing of what was done since
	}
	late := !p.ExpiresAt.IsZero() &&
		!o.Began.Before(p.ExpiresAt) // a deadline is acted on only upon an observation made after it
	switch {
	case p.Delivery == Sent && pending && (late || p.CancelReason != "" || p.RecallStatus != NotRecalled):
		p.NoteIDs = strings.Join(o.NoteIDs, ",")
		if p.RecallStatus == NotRecalled {
			p.RecallStatus = RecallDeleted
		}
	case p.Delivery == Sent && pending:
		if p.ExpiresAt.IsZero() {
			p.BackoffUntil = now.Add(idleCheckInterval)
		}
	case p.Delivery == Sent && o.Began.Before(listed) && !alone: // Notehub may not list it yet
		p.BackoffUntil = listed
	case p.Delivery == Sent && p.RecallStatus != NotRecalled:
		p = finishRecall(p, now)
	case p.Delivery == Sent:
		p = markFetched(p)
	case p.Delivery == Queued && p.OutcomeUnknown: // not there: it was not applied, or it was and is fetched; the machine ignores a repeat
		p.OutcomeUnknown, p.NotFoundAfterUnclear = false, true
	}
	return p
}

// applyRecall takes in the deletion of one pending note. The look that follows is the proof.
func applyRecall(p Payment, o Outcome) Payment {
	if p.RecallStatus == NotRecalled || NextRecallNote(p) != o.NoteID {
		return p // it was ended meanwhile
	}
	switch o.Result {
	case upstream.Rejected: // there is no such note any more: it was fetched
		seen := RecallTooLate
		if p.ReviewReason == ReviewTwins {
			seen = RecallUnclear // or deleted by the other installation
		}
		p = recallWorst(p, seen)
	case upstream.Unknown:
		p.OutcomeUnknown = p.OutcomeUnknown || !o.Stale
		return p
	case upstream.OK:
	default:
		return p // nothing was done
	}
	_, p.NoteIDs, _ = strings.Cut(p.NoteIDs, ",")
	return p
}

// NextRecallNote is the pending note that is deleted next, "" for none.
func NextRecallNote(p Payment) string {
	id, _, _ := strings.Cut(p.NoteIDs, ",")
	return id
}

// recallWorst remembers the worst that was seen of a recall's deletions.
func recallWorst(p Payment, seen RecallStatus) Payment {
	if p.RecallStatus != RecallTooLate {
		p.RecallStatus = seen
	}
	return p
}

// finishRecall ends a recall: no note is pending any more.
func finishRecall(p Payment, now time.Time) Payment {
	worst, stop := p.RecallStatus, p.CancelReason
	p.RecallStatus, p.NoteIDs, p.CancelReason = NotRecalled, "", ""
	doubt := worst == RecallUnclear || p.NotFoundAfterUnclear
	switch {
	case worst == RecallTooLate,
		doubt && !p.ConfirmBy.IsZero(): // a machine that confirms will say what became of it
		p.CancelReason = stop
		return markFetched(p)
	case doubt:
		p = Fail(p, ReasonRecallUnclear) // the customer first, on purpose
		p.ReviewReason = ReasonRecallUnclear
	case stop == cancelForResend:
		p.Delivery, p.MaybeAccepted, p.SentAt = Queued, false, time.Time{}
	case stop != "":
		p = Fail(p, stop)
	default:
		p = Fail(p, ReasonRecalled)
	}
	return p
}

// cancelForResend is the Stop of a note that is taken back to be sent anew.
const cancelForResend = "retry"

// fetched: the Notecard has the note.
func markFetched(p Payment) Payment {
	p.Delivery, p.OutcomeUnknown = Fetched, false
	stop := p.CancelReason
	p.CancelReason, p.RecallStatus, p.NoteIDs = "", NotRecalled, ""
	switch stop {
	case ReasonEnded:
		p.PendingNotice = "ended"
	case ReasonReversed:
		p.PendingNotice, p.ReviewReason = "refunded", ReviewFetchedAnyway
	}
	if p.ConfirmBy.IsZero() {
		p.PendingNotice = "" // it would not understand
	}
	return p
}

// InDoubt reports whether Notehub never took a credit, as far as is known, that is not sent any
// more. A post of it was unclear, so a machine that confirms is given until its time is over to say
// that it has it.
func InDoubt(p Payment, now time.Time) bool {
	over := p.CancelReason != "" || !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
	return p.Delivery == Queued && p.NotFoundAfterUnclear && !p.OutcomeUnknown && !p.ConfirmBy.IsZero() && over
}
