package web

import (
	"slices"
	"strconv"
	"strings"
)

// Digits is how many digits of an amount in a currency, as Stripe counts it, stand behind the
// point.
func Digits(currency string) int {
	switch {
	case slices.Contains(strings.Fields(zeroDecimals), currency):
		return 0
	case slices.Contains(strings.Fields(threeDecimals), currency):
		return 3
	default:
		return 2
	}
}

// Figure writes minor currency units for spreadsheets: 350 eur is "3.50".
func Figure(minor int64, currency string) string {
	text, sign := FormatInt(minor), ""
	if minor < 0 {
		text, sign = text[1:], "-"
	}
	digits := Digits(currency)
	if missing := digits + 1 - len(text); missing > 0 {
		text = strings.Repeat("0", missing) + text
	}
	if digits > 0 {
		text = text[:len(text)-digits] + "." + text[len(text)-digits:]
	}
	return sign + text
}

// Amount writes minor currency units for the operator: 350 eur is "3.50 EUR", 350 jpy is "350 JPY".
func Amount(minor int64, currency string) string {
	return Figure(minor, currency) + " " + strings.ToUpper(currency)
}

// Currencies whose amounts Stripe does not take in hundredths, or that have no hundredths
// (docs.stripe.com/currencies).
const (
	zeroDecimals  = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
	threeDecimals = "bhd jod kwd omr tnd" // in thousandths that end in 0
	wholeOnly     = "isk ugx"             // taken in hundredths that are always 00, for they had them once
)

// Decimals says how many digits of an amount stand behind the point, and how many of them are
// shown.
func Decimals(code string) (digits, shown int) {
	in := func(list string) bool { return slices.Contains(strings.Fields(list), code) }
	switch {
	case in(zeroDecimals):
		return 0, 0
	case in(threeDecimals):
		return 3, 3
	case in(wholeOnly):
		return 2, 0
	default:
		return 2, 2
	}
}

func FormatInt(n int64) string { return strconv.FormatInt(n, 10) }
