package web

import "testing"

func TestAmount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		minor    int64
		currency string
		want     string
	}{
		{350, "eur", "3.50 EUR"}, {5, "eur", "0.05 EUR"}, {0, "eur", "0.00 EUR"}, {-5, "eur", "-0.05 EUR"},
		{-350, "usd", "-3.50 USD"},
		{350, "jpy", "350 JPY"}, {0, "jpy", "0 JPY"}, {1500, "kwd", "1.500 KWD"}, {123456789, "gbp", "1234567.89 GBP"},
	} {
		if got := Amount(c.minor, c.currency); got != c.want {
			t.Errorf("%d %s is %q; want %q", c.minor, c.currency, got, c.want)
		}
	}
}
