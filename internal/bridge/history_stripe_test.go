package bridge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// purchase is a session of the simulated Stripe, with its intent, charge, refunds and disputes.
type purchase struct {
	session, intent string
	device          int
	paidAt          time.Time
	amount          int64
	duration        time.Duration
	status          string // of the intent
	received        int64
	refunded        int64 // refunds that have not failed
	refunds         []payment.RefundRecord
	kept            map[string]storedReply
	disputes        []payment.DisputeRecord
	told            []payment.Dispute // the disputes as the ledger has them

	// For the checks at the end.
	credit       string
	releasedByUs bool
	byOthers     bool  // others refunded it or dispute it
	byPerson     bool  // the operator refunded all, or canceled it
	granted      int64 // refunded in parts by the operator
	seen         bool  // the operator canceled it, and dismissed the review
	missed       bool  // a plain copy could not know that it was handled
	rewound      bool  // the ledger may not know all its orders
	forgotten    bool  // nothing at Stripe tells a copy that it was handled
	sent         bool  // Notehub got its credit
}

// storedReply is the reply that Stripe repeats for a day under the same idempotency key.
type storedReply struct {
	at      time.Time
	outcome payment.Outcome
	amount  int64
}

// simEvent is an event of the simulated Stripe.
type simEvent struct {
	kind    string
	of      *purchase
	refund  payment.RefundRecord
	back    int64
	dispute payment.Dispute
	stored  bool // the bridge has recorded it
	acked   bool // and Stripe got the reply
}

func (h *history) emit(e simEvent) { h.events = append(h.events, &e) }

// pay makes a customer pay.
func (h *history) pay() {
	if len(h.purchases) == maxPurchases {
		return
	}
	n := len(h.purchases) + 1
	p := &purchase{
		session: fmt.Sprintf("cs_test_%d", n),
		intent:  fmt.Sprintf("pi_%d", n),
		device:  h.dice(devices),
		paidAt:  h.world.Truncate(time.Second),
		amount:  300,
		status:  "succeeded",
		kept:    map[string]storedReply{},
	}
	p.credit = payment.CreditID(p.session)
	if h.dice(3) == 1 {
		p.duration = 4 * time.Minute
	}
	if h.dice(16) == 9 {
		p.paidAt = h.born.Add(-time.Hour)
	}
	if h.manual {
		p.status = "requires_capture"
	} else {
		p.received = p.amount
	}
	h.purchases = append(h.purchases, p)
	h.tell("customer", "pays %s for machine %d (%v)", p.session, p.device, p.duration)
	h.emit(simEvent{kind: "checkout.session.completed", of: p})
	if !h.manual {
		h.emit(simEvent{kind: "payment_intent.succeeded", of: p})
	}
}

func (h *history) anyPurchase() *purchase { return h.purchases[h.dice(len(h.purchases))] }

// dashboard lets others change the money: the operator in the Dashboard, the customer's bank, or
// time.
func (h *history) dashboard() {
	p := h.anyPurchase()
	last := len(p.refunds) - 1
	switch h.dice(7) {
	case 0: // a partial or full refund
		amount := h.parts(p.received - p.refunded)
		if amount = min(amount, p.left()); amount == 0 || p.takenBack() {
			return
		}
		p.byOthers = true
		h.tell("dashboard", "refunds %d of %s", amount, p.session)
		h.refundMade(p, payment.RefundRecord{Intent: p.intent, Amount: amount, Status: "succeeded"})
	case 1:
		if p.status != "requires_capture" {
			return
		}
		p.byOthers = true
		h.tell("dashboard", "cancels the hold of %s", p.session)
		p.status = "canceled"
		h.emit(simEvent{kind: "payment_intent.canceled", of: p})
	case 2:
		if p.status != "requires_capture" {
			return
		}
		h.tell("dashboard", "captures %s", p.session)
		h.captured(p)
	case 3:
		if p.left() == 0 || len(p.disputes) == 2 {
			return
		}
		d := payment.DisputeRecord{
			ID:       fmt.Sprintf("dp_%s_%d", p.session, len(p.disputes)+1),
			Currency: "eur",
			Amount:   h.parts(p.left()),
			Status:   h.word("needs_response", "warning_needs_response", "prevented"),
		}
		p.disputes = append(p.disputes, d)
		h.disputed(p, "created", d)
	case 4:
		if len(p.disputes) == 0 {
			return
		}
		d, left := &p.disputes[h.dice(len(p.disputes))], p.left()
		switch d.Status {
		case "warning_needs_response":
			d.Status = h.word("needs_response", "warning_closed")
		case "needs_response":
			d.Status = h.word("won", "lost")
		default:
			return
		}
		d.Amount = min(d.Amount, left)
		if d.Status == "lost" && d.Amount == 0 {
			d.Status = "won" // all of it was refunded meanwhile
		}
		kind := "closed"
		if d.Status == "needs_response" {
			kind = "updated"
		}
		h.disputed(p, kind, *d)
	case 5:
		if last >= 0 && p.refunds[last].Status == "pending" {
			h.settleRefund(p, last, "succeeded")
		}
	case 6:
		if last >= 0 && p.refunds[last].Status != "failed" && len(p.disputes) == 0 {
			h.settleRefund(p, last, "failed")
		}
	}
}

