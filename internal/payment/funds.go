package payment

import (
	"errors"
	"slices"
	"time"

	"notepay/internal/upstream"
)

const (
	// maxRefundTries is how many refunds may fail at the customer's bank before it is left to a
	// person.
	maxRefundTries = 5
	// refundKeyLifetime is how long the same idempotency key makes the same refund; Stripe keeps
	// keys for at least 24 hours.
	refundKeyLifetime = 23 * time.Hour
	// refundReplyValid is how long after its order the answer to a refund tells how it stands.
	// Later it may be a repeat's, which is what Stripe answered first, or have waited here, and the
	// refund has failed since.
	refundReplyValid = 10 * time.Second
	// refundRetryInterval is how long a refund waits that only time or a person can help.
	refundRetryInterval = 24 * time.Hour
	// holdRetryInterval is the same of a hold, which ends after some days.
	holdRetryInterval = time.Hour
)

// FundsReturned says whether the customer has the money back or was promised it.
func FundsReturned(p Payment) bool {
	switch p.Funds {
	case Refunded, Canceling, Canceled:
		return true
	case Refunding, RefundFailed:
		return p.RefundTarget >= maxRefund(p)
	}
	return false
}

// settleFunds decides what follows for the money from how the machine stands: taken if it started,
// back if it failed.
func settleFunds(p Payment, now time.Time) Payment {
	delivered := p.Delivery == Started || p.Delivery == Done ||
		(p.Delivery == Fetched && p.ConfirmBy.IsZero())
	doubtful := p.Delivery == Failed &&
		p.Reason == ReasonUnclear // nothing that the machine may have goes back by itself
	switch {
	case p.Funds == Authorized && (delivered || doubtful):
		p.Funds = Capturing
	case p.Funds == Authorized && p.Delivery == Failed && p.Reason != ReasonAdopted:
		p.Funds = Canceling
	case p.Funds == Paid && p.Delivery == Failed && p.Reason != ReasonAdopted && !doubtful && Refundable(p) > 0:
		p = orderRefund(p, maxRefund(p), now)
	}
	return p
}

// orderRefund puts a refund on disk, before it is made, that brings what was given back to goal.
func orderRefund(p Payment, goal int64, now time.Time) Payment {
	p.Funds = Refunding
	p.RefundSeq++
	p.RefundAmount, p.RefundTarget, p.RefundAt, p.ReconcileRefund = goal-p.RefundedAmount, goal, now, false
	return p
}

// refundsEnded: so many were refused by the customer's bank that another is a person's decision.
func refundsEnded(p Payment) bool {
	return p.Funds == RefundFailed && p.RefundSeq >= maxRefundTries &&
		p.ReconcileRefund // without the look, the last is still to be made
}

func applyCapture(p Payment, o Outcome) Payment {
	if p.Funds != Capturing {
		return p
	}
	switch {
	case o.Result == upstream.OK, errors.Is(o.Err, ErrAlreadyCaptured):
		p.Funds = Paid
		p = clearReview(p, ReviewCaptureFailed)
	case errors.Is(o.Err, ErrAlreadyCanceled):
		p.Funds, p.ReviewReason = CaptureFailed, ReviewCaptureFailed
	case o.Result == upstream.Rejected:
		p.ReviewReason, p.FundsBackoffUntil = ReviewCaptureFailed, o.Began.Add(holdRetryInterval)
	}
	return p
}

func applyCancel(p Payment, o Outcome) Payment {
	if p.Funds != Canceling {
		return p
	}
	switch {
	case o.Result == upstream.OK, errors.Is(o.Err, ErrAlreadyCanceled):
		p.Funds = Canceled
		p = clearReview(p, ReviewReleaseRefused)
	case errors.Is(o.Err, ErrAlreadyCaptured):
		p.Funds = Paid // and from there it is refunded
		p = clearReview(p, ReviewReleaseRefused)
	case o.Result == upstream.Rejected:
		p.ReviewReason, p.FundsBackoffUntil = ReviewReleaseRefused, o.Began.Add(holdRetryInterval)
	}
	return p
}

// clearReview takes a payment off the list of those that a person has to look at, for what was
// wrong came right.
func clearReview(p Payment, reasons ...string) Payment {
	if slices.Contains(reasons, p.ReviewReason) {
		p.ReviewReason = remainingReview(p)
	}
	return p
}

