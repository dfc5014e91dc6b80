package payment

import (
	"errors"
	"slices"
	"time"

	"notepay/internal/upstream"
)

const (
	// maxRefundTries is how many refunds may fail at the customer's bank before the operator
	// decides.
	maxRefundTries = 5
	// refundKeyLifetime is how long an idempotency key is safe to reuse. Stripe keeps keys for at
	// least 24 hours.
	refundKeyLifetime = 23 * time.Hour
	// refundReplyValid is how long after the order a reply reports the refund's current status. A
	// later one may have been delayed here, and the refund may have failed since. A replayed reply is
	// never current: an earlier state of a restored ledger may have made the order long ago.
	refundReplyValid = 10 * time.Second
	// refundRetryInterval is the wait when only time or the operator can help a refund.
	refundRetryInterval = 24 * time.Hour
	// holdRetryInterval is the same for an authorization, which expires after some days.
	holdRetryInterval = time.Hour
)

// FundsReturned reports whether all the money was returned or will be.
func FundsReturned(p Payment) bool {
	switch p.Funds {
	case Refunded, Canceling, Canceled:
		return true
	case Refunding, RefundFailed:
		return p.RefundTarget >= maxRefund(p)
	}
	return false
}

// settleFunds orders what follows for the money from the delivery: a capture if the machine
// started, a refund or release if the credit failed.
func settleFunds(p Payment, now time.Time) Payment {
	delivered := p.Delivery == Started || p.Delivery == Done || p.Delivery == Fetched && p.ConfirmBy.IsZero()
	// Money for a credit that the machine may have is returned only by the operator.
	doubtful := p.Delivery == Failed && p.Reason == ReasonUnclear
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

// orderRefund orders a refund that raises the refunded total to target. It is stored before the
// call, so that a retry reuses the idempotency key.
func orderRefund(p Payment, target int64, now time.Time) Payment {
	p.Funds = Refunding
	p.RefundSeq++
	p.RefundAmount, p.RefundTarget, p.RefundAt, p.ReconcileRefund = target-p.RefundedAmount, target, now, false
	p.RefundReference = "" // that of an earlier refund
	return p
}

// refundsEnded reports whether so many refunds failed at the customer's bank that the operator has
// to decide. Until ReconcileRefund is set, the last refund is still to be made.
func refundsEnded(p Payment) bool {
	return p.Funds == RefundFailed && p.RefundSeq >= maxRefundTries && p.ReconcileRefund
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
		p.Funds = Paid // the next step refunds it
		p = clearReview(p, ReviewReleaseRefused)
	case o.Result == upstream.Rejected:
		p.ReviewReason, p.FundsBackoffUntil = ReviewReleaseRefused, o.Began.Add(holdRetryInterval)
	}
	return p
}

// clearReview removes the review reason if it is one of the given reasons, because the problem is
// solved.
func clearReview(p Payment, reasons ...string) Payment {
	if slices.Contains(reasons, p.ReviewReason) {
		p.ReviewReason = remainingReview(p)
	}
	return p
}

// applyRefund applies the outcome of a refund, or of a list of the refunds made.
func applyRefund(p Payment, o Outcome, now time.Time) Payment {
	if p.Funds != Refunding && p.Funds != RefundFailed {
		return p // an event was faster
	}
	switch {
	case o.Stale:
		p.ReconcileRefund = true // the refund may have failed since
		return p
	case o.Reconciled && o.Result == upstream.OK:
		return applyRefundList(p, o, now)
	case o.Reconciled:
		return p
	case o.Result == upstream.OK && o.Refund.Number == p.RefundSeq &&
		(o.Refund.Replayed || p.ReconcileRefund || now.Sub(p.RefundAt) > refundReplyValid):
		p.ReconcileRefund = true
		return p
	case o.Result == upstream.OK && o.Refund.Number == p.RefundSeq:
		return applyRefundStatus(applyRefundReference(p, o.Refund), o.Refund.Status, now)
	case errors.Is(o.Err, ErrAlreadyRefunded) && p.RefundSeq < maxRefundTries:
		// Read the refunds first. Under the same key, Stripe repeats a reply from before a refund
		// failed.
		p.ReconcileRefund = true
	case errors.Is(o.Err, ErrDisputed):
		return ApplyDisputeStatus(p, "needs_response", now)
	case errors.Is(o.Err, ErrBalance):
		p.ReviewReason, p.FundsBackoffUntil, p.ReconcileRefund = ReviewBalance, now.Add(refundRetryInterval), true
	case o.Result == upstream.Rejected:
		if p.ReviewReason == ReviewRefundRefused { // refunds by others did not explain it
			p.FundsBackoffUntil = now.Add(refundRetryInterval)
		}
		p.ReviewReason, p.ReconcileRefund = ReviewRefundRefused, true
	case o.Result == upstream.Unknown && o.Status != 0:
		// Under the same key Stripe repeats this reply, as it repeats a rejection.
		p.ReconcileRefund = true
	}
	return p
}

