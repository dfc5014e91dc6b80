package payment

import (
	"slices"
	"time"
)

// A payment may have several disputes, and each event reports one. So the ledger stores every
// dispute, and the payment's state follows from their totals. An inquiry takes no money and blocks
// no refund, so it changes nothing.

// DisputeRecord is a dispute as Stripe reports it.
type DisputeRecord struct {
	ID         string
	Status     string // "needs_response", "won", "warning_needs_response", ...
	Amount     int64  // minor units of Currency
	Currency   string
	Refundable bool      // Stripe allows refunds of the charge nevertheless
	DueAt      time.Time // until when Stripe takes evidence; zero if it does not say
}

// disputeStage orders the stages of a dispute.
type disputeStage int

const (
	inquiry disputeStage = iota + 1 // the bank asks, but has taken no money
	// The bank has taken the money. Unknown statuses count as this stage, so nothing is refunded.
	chargeback
	inquiryClosed // may still become a chargeback
	disputeOver   // won, lost, or prevented before a chargeback, also by a refund
)

// disputeRefunded is the status of older versions of Stripe's API for a dispute that ended because
// the charge was refunded.
const disputeRefunded = "charge_refunded"

// ReadChargeAfter reports whether a dispute with a status may have ended because Stripe or the
// operator refunded the charge, so that the charge has to be read.
func ReadChargeAfter(status string) bool { return status == "prevented" || status == disputeRefunded }

func stageOf(status string) disputeStage {
	switch status {
	case "warning_needs_response", "warning_under_review":
		return inquiry
	case "warning_closed":
		return inquiryClosed
	case "won", "lost", "prevented", disputeRefunded:
		return disputeOver
	}
	return chargeback
}

// supersedes reports whether a report of a dispute replaces an earlier one. Events come in any
// order and more than once, and several may have the same second.
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

// DisputeTotals sums up all disputes of a payment.
type DisputeTotals struct {
	Known bool // there is a dispute, or Stripe says that there was one
	Open  bool // the bank holds the money of a dispute that is not over
	Lost  int64
}

// TotalDisputes sums up the disputes of a payment. A dispute in another currency, or of an
// impossible amount, counts with the full amount.
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

// ApplyDisputes applies the totals of a payment's disputes. While a dispute is open nothing is
// refunded, because the bank holds the money. The amount of lost disputes counts as returned to the
// customer.
func ApplyDisputes(p Payment, c DisputeTotals, now time.Time) Payment {
	before, left := p.LostAmount, p.Amount-p.RefundedAmount
	p.LostAmount = min(c.Lost, left)
	switch {
	case p.Funds == Refunded && !c.Open && c.Lost > 0 && p.LostAmount == before:
		// The loss was known before, and the rest was refunded since.
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
		p.Funds, p.ReviewReason = Paid, remainingReview(p)
		p.RefundTarget = p.RefundedAmount // earlier orders are void
		if Refundable(p) == 0 {
			p.Funds = Refunded
		}
	}
	if p.LostAmount > before {
		p.ReviewReason = ReviewDisputeLost
	}
	if p.LostAmount != before && (p.Funds == Refunding || p.Funds == RefundFailed) {
		p = reconcileRefund(p) // the refundable amount has changed
	}
	return Next(p, now)
}

// ApplyDisputeStatus applies a dispute of the full amount when only its status is known: from a
// rejected refund, or from the charge.
func ApplyDisputeStatus(p Payment, status string, now time.Time) Payment {
	c := TotalDisputes(p, []Dispute{{Status: status}})
	c.Lost = max(c.Lost, p.LostAmount)
	return ApplyDisputes(p, c, now)
}

// disputeReview returns the review that a payment's disputes need, or "".
func disputeReview(p Payment) string {
	switch p.Funds {
	case Disputed:
		return ReasonDisputed
	case DisputeLost:
		return ReviewDisputeLost
	}
	return ""
}

// Refundable returns the amount that can still be refunded, in minor currency units.
func Refundable(p Payment) int64 { return maxRefund(p) - p.RefundedAmount }

// maxRefund returns the maximum of all refunds of a payment together, in minor currency units.
func maxRefund(p Payment) int64 { return p.Amount - p.LostAmount }

// LearnDispute merges a report into the known disputes of a payment. It reports whether the report
// is news, which has to be stored.
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

// ReadAs returns the dispute as it was just read from Stripe. It counts as newer than earlier
// reports and as older than any later event.
func (r DisputeRecord) ReadAs(p Payment, known []Dispute) Dispute {
	at := p.PaidAt
	if n := slices.IndexFunc(known, func(d Dispute) bool { return d.ID == r.ID }); n >= 0 {
		at = known[n].ReportedAt.Add(time.Millisecond)
	}
	return r.At(p.PaymentIntent, at)
}

// At returns the dispute as reported at a time by Stripe's clock.
func (r DisputeRecord) At(intent string, at time.Time) Dispute {
	return Dispute{
		ID:            r.ID,
		PaymentIntent: intent,
		Status:        r.Status,
		Amount:        r.Amount,
		Currency:      r.Currency,
		Refundable:    r.Refundable,
		ReportedAt:    at,
		DueAt:         r.DueAt,
	}
}

// Dispute is the latest report of a dispute.
type Dispute struct {
	ID            string // dp_... or du_...
	PaymentIntent string
	Status        string // Stripe's status
	Amount        int64  // minor units of Currency
	Currency      string
	Refundable    bool      // Stripe allows refunds of the charge nevertheless
	ReportedAt    time.Time // by Stripe's clock
	DueAt         time.Time // until when Stripe takes evidence; zero if it does not say
}
