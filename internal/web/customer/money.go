package customer

import (
	"math"
	"strings"
	"unicode"

	"golang.org/x/text/currency"
	"golang.org/x/text/number"

	"notepay/internal/web"
)

// money is an amount in minor units. Each language formats it differently.
type money struct {
	minor    int64
	currency string // in lower case, as at Stripe
}

func (m money) in(l Language) string {
	digits, shown := web.Decimals(m.currency)
	if digits > shown && m.minor%int64(math.Pow10(digits)) != 0 {
		shown = digits // such an amount should not exist, but is not rounded
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
	text := l.Translate(msg("unit.money", "symbol", literal(l.isolate(symbol)), "number", literal(figure)))
	return strings.ReplaceAll(text, " ", noBreak)
}
