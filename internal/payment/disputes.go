package payment

import (
	"slices"
	"time"
)

// A payment may be disputed several times, and an event tells of one dispute. The ledger therefore
// keeps the state of each, and what a payment has to do with its bank follows from all of them
// together. An inquiry takes no money and forbids no refund, so nothing follows from one.

// DisputeRecord is a dispute as Stripe tells it.
type DisputeRecord struct {
	ID         string
	Status     string // "needs_response", "won", "warning_needs_response", ...
	Amount     int64  // minor units of Currency
	Currency   string
	Refundable bool // Stripe lets the charge be refunded nevertheless
}

// disputeStage orders what happens to a dispute.
type disputeStage int

const (
	inquiry disputeStage = iota + 1 // the bank asks, and no money has moved
	// the bank has taken the money, or a status that is not known: nothing may be refunded
	chargeback
	inquiryClosed // it may still become a chargeback
	disputeOver   // won, lost, or settled before it became a chargeback
)

func stageOf(status string) disputeStage {
	switch status {
	case "warning_needs_response", "warning_under_review":
		return inquiry
	case "warning_closed":
		return inquiryClosed
	case "won", "lost", "prevented":
		return disputeOver
	}
	return chargeback
}

// supersedes reports whether what is told of a dispute is to replace what was told before. Events
// come in any order and more than once, and several may have the same second.
func supersedes(told, before Dispute) bool {
	to, from := stageOf(told.Status), stageOf(before.Status)
	switch {
	case to == disputeOver && from != disputeOver:
		return true
	case from == inquiryClosed && to == chargeback:
		return told.ReportedAt.After(before.ReportedAt)
	}
	return to >= from && !told.ReportedAt.Before(before.ReportedAt)
}

// DisputeTotals is what all disputes of a payment amount to.
type DisputeTotals struct {
	Known bool // one is, or Stripe says that there was one
	Open  bool // the bank has the money of one that is not disputeOver
	Lost  int64
}

// TotalDisputes sums up the disputes of a payment. One whose amount cannot be compared counts as
// being about all of it.
func TotalDisputes(p Payment, all []Dispute) (c DisputeTotals) {
	for _, d := range all {
		c.Known = true
		c.Open = c.Open || stageOf(d.Status) == chargeback
		switch {
		case d.Status != "lost":
		case d.Currency != p.Currency || d.Amount <= 0 || d.Amount > p.Amount:
			c.Lost = p.Amount
		default:
			c.Lost = min(c.Lost+d.Amount, p.Amount)
		}
	}
	return c
}

// ApplyDisputes takes in what all disputes of a payment amount to. While one is open nothing is
// refunded, for the bank has the money; what it keeps counts as given back.
func ApplyDisputes(p Payment, c DisputeTotals, now time.Time) Payment {
	before, left := p.LostAmount, p.Amount-p.RefundedAmount
	p.LostAmount = min(c.Lost, left)
	switch {
	case c.Lost > 0 && c.Lost >= left:
		if p.Funds != DisputeLost {
			p.Funds, p.ReviewReason = DisputeLost, ReviewDisputeLost
			p = reverseDelivery(p, ReasonDisputed, now)
		}
	case c.Open:
		if p.Funds != Disputed {
			p.Funds, p.ReviewReason = Disputed, ReasonDisputed
			p = reverseDelivery(p, ReasonDisputed, now)
		}
	case p.Funds == Disputed, p.Funds == DisputeLost && before > 0:
		p.Funds, p.ReviewReason, p.RefundTarget = Paid, remainingReview(
			p,
		), p.RefundedAmount // what was ordered before is over
		if Refundable(p) == 0 {
			p.Funds = Refunded
		}
	}
	if p.LostAmount > before {
		p.ReviewReason = ReviewDisputeLost
	}
	if p.LostAmount != before &&
		(p.Funds == Refunding || p.Funds == RefundFailed) { // what may be refunded is another amount now
		p = reconcileRefund(p)
	}
	return Next(p, now)
}

// ApplyDisputeStatus takes in the status of a dispute about all of a payment that is known only by
// what Stripe refuses or says of the charge.
func ApplyDisputeStatus(p Payment, status string, now time.Time) Payment {
	c := TotalDisputes(p, []Dispute{{Status: status}})
	c.Lost = max(c.Lost, p.LostAmount)
	return ApplyDisputes(p, c, now)
}

// Refundable returns what may still be refunded of a payment, in minor units.
func Refundable(p Payment) int64 { return maxRefund(p) - p.RefundedAmount }

// maxRefund is what may be refunded of it in all.
func maxRefund(p Payment) int64 { return p.Amount - p.LostAmount }

// LearnDispute returns the disputes of a payment with what is told of one of them, and whether that
// is to be kept.
func LearnDispute(known []Dispute, told Dispute) (_ []Dispute, news bool) {
	n := slices.IndexFunc(known, func(d Dispute) bool { return d.ID == told.ID })
	switch {
	case n < 0:
		return append(known, told), true
	case supersedes(told, known[n]):
		known[n] = told
		return known, true
	}
	return known, false
}

// ReadAs is a dispute as Stripe tells it when it is asked: newer than what was told before, and
// older than what any event will tell.
func (r DisputeRecord) ReadAs(p Payment, known []Dispute) Dispute {
	at := p.PaidAt
	if n := slices.IndexFunc(known, func(d Dispute) bool { return d.ID == r.ID }); n >= 0 {
		at = known[n].ReportedAt.Add(time.Millisecond)
	}
	return r.At(p.PaymentIntent, at)
}

func (r DisputeRecord) At(intent string, at time.Time) Dispute {
	return Dispute{
		ID:            r.ID,
		PaymentIntent: intent,
		Status:        r.Status,
		Amount:        r.Amount,
		Currency:      r.Currency,
		Refundable:    r.Refundable,
		ReportedAt:    at,
	}
}

// Dispute is what was told last of one dispute. A payment may have several.
type Dispute struct {
	ID            string // dp_... or du_...
	PaymentIntent string
	Status        string // Stripe's word
	Amount        int64  // minor units of Currency
	Currency      string
	Refundable    bool      // Stripe lets the charge be refunded nevertheless
	ReportedAt    time.Time // by Stripe's clock
}
