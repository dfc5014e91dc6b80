package customer

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// speaking returns the language for an Accept-Language header.
func speaking(acceptLanguage string) Language {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Accept-Language", acceptLanguage)
	return languageOf(r)
}

func TestMoneyFollowsTheCustomersCountry(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		minor            int64
		currency         string
		english, deutsch string
	}{
		{350, "eur", "€3.50", "3,50 €"},
		{5, "usd", "$0.05", "0,05 $"},
		{0, "usd", "$0.00", "0,00 $"},
		{123_456_789, "usd", "$1,234,567.89", "1.234.567,89 $"},
		{9_007_199_254_740_991, "usd", "$90,071,992,547,409.91", "90.071.992.547.409,91 $"},
		{350, "jpy", "¥350", "350 ¥"},
		{1000, "clp", "CLP 1,000", "1.000 CLP"},
		{1250, "kwd", "KWD 1.250", "1,250 KWD"},
		{10, "bhd", "BHD 0.010", "0,010 BHD"},
		{350, "chf", "CHF 3.50", "3,50 CHF"},
		{500, "isk", "ISK 5", "5 ISK"},
		{500_000, "ugx", "UGX 5,000", "5.000 UGX"},
		{550, "ugx", "UGX 5.50", "5,50 UGX"}, // should not exist, but is not rounded
		{350, "", "3.50", "3,50"},
		{350, "nonsense", "NONSENSE 3.50", "3,50 NONSENSE"},
	} {
		for wish, want := range map[string]string{"en": row.english, "de": row.deutsch} {
			got := money{row.minor, row.currency}.in(speaking(wish))
			if strings.TrimSpace(strings.ReplaceAll(got, noBreak, " ")) != want {
				t.Errorf("%d %s in %s is %q; want %q", row.minor, row.currency, wish, got, want)
			}
			if strings.Contains(got, " ") {
				t.Errorf("%q may be broken into two lines", got)
			}
		}
	}
	if got := (money{123456, "chf"}).in(speaking("de-CH,de;q=0.9")); got != "1’234.56"+noBreak+"CHF" {
		t.Errorf("in Switzerland %q; want its own separators", got)
	}
}
