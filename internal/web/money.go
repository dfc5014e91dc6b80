package web

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/currency"
	"golang.org/x/text/number"
)

// Currencies whose amounts Stripe does not take in hundredths, or that have no hundredths (docs.stripe.com/currencies).
const (
	zeroDecimals  = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
	threeDecimals = "bhd jod kwd omr tnd" // in thousandths that end in 0
	wholeOnly     = "isk ugx"             // taken in hundredths that are always 00, for they had them once
)

// decimals says how many digits of an amount stand behind the point, and how many of them are shown.
func decimals(code string) (digits, shown int) {
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

// money is an amount in minor currency units, which each language writes in its own way.
type money struct {
	minor    int64
	currency string // as Stripe writes it, in small letters
}

func (m money) in(l Language) string {
	digits, shown := decimals(m.currency)
	if digits > shown && m.minor%int64(math.Pow10(digits)) != 0 {
		shown = digits // of what should not be, nothing is hidden
	}
	symbol := strings.ToUpper(m.currency)
	if unit, err := currency.ParseISO(m.currency); err == nil {
		symbol = l.numbers.Sprint(currency.Symbol(unit))
	}
	figure := l.numbers.Sprint(number.Decimal(float64(m.minor)/math.Pow10(digits), number.Scale(shown)))
	if last := []rune(symbol); len(last) > 0 && unicode.IsLetter(last[len(last)-1]) &&
		strings.HasPrefix(l.T("unit.money"), "{symbol}{") {
		symbol += noBreak // "CHF 3.50", but "€3.50"
	}
	text := l.Say(phrase("unit.money", "symbol", symbol, "number", figure))
	return strings.ReplaceAll(text, " ", noBreak)
}

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
