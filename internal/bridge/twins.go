package bridge

import (
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
)

// twins marks a payment and tells the operator. The mark also makes a deletion that finds no note a
// doubt: the other installation may have deleted it.
func (b *Bridge) twins(p payment.Payment, sign string) payment.Payment {
	if p.ReviewReason == "" {
		p.ReviewReason = payment.ReviewTwins
	}
	found := problem.Problem{Code: problem.Twins, Text: fleet.TwinsText, Detail: sign + ", payment " + p.ID}
	if b.c.Problems.Raise(found) {
		b.c.Log.Error("second installation detected", "payment", p.ID, "detail", sign)
	}
	return p
}

// countNotes looks for the notes of another installation: more notes of a credit are pending than
// this ledger has posted.
func (b *Bridge) countNotes(tx *ledger.Tx, p payment.Payment, notes int) (payment.Payment, error) {
	if notes < 2 || b.beforeStart(p.PaidAt) {
		return p, nil
	}
	posted, err := tx.NotesPosted(p.ID)
	if err == nil && notes > posted {
		p = b.twins(p, "two notes with one credit")
	}
	return p, err
}

// refundedElsewhere reports whether a refund carries our order of a payment that this ledger has
// not given.
func refundedElsewhere(p payment.Payment, e Event) bool {
	return e.Refund != nil && e.Refund.Credit == p.ID && e.Refund.Number > p.RefundSeq
}

// confirmedElsewhere applies an answer to a credit that this ledger has not posted.
func (b *Bridge) confirmedElsewhere(
	tx *ledger.Tx,
	p payment.Payment,
	c payment.Confirmation,
) (payment.Payment, string, error) {
	posted, err := tx.NotesPosted(p.ID)
	if posted > 0 || err != nil {
		// a note that was taken back and is posted again: the machine had fetched it
		return p, payment.ConfirmationNoPost, err
	}
	before := p
	p, outcome := payment.ApplyForeignConfirmation(p, c, tx.Now)
	why := handledByMachine
	if !b.beforeStart(p.PaidAt) {
		why = handledByTwin
		p = b.twins(p, "a machine has a credit that was not sent from here")
	}
	if p.Reason == payment.ReasonAdopted && before.Reason != payment.ReasonAdopted {
		return p, outcome, auditAdoption(tx, p, why)
	}
	return p, outcome, nil
}
