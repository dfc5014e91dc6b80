package bridge

import (
	"errors"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

const (
	// mostRefunds is how many refunds may fail at the customer's bank before it is left to a person.
	mostRefunds = 5
	// refundKeyHolds is how long the same idempotency key makes the same refund; Stripe keeps keys for at least 24 hours.
	refundKeyHolds = 23 * time.Hour
	// refundFresh is how long after its order the answer to a refund tells how it stands. Later it may be a repeat's, which is what
	// Stripe answered first, or have waited here, and the refund has failed since.
	refundFresh = 10 * time.Second
	// refundRests is how long a refund waits that only time or a person can help.
	refundRests = 24 * time.Hour
	// moneyRests is the same of a hold, which ends after some days.
	moneyRests = time.Hour
)

// moneyIsBack says whether the customer has the money back or was promised it.
func moneyIsBack(p ledger.Payment) bool {
	switch p.Money {
	case ledger.Refunded, ledger.Releasing, ledger.Released:
		return true
	case ledger.Refunding, ledger.RefundFailed:
		return p.RefundGoal >= refundable(p)
	}
	return false
}

// settleMoney decides what follows for the money from how the machine stands: taken if it started, back if it failed.
func settleMoney(p ledger.Payment, now time.Time) ledger.Payment {
	delivered := p.Machine == ledger.Started || p.Machine == ledger.Done || (p.Machine == ledger.Fetched && p.ConfirmBy.IsZero())
	doubtful := p.Machine == ledger.Failed && p.Reason == ReasonUnclear // nothing that the machine may have goes back by itself
	switch {
	case p.Money == ledger.Authorized && (delivered || doubtful):
		p.Money = ledger.Capturing
	case p.Money == ledger.Authorized && p.Machine == ledger.Failed && p.Reason != ReasonAdopted:
		p.Money = ledger.Releasing
	case p.Money == ledger.Paid && p.Machine == ledger.Failed && p.Reason != ReasonAdopted && !doubtful && Owing(p) > 0:
		p = order(p, refundable(p), now)
	}
	return p
}

// order puts a refund on disk, before it is made, that brings what was given back to goal.
func order(p ledger.Payment, goal int64, now time.Time) ledger.Payment {
	p.Money = ledger.Refunding
	p.RefundNumber++
	p.RefundAmount, p.RefundGoal, p.RefundAt, p.RefundLook = goal-p.RefundedAmount, goal, now, false
	return p
}

// refundsEnded: so many were refused by the customer's bank that another is a person's decision.
func refundsEnded(p ledger.Payment) bool {
	return p.Money == ledger.RefundFailed && p.RefundNumber >= mostRefunds && p.RefundLook // without the look, the last is still to be made
}

func applyCapture(p ledger.Payment, o Outcome) ledger.Payment {
	if p.Money != ledger.Capturing {
		return p
	}
	switch {
	case o.Result == upstream.Done, errors.Is(o.Err, ErrAlreadyCaptured):
		p.Money = ledger.Paid
		p = seen(p, AttentionCaptureFailed)
	case errors.Is(o.Err, ErrAlreadyCanceled):
		p.Money, p.Attention = ledger.CaptureFailed, AttentionCaptureFailed
	case o.Result == upstream.Refused:
		p.Attention, p.MoneyNotBefore = AttentionCaptureFailed, o.Began.Add(moneyRests)
	}
	return p
}

func applyRelease(p ledger.Payment, o Outcome) ledger.Payment {
	if p.Money != ledger.Releasing {
		return p
	}
	switch {
	case o.Result == upstream.Done, errors.Is(o.Err, ErrAlreadyCanceled):
		p.Money = ledger.Released
		p = seen(p, AttentionReleaseRefused)
	case errors.Is(o.Err, ErrAlreadyCaptured):
		p.Money = ledger.Paid // and from there it is refunded
		p = seen(p, AttentionReleaseRefused)
	case o.Result == upstream.Refused:
		p.Attention, p.MoneyNotBefore = AttentionReleaseRefused, o.Began.Add(moneyRests)
	}
	return p
}

// seen takes a payment off the list of those that a person has to look at, for what was wrong came right.
func seen(p ledger.Payment, reasons ...string) ledger.Payment {
	if slices.Contains(reasons, p.Attention) {
		p.Attention = unsettled(p)
	}
	return p
}

// applyRefund takes in what a refund, or the look at those that were made, came to.
func applyRefund(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	if p.Money != ledger.Refunding && p.Money != ledger.RefundFailed {
		return p // our own refund's echo, or a dispute, was faster
	}
	switch {
	case o.Stale:
		p.RefundLook = true // what was seen then may have failed since
		return p
	case o.Looked && o.Result == upstream.Done:
		return applyRefunds(p, o, now)
	case o.Looked:
		return p
	case o.Result == upstream.Done && o.Refund.Number == p.RefundNumber && now.Sub(p.RefundAt) > refundFresh:
		p.RefundLook = true
		return p
	case o.Result == upstream.Done && o.Refund.Number == p.RefundNumber:
		return refundIs(p, o.Refund.Status, now)
	case errors.Is(o.Err, ErrAlreadyRefunded) && p.RefundNumber < mostRefunds:
		// What was refunded is read: under the same key Stripe repeats an answer of before a refund failed.
		p.RefundLook = true
	case errors.Is(o.Err, ErrDisputed):
		return Dispute(p, "needs_response", now)
	case errors.Is(o.Err, ErrBalance):
		p.Attention, p.MoneyNotBefore, p.RefundLook = AttentionBalance, now.Add(refundRests), true
	case o.Result == upstream.Refused:
		if p.Attention == AttentionRefundRefused { // what others gave back did not explain it
			p.MoneyNotBefore = now.Add(refundRests)
		}
		p.Attention, p.RefundLook = AttentionRefundRefused, true
	case o.Result == upstream.Unclear && o.Status != 0:
		p.RefundLook = true // under the same key Stripe gives the same answer again, as it does where it refused
	}
	return p
}

// applyRefunds holds what Stripe knows of the intent's refunds against what was ordered: what is there is adopted, and the rest ordered anew.
func applyRefunds(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	back, lost := int64(0), false
	var last RefundRecord // that was ordered
	for _, r := range o.Refunds {
		switch {
		case !r.ended():
			back += r.Amount
		case r.Credit == p.ID && r.Number < p.RefundNumber:
			lost = true
		}
		if r.Credit == p.ID && r.Number == p.RefundNumber {
			last = r
		}
	}
	if back != p.RefundGoal-p.RefundAmount { // Stripe refused what others had given back already
		p = seen(p, AttentionRefundRefused)
	}
	if p.Money == ledger.Refunding && p.RefundGoal < refundable(p) && last.Number == 0 { // a part was ordered beside what others give back
		p.RefundGoal = max(p.RefundGoal, back+p.RefundAmount)
	}
	p.RefundLook = false
	p.RefundedAmount = min(back, refundable(p))
	p.RefundGoal = min(p.RefundGoal, refundable(p))
	short, arrived := p.RefundedAmount < p.RefundGoal, last.Status == "succeeded"
	switch {
	case last.Number != 0 && !arrived && !last.ended():
		return refundIs(p, last.Status, now)
	case arrived && short && lost: // it has arrived, and the bank has sent an earlier one back
		p.Money, p.Attention = ledger.RefundFailed, AttentionRefundFailed
	case arrived || !short:
		p.RefundGoal = p.RefundedAmount
		return refundIs(p, "succeeded", now)
	}
	failed := p.Money == ledger.RefundFailed
	p = order(p, p.RefundGoal, now)
	if failed {
		p.Money = ledger.RefundFailed // until one succeeds, that is what the customer has to know
	}
	return p
}

// ended reports whether nothing comes of a refund any more. A status that is not known is not one of those.
func (r RefundRecord) ended() bool { return r.Status == "failed" || r.Status == "canceled" }

// refundIs takes in the status of the refund that was ordered last.
func refundIs(p ledger.Payment, status string, now time.Time) ledger.Payment {
	switch status {
	case "succeeded":
		p.RefundedAmount = max(p.RefundedAmount, p.RefundGoal)
		p.Money, p.RefundLook = ledger.Paid, false
		if Owing(p) <= 0 {
			p.Money = ledger.Refunded
		}
		p = seen(p, AttentionBalance, AttentionRefundRefused, AttentionRefundFailed)
	case "failed", "canceled":
		p.Money, p.Attention, p.RefundLook = ledger.RefundFailed, AttentionRefundFailed, true
		p.MoneyNotBefore = now.Add(moneyRests)
	default: // pending: an event will tell, or the look after a day
		p.RefundLook, p.MoneyNotBefore = true, now.Add(refundRests)
	}
	return p
}

// unsettled is why a person must still look when another reason is over.
func unsettled(p ledger.Payment) string {
	switch p.Reason {
	case ReasonAdopted, ReasonUnclear:
		if Owing(p) > 0 {
			return p.Reason
		}
	case ReasonRecallUnclear, ReasonUnconfirmed, ReasonRefused, ReasonUnknownDevice, ReasonNotSelling, ReasonStartedAfter:
		return p.Reason
	}
	return ""
}

// lookAgain has the refunds that were made be looked at, because something new is known. The wait for a person or for the bank is over; the one
// after a call without an answer is not, for that may still be applied.
func lookAgain(p ledger.Payment) ledger.Payment {
	p.RefundLook = true
	if p.MoneyFailures == 0 {
		p.MoneyNotBefore = time.Time{}
	}
	return p
}

// RefundChanged takes in what Stripe says of one refund of this payment: our own, or one made in the Dashboard.
func RefundChanged(p ledger.Payment, r RefundRecord, now time.Time) ledger.Payment {
	if r.Credit != p.ID || r.Number != p.RefundNumber || r.Number == 0 {
		return p // what it comes to is read from the charge
	}
	failed := r.ended()
	switch {
	case p.Money == ledger.RefundFailed && failed:
	case (p.Money == ledger.Refunding || p.Money == ledger.RefundFailed) && p.InFlight:
	case p.Money == ledger.Refunding && (failed || !p.RefundLook):
		p = refundIs(p, r.Status, now)
	case p.Money == ledger.Refunding || p.Money == ledger.RefundFailed:
		p = lookAgain(p) // what is told may be older than a failure
	case (p.Money == ledger.Refunded || p.Money == ledger.Paid) && failed:
		p.RefundedAmount -= min(r.Amount, p.RefundedAmount)
		p = refundIs(p, r.Status, now)
	}
	return Next(p, now)
}

// Refunded takes in how much of the charge is back in all: by an event, of which an old one may come late, or as it was read just now.
func Refunded(p ledger.Payment, back int64, read bool, now time.Time) ledger.Payment {
	back = min(back, refundable(p))
	switch p.Money {
	case ledger.Authorized, ledger.Capturing, ledger.Releasing, ledger.Released, ledger.CaptureFailed:
		return p // nothing was taken: Stripe may call the end of a hold a refund, and the intent tells
	}
	if !read && back < p.RefundedAmount {
		return p
	}
	p.RefundedAmount = back
	switch {
	case p.Money == ledger.Disputed || p.Money == ledger.Lost:
	case p.Money == ledger.Refunding && back >= p.RefundGoal: // the charge counts a refund that is pending, too: those that were made tell
		p = lookAgain(p)
	case back == refundable(p) && back > 0:
		ours := moneyIsBack(p)
		p.Money = ledger.Refunded
		if !ours {
			p = reversed(p, ReasonReversed, now)
		}
	case (p.Money == ledger.Refunding || p.Money == ledger.RefundFailed) && back != p.RefundGoal-p.RefundAmount:
		p = lookAgain(p) // others gave back, or failed to, since the amount was ordered
	case p.Money == ledger.Refunded && p.RefundNumber > 0: // ours has failed, or this was read before it was made
		p.Money, p.RefundGoal, p.RefundLook, p.RefundAt = ledger.Refunding, refundable(p), true, now
	case p.Money == ledger.Refunded:
		p.Money = ledger.Paid // a refund made elsewhere failed: it is with us again
	case p.Money == ledger.Paid && p.RefundNumber > 0 && back < min(p.RefundGoal, refundable(p)): // one has failed, or this was read before ours was made
		p.Money, p.RefundLook, p.RefundAt = ledger.Refunding, true, now
	}
	if p.Money == ledger.Paid { // what others gave back does not make up for one of ours that fails later
		p.RefundGoal = max(p.RefundGoal, back)
	}
	return Next(p, now)
}

// Canceled takes in that the hold was cancelled, by us or not.
func Canceled(p ledger.Payment, now time.Time) ledger.Payment {
	switch p.Money {
	case ledger.Capturing:
		p.Money, p.Attention = ledger.CaptureFailed, AttentionCaptureFailed
	case ledger.Releasing:
		p.Money = ledger.Released
		p = seen(p, AttentionReleaseRefused)
	case ledger.Authorized:
		p.Money = ledger.Released
		p = reversed(p, ReasonReversed, now)
	default:
		return p
	}
	return Next(p, now)
}

// Captured takes in that the held money was taken, by us or not.
func Captured(p ledger.Payment, now time.Time) ledger.Payment {
	switch p.Money {
	case ledger.Authorized, ledger.Capturing, ledger.Releasing:
		p.Money = ledger.Paid
		p = seen(p, AttentionCaptureFailed, AttentionReleaseRefused)
		return Next(p, now)
	}
	return p
}

// reversed is a payment whose money is not ours any more: a credit that has not started is taken back, a session that runs is
// ended where somebody gave the money back (a dispute leaves it alone), and a machine that confirms is told.
func reversed(p ledger.Payment, reason string, now time.Time) ledger.Payment {
	switch p.Machine {
	case ledger.Queued, ledger.Sent:
		p.Stop = reason
		p.NotBefore = time.Time{}
		if p.Unclear {
			p.NotBefore = now.Add(TimeLimit) // a call may be under way
		}
	case ledger.Fetched, ledger.Started:
		if reason != ReasonReversed {
			break
		}
		if !p.ConfirmBy.IsZero() {
			p.Tell = "refunded"
		}
		if p.Machine == ledger.Started {
			p.Machine, p.Reason, p.EndsAt = ledger.Done, reason, now
		} else {
			p.Attention = AttentionFetchedAnyway
		}
	}
	return p
}

// ErrState is returned for what the payment's state does not allow.
var ErrState = errors.New("the payment's state does not allow this")

// Retry sends the credit anew with a new end, where the machine has not started and the money is still there: at once if no note
// can be with the machine, else after the note was taken back, unfetched.
func Retry(p ledger.Payment, lifetime time.Duration, now time.Time) (ledger.Payment, error) {
	if p.Money != ledger.Paid && p.Money != ledger.Authorized {
		return p, ErrState
	}
	again := p.Machine == ledger.Failed && !p.Posted && p.RefundedAmount == 0
	if p.Machine != ledger.Queued && p.Machine != ledger.Sent && !again {
		return p, ErrState
	}
	confirming := !p.ConfirmBy.IsZero()
	window := p.ConfirmBy.Sub(p.ExpiresAt)
	p.ExpiresAt = time.Time{}
	if lifetime > 0 {
		p.ExpiresAt = now.Add(lifetime)
		if confirming {
			p.ConfirmBy = p.ExpiresAt.Add(window)
		}
	}
	switch {
	case p.Machine == ledger.Sent:
		p.Stop = stopRetry
	case p.Machine == ledger.Queued:
		if p.Stop == ReasonRefused { // an earlier post may have been taken, and a refused look did not tell
			p.Unclear = true
		}
		p.Stop = ""
	case again:
		p.Machine, p.Reason, p.Code, p.Attention = ledger.Queued, "", "", ""
	}
	if !p.Unclear {
		p.NotBefore = time.Time{}
	}
	return Next(p, now), nil
}

// GiveBack gives an amount back (minor currency units; 0: all that is left) because a person decided so. A hold is released as a
// whole.
func GiveBack(p ledger.Payment, amount int64, now time.Time) (ledger.Payment, error) {
	left := Owing(p)
	if amount == 0 {
		amount = left
	}
	switch {
	case p.InFlight && (p.Step == ledger.Capture || p.Step == ledger.Release || p.Step == ledger.Refund), amount < 0, amount > left, left == 0:
		return p, ErrState
	case p.Money == ledger.Authorized && amount == left:
		p.Money = ledger.Releasing
	case p.Money == ledger.Paid, refundsEnded(p):
		p = order(p, p.RefundedAmount+amount, now)
	default:
		return p, ErrState
	}
	if p.RefundGoal == refundable(p) || p.Money == ledger.Releasing {
		if p.Machine == ledger.Queued || p.Machine == ledger.Sent {
			p = reversed(p, ReasonReversed, now) // all of it: the machine is not to start any more
		}
	}
	return Next(p, now), nil
}

// End ends what is open by a person's decision: a credit that has not started is taken back and with it the money given back, a
// session that runs is over and a machine that confirms is told. What waited for a person has been seen.
func End(p ledger.Payment, now time.Time) (ledger.Payment, error) {
	seen := p.Attention != ""
	switch p.Machine {
	case ledger.Queued, ledger.Sent:
		if p.Stop != "" && p.Stop != stopRetry {
			return p, ErrState
		}
		p.Stop = ReasonEnded
		if !p.Unclear {
			p.NotBefore = time.Time{}
		}
	case ledger.Started:
		p.Machine, p.Reason, p.EndsAt = ledger.Done, ReasonEnded, now
		if !p.ConfirmBy.IsZero() {
			p.Tell = "ended"
		}
	default:
		if !seen {
			return p, ErrState
		}
	}
	p.Attention = ""
	return Next(p, now), nil
}
