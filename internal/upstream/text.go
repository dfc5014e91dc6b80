package upstream

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Cut shortens a text to a vendor's limit, in characters. A text that was cut ends in an ellipsis, and no accent is torn from its
// letter.
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