// applyRefundList compares Stripe's refunds of the PaymentIntent with the order. Refunds that exist
// are adopted, and the rest is ordered again.
func applyRefundList(p Payment, o Outcome, now time.Time) Payment {
	back, lost := int64(0), false
	var last RefundRecord // the refund that was ordered last
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
	if back != p.RefundTarget-p.RefundAmount { // others had refunded a part, so Stripe rejected ours
		p = clearReview(p, ReviewRefundRefused)
	}
	if p.Funds == Refunding && p.RefundTarget < maxRefund(p) && last.Number == 0 {
		// Ours is a partial refund beside refunds by others.
		p.RefundTarget = max(p.RefundTarget, back+p.RefundAmount)
	}
	p.ReconcileRefund = false
	p = setRefunded(applyRefundReference(p, last), back)
	p.RefundTarget = min(p.RefundTarget, maxRefund(p))
	short, arrived := p.RefundedAmount < p.RefundTarget, last.Status == "succeeded"
	switch {
	case last.Number != 0 && !arrived && !last.Final():
		return applyRefundStatus(p, last.Status, now)
	case arrived && short && lost: // it succeeded, but an earlier one failed later
		p.Funds, p.ReviewReason = RefundFailed, ReviewRefundFailed
	case arrived || !short:
		p.RefundTarget = p.RefundedAmount
		return applyRefundStatus(p, "succeeded", now)
	}
	failed := p.Funds == RefundFailed
	p = orderRefund(p, p.RefundTarget, now)
	if failed {
		p.Funds = RefundFailed // the customer is told so until a refund succeeds
	}
	return p
}

// Final reports whether a refund has failed for good. An unknown status does not count as final.
func (r RefundRecord) Final() bool { return r.Status == "failed" || r.Status == "canceled" }

// applyRefundStatus applies the status of the refund that was ordered last.
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
	default: // pending: an event follows, or the check a day later
		p.ReconcileRefund, p.FundsBackoffUntil = true, now.Add(refundRetryInterval)
	}
	return p
}

// remainingReview returns the reason that still needs review when another one is resolved, or "".
func remainingReview(p Payment) string {
	switch p.Reason {
	case ReasonAdopted, ReasonUnclear:
		if Refundable(p) > 0 {
			return p.Reason
		}
	case ReasonRecallUnclear, ReasonUnconfirmed, ReasonRefused, ReasonUnknownDevice, ReasonNotSelling,
		ReasonStartedAfter:
		return p.Reason
	}
	return ""
}

// reconcileRefund makes the next step read all refunds, because something new is known. It ends a
// wait for the operator or the bank. It keeps the wait after an unanswered call, because Stripe may
// still apply that call.
func reconcileRefund(p Payment) Payment {
	p.ReconcileRefund = true
	if p.FundsFailures == 0 {
		p.FundsBackoffUntil = time.Time{}
	}
	return p
}

// applyRefundReference stores the number by which the customer's bank finds a refund, or removes that
// of a refund that failed. Our last refund counts, or one made in the Dashboard if we ordered none.
// Stripe knows the number only days after the refund.
func applyRefundReference(p Payment, r RefundRecord) Payment {
	ours := r.Credit == p.ID && r.Number == p.RefundSeq
	elsewhere := r.Credit == "" && r.ID != "" && p.RefundSeq == 0
	switch {
	case !ours && !elsewhere:
	case r.Final():
		p.RefundReference = ""
	case r.Reference != "":
		p.RefundReference = r.Reference
	}
	return p
}

