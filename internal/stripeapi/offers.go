package stripeapi

import (
	"cmp"
	"encoding/json"
	"fmt"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// restrictions are how many payments a link takes in all. Another shape counts as none.
type restrictions struct{ taken, limit int64 }

// UnmarshalJSON implements json.Unmarshaler.
func (r *restrictions) UnmarshalJSON(text []byte) error {
	var object struct {
		CompletedSessions struct {
			Count int64 `json:"count"`
			Limit int64 `json:"limit"`
		} `json:"completed_sessions"`
	}
	*r = restrictions{}
	if json.Unmarshal(text, &object) == nil {
		r.taken, r.limit = object.CompletedSessions.Count, object.CompletedSessions.Limit
	}
	return nil
}

// State returns whether a link can be paid through, whether Stripe ends it after some payments, and
// if it cannot be paid through, why. A link that took all payments it was limited to may still be
// called active.
func (l Link) State() (payable, limited bool, why string) {
	limited = l.Restrictions.limit > 0
	switch {
	case limited && l.Restrictions.taken >= l.Restrictions.limit:
		return false, true, fmt.Sprintf(
			"its Payment Link %s was limited to %d payments in Stripe's Dashboard: raise the limit there to sell again",
			l.ID,
			l.Restrictions.limit,
		)
	case !l.Active:
		return false, limited, "its Payment Link " + l.ID + " was deactivated in Stripe's Dashboard: activate it there to sell again"
	}
	return true, limited, ""
}

// maxDescription is how many characters Stripe takes for the description of a payment.
const maxDescription = 1000

// Description names machine and plan on the payment in Stripe's Dashboard.
func Description(d ledger.Device, plan payment.Offer) string {
	return upstream.Cut(
		cmp.Or(d.Name, d.UID),
		maxDescription/2-2,
	) + ": " + upstream.Cut(
		cmp.Or(plan.Name, plan.PriceID),
		maxDescription/2,
	)
}
