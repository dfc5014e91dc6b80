package payment

import (
	"strconv"
	"strings"
	"time"
)

// priceMatches reports whether the amount paid, with the discount of a promotion code, agrees with
// the offer's price. So does a sum of prices that equals it, to which Stripe added taxes. A
// customer may pay in another currency. Then Stripe reports what it converted from, or the price
// has its own amount in that currency. If Stripe charged the shown currency and reports no
// conversion, nothing contradicts the price.
func priceMatches(p Payment, s CheckoutSession, offer Offer) bool {
	free := p.Amount == 0 && p.PaymentIntent == ""
	full := p.Amount + p.Discount
	switch {
	case offer.Currency == "" || free:
		return true
	case s.PriceCurrency != "":
		return strings.EqualFold(s.PriceCurrency, offer.Currency) &&
			(s.PriceAmount == offer.Amount || taxed(s.PriceSubtotal, s.PriceAmount, offer.Amount))
	case strings.EqualFold(p.Currency, offer.Currency):
		return full == offer.Amount || taxed(s.Subtotal, full, offer.Amount)
	}
	if amount, ok := optionAmount(offer.CurrencyOptions, p.Currency); ok {
		return full == amount || taxed(s.Subtotal, full, amount)
	}
	return s.ShownCurrency != "" && strings.EqualFold(s.ShownCurrency, p.Currency)
}

// taxed reports whether Stripe added taxes or shipping to a price, so that the customer paid more. The
// subtotal is without them.
func taxed(subtotal, full, price int64) bool { return full > price && subtotal == price }

// optionAmount returns the price's own amount in another currency, if it has one.
func optionAmount(options, currency string) (int64, bool) {
	for pair := range strings.SplitSeq(options, ",") {
		name, text, _ := strings.Cut(pair, "=")
		if amount, err := strconv.ParseInt(text, 10, 64); err == nil && strings.EqualFold(name, currency) {
			return amount, true
		}
	}
	return 0, false
}

// Complete returns the offer of a link with what was added to its price since.
func Complete(sold, now Offer) Offer {
	if sold.CurrencyOptions == "" {
		sold.CurrencyOptions = now.CurrencyOptions
	}
	if sold.Pulses == 0 && sold.Output == 0 {
		sold.Pulses, sold.Output = now.Pulses, now.Output
	}
	return sold
}

// Offer is what a device sells: one Stripe price with its duration.
type Offer struct {
	PriceID      string
	Name         string
	Description  string
	Image        string // URL, "" if there is none
	Amount       int64  // minor currency units
	Currency     string
	Duration     time.Duration
	DelayedStart time.Duration
	AccessCode   bool  // the machine is a door or locker, so the customer gets a code
	Pulses       int64 // for a machine with a coin input; 0: not set
	Output       int64 // of a machine with several, such as relays

	CurrencyOptions string // amounts in other currencies, such as "gbp=300,usd=400"; "" if there are none
}
