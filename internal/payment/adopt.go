package payment

import "time"

// Adopt leaves a payment to the operator, because another ledger, or an earlier state of this
// one, may have delivered it.
func Adopt(p Payment) Payment {
	p = Fail(p, ReasonAdopted)
	p.ReviewReason = ReasonAdopted
	return p
}

// ApplyForeignConfirmation applies an answer to a credit that this ledger has not posted: an
// earlier state of it has, or another installation. A payment whose credit is not sent yet is
// adopted. If its money goes back already, the operator is told that the machine started.
func ApplyForeignConfirmation(p Payment, c Confirmation, now time.Time) (Payment, string) {
	switch {
	case p.Delivery == Queued:
		p = Adopt(p)
	case FundsReturned(p) && (c.State == "started" || c.State == "done"):
		p.ReviewReason = ReasonStartedAfter
	default:
		return p, ConfirmationNoPost
	}
	return Next(p, now), ConfirmationElsewhere
}
