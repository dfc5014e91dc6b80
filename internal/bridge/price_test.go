package bridge

import (
	"testing"

	"notepay/internal/ledger"
)

func TestAgreesInTheCustomersCurrency(t *testing.T) {
	t.Parallel()
	plan := ledger.Plan{Amount: 350, Currency: "eur", CurrencyOptions: "gbp=300,usd=400"}
	for name, c := range map[string]struct {
		amount   int64
		currency string
		s        Session
		want     bool
	}{
		"the price's own":                          {350, "eur", Session{}, true},
		"the price's own, in capitals":             {350, "EUR", Session{}, true},
		"another amount":                           {100, "eur", Session{}, false},
		"another amount, shown in dollars":         {100, "eur", Session{ShownCurrency: "usd"}, false},
		"an option":                                {400, "usd", Session{}, true},
		"another amount of an option":              {100, "usd", Session{}, false},
		"another amount of an option, shown so":    {100, "usd", Session{ShownCurrency: "usd"}, false},
		"no option":                                {400, "cad", Session{}, false},
		"no option, and shown so":                  {400, "cad", Session{ShownCurrency: "cad"}, true},
		"no option, and shown in another":          {400, "cad", Session{ShownCurrency: "usd"}, false},
		"converted from the price":                 {412, "usd", Session{PriceAmount: 350, PriceCurrency: "eur"}, true},
		"converted from another amount":            {412, "usd", Session{PriceAmount: 100, PriceCurrency: "eur"}, false},
		"converted from another currency":          {412, "usd", Session{PriceAmount: 350, PriceCurrency: "cad"}, false},
		"converted, and by chance as an option":    {400, "usd", Session{PriceAmount: 1, PriceCurrency: "eur"}, false},
		"shown in dollars, charged in the price's": {350, "eur", Session{ShownCurrency: "usd"}, true},
	} {
		p := ledger.Payment{Amount: c.amount, Currency: c.currency, PaymentIntent: "pi_1"}
		if got := agrees(p, c.s, plan); got != c.want {
			t.Errorf("%s: agrees %v; want %v", name, got, c.want)
		}
	}
}
