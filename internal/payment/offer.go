package payment

import (
	"strconv"
	"strings"
	"time"
)

// priceMatches reports whether what was paid is what the plan costs. A customer may pay in another
// currency than the price's: Stripe says what it converted from, or the price has an amount of its
// own in that currency. Where Stripe charged what the customer saw, and does not say what it
// converted from, nothing contradicts the price.
func priceMatches(p Payment, s CheckoutSession, plan Offer) bool {
	free := p.Amount == 0 && p.PaymentIntent == ""
	switch {
	case plan.Currency == "" || free:
		return true
	case s.PriceCurrency != "":
		return strings.EqualFold(s.PriceCurrency, plan.Currency) && s.PriceAmount == plan.Amount
	case strings.EqualFold(p.Currency, plan.Currency):
		return p.Amount == plan.Amount
	}
	if amount, ok := optionAmount(plan.CurrencyOptions, p.Currency); ok {
		return p.Amount == amount
	}
	return s.ShownCurrency != "" && strings.EqualFold(s.ShownCurrency, p.Currency)
}

// optionAmount returns what a price costs in another currency, if it has an amount of its own
// there.
func optionAmount(options, currency string) (int64, bool) {
	for pair := range strings.SplitSeq(options, ",") {
		name, text, _ := strings.Cut(pair, "=")
		if amount, err := strconv.ParseInt(text, 10, 64); err == nil && strings.EqualFold(name, currency) {
			return amount, true
		}
	}
	return 0, false
}

// Offer is what a device sells: one Stripe Price.
type Offer struct {
	PriceID      string
	Name         string
	Description  string
	Image        string // URL, "" if there is none
	Amount       int64  // minor currency units
	Currency     string
	Duration     time.Duration
	DelayedStart time.Duration
	AccessCode   bool // the machine is a door or a locker: the payer gets a code for it

	CurrencyOptions string // amounts in other currencies, such as "gbp=300,usd=400"; "" if there are none
}
