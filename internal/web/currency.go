package web

import (
	"slices"
	"strconv"
	"strings"
)

// Currencies whose amounts Stripe does not count in hundredths, or writes without them
// (docs.stripe.com/currencies). Stripe's names are in lower case.
const (
	zeroDecimals  = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
	threeDecimals = "bhd jod kwd omr tnd" // in thousandths that end in 0
	// Their former hundredths are always 00, but Stripe still counts them.
	hiddenDecimals = "isk ugx"
)

// Decimals returns how many digits of an amount in minor units are behind the decimal point, and
// how many of them people are shown.
func Decimals(currency string) (digits, shown int) {
	in := func(list string) bool { return slices.Contains(strings.Fields(list), currency) }
	switch {
	case in(zeroDecimals):
		return 0, 0
	case in(threeDecimals):
		return 3, 3
	case in(hiddenDecimals):
		return 2, 0
	default:
		return 2, 2
	}
}

// Digits returns how many digits of an amount in minor units are behind the decimal point.
func Digits(currency string) int {
	digits, _ := Decimals(currency)
	return digits
}

// Figure formats an amount in minor units without its currency, for spreadsheets: 350 eur is "3.50".
func Figure(minor int64, currency string) string {
	text, sign := strconv.FormatInt(minor, 10), ""
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

// Amount formats an amount in minor units for the operator: 350 eur is "3.50 EUR", 350 jpy is
// "350 JPY".
func Amount(minor int64, currency string) string {
	return Figure(minor, currency) + " " + strings.ToUpper(currency)
}
