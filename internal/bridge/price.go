package bridge

import (
	"strconv"
	"strings"

	"notepay/internal/ledger"
)

// agrees reports whether what was paid is what the plan costs. A customer may pay in another
// currency than the price's: Stripe says what it converted from, or the price has an amount of its
// own in that currency. Where Stripe charged what the customer saw, and does not say what it
// converted from, nothing contradicts the price.
func agrees(p ledger.Payment, s Session, plan ledger.Plan) bool {
	free := p.Amount == 0 && p.PaymentIntent == ""
	switch {
	case plan.Currency == "" || free:
		return true
	case s.PriceCurrency != "":
		return strings.EqualFold(s.PriceCurrency, plan.Currency) && s.PriceAmount == plan.Amount
	case strings.EqualFold(p.Currency, plan.Currency):
		return p.Amount == plan.Amount
	}
	if amount, ok := option(plan.CurrencyOptions, p.Currency); ok {
		return p.Amount == amount
	}
	return s.ShownCurrency != "" && strings.EqualFold(s.ShownCurrency, p.Currency)
}

// option returns what a price costs in another currency, if it has an amount of its own there.
func option(options, currency string) (int64, bool) {
	for pair := range strings.SplitSeq(options, ",") {
		name, text, _ := strings.Cut(pair, "=")
		if amount, err := strconv.ParseInt(text, 10, 64); err == nil && strings.EqualFold(name, currency) {
			return amount, true
		}
	}
	return 0, false
}
