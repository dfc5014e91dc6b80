package stripeevent

import (
	"cmp"
	"fmt"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// LinkState returns whether a Payment Link can be paid through, whether Stripe ends it after some payments, and if it cannot be paid
// through, why. A link that took all payments it was limited to may still be called active.
func LinkState(l *stripe.PaymentLink) (payable, limited bool, why string) {
	if l.Restrictions != nil && l.Restrictions.CompletedSessions != nil && l.Restrictions.CompletedSessions.Limit > 0 {
		limited = true
		if taken := l.Restrictions.CompletedSessions; taken.Count >= taken.Limit {
			return false, true, fmt.Sprintf("its Payment Link %s was limited to %d payments in Stripe's Dashboard: raise the limit there to sell again", l.ID, taken.Limit)
		}
	}
	if !l.Active {
		return false, limited, "its Payment Link " + l.ID + " was deactivated in Stripe's Dashboard: activate it there to sell again"
	}
	return true, limited, ""
}

// ProductProblem returns why the prices of a product cannot be sold, "" if they can or if the product was not expanded.
func ProductProblem(p *stripe.Product) string {
	switch {
	case p == nil || p.Object == "":
		return ""
	case p.Deleted:
		return "is of a product that was deleted"
	case !p.Active:
		return "is of a product that was archived"
	}
	return ""
}

// maxDescription is how many characters Stripe takes for the description of a payment.
const maxDescription = 1000

// Description names machine and plan on the payment in Stripe's Dashboard.
func Description(d ledger.Device, plan ledger.Plan) string {
	return upstream.Cut(cmp.Or(d.Name, d.UID), maxDescription/2-2) + ": " + upstream.Cut(cmp.Or(plan.Name, plan.PriceID), maxDescription/2)
}