// disputed emits the event of a dispute. A prevented dispute was settled by a refund.
func (h *history) disputed(p *purchase, kind string, d payment.DisputeRecord) {
	h.tell("bank", "dispute %s of %d of %s: %s, %s", d.ID, d.Amount, p.session, kind, d.Status)
	if d.Status == "prevented" && p.left() > 0 && !p.takenBack() {
		p.byOthers = true
		h.refundMade(p, payment.RefundRecord{Intent: p.intent, Amount: d.Amount, Status: "succeeded"})
	}
	p.byOthers = p.byOthers || d.Status == "needs_response"
	h.emit(simEvent{kind: "charge.dispute." + kind, of: p, dispute: d.At(p.intent, h.world)})
}

// takenBack reports whether the bank holds the money of an open dispute.
func (p *purchase) takenBack() bool {
	return slices.ContainsFunc(p.disputes, func(d payment.DisputeRecord) bool { return d.Status == "needs_response" })
}

// lost returns the amount of the lost disputes.
func (p *purchase) lost() (sum int64) {
	for _, d := range p.disputes {
		if d.Status == "lost" {
			sum += d.Amount
		}
	}
	return sum
}

// left returns the amount that can still be refunded.
func (p *purchase) left() int64 { return p.received - p.refunded - p.lost() }

func (h *history) settleRefund(p *purchase, n int, status string) {
	r := &p.refunds[n]
	r.Status = status
	h.tell("bank", "refund %s of %s: %s", r.ID, p.session, status)
	kind := "refund.updated"
	if status == "failed" {
		p.refunded -= r.Amount
		kind = "refund.failed"
	}
	h.emit(simEvent{kind: kind, of: p, refund: *r})
}

func (h *history) captured(p *purchase) {
	p.status, p.received = "succeeded", p.amount
	h.emit(simEvent{kind: "payment_intent.succeeded", of: p})
}

func (h *history) refundMade(p *purchase, r payment.RefundRecord) payment.RefundRecord {
	r.ID = fmt.Sprintf("re_%d", len(p.refunds)+1)
	p.refunds = append(p.refunds, r)
	h.emit(simEvent{kind: "refund.created", of: p, refund: r})
	if r.Status == "failed" {
		h.emit(simEvent{kind: "refund.failed", of: p, refund: r})
		return r
	}
	p.refunded += r.Amount
	h.emit(simEvent{kind: "charge.refunded", of: p, back: p.refunded})
	return r
}

func refusal(reason error) payment.Outcome {
	return payment.Outcome{
		Result: upstream.Rejected,
		Status: 400,
		Err:    &upstream.Error{Outcome: upstream.Rejected, Status: 400, Err: reason},
	}
}

