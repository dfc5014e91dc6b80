package payment

import (
	"errors"
	"strings"
	"time"
)

// Dismissable reports whether Cancel would only dismiss the review, because there is nothing to
// cancel.
func Dismissable(p Payment) bool {
	return p.Delivery != Queued && p.Delivery != Sent && p.Delivery != Started
}

const (
	// FreeStartPrefix begins the session ids of free starts.
	FreeStartPrefix = "start_"
	// OperatorStartPrefix begins those that the operator made. Others are of a goodwill code, or of an
	// older version.
	OperatorStartPrefix = FreeStartPrefix + "op_"
)

// IsFreeStart reports whether the operator granted the credit, at once or with a goodwill code.
func IsFreeStart(p Payment) bool { return strings.HasPrefix(p.SessionID, FreeStartPrefix) }

// ofGoodwillCode reports whether a goodwill code made the free start. Older free starts of the operator
// have no price.
func ofGoodwillCode(p Payment) bool {
	return IsFreeStart(p) && p.PriceID != "" && !strings.HasPrefix(p.SessionID, OperatorStartPrefix)
}

// Answered reports whether the machine has confirmed its start.
func Answered(p Payment) bool { return p.Delivery == Started || p.Delivery == Done }

// Unanswered reports whether the credit failed because the machine did not fetch or confirm it.
func Unanswered(p Payment) bool {
	return p.Delivery == Failed &&
		(p.Reason == ReasonUnconfirmed || p.Reason == ReasonRecalled || p.Reason == ReasonRecallUnclear)
}

// ErrState means that the payment's state does not allow the action.
var ErrState = errors.New("the payment's state does not allow this")

// Resend sends the credit again with a new expiry, if the machine has not started and the money is
// not returned. A note that may be pending is recalled first, and the credit is sent only if that
// recall is proven. It returns ErrState otherwise.
func Resend(p Payment, lifetime time.Duration, now time.Time) (Payment, error) {
	if p.Funds != Paid && p.Funds != Authorized {
		return p, ErrState
	}
	if p.Delivery == Failed && ofGoodwillCode(p) {
		return p, ErrState // its code counts again, so the machine could start twice
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
		// An earlier post may have been accepted, and the rejected check did not tell.
		if p.CancelReason == ReasonRefused {
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

// Refund orders a refund of an amount in minor currency units; 0 means the rest. An authorization
// can only be released as a whole. It returns ErrState if a call to Stripe is in flight or the
// amount is not available.
func Refund(p Payment, amount int64, now time.Time) (Payment, error) {
	left := Refundable(p)
	if amount == 0 {
		amount = left
	}
	switch {
	case p.InFlight && CallsStripe(p.Step), amount < 0, amount > left, left == 0:
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
			p = reverseDelivery(p, ReasonReversed, now) // the machine must not start any more
		}
	}
	return Next(p, now), nil
}

// RetryRefund makes a refund that Stripe rejected due now, which is otherwise tried daily. The worker
// first reads the refunds that exist. It returns ErrState if no refund waits for that, or if Stripe may
// still apply the last call.
func RetryRefund(p Payment, now time.Time) (Payment, error) {
	rejected := p.ReviewReason == ReviewBalance || p.ReviewReason == ReviewRefundRefused
	if p.Funds != Refunding || !rejected || p.InFlight && CallsStripe(p.Step) || p.FundsFailures > 0 {
		return p, ErrState
	}
	return Next(reconcileRefund(p), now), nil
}

// Cancel recalls a credit that has not started, and its money goes back. It ends a running session,
// and notifies a machine that confirms. It dismisses any review. It returns ErrState if there is
// nothing to cancel or dismiss.
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
