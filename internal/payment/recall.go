package payment

import (
	"slices"
	"strings"
	"time"

	"notepay/internal/upstream"
)

// A recall deletes a credit's pending notes at Notehub. A check lists them, each is deleted, and
// another check must find none left. Only that proves the recall, because the Notecard may be
// faster than a deletion, and a deletion may have an unknown outcome. After a proven recall the
// credit fails or is sent again. If the Notecard was faster, the credit is fetched. In doubt, a
// confirming machine will say, and the customer of any other machine gets the money back.

// applyCheck applies a list of the credit's pending notes.
func applyCheck(p Payment, o Outcome, now time.Time) Payment {
	if o.Result == upstream.Rejected {
		return noteRejected(p)
	}
	if o.Result != upstream.OK {
		return p
	}
	pending := len(o.NoteIDs) > 0
	listed := p.SentAt.Add(MaxListingDelay)
	// The only note posted was listed before, so it needs no time to be listed.
	alone := p.RecallStatus != NotRecalled && !p.NotFoundAfterUnclear
	if p.Delivery == Sent && p.OutcomeUnknown && !o.Stale { // the last deletion may have been applied
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
		return p // a stale check says nothing of later posts
	}
	late := !p.ExpiresAt.IsZero() &&
		// A deadline counts only in a check that began after it.
		!o.Began.Before(p.ExpiresAt)
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
	case p.Delivery == Sent && o.Began.Before(listed) && !alone: // Notehub may not list the note yet
		p.BackoffUntil = listed
	case p.Delivery == Sent && p.RecallStatus != NotRecalled:
		p = finishRecall(p, now)
	case p.Delivery == Sent:
		p = markFetched(p)
	case p.Delivery == Queued && p.OutcomeUnknown:
		// The post was not applied, or the Notecard has fetched its note. The machine ignores a
		// repeat.
		p.OutcomeUnknown, p.NotFoundAfterUnclear = false, true
	}
	return p
}

// applyRecall applies the deletion of one note. The next check is the proof.
func applyRecall(p Payment, o Outcome) Payment {
	if p.RecallStatus == NotRecalled || NextRecallNote(p) != o.NoteID {
		return p // the recall has ended meanwhile
	}
	switch o.Result {
	case upstream.Rejected: // the note is gone: it was fetched
		seen := RecallTooLate
		if p.ReviewReason == ReviewTwins {
			seen = RecallUnclear // or the other installation deleted it
		}
		p = recallWorst(p, seen)
	case upstream.Unknown:
		p.OutcomeUnknown = p.OutcomeUnknown || !o.Stale
		return p
	case upstream.OK:
	default:
		return p // nothing was deleted
	}
	_, p.NoteIDs, _ = strings.Cut(p.NoteIDs, ",")
	return p
}

// NextRecallNote returns the pending note to delete next, or "".
func NextRecallNote(p Payment) string {
	id, _, _ := strings.Cut(p.NoteIDs, ",")
	return id
}

// recallWorst stores a deletion's result, unless a worse one is known.
func recallWorst(p Payment, seen RecallStatus) Payment {
	if p.RecallStatus != RecallTooLate {
		p.RecallStatus = seen
	}
	return p
}

// finishRecall ends a recall after a check that found no pending note.
func finishRecall(p Payment, now time.Time) Payment {
	worst, reason := p.RecallStatus, p.CancelReason
	p.RecallStatus, p.NoteIDs, p.CancelReason = NotRecalled, "", ""
	doubt := worst == RecallUnclear || p.NotFoundAfterUnclear
	switch {
	case worst == RecallTooLate, doubt && !p.ConfirmBy.IsZero(): // a confirming machine will say
		p.CancelReason = reason
		return markFetched(p)
	case doubt:
		p = Fail(p, ReasonRecallUnclear) // in doubt for the customer
		p.ReviewReason = ReasonRecallUnclear
	case reason == cancelForResend:
		p.Delivery, p.MaybeAccepted, p.SentAt = Queued, false, time.Time{}
	case reason != "":
		p = Fail(p, reason)
	default:
		p = Fail(p, ReasonRecalled)
	}
	return p
}

// cancelForResend is the CancelReason of a note that is recalled to be sent again.
const cancelForResend = "retry"

// markFetched applies that the Notecard has fetched the note.
func markFetched(p Payment) Payment {
	p.Delivery, p.OutcomeUnknown = Fetched, false
	reason := p.CancelReason
	p.CancelReason, p.RecallStatus, p.NoteIDs = "", NotRecalled, ""
	switch reason {
	case ReasonEnded:
		p.PendingNotice = "ended"
	case ReasonReversed:
		p.PendingNotice, p.ReviewReason = "refunded", ReviewFetchedAnyway
	}
	if p.ConfirmBy.IsZero() {
		p.PendingNotice = "" // such a machine does not know notices
	}
	return p
}

// InDoubt reports whether a credit is waiting for its machine after an unclear post. The credit is
// not sent again, and its note is not pending. Its machine confirms, so it has until ConfirmBy to
// report that it has the credit.
func InDoubt(p Payment, now time.Time) bool {
	over := p.CancelReason != "" || !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
	return p.Delivery == Queued && p.NotFoundAfterUnclear && !p.OutcomeUnknown && !p.ConfirmBy.IsZero() && over
}
