package bridge

import (
	"hash/fnv"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// The life of a payment, in two pure functions. Apply takes in what a call came to; Next says what is to be done now. Both
// get the payment as it is in the ledger at that moment and return it as it shall be; nothing else changes a payment.

// Reasons for which a machine's credit failed.
const (
	ReasonAdopted       = "adopted"        // paid before this ledger was born: another's to deliver
	ReasonExpired       = "expired"        // its lifetime ended before it could be sent
	ReasonRefused       = "refused"        // Notehub refuses this device or this note
	ReasonUnknownDevice = "unknown_device" // a complete listing, begun after the payment, does not hold the device
)

// Why a person must look at a payment.
const (
	AttentionMoneyKept       = "money_kept"       // the machine got nothing and the money was not given back
	AttentionDeliveryUnclear = "delivery_unclear" // the machine may or may not have got its credit
	AttentionAmount          = "amount_mismatch"  // paid was not what the plan costs
	AttentionAuthorized      = "authorized"       // a hold is open
	AttentionOverdue         = "overdue"          // not delivered after a quarter of an hour, and still being tried
)

// NotehubTimeLimit is how long one call to Notehub may take. An unclear post is looked for when this has passed since it
// began: earlier, it could still be applied after the look. Only where Notehub itself answered is the call over before.
const NotehubTimeLimit = 15 * time.Second

// overdue is when a person is told of a credit that is neither delivered nor given up.
const overdue = 15 * time.Minute

// lease is how long a claim holds. It outlasts the time limit, so that an interrupted call is looked at when it can no longer be applied.
const lease = NotehubTimeLimit + 5*time.Second

// Outcome is what one call made for a payment came to.
type Outcome struct {
	Action      ledger.Step
	Result      upstream.Outcome
	Pending     bool   // check_pending: the credit is among the pending notes
	Reason      string // for upstream.Refused; ReasonRefused if empty
	RetryAfter  time.Duration
	Over        bool // of an unclear call: whatever it did, it has done
	Began       time.Time
	Stale       bool // another worker has claimed the payment since: facts count, the next step is not chosen
	Interrupted bool // nobody saw what the call came to: the process stopped between call and settling
}

// Apply takes in what a call came to. A fact counts whoever saw it and however late; only a worker whose claim still holds
// ends the claim and thereby chooses the next step.
func Apply(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	switch o.Action {
	case ledger.PostNote:
		p = applyPost(p, o, now)
	case ledger.CheckPending:
		p = applyCheck(p, o, now)
	}
	if o.Stale {
		if !p.InFlight && p.Step != ledger.NoStep {
			p.DueAt = now // somebody looks again at what this changed
		}
		return p
	}
	p.InFlight = false
	switch {
	case o.Action == ledger.CheckPending && o.Result == upstream.Done && !o.Pending:
		// The post that is looked for failed before, and the next one may, too: its failures still count.
		p.NotBefore = time.Time{}
		if p.Failures > 0 {
			p.NotBefore = now.Add(upstream.Backoff(p.Failures, jitter(p)))
		}
	case o.Result == upstream.Done || o.Result == upstream.Refused:
		p.Failures, p.NotBefore = 0, time.Time{}
	case o.Interrupted:
		p.NotBefore = o.Began.Add(NotehubTimeLimit) // nobody failed
	default:
		p.Failures++
		wait := upstream.Backoff(p.Failures, jitter(p))
		if o.RetryAfter > 0 {
			wait = o.RetryAfter
		}
		p.NotBefore = now.Add(wait)
		if safe := o.Began.Add(NotehubTimeLimit); p.Unclear && !o.Over && safe.After(p.NotBefore) {
			p.NotBefore = safe
		}
	}
	return Next(p, now)
}

func applyPost(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	switch o.Result {
	case upstream.Done:
		p = sent(p, now)
	case upstream.Unclear:
		p.Posted = true
		p.Unclear = p.Machine == ledger.Queued
		p = doubted(p)
	case upstream.Refused:
		p = refused(p, o)
	}
	return p
}

func applyCheck(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	switch {
	case o.Result == upstream.Done && o.Pending:
		p = sent(p, now)
	case o.Result == upstream.Done && !o.Stale: // an old look says nothing of a post made since
		p.Unclear = false // not there: it was not applied, or it was and is fetched; the machine ignores a repeat
	case o.Result == upstream.Refused:
		p = refused(p, o)
	}
	return p
}

func sent(p ledger.Payment, now time.Time) ledger.Payment {
	p.Posted, p.Unclear = true, false
	if p.Attention == AttentionOverdue {
		p.Attention = ""
	}
	if p.Machine == ledger.Queued {
		p.Machine, p.SentAt = ledger.Sent, now
	}
	return doubted(p)
}

// doubted makes a failed credit doubtful when it turns out late that Notehub took, or may have taken, its note.
func doubted(p ledger.Payment) ledger.Payment {
	if p.Machine == ledger.Failed && p.Attention == AttentionMoneyKept {
		p.Attention = AttentionDeliveryUnclear
	}
	return p
}

func refused(p ledger.Payment, o Outcome) ledger.Payment {
	if p.Machine != ledger.Queued {
		return p
	}
	reason := o.Reason
	if reason == "" {
		reason = ReasonRefused
	}
	return failed(p, reason)
}

// failed ends a credit that the machine does not get.
func failed(p ledger.Payment, reason string) ledger.Payment {
	p.Machine, p.Reason = ledger.Failed, reason
	p.Attention = AttentionMoneyKept
	if p.Posted {
		p.Attention = AttentionDeliveryUnclear
	}
	p.Unclear = false
	return p
}

// Next is the payment as it stands at now: what time alone decides is decided, and step and due time say which call is next
// and when. A payment that is claimed keeps its step, for only its worker knows.
func Next(p ledger.Payment, now time.Time) ledger.Payment {
	if p.InFlight {
		return p
	}
	expired := !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
	if p.Machine == ledger.Queued && expired && !p.Unclear {
		p = failed(p, ReasonExpired)
	}
	late := p.CreatedAt.Add(overdue)
	if p.Machine == ledger.Queued && p.Money == ledger.Paid && p.Attention == "" && !now.Before(late) {
		p.Attention = AttentionOverdue
	}
	switch {
	case p.Machine != ledger.Queued || p.Money != ledger.Paid:
		p.Step, p.DueAt = ledger.NoStep, time.Time{}
	case p.Unclear:
		p.Step, p.DueAt = ledger.CheckPending, latest(now, p.NotBefore)
	default:
		p.Step, p.DueAt = ledger.PostNote, latest(now, p.NotBefore)
		if !p.ExpiresAt.IsZero() && p.ExpiresAt.Before(p.DueAt) {
			p.DueAt = p.ExpiresAt // to be failed then, without another call
		}
	}
	if p.Step != ledger.NoStep && p.Attention == "" && late.Before(p.DueAt) {
		p.DueAt = late // to tell of it then, without a call before its time
	}
	if p.Step == ledger.NoStep {
		p.NotBefore, p.Failures = time.Time{}, 0
	}
	return p
}

// Claim hands the payment's due step to one worker. A payment that was claimed already was interrupted between its call and
// the settling: its call is unclear, and that is taken in first. The step may then be another, or not due any more.
func Claim(p ledger.Payment, now time.Time) (claimed ledger.Payment, interrupted *Outcome) {
	if p.InFlight {
		interrupted = &Outcome{Action: p.Step, Result: upstream.Unclear, Began: p.DueAt.Add(-lease), Interrupted: true}
		p = Apply(p, *interrupted, now)
	}
	p = Next(p, now)
	if p.Step == ledger.NoStep || p.DueAt.After(now) {
		return p, interrupted
	}
	p.InFlight, p.DueAt, p.Turn = true, now.Add(lease), p.Turn+1
	return p, interrupted
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// jitter spreads retries: a number in [0, 1) that differs by payment and failure, derived so that Apply stays pure.
func jitter(p ledger.Payment) float64 {
	h := fnv.New32a()
	h.Write([]byte(p.ID))
	h.Write([]byte{byte(p.Failures)})
	return float64(h.Sum32()%1000) / 1000
}
