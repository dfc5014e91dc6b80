package payment

import "time"

// KnowsCharge reports whether a payment has these values of its charge already. An empty value
// counts as known.
func KnowsCharge(p Payment, last4, receiptURL string) bool {
	return (last4 == "" || last4 == p.CardLast4) && (receiptURL == "" || receiptURL == p.ReceiptURL)
}

// ApplySession applies the money's state as read from Stripe with a Checkout Session, and the
// totals of its disputes.
func ApplySession(p Payment, s CheckoutSession, c DisputeTotals, now time.Time) Payment {
	switch s.IntentStatus {
	case "":
		return p // an event's session does not include it
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

// ApplyOffer stores what was sold, which holds even if the device sells something else now. It
// marks the payment for review if the amount paid does not match. It assigns accessCode if the
// offer needs a code.
func ApplyOffer(p Payment, s CheckoutSession, offer Offer, accessCode string) Payment {
	p.PriceID, p.Plan, p.Duration, p.DelayedStart = offer.PriceID, offer.Name, offer.Duration, offer.DelayedStart
	p.NeedsAccessCode, p.Pulses, p.Output = offer.AccessCode, offer.Pulses, offer.Output
	p = AssignAccessCode(p, accessCode)
	if !priceMatches(p, s, offer) && p.ReviewReason == "" {
		p.ReviewReason = ReviewAmount
	}
	return p
}
