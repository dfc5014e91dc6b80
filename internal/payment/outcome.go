package payment

import (
	"hash/fnv"
	"time"

	"notepay/internal/upstream"
)

// Outcome is the result of one call for a payment.
type Outcome struct {
	Action     Step
	Result     upstream.Outcome
	Err        error          // the call's error; it may wrap ErrAlreadyRefunded and its like
	Status     int            // HTTP status; 0: no reply
	NoteIDs    []string       // check_pending: the pending notes with this credit's id
	NoteID     string         // recall: the note to delete
	Refund     RefundRecord   // refund: the refund made
	Refunds    []RefundRecord // refund: all refunds of the intent, if Reconciled
	Reconciled bool           // refund: the refunds were read, and none was made
	RetryAfter time.Duration
	Settled    bool // an unclear call is over: it cannot be applied later
	Began      time.Time
	// Another worker has claimed the payment since. The facts count, but the next step does not.
	Stale bool
	// The process stopped between the call and its record, so the result is unknown.
	Interrupted bool
}

// ApplyOutcome applies the outcome of a call. Its facts count however late they are. Only the
// worker that holds the claim ends it and thereby chooses the next step.
func ApplyOutcome(p Payment, o Outcome, now time.Time) Payment {
	before := p
	if !o.Stale {
		p = backoff(p, o, now)
	} else if CallsNotehub(o.Action) && p.Delivery == Queued && o.Began.Before(p.DeliveryAt) {
		// It concerns a note that was recalled since, and the credit is sent again.
		return p
	}
	switch o.Action {
	case StepPostNote:
		p = applyPost(p, o, now)
	case StepCheckPending:
		p = applyCheck(p, o, now)
	case StepRecall:
		p = applyRecall(p, o)
	case StepCapture:
		p = applyCapture(p, o)
	case StepCancel:
		p = applyCancel(p, o)
	case StepRefund:
		ours := FundsReturned(p)
		if p = applyRefund(p, o, now); p.Funds == Refunded && !ours { // ours was a part, and others refunded the rest
			p = reverseDelivery(p, ReasonReversed, now)
		}
	}
	if o.Stale {
		if !p.InFlight && (p.Step != NoStep || p != before) {
			p = dueBy(p, now) // a worker reads the payment again
			p.DueAt = now
		}
		return p
	}
	p.InFlight = false
	return Next(p, now)
}

// backoff updates the failure count of the called vendor and the earliest time of its next call.
func backoff(p Payment, o Outcome, now time.Time) Payment {
	failures, notBefore := &p.Failures, &p.BackoffUntil
	if CallsStripe(o.Action) {
		failures, notBefore = &p.FundsFailures, &p.FundsBackoffUntil
	}
	switch {
	case o.Action == StepCheckPending && o.Result == upstream.OK && p.OutcomeUnknown && len(o.NoteIDs) == 0:
		// The post may fail again, so its failures still count.
		*notBefore = time.Time{}
		if *failures > 0 {
			*notBefore = now.Add(upstream.Backoff(*failures, jitter(p, *failures)))
		}
	case o.Result == upstream.OK || o.Result == upstream.Rejected:
		*failures, *notBefore = 0, time.Time{}
	case o.Interrupted: // the vendor did not fail
		*notBefore = outcomeKnownAt(o, now)
	default:
		*failures++
		wait := upstream.Backoff(*failures, jitter(p, *failures))
		if o.RetryAfter > 0 {
			wait = o.RetryAfter
		}
		*notBefore = now.Add(wait)
		if o.Result == upstream.Unknown {
			*notBefore = Later(*notBefore, outcomeKnownAt(o, now))
		}
	}
	return p
}

// outcomeKnownAt returns when the effect of an unclear call can be observed. Until then the vendor
// may apply the call, and Notehub may not list a note that it posted.
func outcomeKnownAt(o Outcome, now time.Time) time.Time {
	applied := o.Began.Add(CallTimeout)
	if o.Settled {
		applied = now
	}
	if o.Action == StepPostNote {
		return applied.Add(MaxListingDelay)
	}
	return applied
}

// jitter returns a number in [0, 1) that spreads retries. It is derived from payment and failure
// count, so that ApplyOutcome stays pure.
func jitter(p Payment, failures int) float64 {
	h := fnv.New32a()
	h.Write([]byte(p.ID))
	h.Write([]byte{byte(failures)})
	return float64(h.Sum32()%1000) / 1000
}
