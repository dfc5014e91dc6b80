package web

import "testing"

func TestAmountsAreWrittenForPeople(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		minor    int64
		currency string
		want     string
	}{
		{350, "eur", "3.50 EUR"},
		{5, "usd", "0.05 USD"},
		{50, "usd", "0.50 USD"},
		{0, "usd", "0.00 USD"},
		{100_000_000, "usd", "1000000.00 USD"},
		{-350, "eur", "-3.50 EUR"},
		{350, "jpy", "350 JPY"},
		{0, "jpy", "0 JPY"},
		{-5, "krw", "-5 KRW"},
		{1000, "clp", "1000 CLP"},
		{1250, "kwd", "1.250 KWD"},
		{10, "bhd", "0.010 BHD"},
		{0, "tnd", "0.000 TND"},
		{350, "", "3.50 "},
	} {
		if got := amount(row.minor, row.currency); got != row.want {
			t.Errorf("%d %s is %q; want %q", row.minor, row.currency, got, row.want)
		}
	}
}
