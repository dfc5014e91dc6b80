package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Currencies whose minor unit is not a hundredth (docs.stripe.com/currencies). Of the three-decimal ones Stripe takes amounts
// in thousandths that end in 0.
const (
	zeroDecimals  = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
	threeDecimals = "bhd jod kwd omr tnd"
)

// amount writes minor currency units for people: 350 eur is "3.50 EUR", 350 jpy is "350 JPY".
func amount(minor int64, currency string) string {
	decimals := 2
	switch {
	case slices.Contains(strings.Fields(zeroDecimals), currency):
		decimals = 0
	case slices.Contains(strings.Fields(threeDecimals), currency):
		decimals = 3
	}
	digits := formatInt(max(minor, -minor))
	if pad := decimals + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	if decimals > 0 {
		digits = digits[:len(digits)-decimals] + "." + digits[len(digits)-decimals:]
	}
	if minor < 0 {
		digits = "-" + digits
	}
	return fmt.Sprintf("%s %s", digits, strings.ToUpper(currency))
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
