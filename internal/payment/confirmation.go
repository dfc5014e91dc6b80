package payment

import (
	"cmp"
	"time"
)

// What becomes of an answer of a machine.
const (
	ConfirmationTaken   = "taken"
	ConfirmationLate    = "after_money_back" // it started and the customer has the money back
	ConfirmationIgnored = "ignored"          // it says nothing new
	ConfirmationNoPost  = "no_note"          // no note was sent for this credit: it cannot be the machine's answer
	// ConfirmationElsewhere is an answer to a credit that this ledger did not post.
	ConfirmationElsewhere = "posted_elsewhere"
)

// ApplyConfirmation takes in what a machine answered, in any order and from any state that had a
// post, or has one under way.
func ApplyConfirmation(p Payment, c Confirmation, now time.Time) (Payment, string) {
	underWay := p.InFlight && p.Step == StepPostNote // the machine was faster than Notehub's yes
	if !p.MaybeAccepted && !underWay {
		return p, ConfirmationNoPost
	}
	p.MaybeAccepted = true
	before, outcome := p.Delivery, ConfirmationTaken
	switch c.State {
	case "started", "done":
		p, outcome = applyStart(p, c, now)
	case "duplicate": // the machine has had it before
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
			p.Reason, p.MachineCode, p.ReviewReason = c.State, c.Code, "" // now it is known, and the money goes back
		default:
			return p, ConfirmationIgnored
		}
	}
	if p.ReviewReason == ReviewConfirmation {
		p.ReviewReason = "" // what the machine means is known now
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
		if p.ReviewReason != ReviewAmount && p.Funds != Disputed && p.Funds != DisputeLost {
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

// ConfirmationTimedOut takes in that the confirmations were read, by a reading that began at asOf,
// and none was this payment's.
func ConfirmationTimedOut(p Payment, asOf, now time.Time) Payment {
	if p.ConfirmBy.IsZero() || asOf.Before(p.ConfirmBy) || p.InFlight {
		return p
	}
	switch {
	case p.Delivery == Fetched:
		p = Fail(p, ReasonUnconfirmed)
		p.ReviewReason = ReasonUnconfirmed
	case InDoubt(p, now): // Notehub never took it, as far as is known: that is no fault of the machine's
		p = Fail(p, cmp.Or(p.CancelReason, ReasonExpired))
		if p.Reason == ReasonRefused {
			p.ReviewReason = ReasonRefused
		}
	}
	return Next(p, now)
}