// applyRefund takes in what a refund, or the look at those that were made, came to.
func applyRefund(p Payment, o Outcome, now time.Time) Payment {
	if p.Funds != Refunding && p.Funds != RefundFailed {
		return p // our own refund's echo, or a dispute, was faster
	}
	switch {
	case o.Stale:
		p.ReconcileRefund = true // what was seen then may have failed since
		return p
	case o.Reconciled && o.Result == upstream.OK:
		return applyRefundList(p, o, now)
	case o.Reconciled:
		return p
	case o.Result == upstream.OK && o.Refund.Number == p.RefundSeq && now.Sub(p.RefundAt) > refundReplyValid:
		p.ReconcileRefund = true
		return p
	case o.Result == upstream.OK && o.Refund.Number == p.RefundSeq:
		return applyRefundStatus(p, o.Refund.Status, now)
	case errors.Is(o.Err, ErrAlreadyRefunded) && p.RefundSeq < maxRefundTries:
		// What was refunded is read: under the same key Stripe repeats an answer of before a refund
		// failed.
		p.ReconcileRefund = true
	case errors.Is(o.Err, ErrDisputed):
		return ApplyDisputeStatus(p, "needs_response", now)
	case errors.Is(o.Err, ErrBalance):
		p.ReviewReason, p.FundsBackoffUntil, p.ReconcileRefund = ReviewBalance, now.Add(refundRetryInterval), true
	case o.Result == upstream.Rejected:
		if p.ReviewReason == ReviewRefundRefused { // what others gave back did not explain it
			p.FundsBackoffUntil = now.Add(refundRetryInterval)
		}
		p.ReviewReason, p.ReconcileRefund = ReviewRefundRefused, true
	case o.Result == upstream.Unknown && o.Status != 0:
		p.ReconcileRefund = true // under the same key Stripe gives the same answer again, as it does where it refused
	}
	return p
}

// applyRefundList holds what Stripe knows of the intent's refunds against what was ordered: what is
// there is adopted, and the rest ordered anew.
func applyRefundList(p Payment, o Outcome, now time.Time) Payment {
	back, lost := int64(0), false
	var last RefundRecord // that was ordered
	for _, r := range o.Refunds {
		switch {
		case !r.Final():
			back += r.Amount
		case r.Credit == p.ID && r.Number < p.RefundSeq:
			lost = true
		}
		if r.Credit == p.ID && r.Number == p.RefundSeq {
			last = r
		}
	}
	if back != p.RefundTarget-p.RefundAmount { // Stripe refused what others had given back already
		p = clearReview(p, ReviewRefundRefused)
	}
	if p.Funds == Refunding && p.RefundTarget < maxRefund(p) &&
		last.Number == 0 { // a part was ordered beside what others give back
		p.RefundTarget = max(p.RefundTarget, back+p.RefundAmount)
	}
	p.ReconcileRefund = false
	p = setRefunded(p, back)
	p.RefundTarget = min(p.RefundTarget, maxRefund(p))
	short, arrived := p.RefundedAmount < p.RefundTarget, last.Status == "succeeded"
	switch {
	case last.Number != 0 && !arrived && !last.Final():
		return applyRefundStatus(p, last.Status, now)
	case arrived && short && lost: // it has arrived, and the bank has sent an earlier one back
		p.Funds, p.ReviewReason = RefundFailed, ReviewRefundFailed
	case arrived || !short:
		p.RefundTarget = p.RefundedAmount
		return applyRefundStatus(p, "succeeded", now)
	}
	failed := p.Funds == RefundFailed
	p = orderRefund(p, p.RefundTarget, now)
	if failed {
		p.Funds = RefundFailed // until one succeeds, that is what the customer has to know
	}
	return p
}

// Final reports whether nothing comes of a refund any more. A status that is not known is not one
// of those.
func (r RefundRecord) Final() bool { return r.Status == "failed" || r.Status == "canceled" }

// applyRefundStatus takes in the status of the refund that was ordered last.
func applyRefundStatus(p Payment, status string, now time.Time) Payment {
	switch status {
	case "succeeded":
		p.RefundedAmount = max(p.RefundedAmount, p.RefundTarget)
		p.Funds, p.ReconcileRefund = Paid, false
		if Refundable(p) <= 0 {
			p.Funds = Refunded
		}
		p = clearReview(p, ReviewBalance, ReviewRefundRefused, ReviewRefundFailed)
	case "failed", "canceled":
		p.Funds, p.ReviewReason, p.ReconcileRefund = RefundFailed, ReviewRefundFailed, true
		p.FundsBackoffUntil = now.Add(holdRetryInterval)
	default: // pending: an event will tell, or the look after a day
		p.ReconcileRefund, p.FundsBackoffUntil = true, now.Add(refundRetryInterval)
	}
	return p
}

// remainingReview is why a person must still look when another reason is over.
func remainingReview(p Payment) string {
	switch p.Reason {
	case ReasonAdopted, ReasonUnclear:
		if Refundable(p) > 0 {
			return p.Reason
		}
	case ReasonRecallUnclear,
		ReasonUnconfirmed,
		ReasonRefused,
		ReasonUnknownDevice,
		ReasonNotSelling,
		ReasonStartedAfter:
		return p.Reason
	}
	return ""
}

// reconcileRefund has the refunds that were made be looked at, because something new is known. The
// wait for a person or for the bank is over; the one after a call without an answer is not, for
// that may still be applied.
func reconcileRefund(p Payment) Payment {
	p.ReconcileRefund = true
	if p.FundsFailures == 0 {
		p.FundsBackoffUntil = time.Time{}
	}
	return p
}

