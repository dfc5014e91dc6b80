package customer

import (
	"time"

	"notepay/internal/payment"
)

// status is what a page says about a payment. It claims only what the ledger shows.
type status struct {
	Title   Message
	Lines   []Message // about the machine, then the money, then what to do
	Steps   []step
	Help    bool          // show the operator's contact
	Again   bool          // another payment makes sense
	Refresh time.Duration // when the status may change by itself; 0: not
	Clock   countdown     // zero if nothing is counted down
}

// step is one line of the payment's progress.
type step struct {
	Class string // "good", "now", "bad"
	Text  Message
	At    time.Time // zero if unknown or not over
}

// The classes of steps in style.css.
const (
	good = "good"
	busy = "now"
	bad  = "bad"
)

// statusOf decides what the page says about a payment. Nothing else does. It is pure. Times of
// day are those of the zone.
func statusOf(p payment.Payment, now time.Time, zone *time.Location) status {
	var s status
	s.machine(p, now)
	s.money(p, now, zone)
	s.next(p)
	s.Refresh = refreshInterval(p, now)
	return s
}

// confirming reports whether the machine confirms its starts.
func confirming(p payment.Payment) bool { return !p.ConfirmBy.IsZero() }

// stopping reports whether the credit is being recalled for good. A recall before a resend does not
// count.
func stopping(p payment.Payment) bool {
	if p.Delivery != payment.Queued && p.Delivery != payment.Sent {
		return false
	}
	switch p.CancelReason {
	case payment.ReasonEnded, payment.ReasonReversed, payment.ReasonDisputed:
		return true
	case "":
		return p.RecallStatus != payment.NotRecalled
	}
	return false
}

// owed reports whether only the operator can refund, because the machine may have started.
func owed(p payment.Payment) bool {
	undecided := p.Reason == payment.ReasonAdopted || p.Reason == payment.ReasonUnclear
	return p.Delivery == payment.Failed && undecided && !returned(p)
}

// returned reports whether all of the money is back or on its way to the customer.
func returned(p payment.Payment) bool {
	switch p.Funds {
	case payment.Refunded, payment.Canceled, payment.Canceling, payment.DisputeLost, payment.CaptureFailed:
		return true
	case payment.Refunding, payment.RefundFailed:
		return p.RefundTarget >= p.Amount-p.LostAmount
	}
	return false
}

// step adds a step.
func (s *status) step(class, key string, at time.Time) {
	s.Steps = append(s.Steps, step{class, msg(key), at})
}

// say adds a line.
func (s *status) say(key string, args ...any) { s.Lines = append(s.Lines, msg(key, args...)) }

// machine describes the delivery of the credit.
func (s *status) machine(p payment.Payment, now time.Time) {
	title := func(key string) { s.Title = msg(key) }
	held := p.Funds == payment.Authorized || p.Funds == payment.Capturing || p.Funds == payment.Canceling ||
		p.Funds == payment.Canceled || p.Funds == payment.CaptureFailed
	if held {
		s.step(good, "step.held", p.PaidAt)
	} else {
		s.step(good, "step.received", p.PaidAt)
	}
	if !p.SentAt.IsZero() {
		s.step(good, "step.sent", p.SentAt)
	}
	switch p.Delivery {
	case payment.Queued, payment.Sent:
		if payment.InDoubt(p, now) {
			title("title.doubt")
			s.say("machine.in_doubt")
			if p.Funds == payment.Paid || p.Funds == payment.Authorized {
				s.say("money.if_silent")
			}
			s.step(busy, "step.confirm", time.Time{})
			break
		}
		s.onItsWay(p, held)
	case payment.Fetched:
		title("title.fetched")
		s.step(good, "step.fetched", p.DeliveryAt)
		switch {
		case returned(p):
			s.say("machine.anyway")
		case confirming(p):
			s.say("machine.awaited")
			s.step(busy, "step.confirm", time.Time{})
		default:
			s.say("machine.fetched")
		}
	case payment.Started:
		title("title.started")
		s.step(good, "step.started", p.StartedAt)
		s.running(p, now)
	case payment.Done:
		s.over(p)
	case payment.Failed:
		switch {
		case payment.Doubtful(p):
			title("title.doubt")
			s.step(bad, "step.doubt", p.DeliveryAt)
		case p.Reason == payment.ReasonBusy:
			title("title.busy")
			s.step(bad, "step.busy", p.DeliveryAt)
		default:
			title("title.failed")
			s.step(bad, "step.not_started", p.DeliveryAt)
		}
		s.say("failed." + p.Reason)
	}
	if p.MachineCode != "" {
		s.say("machine.code", "code", p.MachineCode)
	}
}

