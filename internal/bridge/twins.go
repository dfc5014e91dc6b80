package bridge

import (
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/problem"
)

// Two installations on one Notehub project and one Stripe account both send the credit of each
// payment, recall each other's notes and refund. One sees that by what it did not do itself: a
// second note with a credit that it posted once, a refund with its own metadata that it did not
// order, an answer to a credit that it did not post. What was done before this process began may
// have been done by an earlier state of the ledger, and is no sign of another installation. These
// signs name the payment. If both act at the same instant, one of them may miss its sign, so
// internal/fleet/signature.go tells both without any payment.

// AttentionTwins is why a person must look at a payment of which another installation did something.
const AttentionTwins = "twins"

// twins marks a payment and tells the operator. The mark also makes a deletion that finds no note a
// doubt: the other installation may have deleted it.
func (b *Bridge) twins(p ledger.Payment, sign string) ledger.Payment {
	if p.Attention == "" {
		p.Attention = AttentionTwins
	}
	found := problem.Problem{Code: problem.Twins, Text: fleet.TwinsText, Detail: sign + ", payment " + p.ID}
	if b.c.Problems.Raise(found) {
		b.c.Log.Error("second installation detected", "payment", p.ID, "detail", sign)
	}
	return p
}

// countNotes looks for the notes of another installation: more notes of a credit are pending than
// this ledger has posted.
func (b *Bridge) countNotes(tx *ledger.Tx, p ledger.Payment, notes int) (ledger.Payment, error) {
	if notes < 2 || b.past(p.PaidAt) {
		return p, nil
	}
	posted, err := tx.NotesPosted(p.ID)
	if err == nil && notes > posted {
		p = b.twins(p, "two notes with one credit")
	}
	return p, err
}

// refundedElsewhere reports whether a refund carries our order of a payment that this ledger has not given.
func refundedElsewhere(p ledger.Payment, e Event) bool {
	return e.Refund != nil && e.Refund.Credit == p.ID && e.Refund.Number > p.RefundNumber
}

// confirmedElsewhere applies an answer to a credit that this ledger has not posted.
func (b *Bridge) confirmedElsewhere(tx *ledger.Tx, p ledger.Payment, c Confirmation) (ledger.Payment, string, error) {
	posted, err := tx.NotesPosted(p.ID)
	if posted > 0 || err != nil {
		return p, ConfirmationNoPost, err // a note that was taken back and is posted again: the machine had fetched it
	}
	before := p
	p, outcome := PostedElsewhere(p, c, tx.Now)
	why := handledByMachine
	if !b.past(p.PaidAt) {
		why = handledByTwin
		p = b.twins(p, "a machine has a credit that was not sent from here")
	}
	if p.Reason == ReasonAdopted && before.Reason != ReasonAdopted {
		return p, outcome, auditAdoption(tx, p, why)
	}
	return p, outcome, nil
}
