package bridge

import (
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
)

// twins marks a payment for review and reports a second installation to the operator. The mark also
// makes a deletion that finds no note unclear, because the other installation may have deleted the
// note.
func (b *Bridge) twins(p payment.Payment, sign string) payment.Payment {
	if p.ReviewReason == "" {
		p.ReviewReason = payment.ReviewTwins
	}
	found := problem.Problem{Code: problem.Twins, Text: fleet.TwinsText(), Detail: sign + ", payment " + p.ID}
	if b.c.Problems.Raise(found) {
		b.c.Log.Error("second installation detected", "payment", p.ID, "detail", sign)
	}
	return p
}

// countNotes detects the notes of another installation: more notes of a credit are pending than
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

// refundedElsewhere reports whether a refund has the metadata of an order that this ledger has not
// made.
func refundedElsewhere(p payment.Payment, e Event) bool {
	return e.Refund != nil && e.Refund.Credit == p.ID && e.Refund.Number > p.RefundSeq
}

// confirmedElsewhere applies a confirmation of a credit that this ledger has not posted.
func (b *Bridge) confirmedElsewhere(tx *ledger.Tx, p payment.Payment,
	c payment.Confirmation) (payment.Payment, string, error) {
	posted, err := tx.NotesPosted(p.ID)
	if posted > 0 || err != nil {
		// The note was recalled and the credit is sent again. The machine had fetched the first
		// note.
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