// ApplyRefundUpdate applies an event of one refund, which is ours or was made in the Dashboard.
func ApplyRefundUpdate(p Payment, r RefundRecord, now time.Time) Payment {
	p = applyRefundReference(p, r)
	if r.Credit != p.ID || r.Number != p.RefundSeq || r.Number == 0 {
		return p // the total is read from the charge
	}
	failed := r.Final()
	switch {
	case p.Funds == RefundFailed && failed:
	case (p.Funds == Refunding || p.Funds == RefundFailed) && p.InFlight:
		p.ReconcileRefund = p.ReconcileRefund || failed // the call's reply may be older than the failure
	case p.Funds == Refunding && r.Amount != p.RefundAmount: // of a later state of a ledger that was restored
		p = reconcileRefund(p)
	case p.Funds == Refunding && (failed || !p.ReconcileRefund):
		p = applyRefundStatus(p, r.Status, now)
	case p.Funds == Refunding || p.Funds == RefundFailed:
		p = reconcileRefund(p) // this event may be older than a failure
	case (p.Funds == Refunded || p.Funds == Paid) && failed:
		p.RefundedAmount -= min(r.Amount, p.RefundedAmount)
		p = applyRefundStatus(p, r.Status, now)
	}
	return Next(p, now)
}

// ApplyRefundedTotal applies the refunded total of the charge. If read is false, the total comes
// from an event, which may be old.
func ApplyRefundedTotal(p Payment, back int64, read bool, now time.Time) Payment {
	back = min(back, p.Amount)
	switch p.Funds {
	case Authorized, Capturing, Canceling, Canceled, CaptureFailed:
		// Nothing was captured. Stripe may call the end of an authorization a refund; the intent
		// tells.
		return p
	}
	if !read && back < p.RefundedAmount {
		return p
	}
	p = setRefunded(p, back)
	switch {
	case p.Funds == Disputed || p.Funds == DisputeLost:
	case p.Funds == Refunding && back >= p.RefundTarget:
		// The charge counts pending refunds too, so read the refunds themselves.
		p = reconcileRefund(p)
	case back == maxRefund(p) && back > 0:
		ours := FundsReturned(p)
		p.Funds = Refunded
		if !ours {
			p = reverseDelivery(p, ReasonReversed, now)
		}
	case (p.Funds == Refunding || p.Funds == RefundFailed) && back != p.RefundTarget-p.RefundAmount:
		p = reconcileRefund(p) // others have refunded, or failed to, since our order
	case p.Funds == Refunded && p.RefundSeq > 0: // ours failed, or the charge was read before it was made
		p.Funds, p.RefundTarget, p.ReconcileRefund, p.RefundAt = Refunding, maxRefund(p), true, now
	case p.Funds == Refunded:
		p.Funds = Paid // a refund by others failed
	case p.Funds == Paid && p.RefundSeq > 0 && back < min(p.RefundTarget, maxRefund(p)):
		// One failed, or the charge was read before ours was made.
		p.Funds, p.ReconcileRefund, p.RefundAt = Refunding, true, now
	}
	if p.Funds == Paid { // refunds by others do not replace ours that fail later
		p.RefundTarget = max(p.RefundTarget, back)
	}
	return Next(p, now)
}

// setRefunded stores the refunded total of the charge. The banks kept at most the rest of the
// amount, because money that a dispute has taken cannot be refunded.
func setRefunded(p Payment, total int64) Payment {
	p.RefundedAmount = min(total, p.Amount)
	p.LostAmount = min(p.LostAmount, p.Amount-p.RefundedAmount)
	return p
}

// ApplyCanceled applies that the authorization was canceled, by notepay or by others.
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

// ApplyCaptured applies that the authorization was captured, by notepay or by others.
func ApplyCaptured(p Payment, now time.Time) Payment {
	switch p.Funds {
	case Authorized, Capturing, Canceling:
		p.Funds = Paid
		p = clearReview(p, ReviewCaptureFailed, ReviewReleaseRefused)
		return Next(p, now)
	}
	return p
}

// reverseDelivery stops the delivery of a payment whose money is gone. It recalls a credit that has
// not started. If others refunded the payment, it also ends a running session; a dispute does not.
// It notifies a machine that confirms.
func reverseDelivery(p Payment, reason string, now time.Time) Payment {
	switch p.Delivery {
	case Queued, Sent:
		p.CancelReason = reason
		p.BackoffUntil = time.Time{}
		if p.OutcomeUnknown {
			p.BackoffUntil = now.Add(CallTimeout) // a call may be in flight
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
