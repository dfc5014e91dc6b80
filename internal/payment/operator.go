package payment

import (
	"errors"
	"strings"
	"time"
)

// Dismissable reports whether End would only take a payment off the list of those that a person has
// to look at: nothing is open that it could end.
func Dismissable(p Payment) bool {
	return p.Delivery != Queued && p.Delivery != Sent && p.Delivery != Started
}

// FreeStartPrefix begin the session ids of credits that nobody paid for.
const FreeStartPrefix = "start_"

func IsFreeStart(p Payment) bool { return strings.HasPrefix(p.SessionID, FreeStartPrefix) }

// answered: the machine has said that it has the credit.
func Answered(p Payment) bool { return p.Delivery == Started || p.Delivery == Done }

// leftAlone: the machine did not fetch the credit, or did not say anything.
func Unanswered(p Payment) bool {
	return p.Delivery == Failed &&
		(p.Reason == ReasonUnconfirmed || p.Reason == ReasonRecalled || p.Reason == ReasonRecallUnclear)
}

// ErrState is returned for what the payment's state does not allow.
var ErrState = errors.New("the payment's state does not allow this")

// Resend sends the credit anew with a new end, where the machine has not started and the money is
// still there: at once if no note can be with the machine, else after the note was taken back,
// unfetched.
func Resend(p Payment, lifetime time.Duration, now time.Time) (Payment, error) {
	if p.Funds != Paid && p.Funds != Authorized {
		return p, ErrState
	}
	again := p.Delivery == Failed && !p.MaybeAccepted && p.RefundedAmount == 0
	if p.Delivery != Queued && p.Delivery != Sent && !again {
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
	case p.Delivery == Sent:
		p.CancelReason = cancelForResend
	case p.Delivery == Queued:
		if p.CancelReason == ReasonRefused { // an earlier post may have been taken, and a refused look did not tell
			p.OutcomeUnknown = true
		}
		p.CancelReason = ""
	case again:
		p.Delivery, p.Reason, p.MachineCode, p.ReviewReason = Queued, "", "", ""
	}
	if !p.OutcomeUnknown {
		p.BackoffUntil = time.Time{}
	}
	return Next(p, now), nil
}

// Refund gives an amount back (minor currency units; 0: all that is left) because a person
// decided so. A hold is released as a whole.
func Refund(p Payment, amount int64, now time.Time) (Payment, error) {
	left := Refundable(p)
	if amount == 0 {
		amount = left
	}
	switch {
	case p.InFlight && (p.Step == StepCapture || p.Step == StepCancel || p.Step == StepRefund),
		amount < 0,
		amount > left,
		left == 0:
		return p, ErrState
	case p.Funds == Authorized && amount == left:
		p.Funds = Canceling
	case p.Funds == Paid, refundsEnded(p):
		p = orderRefund(p, p.RefundedAmount+amount, now)
	default:
		return p, ErrState
	}
	if p.RefundTarget == maxRefund(p) || p.Funds == Canceling {
		if p.Delivery == Queued || p.Delivery == Sent {
			p = reverseDelivery(p, ReasonReversed, now) // all of it: the machine is not to start any more
		}
	}
	return Next(p, now), nil
}

// Cancel ends what is open by a person's decision: a credit that has not started is taken back and
// with it the money given back, a session that runs is over and a machine that confirms is told.
// What waited for a person has been seen.
func Cancel(p Payment, now time.Time) (Payment, error) {
	seen := p.ReviewReason != ""
	switch p.Delivery {
	case Queued, Sent:
		if p.CancelReason != "" && p.CancelReason != cancelForResend {
			return p, ErrState
		}
		p.CancelReason = ReasonEnded
		if !p.OutcomeUnknown {
			p.BackoffUntil = time.Time{}
		}
	case Started:
		p.Delivery, p.Reason, p.EndsAt = Done, ReasonEnded, now
		if !p.ConfirmBy.IsZero() {
			p.PendingNotice = "ended"
		}
	default:
		if !seen {
			return p, ErrState
		}
	}
	p.ReviewReason = ""
	return Next(p, now), nil
}
