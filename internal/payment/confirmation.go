package payment

import (
	"cmp"
	"time"
)

// The outcomes of a confirmation.
const (
	ConfirmationTaken   = "taken"
	ConfirmationLate    = "after_money_back" // the machine started after the money was returned
	ConfirmationIgnored = "ignored"          // it changes nothing
	ConfirmationNoPost  = "no_note"          // no note was posted, so the machine cannot know the credit
	// ConfirmationElsewhere is for a credit that this ledger has not posted.
	ConfirmationElsewhere = "posted_elsewhere"
)

// ApplyConfirmation applies a machine's answer and returns its outcome. Confirmations may arrive in
// any order. They count once a note was posted, or while a post is in flight.
func ApplyConfirmation(p Payment, c Confirmation, now time.Time) (Payment, string) {
	underWay := p.InFlight && p.Step == StepPostNote // the machine may answer before Notehub does
	if !p.MaybeAccepted && !underWay {
		return p, ConfirmationNoPost
	}
	p.MaybeAccepted = true
	review, before, outcome := p.ReviewReason, p.Delivery, ConfirmationTaken
	switch c.State {
	case "started", "done":
		p, outcome = applyStart(p, c, now)
	case "duplicate": // the machine already had this credit
		if before != Queued && before != Sent {
			return p, ConfirmationIgnored
		}
		p = markFetched(markSent(p, now))
	default: // "failed", "busy", "expired"
		switch {
		case before == Started:
			p.ReviewReason, p.MachineCode = ReviewFailedAfter, c.Code
		case before == Queued || before == Sent || before == Fetched:
			p = Fail(p, c.State)
			p.MachineCode = c.Code
		case before == Failed && (p.Reason == ReasonUnclear || p.Reason == ReasonAdopted):
			// The failure is certain now, so the money goes back.
			p.Reason, p.MachineCode = c.State, c.Code
			p = clearReview(p, ReasonUnclear, ReasonAdopted)
			if review != "" && p.ReviewReason == "" { // it may have hidden a dispute
				p.ReviewReason = disputeReview(p)
			}
		default:
			return p, ConfirmationIgnored
		}
	}
	if p.ReviewReason == ReviewConfirmation {
		p.ReviewReason = "" // the machine's state is known now
	}
	return Next(p, now), outcome
}

func applyStart(p Payment, c Confirmation, now time.Time) (Payment, string) {
	at := c.At
	if at.IsZero() || at.After(now) || at.Before(p.CreatedAt) {
		at = now
	}
	if p.Delivery == Done || (p.Delivery == Started && c.State == "started") {
		return p, ConfirmationIgnored
	}
	outcome := ConfirmationTaken
	if p.Delivery == Failed {
		p.Reason = ""
		switch {
		case p.ReviewReason == ReviewAmount, p.ReviewReason == ReviewTwins: // the start does not explain them
		case p.Funds == Disputed, p.Funds == DisputeLost, p.Funds == CaptureFailed: // the money is not ours
		default:
			p.ReviewReason = ""
		}
	}
	if FundsReturned(p) {
		p.Reason, p.ReviewReason, outcome = ReasonStartedAfter, ReasonStartedAfter, ConfirmationLate
	}
	if p.Delivery != Started {
		p.StartedAt = at
		if p.Duration > 0 {
			p.EndsAt = at.Add(p.DelayedStart + p.Duration)
		}
	}
	p = markSent(p, at)
	p.Delivery, p.OutcomeUnknown, p.CancelReason, p.RecallStatus, p.NoteIDs = Started, false, "", NotRecalled, ""
	if c.State == "done" {
		p.Delivery, p.EndsAt = Done, at
	}
	return p, outcome
}

// ConfirmationTimedOut applies that a reading of all confirmations, begun at asOf, had none for
// this payment. It changes nothing if the reading began before the deadline.
func ConfirmationTimedOut(p Payment, asOf, now time.Time) Payment {
	if p.ConfirmBy.IsZero() || asOf.Before(p.ConfirmBy) || p.InFlight {
		return p
	}
	switch {
	case p.Delivery == Fetched:
		p = Fail(p, ReasonUnconfirmed)
		p.ReviewReason = ReasonUnconfirmed
	case InDoubt(p, now):
		// As far as is known, Notehub never accepted the note. That is not the machine's fault.
		p = Fail(p, cmp.Or(p.CancelReason, ReasonExpired))
		if p.Reason == ReasonRefused {
			p.ReviewReason = ReasonRefused
		}
	}
	return Next(p, now)
}
