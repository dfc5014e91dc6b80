package payment

import (
	"time"

	"notepay/internal/upstream"
)

// A payment may have something to be done at either vendor. These say what and when; step in
// life.go chooses between them.

// YieldStep returns a payment whose due step cannot be claimed now, with the other vendor's step
// instead if that is due as well. So a vendor that nobody can call does not hold up what the other
// one has to do.
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

// notehubStep is the next call to Notehub and when it may be made.
func notehubStep(p Payment, now time.Time) (Step, time.Time) {
	soon := Later(now, p.BackoffUntil)
	switch {
	case p.Delivery == Queued && p.OutcomeUnknown:
		return StepCheckPending, soon
	case InDoubt(p, now):
	case p.Delivery == Queued:
		due := soon
		if !p.ExpiresAt.IsZero() && p.ExpiresAt.Before(due) {
			due = p.ExpiresAt // to be failed then, without another call
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

// stripeStep is the next call to Stripe and when it may be made.
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

// Next is the payment as it stands at now: what time alone decides is decided, and step and due
// time say which call is next and when. A payment that is claimed keeps its step, for only its
// worker knows.
func Next(p Payment, now time.Time) Payment {
	if p.InFlight {
		return p
	}
	p = applyDeadlines(p, now)
	p = settleFunds(p, now)
	p.HoldsDevice = p.HoldsDevice && holdsDevice(p, now) // it is taken where the ledger can be asked who has it
	if notehub, _ := notehubStep(p, now); notehub == NoStep {
		p.BackoffUntil, p.Failures = time.Time{}, 0
	}
	if stripe, _ := stripeStep(p, now); stripe == NoStep {
		p.FundsBackoffUntil, p.FundsFailures = time.Time{}, 0
	}
	p.Step, p.DueAt = nextStep(p, now)
	late := overdueAt(p)
	if (p.ReviewReason == ReviewOverdue || p.ReviewReason == ReviewHold) && (late.IsZero() || now.Before(late)) {
		p.ReviewReason = "" // it was done
	}
	if p.ReviewReason == "" && !late.IsZero() {
		if now.Before(late) {
			p = dueBy(p, late) // to tell of it then
		} else {
			p.ReviewReason = overdueReason(p)
		}
	}
	if until := DeviceFreeAt(p); p.HoldsDevice && !until.IsZero() {
		p = dueBy(p, until) // to have the device sold again
	}
	return expireAccessCode(p, now)
}

// dueBy has the payment looked at by then, without a call before its time.
func dueBy(p Payment, at time.Time) Payment {
	if p.Step == NoStep {
		p.Step, p.DueAt = StepWait, at
	}
	p.DueAt = Earlier(p.DueAt, at)
	return p
}

func CallsNotehub(s Step) bool {
	return s == StepPostNote || s == StepCheckPending || s == StepRecall
}

func CallsStripe(s Step) bool {
	return s == StepCapture || s == StepCancel || s == StepRefund
}

// applyDeadlines decides what time alone decides.
func applyDeadlines(p Payment, now time.Time) Payment {
	if p.Delivery == Queued && !p.OutcomeUnknown {
		expired := !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
		switch {
		case InDoubt(p, now): // the machine will say, or be silent
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

// occupies: a timed credit holds its device from the payment to its end.
func holdsDevice(p Payment, now time.Time) bool {
	if p.Duration == 0 || p.Delivery == Failed || p.Delivery == Done {
		return false
	}
	until := DeviceFreeAt(p)
	return until.IsZero() || now.Before(until)
}

// DeviceFreeAt is when a timed session ends that holds its device; zero if that cannot be said yet.
// Of a machine that says nothing it is taken that it starts when its note is sent.
func DeviceFreeAt(p Payment) time.Time {
	if p.EndsAt.IsZero() && p.ConfirmBy.IsZero() && !p.SentAt.IsZero() {
		return p.SentAt.Add(p.DelayedStart + p.Duration)
	}
	return p.EndsAt
}

// overdueAt is when a person is told that what is due for the payment was not done; zero for never.
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

// overdueReason is why a person is told then.
func overdueReason(p Payment) string {
	switch p.Funds {
	case Authorized, Capturing, Canceling:
		return ReviewHold
	}
	return ReviewOverdue
}

// nextStep is the next call and when it may be made. Money that was decided about does not wait for
// the machine, nor the machine for the money: the call that is due first is made first. Of two that
// are due now, the one that was chosen before stays, so that its vendor's worker finds it.
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
	case CallsStripe(p.Step),
		machine == StepPostNote && p.Delivery != Queued: // a word to the machine follows the money
		return money, moneyDue
	}
	return machine, machineDue
}

// Claim hands the payment's due step to one worker. A payment that was claimed already was
// interrupted between its call and the settling: its call is unclear, and that is taken in first.
// The step may then be another, or not due any more; one that became the other vendor's is left to
// that queue.
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
		p.ReconcileRefund = true // whatever kept it from being made: the key may not hold any more
	}
	p.InFlight, p.DueAt, p.FencingToken = true, now.Add(Lease), p.FencingToken+1
	return p, interrupted
}

// Closed says whether nothing is left to be done for a payment: the machine has its credit and the
// money is ours, or the money is back, or a person has to look, or has.
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

func Later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func Earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
