package bridge

import (
	"slices"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// Where a credit's note is, and how it is taken back. A look says which of its notes are pending at
// Notehub, each of them is deleted, and another look has to show that none is left: the Notecard
// may have been faster than a deletion, and a deletion nobody saw the end of proves nothing. A
// credit that was taken back fails, or is sent anew; one that was not is fetched. Where it is in
// doubt, a machine that confirms will say, and of another the customer gets the money back.

// applyCheck takes in which notes of the credit are pending.
func applyCheck(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	if o.Result == upstream.Refused {
		return refused(p)
	}
	if o.Result != upstream.Done {
		return p
	}
	pending := len(o.NoteIDs) > 0
	listed := p.SentAt.Add(listedWithin)
	alone := p.Recalled != ledger.NotRecalled && !p.Vanished // the one note that was posted has been listed already
	if p.Machine == ledger.Sent && p.Unclear && !o.Stale {   // a deletion may have been applied
		p.Unclear = false
		if !slices.Contains(o.NoteIDs, firstNote(p)) {
			p = worse(p, ledger.RecallUnclear)
		}
		p.NoteIDs = ""
	}
	if pending {
		p = sent(p, now)
	}
	if o.Stale {
		return p // an old look says nothing of what was done since
	}
	late := !p.ExpiresAt.IsZero() &&
		!o.Began.Before(p.ExpiresAt) // a deadline is acted on only upon an observation made after it
	switch {
	case p.Machine == ledger.Sent && pending && (late || p.Stop != "" || p.Recalled != ledger.NotRecalled):
		p.NoteIDs = strings.Join(o.NoteIDs, ",")
		if p.Recalled == ledger.NotRecalled {
			p.Recalled = ledger.RecallDeleted
		}
	case p.Machine == ledger.Sent && pending:
		if p.ExpiresAt.IsZero() {
			p.NotBefore = now.Add(idleLook)
		}
	case p.Machine == ledger.Sent && o.Began.Before(listed) && !alone: // Notehub may not list it yet
		p.NotBefore = listed
	case p.Machine == ledger.Sent && p.Recalled != ledger.NotRecalled:
		p = recalled(p, now)
	case p.Machine == ledger.Sent:
		p = fetched(p)
	case p.Machine == ledger.Queued && p.Unclear: // not there: it was not applied, or it was and is fetched; the machine ignores a repeat
		p.Unclear, p.Vanished = false, true
	}
	return p
}

// applyRecall takes in the deletion of one pending note. The look that follows is the proof.
func applyRecall(p ledger.Payment, o Outcome) ledger.Payment {
	if p.Recalled == ledger.NotRecalled || firstNote(p) != o.NoteID {
		return p // it was ended meanwhile
	}
	switch o.Result {
	case upstream.Refused: // there is no such note any more: it was fetched
		seen := ledger.RecallTooLate
		if p.Attention == AttentionTwins {
			seen = ledger.RecallUnclear // or deleted by the other installation
		}
		p = worse(p, seen)
	case upstream.Unclear:
		p.Unclear = p.Unclear || !o.Stale
		return p
	case upstream.Done:
	default:
		return p // nothing was done
	}
	_, p.NoteIDs, _ = strings.Cut(p.NoteIDs, ",")
	return p
}

// firstNote is the pending note that is deleted next, "" for none.
func firstNote(p ledger.Payment) string {
	id, _, _ := strings.Cut(p.NoteIDs, ",")
	return id
}

// worse remembers the worst that was seen of a recall's deletions.
func worse(p ledger.Payment, seen ledger.Recalled) ledger.Payment {
	if p.Recalled != ledger.RecallTooLate {
		p.Recalled = seen
	}
	return p
}

// recalled ends a recall: no note is pending any more.
func recalled(p ledger.Payment, now time.Time) ledger.Payment {
	worst, stop := p.Recalled, p.Stop
	p.Recalled, p.NoteIDs, p.Stop = ledger.NotRecalled, "", ""
	doubt := worst == ledger.RecallUnclear || p.Vanished
	switch {
	case worst == ledger.RecallTooLate,
		doubt && !p.ConfirmBy.IsZero(): // a machine that confirms will say what became of it
		p.Stop = stop
		return fetched(p)
	case doubt:
		p = failed(p, ReasonRecallUnclear) // the customer first, on purpose
		p.Attention = ReasonRecallUnclear
	case stop == stopRetry:
		p.Machine, p.Posted, p.SentAt = ledger.Queued, false, time.Time{}
	case stop != "":
		p = failed(p, stop)
	default:
		p = failed(p, ReasonRecalled)
	}
	return p
}

// stopRetry is the Stop of a note that is taken back to be sent anew.
const stopRetry = "retry"

// fetched: the Notecard has the note.
func fetched(p ledger.Payment) ledger.Payment {
	p.Machine, p.Unclear = ledger.Fetched, false
	stop := p.Stop
	p.Stop, p.Recalled, p.NoteIDs = "", ledger.NotRecalled, ""
	switch stop {
	case ReasonEnded:
		p.Tell = "ended"
	case ReasonReversed:
		p.Tell, p.Attention = "refunded", AttentionFetchedAnyway
	}
	if p.ConfirmBy.IsZero() {
		p.Tell = "" // it would not understand
	}
	return p
}

// InDoubt reports whether Notehub never took a credit, as far as is known, that is not sent any
// more. A post of it was unclear, so a machine that confirms is given until its time is over to say
// that it has it.
func InDoubt(p ledger.Payment, now time.Time) bool {
	over := p.Stop != "" || !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
	return p.Machine == ledger.Queued && p.Vanished && !p.Unclear && !p.ConfirmBy.IsZero() && over
}
