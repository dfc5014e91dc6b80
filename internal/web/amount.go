package web

import (
	"slices"
	"strings"
)

// Digits is how many digits of an amount in a currency, as Stripe counts it, stand behind the point.
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
	text, sign := formatInt(minor), ""
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
