package payment

import "testing"

func TestPriceMatches(t *testing.T) {
	t.Parallel()
	plan := Offer{Amount: 350, Currency: "eur", CurrencyOptions: "gbp=300,usd=400"}
	for name, c := range map[string]struct {
		amount   int64
		currency string
		s        CheckoutSession
		want     bool
	}{
		"the price's own":                       {350, "eur", CheckoutSession{}, true},
		"the price's own, in capitals":          {350, "EUR", CheckoutSession{}, true},
		"another amount":                        {100, "eur", CheckoutSession{}, false},
		"another amount, shown in dollars":      {100, "eur", CheckoutSession{ShownCurrency: "usd"}, false},
		"an option":                             {400, "usd", CheckoutSession{}, true},
		"another amount of an option":           {100, "usd", CheckoutSession{}, false},
		"another amount of an option, shown so": {100, "usd", CheckoutSession{ShownCurrency: "usd"}, false},
		"no option":                             {400, "cad", CheckoutSession{}, false},
		"no option, and shown so":               {400, "cad", CheckoutSession{ShownCurrency: "cad"}, true},
		"no option, and shown in another":       {400, "cad", CheckoutSession{ShownCurrency: "usd"}, false},
		"converted from the price": {
			412, "usd", CheckoutSession{PriceAmount: 350, PriceCurrency: "eur"}, true,
		},
		"converted from another amount": {
			412, "usd", CheckoutSession{PriceAmount: 100, PriceCurrency: "eur"}, false,
		},
		"converted from another currency": {
			412, "usd", CheckoutSession{PriceAmount: 350, PriceCurrency: "cad"}, false,
		},
		"converted, and by chance as an option": {
			400, "usd", CheckoutSession{PriceAmount: 1, PriceCurrency: "eur"}, false,
		},
		"converted from the price, with taxes": {
			491, "usd", CheckoutSession{Subtotal: 412, PriceAmount: 417, PriceSubtotal: 350,
				PriceCurrency: "eur"}, true,
		},
		"converted from twice the price, with taxes": {
			982, "usd", CheckoutSession{Subtotal: 824, PriceAmount: 834, PriceSubtotal: 700,
				PriceCurrency: "eur"}, false,
		},
		"converted from less than the sum of prices": {
			412, "usd", CheckoutSession{Subtotal: 824, PriceAmount: 100, PriceSubtotal: 350,
				PriceCurrency: "eur"}, false,
		},
		"converted from another currency, with taxes": {
			491, "usd", CheckoutSession{Subtotal: 350, PriceAmount: 417, PriceSubtotal: 350,
				PriceCurrency: "cad"}, false,
		},
		"converted, with taxes, and the charged sum is the price": {
			491, "usd", CheckoutSession{Subtotal: 350, PriceAmount: 417, PriceSubtotal: 300,
				PriceCurrency: "eur"}, false,
		},
		"a discount":                               {250, "eur", CheckoutSession{Discount: 100}, true},
		"a discount of another amount":             {100, "eur", CheckoutSession{Discount: 100}, false},
		"a discount of an option":                  {350, "usd", CheckoutSession{Discount: 50}, true},
		"a discount beside another price":          {350, "eur", CheckoutSession{Discount: 100}, false},
		"with taxes":                               {417, "eur", CheckoutSession{Subtotal: 350}, true},
		"with taxes and a discount":                {298, "eur", CheckoutSession{Subtotal: 350, Discount: 100}, true},
		"with taxes, in an option":                 {476, "usd", CheckoutSession{Subtotal: 400}, true},
		"twice":                                    {700, "eur", CheckoutSession{Subtotal: 700}, false},
		"less than the sum of prices":              {100, "eur", CheckoutSession{Subtotal: 350}, false},
		"twice, in an option":                      {800, "usd", CheckoutSession{Subtotal: 800}, false},
		"shown in dollars, charged in the price's": {350, "eur", CheckoutSession{ShownCurrency: "usd"}, true},
	} {
		p := Payment{Amount: c.amount, Discount: c.s.Discount, Currency: c.currency, PaymentIntent: "pi_1"}
		if got := priceMatches(p, c.s, plan); got != c.want {
			t.Errorf("%s: agrees %v; want %v", name, got, c.want)
		}
	}
}