// onItsWay describes a credit that the machine does not have yet.
func (s *status) onItsWay(p payment.Payment, held bool) {
	if stopping(p) {
		s.Title = msg("title.stopping")
		s.say("machine.stopping")
		s.step(busy, "step.stopping", time.Time{})
		return
	}
	if p.Delivery == payment.Sent {
		s.Title = msg("title.sent")
		s.say("machine.sent")
		s.step(busy, "step.pick_up", time.Time{})
		return
	}
	s.Title = msg("title.received")
	if held {
		s.Title = msg("title.held")
	}
	if p.ReviewReason == payment.ReviewOverdue || p.Failures > 2 {
		s.say("machine.delayed")
	} else {
		s.say("machine.queued")
	}
	s.step(busy, "step.sending", time.Time{})
}

// seemsFetched changes the text of a pending note that an early check did not find. That does not
// prove that the machine fetched it.
func (s *status) seemsFetched() {
	for i := range s.Lines {
		if s.Lines[i].Key == "machine.sent" {
			s.Lines[i] = msg("machine.seems_fetched")
		}
	}
	for i := range s.Steps {
		if s.Steps[i].Text.Key == "step.pick_up" {
			s.Steps[i].Text = msg("step.seems_fetched")
		}
	}
}

// running describes a machine that reported its start. Only its own timer is exact.
func (s *status) running(p payment.Payment, now time.Time) {
	begins := p.StartedAt.Add(p.DelayedStart)
	switch {
	case p.ReviewReason == payment.ReviewFailedAfter:
		s.say("machine.trouble")
	case p.Reason == payment.ReasonStartedAfter:
		s.say("machine.late")
	case p.EndsAt.IsZero():
		s.say("machine.started")
	case now.Before(begins):
		s.Title = msg("title.confirmed")
		s.say("machine.begins")
		s.countdown("clock.begins", now, p.StartedAt, begins)
	case now.Before(p.EndsAt):
		s.say("machine.running")
		s.countdown("clock.left", now, begins, p.EndsAt)
	default:
		s.say("machine.finishing")
	}
	if !p.EndsAt.IsZero() {
		s.step(busy, "step.running", p.EndsAt)
	}
}

// countdown lets the page count down from one time to another.
func (s *status) countdown(key string, now, from, until time.Time) {
	wait := about(until.Sub(now))
	s.Clock = countdown{text: msg(key, "wait", wait), wait: wait, from: from, until: until}
}

// over describes a use that has ended.
func (s *status) over(p payment.Payment) {
	s.Title = msg("title.done")
	s.step(good, "step.started", p.StartedAt)
	over := "step.over"
	switch p.Reason {
	case payment.ReasonEnded:
		s.Title, over = msg("title.ended"), "step.ended"
		s.say("machine.ended")
	case payment.ReasonReversed:
		s.Title, over = msg("title.ended"), "step.ended"
		s.say("machine.reversed")
	case payment.ReasonStartedAfter:
		s.say("machine.late")
	default:
		s.say("machine.done")
	}
	s.step(good, over, p.EndsAt)
	if p.ReviewReason == payment.ReviewFailedAfter {
		s.say("machine.trouble")
	}
}

// money describes where the customer's money is.
func (s *status) money(p payment.Payment, now time.Time, zone *time.Location) {
	all, back := money{p.Amount, p.Currency}, money{p.RefundedAmount + p.LostAmount, p.Currency}
	switch p.Funds {
	case payment.Authorized:
		if p.Delivery == payment.Failed && !owed(p) { // canceled after the current call
			s.say("money.releasing", "amount", all)
			s.step(busy, "step.releasing", time.Time{})
			break
		}
		s.say("money.held", "amount", all)
		s.ifRecalled(p)
		s.ifNotStarted(p, now, zone)
	case payment.Capturing:
		s.say("money.capturing", "amount", all)
	case payment.Paid:
		s.paid(p, now, zone, all, back)
	case payment.Canceling:
		s.say("money.releasing", "amount", all)
		s.step(busy, "step.releasing", time.Time{})
	case payment.Canceled:
		s.say("money.released", "amount", all)
		s.step(good, "step.released", p.FundsAt)
	case payment.CaptureFailed:
		s.say("money.capture_failed", "amount", all)
	case payment.Refunding:
		s.refunding(p, money{p.RefundAmount, p.Currency}, p.RefundAt)
	case payment.Refunded:
		s.say("money.refunded", "amount", all)
		s.step(good, "step.refunded", p.FundsAt)
	case payment.RefundFailed:
		s.say("money.refund_failed", "back", money{p.RefundAmount, p.Currency})
		s.step(bad, "step.refund_failed", p.FundsAt)
		s.Help = true
	case payment.Disputed:
		s.say("money.disputed")
		s.step(bad, "step.disputed", p.FundsAt)
	case payment.DisputeLost:
		s.say("money.lost")
		s.step(good, "step.lost", p.FundsAt)
	}
}