// ApplyRefundUpdate takes in what Stripe says of one refund of this payment: our own, or one made
// in the Dashboard.
func ApplyRefundUpdate(p Payment, r RefundRecord, now time.Time) Payment {
	if r.Credit != p.ID || r.Number != p.RefundSeq || r.Number == 0 {
		return p // what it comes to is read from the charge
	}
	failed := r.Final()
	switch {
	case p.Funds == RefundFailed && failed:
	case (p.Funds == Refunding || p.Funds == RefundFailed) && p.InFlight:
	case p.Funds == Refunding && (failed || !p.ReconcileRefund):
		p = applyRefundStatus(p, r.Status, now)
	case p.Funds == Refunding || p.Funds == RefundFailed:
		p = reconcileRefund(p) // what is told may be older than a failure
	case (p.Funds == Refunded || p.Funds == Paid) && failed:
		p.RefundedAmount -= min(r.Amount, p.RefundedAmount)
		p = applyRefundStatus(p, r.Status, now)
	}
	return Next(p, now)
}

// ApplyRefundedTotal takes in how much of the charge is back in all: by an event, of which an old
// one may come late, or as it was read just now.
func ApplyRefundedTotal(p Payment, back int64, read bool, now time.Time) Payment {
	back = min(back, p.Amount)
	switch p.Funds {
	case Authorized, Capturing, Canceling, Canceled, CaptureFailed:
		return p // nothing was taken: Stripe may call the end of a hold a refund, and the intent tells
	}
	if !read && back < p.RefundedAmount {
		return p
	}
	p = setRefunded(p, back)
	switch {
	case p.Funds == Disputed || p.Funds == DisputeLost:
	case p.Funds == Refunding && back >= p.RefundTarget: // the charge counts a refund that is pending, too: those that were made tell
		p = reconcileRefund(p)
	case back == maxRefund(p) && back > 0:
		ours := FundsReturned(p)
		p.Funds = Refunded
		if !ours {
			p = reverseDelivery(p, ReasonReversed, now)
		}
	case (p.Funds == Refunding || p.Funds == RefundFailed) && back != p.RefundTarget-p.RefundAmount:
		p = reconcileRefund(p) // others gave back, or failed to, since the amount was ordered
	case p.Funds == Refunded && p.RefundSeq > 0: // ours has failed, or this was read before it was made
		p.Funds, p.RefundTarget, p.ReconcileRefund, p.RefundAt = Refunding, maxRefund(p), true, now
	case p.Funds == Refunded:
		p.Funds = Paid // a refund made elsewhere failed: it is with us again
	case p.Funds == Paid && p.RefundSeq > 0 && back < min(p.RefundTarget, maxRefund(p)): // one has failed, or this was read before ours was made
		p.Funds, p.ReconcileRefund, p.RefundAt = Refunding, true, now
	}
	if p.Funds == Paid { // what others gave back does not make up for one of ours that fails later
		p.RefundTarget = max(p.RefundTarget, back)
	}
	return Next(p, now)
}

// setRefunded records how much of the charge Stripe has refunded in all. The banks kept at most the
// rest of the amount, because nobody refunds money that a dispute has taken.
func setRefunded(p Payment, total int64) Payment {
	p.RefundedAmount = min(total, p.Amount)
	p.LostAmount = min(p.LostAmount, p.Amount-p.RefundedAmount)
	return p
}

// ApplyCanceled takes in that the hold was cancelled, by us or not.
func ApplyCanceled(p Payment, now time.Time) Payment {
	switch p.Funds {
	case Capturing:
		p.Funds, p.ReviewReason = CaptureFailed, ReviewCaptureFailed
	case Canceling:
		p.Funds = Canceled
		p = clearReview(p, ReviewReleaseRefused)
	case Authorized:
		p.Funds = Canceled
		p = reverseDelivery(p, ReasonReversed, now)
	default:
		return p
	}
	return Next(p, now)
}

// ApplyCaptured takes in that the held money was taken, by us or not.
func ApplyCaptured(p Payment, now time.Time) Payment {
	switch p.Funds {
	case Authorized, Capturing, Canceling:
		p.Funds = Paid
		p = clearReview(p, ReviewCaptureFailed, ReviewReleaseRefused)
		return Next(p, now)
	}
	return p
}

// reverseDelivery is a payment whose money is not ours any more: a credit that has not started is
// taken back, a session that runs is ended where somebody gave the money back (a dispute leaves it
// alone), and a machine that confirms is told.
func reverseDelivery(p Payment, reason string, now time.Time) Payment {
	switch p.Delivery {
	case Queued, Sent:
		p.CancelReason = reason
		p.BackoffUntil = time.Time{}
		if p.OutcomeUnknown {
			p.BackoffUntil = now.Add(CallTimeout) // a call may be under way
		}
	case Fetched, Started:
		if reason != ReasonReversed {
			break
		}
		if !p.ConfirmBy.IsZero() {
			p.PendingNotice = "refunded"
		}
		if p.Delivery == Started {
			p.Delivery, p.Reason, p.EndsAt = Done, reason, now
		} else {
			p.ReviewReason = ReviewFetchedAnyway
		}
	}
	return p
}
