package payment

import (
	"hash/fnv"
	"time"

	"notepay/internal/upstream"
)

// Outcome is what one call made for a payment came to.
type Outcome struct {
	Action      Step
	Result      upstream.Outcome
	Err         error          // of the call, for refusals that are answers (ErrAlreadyRefunded and its like)
	Status      int            // HTTP; 0: no reply
	NoteIDs     []string       // check_pending: the pending notes with this credit's id
	NoteID      string         // recall: the note that was to be deleted
	Refund      RefundRecord   // refund: the one made
	Refunds     []RefundRecord // refund, as a look: all of the intent
	Reconciled  bool           // refund: it was a look
	RetryAfter  time.Duration
	Settled     bool // of an unclear call: whatever it did, it has done
	Began       time.Time
	Stale       bool // another worker has claimed the payment since: facts count, the next step is not chosen
	Interrupted bool // nobody saw what the call came to: the process stopped between call and settling
}

// ApplyOutcome takes in what a call came to. A fact counts whoever saw it and however late; only a
// worker whose claim still holds ends the claim and thereby chooses the next step.
func ApplyOutcome(p Payment, o Outcome, now time.Time) Payment {
	if !o.Stale {
		p = backoff(p, o, now)
	} else if CallsNotehub(o.Action) && p.Delivery == Queued && o.Began.Before(p.DeliveryAt) {
		return p // it tells of a note that was taken back since, and the credit is to be sent anew
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
		if p = applyRefund(p, o, now); p.Funds == Refunded && !ours { // a part of it: others gave the rest
			p = reverseDelivery(p, ReasonReversed, now)
		}
	}
	if o.Stale {
		if !p.InFlight && (p.Step != NoStep || p.Delivery == Queued) {
			p = dueBy(p, now) // somebody looks again at what this changed
			p.DueAt = now
		}
		return p
	}
	p.InFlight = false
	return Next(p, now)
}

// backoff counts the failures of the vendor that was called, and says from when on it may be called
// again.
func backoff(p Payment, o Outcome, now time.Time) Payment {
	failures, notBefore := &p.Failures, &p.BackoffUntil
	if CallsStripe(o.Action) {
		failures, notBefore = &p.FundsFailures, &p.FundsBackoffUntil
	}
	switch {
	case o.Action == StepCheckPending && o.Result == upstream.OK && p.OutcomeUnknown && len(o.NoteIDs) == 0:
		// The post that is looked for failed before, and the next one may, too: its failures still
		// count.
		*notBefore = time.Time{}
		if *failures > 0 {
			*notBefore = now.Add(upstream.Backoff(*failures, jitter(p, *failures)))
		}
	case o.Result == upstream.OK || o.Result == upstream.Rejected:
		*failures, *notBefore = 0, time.Time{}
	case o.Interrupted: // nobody failed
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

// outcomeKnownAt returns from when on it can be seen what an unclear call did: until then it may be
// applied, and a note that it posted may not be listed.
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

// jitter spreads retries: a number in [0, 1) that differs by payment and failure, derived so that
// Apply stays pure.
func jitter(p Payment, failures int) float64 {
	h := fnv.New32a()
	h.Write([]byte(p.ID))
	h.Write([]byte{byte(failures)})
	return float64(h.Sum32()%1000) / 1000
}
