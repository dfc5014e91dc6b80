package upstream

import (
	"strings"
	"unicode"
)

// Printable removes control characters and invalid UTF-8, which no name or message needs and not every database stores.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Excerpt returns the beginning of a vendor's text on one line, for the log and for problems.
func Excerpt(text []byte) string {
	const maxRunes = 200
	s := strings.Join(strings.Fields(Printable(string(text[:min(len(text), 4*maxRunes)]))), " ")
	if r := []rune(s); len(r) > maxRunes {
		s = string(r[:maxRunes]) + "..."
	}
	return s
}
