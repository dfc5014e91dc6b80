package payment

import "time"

// Adopt leaves a payment to the operator, because another ledger, or an earlier state of this one,
// may have delivered it.
func Adopt(p Payment) Payment {
	p = Fail(p, ReasonAdopted)
	p.ReviewReason = ReasonAdopted
	return p
}

// ApplyForeignConfirmation applies a confirmation of a credit that this ledger has not posted. An
// earlier state of this ledger posted it, or another installation did. A credit that is still
// queued is adopted. If the money is being returned, the operator is notified that the machine
// started.
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
