package bridge

import (
	"slices"
	"time"

	"notepay/internal/ledger"
)

// A payment may be disputed several times, and an event tells of one dispute. The ledger therefore keeps the state of each, and what a payment
// has to do with its bank follows from all of them together. An inquiry takes no money and forbids no refund, so nothing follows from one.

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
	inquiry       disputeStage = iota + 1 // the bank asks, and no money has moved
	chargeback                            // the bank has taken the money, or a status that is not known: nothing may be refunded
	inquiryClosed                         // it may still become a chargeback
	disputeOver                           // won, lost, or settled before it became a chargeback
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

// newer reports whether what is told of a dispute is to replace what was told before. Events come in any order and more than once, and several
// may have the same second.
func newer(told, before ledger.Dispute) bool {
	to, from := stageOf(told.Status), stageOf(before.Status)
	switch {
	case to == disputeOver && from != disputeOver:
		return true
	case from == inquiryClosed && to == chargeback:
		return told.ToldAt.After(before.ToldAt)
	}
	return to >= from && !told.ToldAt.Before(before.ToldAt)
}

// claims is what all disputes of a payment amount to.
type claims struct {
	known bool // one is, or Stripe says that there was one
	open  bool // the bank has the money of one that is not disputeOver
	lost  int64
}

// claimsOf sums up the disputes of a payment. One whose amount cannot be compared counts as being about all of it.
func claimsOf(p ledger.Payment, all []ledger.Dispute) (c claims) {
	for _, d := range all {
		c.known = true
		c.open = c.open || stageOf(d.Status) == chargeback
		switch {
		case d.Status != "lost":
		case d.Currency != p.Currency || d.Amount <= 0 || d.Amount > p.Amount:
			c.lost = p.Amount
		default:
			c.lost = min(c.lost+d.Amount, p.Amount)
		}
	}
	return c
}

// Disputed takes in what all disputes of a payment amount to. While one is open nothing is refunded, for the bank has the money; what it keeps
// counts as given back.
func Disputed(p ledger.Payment, c claims, now time.Time) ledger.Payment {
	before, left := p.LostAmount, p.Amount-p.RefundedAmount
	p.LostAmount = min(c.lost, left)
	switch {
	case c.lost > 0 && c.lost >= left:
		if p.Money != ledger.Lost {
			p.Money, p.Attention = ledger.Lost, AttentionDisputeLost
			p = reversed(p, ReasonDisputed, now)
		}
	case c.open:
		if p.Money != ledger.Disputed {
			p.Money, p.Attention = ledger.Disputed, ReasonDisputed
			p = reversed(p, ReasonDisputed, now)
		}
	case p.Money == ledger.Disputed, p.Money == ledger.Lost && before > 0:
		p.Money, p.Attention, p.RefundGoal = ledger.Paid, unsettled(p), p.RefundedAmount // what was ordered before is over
		if Owing(p) == 0 {
			p.Money = ledger.Refunded
		}
	}
	if p.LostAmount > before {
		p.Attention = AttentionDisputeLost
	}
	if p.LostAmount != before && (p.Money == ledger.Refunding || p.Money == ledger.RefundFailed) { // what may be refunded is another amount now
		p = lookAgain(p)
	}
	return Next(p, now)
}

// Dispute takes in the status of a dispute about all of a payment that is known only by what Stripe refuses or says of the charge.
func Dispute(p ledger.Payment, status string, now time.Time) ledger.Payment {
	c := claimsOf(p, []ledger.Dispute{{Status: status}})
	c.lost = max(c.lost, p.LostAmount)
	return Disputed(p, c, now)
}

// Owing returns what may still be refunded of a payment, in minor units.
func Owing(p ledger.Payment) int64 { return refundable(p) - p.RefundedAmount }

// refundable is what may be refunded of it in all.
func refundable(p ledger.Payment) int64 { return p.Amount - p.LostAmount }

// disputeTold takes in an event of a dispute. What it tells is kept also where the payment is not known yet.
func (b *Bridge) disputeTold(tx *ledger.Tx, e Event) (outcome string, _ change, err error) {
	if e.ObjectID == "" || e.Intent == "" {
		b.c.Log.Warn("dispute ignored", "event", e.ID, "dispute", e.ObjectID, "why", "it names no dispute or no payment intent")
		return Ignored, change{}, nil
	}
	known, err := tx.Disputes(e.Intent)
	if err != nil {
		return "", change{}, err
	}
	told := DisputeRecord{e.ObjectID, e.Dispute, e.DisputeAmount, e.DisputeCurrency, e.Refundable}.toldAt(e.Intent, e.Created)
	known, news := learned(known, told)
	if !news {
		return Duplicate, change{}, nil // an older event, or a repeat
	}
	if err := tx.SaveDispute(told); err != nil {
		return "", change{}, err
	}
	p, err := tx.PaymentOfIntent(e.Intent)
	found, err := ledger.Has(err)
	if err != nil {
		return "", change{}, err
	}
	if !found {
		return b.early(tx, e)
	}
	outcome = Followed
	if e.Dispute == "prevented" { // what was settled before a chargeback may have been refunded by Stripe: the charge tells
		outcome = LookedUp
		if err := askForMoney(tx, p, e); err != nil {
			return "", change{}, err
		}
	}
	c := change{before: p, after: Disputed(p, claimsOf(p, known), tx.Now)}
	if c.after == c.before {
		return outcome, change{}, nil
	}
	return outcome, c, tx.ChangePayment(c.before, c.after)
}

// learned returns the disputes of a payment with what is told of one of them, and whether that is to be kept.
func learned(known []ledger.Dispute, told ledger.Dispute) (_ []ledger.Dispute, news bool) {
	n := slices.IndexFunc(known, func(d ledger.Dispute) bool { return d.ID == told.ID })
	switch {
	case n < 0:
		return append(known, told), true
	case newer(told, known[n]):
		known[n] = told
		return known, true
	}
	return known, false
}

// readAs is a dispute as Stripe tells it when it is asked: newer than what was told before, and older than what any event will tell.
func (r DisputeRecord) readAs(p ledger.Payment, known []ledger.Dispute) ledger.Dispute {
	at := p.PaidAt
	if n := slices.IndexFunc(known, func(d ledger.Dispute) bool { return d.ID == r.ID }); n >= 0 {
		at = known[n].ToldAt.Add(time.Millisecond)
	}
	return r.toldAt(p.PaymentIntent, at)
}

func (r DisputeRecord) toldAt(intent string, at time.Time) ledger.Dispute {
	return ledger.Dispute{ID: r.ID, PaymentIntent: intent, Status: r.Status, Amount: r.Amount, Currency: r.Currency, Refundable: r.Refundable, ToldAt: at}
}

// claimsRead is what the disputes of a session's charge amount to, of which Stripe was asked. Where it tells only that there was one, and none is
// known, that one counts as open.
func claimsRead(tx *ledger.Tx, p ledger.Payment, s Session) (c claims, err error) {
	if s.IntentStatus == "" || p.PaymentIntent == "" {
		return c, nil // an event's session tells nothing of it
	}
	known, err := tx.Disputes(p.PaymentIntent)
	if err != nil {
		return c, err
	}
	for _, r := range s.Disputes {
		told, news := r.readAs(p, known), false
		if known, news = learned(known, told); news {
			if err := tx.SaveDispute(told); err != nil {
				return c, err
			}
		}
	}
	c = claimsOf(p, known)
	if s.Disputed && !c.known {
		c = claims{known: true, open: true}
	}
	return c, nil
}
