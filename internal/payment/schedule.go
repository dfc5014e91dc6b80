package payment

import (
	"time"

	"notepay/internal/upstream"
)

// The next calls for a payment: notehubStep and stripeStep return one per vendor, and nextStep
// chooses between them.

// YieldStep replaces a due step that cannot be claimed now by the other vendor's step, if that is
// due. So one vendor's outage does not delay calls to the other.
func YieldStep(p Payment, now time.Time) Payment {
	other, due := notehubStep(p, now)
	if CallsNotehub(p.Step) {
		other, due = stripeStep(p, now)
	}
	if p.InFlight || other == NoStep || due.After(now) {
		return p
	}
	p.Step, p.DueAt = other, due
	return p
}

// notehubStep returns the next call to Notehub and its earliest time.
func notehubStep(p Payment, now time.Time) (Step, time.Time) {
	soon := Later(now, p.BackoffUntil)
	switch {
	case p.Delivery == Queued && p.OutcomeUnknown:
		return StepCheckPending, soon
	case InDoubt(p, now):
	case p.Delivery == Queued:
		due := soon
		if !p.ExpiresAt.IsZero() && p.ExpiresAt.Before(due) {
			due = p.ExpiresAt // it fails then, without another call
		}
		return StepPostNote, due
	case p.Delivery == Sent && p.NoteIDs != "" && !p.OutcomeUnknown:
		return StepRecall, soon
	case p.Delivery == Sent && (p.RecallStatus != NotRecalled || p.CancelReason != ""):
		return StepCheckPending, soon
	case p.Delivery == Sent && p.ExpiresAt.IsZero():
		return StepCheckPending, Later(p.SentAt.Add(idleCheckInterval), p.BackoffUntil)
	case p.Delivery == Sent:
		return StepCheckPending, Later(p.ExpiresAt, p.BackoffUntil)
	case p.PendingNotice != "":
		return StepPostNote, soon
	}
	return NoStep, time.Time{}
}

// stripeStep returns the next call to Stripe and its earliest time.
func stripeStep(p Payment, now time.Time) (Step, time.Time) {
	soon := Later(now, p.FundsBackoffUntil)
	switch p.Funds {
	case Capturing:
		return StepCapture, soon
	case Canceling:
		return StepCancel, soon
	case Refunding, RefundFailed:
		if !refundsEnded(p) {
			return StepRefund, soon
		}
	}
	return NoStep, time.Time{}
}

// Next returns the payment as of now. It applies deadlines, settles the money, and sets the next
// step with its time. A claimed payment is returned unchanged, because only its worker knows the
// result of the call.
func Next(p Payment, now time.Time) Payment {
	if p.InFlight {
		return p
	}
	p = applyDeadlines(p, now)
	p = settleFunds(p, now)
	p.HoldsDevice = p.HoldsDevice && holdsDevice(p, now) // only Bridge.reserveDevice sets it
	if notehub, _ := notehubStep(p, now); notehub == NoStep {
		p.BackoffUntil, p.Failures = time.Time{}, 0
	}
	if stripe, _ := stripeStep(p, now); stripe == NoStep {
		p.FundsBackoffUntil, p.FundsFailures = time.Time{}, 0
	}
	p.Step, p.DueAt = nextStep(p, now)
	late := overdueAt(p)
	if (p.ReviewReason == ReviewOverdue || p.ReviewReason == ReviewHold) && (late.IsZero() || now.Before(late)) {
		p.ReviewReason = "" // the step was done
	}
	if p.ReviewReason == "" && !late.IsZero() {
		if now.Before(late) {
			p = dueBy(p, late) // raise the review then
		} else {
			p.ReviewReason = overdueReason(p)
		}
	}
	if until := DeviceFreeAt(p); p.HoldsDevice && !until.IsZero() {
		p = dueBy(p, until) // put the device on sale then
	}
	return expireAccessCode(p, now)
}

// dueBy schedules a look at the payment by the given time, but makes no call early.
func dueBy(p Payment, at time.Time) Payment {
	if p.Step == NoStep {
		p.Step, p.DueAt = StepWait, at
	}
	p.DueAt = Earlier(p.DueAt, at)
	return p
}

// CallsNotehub reports whether a step is a call to Notehub.
func CallsNotehub(s Step) bool {
	return s == StepPostNote || s == StepCheckPending || s == StepRecall
}

// CallsStripe reports whether a step is a call to Stripe.
func CallsStripe(s Step) bool {
	return s == StepCapture || s == StepCancel || s == StepRefund
}

// applyDeadlines applies deadlines that need no observation.
func applyDeadlines(p Payment, now time.Time) Payment {
	if p.Delivery == Queued && !p.OutcomeUnknown {
		expired := !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
		switch {
		case InDoubt(p, now): // its machine may still confirm
		case (expired || p.CancelReason != "") && p.NotFoundAfterUnclear:
			p = Fail(p, ReasonUnclear)
			p.ReviewReason = ReasonUnclear
		case p.CancelReason == cancelForResend:
			p.CancelReason = ""
		case p.CancelReason != "":
			p = Fail(p, p.CancelReason)
		case expired:
			p = Fail(p, ReasonExpired)
		}
	}
	if p.Delivery == Started && !p.EndsAt.IsZero() && !now.Before(p.EndsAt) {
		p.Delivery = Done
	}
	return p
}

