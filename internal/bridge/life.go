package bridge

import (
	"cmp"
	"hash/fnv"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// The life of a payment, in pure functions. Apply takes in what a call came to, Confirmed what a machine answered, Silent that
// none did, recall.go where its note is, money.go what Stripe says; Next says what is to be done now. Each gets the payment as it is
// in the ledger at that moment and returns it as it shall be; nothing else changes a payment.

// Reasons for which a machine's credit failed, or its session ended early.
const (
	ReasonAdopted       = "adopted"          // paid before this ledger was born: another's to deliver
	ReasonExpired       = "expired"          // its lifetime ended before it could be sent, or the machine says so
	ReasonRefused       = "refused"          // Notehub refuses this device or this note
	ReasonUnknownDevice = "unknown_device"   // a complete listing, begun after the payment, does not hold the device
	ReasonNotSelling    = "not_selling"      // the device is disabled, paused, offline or out of sale
	ReasonBusy          = "busy"             // a timed credit of this device is still open, or the machine says so
	ReasonFailed        = "failed"           // the machine says so
	ReasonRecalled      = "recalled"         // the note was taken back, unfetched
	ReasonRecallUnclear = "recall_unclear"   // it was to be taken back, and may have been fetched before
	ReasonUnclear       = "delivery_unclear" // Notehub may have taken a note, and nothing tells what became of it
	ReasonUnconfirmed   = "unconfirmed"      // the machine said nothing in time
	ReasonReversed      = "payment_reversed" // the money was given back by somebody else
	ReasonDisputed      = "disputed"         // the customer's bank asks for the money back
	ReasonEnded         = "ended"            // by the operator
	ReasonStartedAfter  = "started_after_money_back"
)

// Why a person must look at a payment, beside the reasons above.
const (
	AttentionAmount         = "amount_mismatch"    // paid was not what the plan costs
	AttentionOverdue        = "overdue"            // what is due is being tried for a quarter of an hour
	AttentionHold           = "hold"               // money is held on a card for an hour, neither taken nor released
	AttentionFailedAfter    = "failed_after_start" // the machine started and then failed
	AttentionCaptureFailed  = "capture_failed"     // the machine started and the money could not be taken
	AttentionReleaseRefused = "release_refused"    // Stripe refuses to let go of the held money
	AttentionBalance        = "too_little_balance" // the account cannot pay the refund
	AttentionRefundRefused  = "refund_refused"     // Stripe refuses the refund
	AttentionRefundFailed   = "refund_failed"      // the customer's bank refused the refund
	AttentionDisputeLost    = "dispute_lost"
	AttentionConfirmation   = "confirmation_unusable"    // an answer names the credit and cannot be applied
	AttentionFetchedAnyway  = "fetched_after_money_back" // the money is back and the machine has the credit
)

const (
	// TimeLimit is how long one call to a vendor may take. An unclear post is looked for when this has passed since it began:
	// earlier, it could still be applied after the look. Only where Notehub itself answered is the call over before.
	TimeLimit = 15 * time.Second
	// lease is how long a claim holds. When it is over, an interrupted call can no longer be applied, and a note that it posted is listed.
	lease = TimeLimit + listedWithin
	// listedWithin is how long after it took a note Notehub lists it at the latest. A look before that which does not find the note proves nothing.
	listedWithin = 10 * time.Second
	// overdue is when a person is told of what is due and cannot be done.
	overdue = 15 * time.Minute
	// longHold is when a person is told of money that is neither taken nor released.
	longHold = time.Hour
	// idleLook is how often a note is looked for that may wait for ever.
	idleLook = time.Hour
	// grace is how long after a credit's end a confirming machine may still be heard: what it began in time may be told late.
	grace = 30 * time.Second
)

// Outcome is what one call made for a payment came to.
type Outcome struct {
	Action      ledger.Step
	Result      upstream.Outcome
	Err         error          // of the call, for refusals that are answers (ErrAlreadyRefunded and its like)
	Status      int            // HTTP; 0: no reply
	NoteIDs     []string       // check_pending: the pending notes with this credit's id
	NoteID      string         // recall: the note that was to be deleted
	Refund      RefundRecord   // refund: the one made
	Refunds     []RefundRecord // refund, as a look: all of the intent
	Looked      bool           // refund: it was a look
	RetryAfter  time.Duration
	Over        bool // of an unclear call: whatever it did, it has done
	Began       time.Time
	Stale       bool // another worker has claimed the payment since: facts count, the next step is not chosen
	Interrupted bool // nobody saw what the call came to: the process stopped between call and settling
}

// Apply takes in what a call came to. A fact counts whoever saw it and however late; only a worker whose claim still holds
// ends the claim and thereby chooses the next step.
func Apply(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	if !o.Stale {
		p = again(p, o, now)
	} else if asksNotehub(o.Action) && p.Machine == ledger.Queued && o.Began.Before(p.MachineAt) {
		return p // it tells of a note that was taken back since, and the credit is to be sent anew
	}
	switch o.Action {
	case ledger.PostNote:
		p = applyPost(p, o, now)
	case ledger.CheckPending:
		p = applyCheck(p, o, now)
	case ledger.Recall:
		p = applyRecall(p, o)
	case ledger.Capture:
		p = applyCapture(p, o)
	case ledger.Release:
		p = applyRelease(p, o)
	case ledger.Refund:
		ours := moneyIsBack(p)
		if p = applyRefund(p, o, now); p.Money == ledger.Refunded && !ours { // a part of it: others gave the rest
			p = reversed(p, ReasonReversed, now)
		}
	}
	if o.Stale {
		if !p.InFlight && (p.Step != ledger.NoStep || p.Machine == ledger.Queued) {
			p = noLater(p, now) // somebody looks again at what this changed
			p.DueAt = now
		}
		return p
	}
	p.InFlight = false
	return Next(p, now)
}

// again counts the failures of the vendor that was called, and says from when on it may be called again.
func again(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	failures, notBefore := &p.Failures, &p.NotBefore
	if asksStripe(o.Action) {
		failures, notBefore = &p.MoneyFailures, &p.MoneyNotBefore
	}
	switch {
	case o.Action == ledger.CheckPending && o.Result == upstream.Done && p.Unclear && len(o.NoteIDs) == 0:
		// The post that is looked for failed before, and the next one may, too: its failures still count.
		*notBefore = time.Time{}
		if *failures > 0 {
			*notBefore = now.Add(upstream.Backoff(*failures, jitter(p, *failures)))
		}
	case o.Result == upstream.Done || o.Result == upstream.Refused:
		*failures, *notBefore = 0, time.Time{}
	case o.Interrupted: // nobody failed
		*notBefore = knownFrom(o, now)
	default:
		*failures++
		wait := upstream.Backoff(*failures, jitter(p, *failures))
		if o.RetryAfter > 0 {
			wait = o.RetryAfter
		}
		*notBefore = now.Add(wait)
		if o.Result == upstream.Unclear {
			*notBefore = latest(*notBefore, knownFrom(o, now))
		}
	}
	return p
}

// knownFrom returns from when on it can be seen what an unclear call did: until then it may be applied, and a note that it posted may not be listed.
func knownFrom(o Outcome, now time.Time) time.Time {
	applied := o.Began.Add(TimeLimit)
	if o.Over {
		applied = now
	}
	if o.Action == ledger.PostNote {
		return applied.Add(listedWithin)
	}
	return applied
}

func applyPost(p ledger.Payment, o Outcome, now time.Time) ledger.Payment {
	if p.Tell != "" && p.Machine != ledger.Queued { // it was a word to a machine that runs, not the credit
		if o.Result == upstream.Done || o.Result == upstream.Refused {
			p.Tell = ""
		}
		return p
	}
	switch o.Result {
	case upstream.Done:
		p = sent(p, now)
	case upstream.Unclear:
		p.Posted = true
		if p.Machine == ledger.Queued { // later, what is unclear is a deletion, and this says nothing about it
			p.Unclear = true
		}
		p = doubted(p)
	case upstream.Refused:
		p = refused(p)
	}
	return p
}

func sent(p ledger.Payment, now time.Time) ledger.Payment {
	p.Posted = true
	if p.Machine == ledger.Queued { // later, what is unclear is a deletion
		p.Machine, p.Unclear = ledger.Sent, false
		p = reached(p, now)
	}
	return doubted(p)
}

// reached notes when the note got out.
func reached(p ledger.Payment, now time.Time) ledger.Payment {
	if p.SentAt.IsZero() {
		p.SentAt = now
	}
	return p
}

// doubted makes a failed credit doubtful when it turns out late that Notehub took, or may have taken, its note.
func doubted(p ledger.Payment) ledger.Payment {
	if p.Machine == ledger.Failed && p.ConfirmBy.IsZero() { // a machine that confirms refuses what has expired
		p.Attention = ReasonUnclear
	}
	return p
}

func refused(p ledger.Payment) ledger.Payment {
	if p.Machine != ledger.Queued && p.Machine != ledger.Sent {
		return p
	}
	reason := ReasonRefused
	switch {
	case p.Posted && !p.ConfirmBy.IsZero() && p.Machine == ledger.Queued: // an earlier post may have been taken, and then the device will say so
		p.Unclear, p.Vanished, p.Stop = false, true, cmp.Or(p.Stop, ReasonRefused)
		return p
	case p.Posted && !p.ConfirmBy.IsZero():
		return fetched(reached(p, p.CreatedAt)) // a note may be with the device all the same, which will say so
	case p.Posted:
		reason = ReasonUnclear // and this one will not
	}
	p = failed(p, reason)
	p.Attention = reason
	return p
}

// failed ends a credit that the machine does not get.
func failed(p ledger.Payment, reason string) ledger.Payment {
	p.Machine, p.Reason, p.EndsAt = ledger.Failed, reason, time.Time{}
	p.Unclear, p.Stop, p.Recalled, p.NoteIDs, p.Tell = false, "", ledger.NotRecalled, "", ""
	return p
}

// What becomes of an answer of a machine.
const (
	ConfirmationTaken   = "taken"
	ConfirmationLate    = "after_money_back" // it started and the customer has the money back
	ConfirmationIgnored = "ignored"          // it says nothing new
	ConfirmationNoPost  = "no_note"          // no note was sent for this credit: it cannot be the machine's answer
)

// Confirmed takes in what a machine answered, in any order and from any state that had a post, or has one under way.
func Confirmed(p ledger.Payment, c Confirmation, now time.Time) (ledger.Payment, string) {
	underWay := p.InFlight && p.Step == ledger.PostNote // the machine was faster than Notehub's yes
	if !p.Posted && !underWay {
		return p, ConfirmationNoPost
	}
	p.Posted = true
	before, outcome := p.Machine, ConfirmationTaken
	switch c.State {
	case "started", "done":
		p, outcome = started(p, c, now)
	case "duplicate": // the machine has had it before
		if before != ledger.Queued && before != ledger.Sent {
			return p, ConfirmationIgnored
		}
		p = fetched(reached(p, now))
	default: // "failed", "busy", "expired"
		switch {
		case before == ledger.Started:
			p.Attention, p.Code = AttentionFailedAfter, c.Code
		case before == ledger.Queued || before == ledger.Sent || before == ledger.Fetched:
			p = failed(p, c.State)
			p.Code = c.Code
		case before == ledger.Failed && (p.Reason == ReasonUnclear || p.Reason == ReasonAdopted):
			p.Reason, p.Code, p.Attention = c.State, c.Code, "" // now it is known, and the money goes back
		default:
			return p, ConfirmationIgnored
		}
	}
	if p.Attention == AttentionConfirmation {
		p.Attention = "" // what the machine means is known now
	}
	return Next(p, now), outcome
}

func started(p ledger.Payment, c Confirmation, now time.Time) (ledger.Payment, string) {
	at := c.At
	if at.IsZero() || at.After(now) || at.Before(p.CreatedAt) {
		at = now
	}
	if p.Machine == ledger.Done || (p.Machine == ledger.Started && c.State == "started") {
		return p, ConfirmationIgnored
	}
	outcome := ConfirmationTaken
	if p.Machine == ledger.Failed {
		p.Reason = ""
		if p.Attention != AttentionAmount && p.Money != ledger.Disputed && p.Money != ledger.Lost {
			p.Attention = ""
		}
	}
	if moneyIsBack(p) {
		p.Reason, p.Attention, outcome = ReasonStartedAfter, ReasonStartedAfter, ConfirmationLate
	}
	if p.Machine != ledger.Started {
		p.StartedAt = at
		if p.Duration > 0 {
			p.EndsAt = at.Add(p.DelayedStart + p.Duration)
		}
	}
	p = reached(p, at)
	p.Machine, p.Unclear, p.Stop, p.Recalled, p.NoteIDs = ledger.Started, false, "", ledger.NotRecalled, ""
	if c.State == "done" {
		p.Machine, p.EndsAt = ledger.Done, at
	}
	return p, outcome
}

// Silent takes in that the confirmations were read, by a reading that began at asOf, and none was this payment's.
func Silent(p ledger.Payment, asOf, now time.Time) ledger.Payment {
	if p.ConfirmBy.IsZero() || asOf.Before(p.ConfirmBy) || p.InFlight {
		return p
	}
	switch {
	case p.Machine == ledger.Fetched:
		p = failed(p, ReasonUnconfirmed)
		p.Attention = ReasonUnconfirmed
	case InDoubt(p, now): // Notehub never took it, as far as is known: that is no fault of the machine's
		p = failed(p, cmp.Or(p.Stop, ReasonExpired))
		if p.Reason == ReasonRefused {
			p.Attention = ReasonRefused
		}
	}
	return Next(p, now)
}

// Next is the payment as it stands at now: what time alone decides is decided, and step and due time say which call is next
// and when. A payment that is claimed keeps its step, for only its worker knows.
func Next(p ledger.Payment, now time.Time) ledger.Payment {
	if p.InFlight {
		return p
	}
	p = timed(p, now)
	p = settleMoney(p, now)
	p.Occupies = p.Occupies && occupies(p, now) // it is taken where the ledger can be asked who has it
	if notehub, _ := machineStep(p, now); notehub == ledger.NoStep {
		p.NotBefore, p.Failures = time.Time{}, 0
	}
	if stripe, _ := moneyStep(p, now); stripe == ledger.NoStep {
		p.MoneyNotBefore, p.MoneyFailures = time.Time{}, 0
	}
	p.Step, p.DueAt = step(p, now)
	late := lateAt(p)
	if (p.Attention == AttentionOverdue || p.Attention == AttentionHold) && (late.IsZero() || now.Before(late)) {
		p.Attention = "" // it was done
	}
	if p.Attention == "" && !late.IsZero() {
		if now.Before(late) {
			p = noLater(p, late) // to tell of it then
		} else {
			p.Attention = lateFor(p)
		}
	}
	if until := freeAt(p); p.Occupies && !until.IsZero() {
		p = noLater(p, until) // to have the device sold again
	}
	return codeKept(p, now)
}

// noLater has the payment looked at by then, without a call before its time.
func noLater(p ledger.Payment, at time.Time) ledger.Payment {
	if p.Step == ledger.NoStep {
		p.Step, p.DueAt = ledger.Wait, at
	}
	p.DueAt = earliest(p.DueAt, at)
	return p
}

func asksNotehub(s ledger.Step) bool {
	return s == ledger.PostNote || s == ledger.CheckPending || s == ledger.Recall
}

func asksStripe(s ledger.Step) bool {
	return s == ledger.Capture || s == ledger.Release || s == ledger.Refund
}

// timed decides what time alone decides.
func timed(p ledger.Payment, now time.Time) ledger.Payment {
	if p.Machine == ledger.Queued && !p.Unclear {
		expired := !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
		switch {
		case InDoubt(p, now): // the machine will say, or be silent
		case (expired || p.Stop != "") && p.Vanished:
			p = failed(p, ReasonUnclear)
			p.Attention = ReasonUnclear
		case p.Stop == stopRetry:
			p.Stop = ""
		case p.Stop != "":
			p = failed(p, p.Stop)
		case expired:
			p = failed(p, ReasonExpired)
		}
	}
	if p.Machine == ledger.Started && !p.EndsAt.IsZero() && !now.Before(p.EndsAt) {
		p.Machine = ledger.Done
	}
	return p
}

// occupies: a timed credit holds its device from the payment to its end.
func occupies(p ledger.Payment, now time.Time) bool {
	if p.Duration == 0 || p.Machine == ledger.Failed || p.Machine == ledger.Done {
		return false
	}
	until := freeAt(p)
	return until.IsZero() || now.Before(until)
}

// freeAt is when a timed session ends that holds its device; zero if that cannot be said yet. Of a machine that says nothing it is taken that
// it starts when its note is sent.
func freeAt(p ledger.Payment) time.Time {
	if p.EndsAt.IsZero() && p.ConfirmBy.IsZero() && !p.SentAt.IsZero() {
		return p.SentAt.Add(p.DelayedStart + p.Duration)
	}
	return p.EndsAt
}

// lateAt is when a person is told that what is due for the payment was not done; zero for never.
func lateAt(p ledger.Payment) time.Time {
	if p.Money == ledger.Authorized || p.Money == ledger.Capturing || p.Money == ledger.Releasing {
		if p.Machine != ledger.Queued {
			return p.PaidAt.Add(longHold)
		}
		return earliest(p.PaidAt.Add(longHold), p.CreatedAt.Add(overdue))
	}
	var late time.Time
	switch {
	case p.Machine == ledger.Queued && p.Vanished && !p.ConfirmBy.IsZero():
		late = p.ConfirmBy.Add(overdue)
	case p.Machine == ledger.Queued:
		late = p.CreatedAt.Add(overdue)
	case p.Machine == ledger.Sent && !p.ExpiresAt.IsZero():
		late = p.ExpiresAt.Add(overdue)
	case p.Machine == ledger.Fetched && !p.ConfirmBy.IsZero():
		late = p.ConfirmBy.Add(overdue)
	}
	if refund := p.RefundAt.Add(longHold); p.Money == ledger.Refunding && (late.IsZero() || refund.Before(late)) {
		late = refund
	}
	return late
}

// lateFor is why a person is told then.
func lateFor(p ledger.Payment) string {
	switch p.Money {
	case ledger.Authorized, ledger.Capturing, ledger.Releasing:
		return AttentionHold
	}
	return AttentionOverdue
}

// step is the next call and when it may be made. Money that was decided about does not wait for the machine, nor the machine for the money: the
// call that is due first is made first. Of two that are due now, the one that was chosen before stays, so that its vendor's worker finds it.
func step(p ledger.Payment, now time.Time) (ledger.Step, time.Time) {
	machine, machineDue := machineStep(p, now)
	money, moneyDue := moneyStep(p, now)
	switch {
	case machine == ledger.NoStep && money == ledger.NoStep && p.Machine == ledger.Started && !p.EndsAt.IsZero():
		return ledger.Wait, p.EndsAt
	case money == ledger.NoStep:
		return machine, machineDue
	case machine == ledger.NoStep, latest(moneyDue, now).Before(latest(machineDue, now)):
		return money, moneyDue
	case latest(machineDue, now).Before(latest(moneyDue, now)):
		return machine, machineDue
	case asksStripe(p.Step), machine == ledger.PostNote && p.Machine != ledger.Queued: // a word to the machine follows the money
		return money, moneyDue
	}
	return machine, machineDue
}

// Claim hands the payment's due step to one worker. A payment that was claimed already was interrupted between its call and
// the settling: its call is unclear, and that is taken in first. The step may then be another, or not due any more; one that became
// the other vendor's is left to that queue.
func Claim(p ledger.Payment, now time.Time) (claimed ledger.Payment, interrupted *Outcome) {
	was := p.Step
	if p.InFlight {
		interrupted = &Outcome{Action: p.Step, Result: upstream.Unclear, NoteID: firstNote(p), Began: p.DueAt.Add(-lease), Interrupted: true}
		p = Apply(p, *interrupted, now)
	}
	p = Next(p, now)
	if p.Step == ledger.NoStep || p.Step == ledger.Wait || p.DueAt.After(now) || asksStripe(was) != asksStripe(p.Step) {
		return p, interrupted
	}
	if p.Step == ledger.Refund && now.Sub(p.RefundAt) > refundKeyHolds {
		p.RefundLook = true // whatever kept it from being made: the key may not hold any more
	}
	p.InFlight, p.DueAt, p.Turn = true, now.Add(lease), p.Turn+1
	return p, interrupted
}

// Closed says whether nothing is left to be done for a payment: the machine has its credit and the money is ours, or the money is
// back, or a person has to look, or has.
func Closed(p ledger.Payment) bool {
	if p.Attention != "" {
		return true
	}
	if p.Machine == ledger.Queued || p.Machine == ledger.Sent {
		return false
	}
	switch p.Money {
	case ledger.Refunded, ledger.Released, ledger.Lost, ledger.CaptureFailed, ledger.Disputed:
		return true
	case ledger.RefundFailed:
		return refundsEnded(p)
	case ledger.Authorized:
		return p.Reason == ReasonAdopted
	case ledger.Paid:
		switch p.Machine {
		case ledger.Fetched:
			return p.ConfirmBy.IsZero()
		case ledger.Failed:
			return p.Amount == 0 || p.Reason == ReasonAdopted || p.Reason == ReasonUnclear
		}
		return true
	}
	return false
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// jitter spreads retries: a number in [0, 1) that differs by payment and failure, derived so that Apply stays pure.
func jitter(p ledger.Payment, failures int) float64 {
	h := fnv.New32a()
	h.Write([]byte(p.ID))
	h.Write([]byte{byte(failures)})
	return float64(h.Sum32()%1000) / 1000
}