// stripeCall makes a claimed payment's call to Stripe. It returns what the caller sees.
func (h *history) stripeCall(p payment.Payment) payment.Outcome {
	x := h.purchaseOf(p)
	trouble := 0
	if !h.calm {
		trouble = h.dice(10)
	}
	switch trouble {
	case 7:
		return payment.Outcome{Result: upstream.RateLimited, Status: 429, RetryAfter: 30 * time.Second}
	case 8:
		return payment.Outcome{Result: upstream.Misconfigured, Status: 401}
	case 9: // never received
		return payment.Outcome{Result: upstream.Unknown}
	}
	if p.Step == payment.StepRefund && p.ReconcileRefund {
		if trouble == 6 {
			return payment.Outcome{Result: upstream.Unknown, Reconciled: true}
		}
		return payment.Outcome{Reconciled: true, Refunds: slices.Clone(x.refunds)}
	}
	key := payment.FundsKey(p)
	if p.Step == payment.StepRefund {
		key = fmt.Sprintf("refund:%s:%d", p.ID, p.RefundSeq)
	}
	if kept, ok := x.kept[key]; ok && h.world.Sub(kept.at) < 24*time.Hour {
		if kept.amount != p.RefundAmount && p.Step == payment.StepRefund {
			if x.rewound {
				return refusal(nil)
			}
			h.fail("refund %s of %d is ordered again with %d: Stripe refuses another amount under the same key", key,
				kept.amount, p.RefundAmount)
		}
		if trouble == 6 {
			return payment.Outcome{Result: upstream.Unknown}
		}
		again := kept.outcome
		again.Refund.Replayed = p.Step == payment.StepRefund
		return again
	}
	o := payment.Outcome{Result: upstream.Unknown, Status: 500}
	if trouble != 4 { // else a 500 without effect
		o = h.move(x, p)
		if trouble == 5 {
			o = payment.Outcome{Result: upstream.Unknown, Status: 500} // a 500 with effect
		}
	}
	x.kept[key] = storedReply{h.world, o, p.RefundAmount}
	if trouble == 6 {
		return payment.Outcome{Result: upstream.Unknown} // the reply was lost
	}
	return o
}

// move applies a call, or rejects it.
func (h *history) move(x *purchase, p payment.Payment) payment.Outcome {
	switch p.Step {
	case payment.StepCapture:
		switch x.status {
		case "succeeded":
			return refusal(payment.ErrAlreadyCaptured)
		case "canceled":
			return refusal(payment.ErrAlreadyCanceled)
		}
		h.captured(x)
		return payment.Outcome{Status: 200}
	case payment.StepCancel:
		switch x.status {
		case "succeeded":
			return refusal(payment.ErrAlreadyCaptured)
		case "canceled":
			return refusal(payment.ErrAlreadyCanceled)
		}
		x.status, x.releasedByUs = "canceled", true
		h.emit(simEvent{kind: "payment_intent.canceled", of: x})
		return payment.Outcome{Status: 200}
	}
	left := x.left()
	switch {
	case x.takenBack():
		return refusal(payment.ErrDisputed)
	case left == 0:
		return refusal(payment.ErrAlreadyRefunded)
	case p.RefundAmount > left || p.RefundAmount <= 0:
		return refusal(nil)
	case !h.calm && h.dice(12) == 11:
		return refusal(payment.ErrBalance)
	}
	status := "succeeded"
	if !h.calm {
		status = h.word("succeeded", "succeeded", "pending", "failed")
	}
	return payment.Outcome{
		Status: 200,
		Refund: h.refundMade(
			x,
			payment.RefundRecord{
				Intent: x.intent,
				Credit: p.ID,
				Number: p.RefundSeq,
				Amount: p.RefundAmount,
				Status: status,
			},
		),
	}
}

// receive delivers an event. The reply to Stripe may be lost.
func (h *history) receive(e *simEvent) {
	if e.kind == "checkout.session.completed" && h.unknown(e.of) && !h.bridge.listed.Load() {
		return // rejected before Stripe's list was read
	}
	h.take(e, false)
	e.acked = e.acked || h.dice(8) != 7
}

// take applies an event as Receive and applyEvent do.
func (h *history) take(e *simEvent, listed bool) {
	repeat := ""
	if e.stored {
		repeat = ", again"
	}
	h.tell("stripe", "tells %s of %s%s", e.kind, e.of.session, repeat)
	if e.kind == "checkout.session.completed" {
		e.stored = true
		h.paid(e, listed)
		return
	}
	if e.stored {
		return
	}
	e.stored = true
	p, err := h.store.ofIntent(e.of.intent)
	if err != nil {
		if strings.HasPrefix(e.kind, "charge.dispute.") {
			e.of.told, _ = payment.LearnDispute(e.of.told, e.dispute)
		}
		if e.kind != "payment_intent.canceled" {
			h.ask(e.of, payment.Payment{})
		}
		return
	}
	before, now := p, h.now()
	switch e.kind {
	case "payment_intent.succeeded":
		p = payment.ApplyCaptured(p, now)
	case "payment_intent.canceled":
		p = payment.ApplyCanceled(p, now)
	case "charge.refunded":
		if e.back > p.RefundedAmount {
			h.ask(e.of, p)
			return
		}
	case "refund.created", "refund.updated", "refund.failed":
		p = payment.ApplyRefundUpdate(p, e.refund, now)
		if e.refund.Status == "failed" {
			h.ask(e.of, p)
		}
	default:
		news := false
		if e.of.told, news = payment.LearnDispute(e.of.told, e.dispute); !news {
			return
		}
		if e.dispute.Status == "prevented" {
			h.ask(e.of, p)
		}
		p = payment.ApplyDisputes(p, payment.TotalDisputes(p, e.of.told), now)
	}
	h.save(before, p)
}