// holdsDevice reports whether a timed credit occupies its device, which it does from payment to
// end.
func holdsDevice(p Payment, now time.Time) bool {
	if p.Duration == 0 || p.Delivery == Failed || p.Delivery == Done {
		return false
	}
	until := DeviceFreeAt(p)
	return until.IsZero() || now.Before(until)
}

// DeviceFreeAt returns when a timed session ends and frees its device, or the zero time if that is
// unknown. A machine that does not confirm is assumed to start when its note is sent.
func DeviceFreeAt(p Payment) time.Time {
	if p.EndsAt.IsZero() && p.ConfirmBy.IsZero() && !p.SentAt.IsZero() {
		return p.SentAt.Add(p.DelayedStart + p.Duration)
	}
	return p.EndsAt
}

// overdueAt returns when the operator learns that the payment's due step was not done, or the zero
// time.
func overdueAt(p Payment) time.Time {
	if p.Funds == Authorized || p.Funds == Capturing || p.Funds == Canceling {
		if p.Delivery != Queued {
			return p.PaidAt.Add(maxHold)
		}
		return Earlier(p.PaidAt.Add(maxHold), p.CreatedAt.Add(overdueAfter))
	}
	var late time.Time
	switch {
	case p.Delivery == Queued && p.NotFoundAfterUnclear && !p.ConfirmBy.IsZero():
		late = p.ConfirmBy.Add(overdueAfter)
	case p.Delivery == Queued:
		late = p.CreatedAt.Add(overdueAfter)
	case p.Delivery == Sent && !p.ExpiresAt.IsZero():
		late = p.ExpiresAt.Add(overdueAfter)
	case p.Delivery == Fetched && !p.ConfirmBy.IsZero():
		late = p.ConfirmBy.Add(overdueAfter)
	}
	if refund := p.RefundAt.Add(maxHold); p.Funds == Refunding && (late.IsZero() || refund.Before(late)) {
		late = refund
	}
	return late
}

// overdueReason returns the review reason of an overdue payment.
func overdueReason(p Payment) string {
	switch p.Funds {
	case Authorized, Capturing, Canceling:
		return ReviewHold
	}
	return ReviewOverdue
}

// nextStep returns the next call and its earliest time. Decided money does not wait for the
// machine, nor the machine for the money: the earlier call is first. Of two calls that are due now,
// the one chosen before stays, so that its vendor's worker finds it.
func nextStep(p Payment, now time.Time) (Step, time.Time) {
	machine, machineDue := notehubStep(p, now)
	money, moneyDue := stripeStep(p, now)
	switch {
	case machine == NoStep && money == NoStep && p.Delivery == Started && !p.EndsAt.IsZero():
		return StepWait, p.EndsAt
	case money == NoStep:
		return machine, machineDue
	case machine == NoStep, Later(moneyDue, now).Before(Later(machineDue, now)):
		return money, moneyDue
	case Later(machineDue, now).Before(Later(moneyDue, now)):
		return machine, machineDue
	case CallsStripe(p.Step), machine == StepPostNote && p.Delivery != Queued: // a notice follows the money
		return money, moneyDue
	}
	return machine, machineDue
}

// Claim hands the payment's due step to one worker. If the payment is already claimed, that claim
// was interrupted between its call and the record. Then the call counts as unclear, and Claim
// applies that first. The resulting step may be another one or not due. A step of the other vendor
// is left to that vendor's queue.
func Claim(p Payment, now time.Time) (claimed Payment, interrupted *Outcome) {
	was := p.Step
	if p.InFlight {
		interrupted = &Outcome{
			Action:      p.Step,
			Result:      upstream.Unknown,
			NoteID:      NextRecallNote(p),
			Began:       p.DueAt.Add(-Lease),
			Interrupted: true,
		}
		p = ApplyOutcome(p, *interrupted, now)
	}
	p = Next(p, now)
	if p.Step == NoStep || p.Step == StepWait || p.DueAt.After(now) || CallsStripe(was) != CallsStripe(p.Step) {
		return p, interrupted
	}
	if p.Step == StepRefund && now.Sub(p.RefundAt) > refundKeyLifetime {
		p.ReconcileRefund = true // the idempotency key may have expired
	}
	p.InFlight, p.DueAt, p.FencingToken = true, now.Add(Lease), p.FencingToken+1
	return p, interrupted
}

// Closed reports whether nothing is left to do. The machine has its credit and the money is ours,
// or the money is returned, or the operator decides.
func Closed(p Payment) bool {
	if p.ReviewReason != "" {
		return true
	}
	if p.Delivery == Queued || p.Delivery == Sent {
		return false
	}
	switch p.Funds {
	case Refunded, Canceled, DisputeLost, CaptureFailed, Disputed:
		return true
	case RefundFailed:
		return refundsEnded(p)
	case Authorized:
		return p.Reason == ReasonAdopted
	case Paid:
		switch p.Delivery {
		case Fetched:
			return p.ConfirmBy.IsZero()
		case Failed:
			return p.Amount == 0 || p.Reason == ReasonAdopted || p.Reason == ReasonUnclear
		}
		return true
	}
	return false
}

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Earlier returns the earlier of two times.
func Earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