// paid describes money that was captured and not refunded in full.
func (s *status) paid(p payment.Payment, now time.Time, zone *time.Location, all, back money) {
	switch {
	case p.Amount == 0:
		s.say("money.free")
	case owed(p):
		s.say("money.owed", "amount", all)
	case p.Delivery == payment.Failed: // refunded after the current call
		s.refunding(p, money{p.Amount - p.RefundedAmount - p.LostAmount, p.Currency}, time.Time{})
	case p.RefundedAmount+p.LostAmount > 0:
		s.say("money.part_back", "back", back, "amount", all)
	default:
		s.ifRecalled(p)
		s.ifNotStarted(p, now, zone)
	}
}

// ifNotStarted says by when the money goes back, while the machine has not started. A deadline that
// has passed is not named: notepay then looks once more before it acts.
func (s *status) ifNotStarted(p payment.Payment, now time.Time, zone *time.Location) {
	onItsWay := p.Delivery == payment.Queued || p.Delivery == payment.Sent
	by := p.ExpiresAt
	if confirming(p) {
		by = p.ConfirmBy
	}
	switch {
	case by.IsZero(), stopping(p), payment.InDoubt(p, now):
	case !onItsWay && (p.Delivery != payment.Fetched || !confirming(p)):
	case !now.Before(by) && confirming(p):
		s.say("money.if_silent")
	case !now.Before(by):
		s.say("money.if_late")
	case p.Funds == payment.Authorized:
		s.say("money.held_by", "time", moment{by, zone})
	case confirming(p):
		s.say("money.silent_by", "time", moment{by, zone})
	default:
		s.say("money.late_by", "time", moment{by, zone})
	}
}

// ifRecalled says that the refund depends on the recall of the note.
func (s *status) ifRecalled(p payment.Payment) {
	if stopping(p) {
		s.say("money.after_stop")
	}
}

// refunding describes a refund that is not complete.
func (s *status) refunding(p payment.Payment, sum money, at time.Time) {
	s.step(busy, "step.refunding", at)
	if p.ReviewReason == payment.ReviewBalance || p.ReviewReason == payment.ReviewRefundRefused {
		s.say("money.refund_stuck", "back", sum)
		s.Help = true
		return
	}
	s.say("money.refunding", "back", sum)
}

// next says what the customer can do.
func (s *status) next(p payment.Payment) {
	switch {
	case s.Help:
		s.say("next.ask")
	case p.Delivery == payment.Queued || p.Delivery == payment.Sent:
		s.say("next.close")
	case p.Delivery == payment.Fetched && !confirming(p) && !returned(p):
		s.say("next.if_not")
		s.Help = true
	case p.Delivery == payment.Failed && owed(p), p.ReviewReason == payment.ReviewFailedAfter:
		s.say("next.ask")
		s.Help = true
	case p.Delivery == payment.Failed && payment.Doubtful(p):
		s.say("next.enjoy")
		s.Help = true
	case p.Delivery == payment.Failed &&
		(p.Reason == payment.ReasonUnknownDevice || p.Reason == payment.ReasonNotSelling):
		s.say("next.other")
	case p.Delivery == payment.Failed && p.Funds != payment.Disputed && p.Funds != payment.DisputeLost:
		s.say("next.again")
		s.Again = true
	}
}

// busyNow changes what the customer can do after a failure: the machine cannot be paid for now.
func (s *status) busyNow() {
	s.Again = false
	for i := range s.Lines {
		if s.Lines[i].Key == "next.again" {
			s.Lines[i] = msg("next.not_now")
		}
	}
}

// mayBuyMore reports whether a payment is over for its machine, so that the payer may want another.
func mayBuyMore(p payment.Payment) bool {
	if p.HoldsDevice {
		return false
	}
	return p.Delivery == payment.Fetched && !confirming(p) || p.Delivery == payment.Started ||
		p.Delivery == payment.Done
}

// refreshInterval returns how soon the status may change, for browsers without a stream.
func refreshInterval(p payment.Payment, now time.Time) time.Duration {
	switch {
	case p.Delivery == payment.Queued, p.InFlight:
		return 2 * time.Second
	case p.Delivery == payment.Sent || (p.Delivery == payment.Fetched && confirming(p)):
		return 4 * time.Second
	case p.Delivery == payment.Started && !p.EndsAt.IsZero() && now.Before(p.EndsAt.Add(time.Minute)):
		return 30 * time.Second
	case p.Funds == payment.Capturing || p.Funds == payment.Canceling || p.Funds == payment.Refunding:
		return 30 * time.Second
	default:
		return 0
	}
}