// facts returns a session as read from Stripe.
func (h *history) facts(x *purchase) payment.CheckoutSession {
	return payment.CheckoutSession{
		PaymentStatus: "paid",
		IntentStatus:  x.status,
		Refunded:      x.refunded,
		Disputed:      len(x.disputes) > 0,
		Disputes:      slices.Clone(x.disputes),
	}
}

// ask schedules a look-up of a session, after the call in flight for its payment.
func (h *history) ask(x *purchase, p payment.Payment) {
	due := h.now()
	if p.InFlight {
		due = payment.Later(due, p.DueAt)
	}
	h.askBy(x, due)
}

// askBy schedules a look-up of a session.
func (h *history) askBy(x *purchase, due time.Time) {
	if earlier, ok := h.lookups[x]; !ok || due.Before(earlier) {
		h.lookups[x] = due
	}
}

// lookUp reads the session of a purchase that has a due look-up.
func (h *history) lookUp(x *purchase) {
	if due, ok := h.lookups[x]; ok && !h.now().Before(due) {
		s, ready := h.lookedUp(x)
		if !ready {
			return
		}
		delete(h.lookups, x)
		delete(h.handled, x)
		h.tell("bridge", "looks %s up", x.session)
		h.record(x, s)
	}
}

// readDisputes is the bridge's readDisputes.
func (h *history) readDisputes(x *purchase, p payment.Payment, s payment.CheckoutSession) payment.DisputeTotals {
	if s.IntentStatus == "" {
		return payment.DisputeTotals{}
	}
	for _, r := range s.Disputes {
		x.told, _ = payment.LearnDispute(x.told, r.ReadAs(p, x.told))
	}
	return payment.TotalDisputes(p, x.told)
}

// record inserts the payment of a session, or applies the state of its money.
func (h *history) record(x *purchase, s payment.CheckoutSession) {
	now := h.now()
	if p, err := h.store.payment(x.credit); err == nil {
		h.save(p, payment.ApplySession(p, s, h.readDisputes(x, p, s), now))
		return
	}
	p := payment.Payment{
		ID:            x.credit,
		SessionID:     x.session,
		PaymentIntent: x.intent,
		Token:         x.session,
		DeviceUID:     deviceUID(x.device),
		Duration:      x.duration,
		Amount:        x.amount,
		Currency:      "eur",
		Delivery:      payment.Queued,
		Funds:         payment.Paid,
		PaidAt:        x.paidAt,
		CreatedAt:     now,
	}
	switch s.IntentStatus {
	case "requires_capture", "canceled":
		p.Funds = payment.Authorized
	}
	p = h.bridge.setDeadlines(p, h.bridge.c.Lifetime, p.PaidAt)
	why := h.evidence(x, s)
	if why == "" && s.IntentStatus == "canceled" {
		return
	}
	if why != "" || p.PaidAt.Before(h.born) {
		p = payment.Adopt(p)
	} else {
		p = h.reserveDevice(p)
	}
	p = payment.Next(payment.ApplySession(p, s, h.readDisputes(x, p, s), now), now)
	if _, err := h.store.insert(now, p); err != nil {
		h.fail("insert %+v: %v", p, err)
	}
	h.changed(payment.Payment{}, p)
}

// reserveDevice is Bridge.reserveDevice.
func (h *history) reserveDevice(p payment.Payment) payment.Payment {
	if p.Duration == 0 || p.HoldsDevice {
		return p
	}
	if other, err := h.store.occupant(p.DeviceUID); err == nil {
		ended := payment.Next(other, h.now())
		if ended.HoldsDevice {
			return payment.Fail(p, payment.ReasonBusy)
		}
		h.save(other, ended)
	}
	p.HoldsDevice = true
	return p
}
