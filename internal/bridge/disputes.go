package bridge

import (
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// applyDispute applies an event of a dispute. It stores the dispute even if its payment is unknown.
func (b *Bridge) applyDispute(tx *update, e Event) (outcome string, err error) {
	if e.ObjectID == "" || e.Intent == "" {
		b.c.Log.Warn("dispute ignored", "event", e.ID, "dispute", e.ObjectID,
			"why", "it names no dispute or no payment intent")
		return Ignored, nil
	}
	known, err := tx.Disputes(e.Intent)
	if err != nil {
		return "", err
	}
	record := payment.DisputeRecord{
		ID:         e.ObjectID,
		Status:     e.Dispute,
		Amount:     e.DisputeAmount,
		Currency:   e.DisputeCurrency,
		Refundable: e.Refundable,
		DueAt:      e.DisputeDue,
	}
	told := record.At(e.Intent, e.Created)
	known, news := payment.LearnDispute(known, told)
	if !news {
		return Duplicate, nil // an older event or a repeat
	}
	if err := tx.SaveDispute(told); err != nil {
		return "", err
	}
	p, err := tx.PaymentOfIntent(e.Intent)
	found, err := ledger.Found(err)
	if err != nil {
		return "", err
	}
	if !found {
		return b.deferEvent(tx.Tx, e)
	}
	outcome = Followed
	if payment.ReadChargeAfter(e.Dispute) {
		outcome = LookedUp
		if err := scheduleRefundCheck(tx.Tx, p, e); err != nil {
			return "", err
		}
	}
	return outcome, tx.change(p, payment.ApplyDisputes(p, payment.TotalDisputes(p, known), tx.Now))
}

// readDisputes stores the disputes read with a session, and returns the totals of the payment's
// disputes. If Stripe reports a dispute without details, it counts as open.
func readDisputes(tx *ledger.Tx, p payment.Payment, s payment.CheckoutSession) (c payment.DisputeTotals, err error) {
	if s.IntentStatus == "" || p.PaymentIntent == "" {
		return c, nil // an event's session does not include disputes
	}
	known, err := tx.Disputes(p.PaymentIntent)
	if err != nil {
		return c, err
	}
	for _, r := range s.Disputes {
		told, news := r.ReadAs(p, known), false
		if known, news = payment.LearnDispute(known, told); news {
			if err := tx.SaveDispute(told); err != nil {
				return c, err
			}
		}
	}
	c = payment.TotalDisputes(p, known)
	if s.Disputed && !c.Known {
		c = payment.DisputeTotals{Known: true, Open: true}
	}
	return c, nil
}
