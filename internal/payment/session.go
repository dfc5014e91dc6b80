package payment

import "time"

// knowsCharge: a payment has these already, or there is nothing to have.
func KnowsCharge(p Payment, last4, receiptURL string) bool {
	return (last4 == "" || last4 == p.CardLast4) && (receiptURL == "" || receiptURL == p.ReceiptURL)
}

// ApplySession takes in where a session's money is, as Stripe was asked for it, and what its
// disputes amount to.
func ApplySession(p Payment, s CheckoutSession, c DisputeTotals, now time.Time) Payment {
	switch s.IntentStatus {
	case "":
		return p // an event's session tells nothing of it
	case "succeeded":
		p = ApplyCaptured(p, now)
	case "canceled":
		p = ApplyCanceled(p, now)
	}
	if c.Known {
		p = ApplyDisputes(p, c, now)
	}
	if s.Refunded > 0 || p.RefundedAmount > 0 {
		before := p.RefundedAmount
		p = ApplyRefundedTotal(p, s.Refunded, true, now)
		if c.Known && p.RefundedAmount < before { // the lost amount was bounded by the older total
			p = ApplyDisputes(p, c, now)
		}
	}
	return p
}

// ApplyOffer fills in what was sold. It is honoured whatever is sold now; what was paid has to
// agree with it.
func ApplyOffer(p Payment, s CheckoutSession, plan Offer, accessCode string) Payment {
	p.PriceID, p.Plan, p.Duration, p.DelayedStart = plan.PriceID, plan.Name, plan.Duration, plan.DelayedStart
	p.NeedsAccessCode = plan.AccessCode
	p = AssignAccessCode(p, accessCode)
	if !priceMatches(p, s, plan) && p.ReviewReason == "" {
		p.ReviewReason = ReviewAmount
	}
	return p
}
