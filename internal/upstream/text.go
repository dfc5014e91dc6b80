package upstream

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Cut shortens a text to a limit in characters. A text that was cut ends in an ellipsis, and no
// accent is separated from its letter.
func Cut(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	runes := []rune(text)
	end := max(limit-1, 0)
	for end > 0 && unicode.Is(unicode.M, runes[end]) {
		end--
	}
	return strings.TrimRightFunc(string(runes[:end]), unicode.IsSpace) + "…"
}

// Printable removes control characters and invalid UTF-8, which not every database can store.
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
