// Package natural orders names as people do: "Washer 2" is before "Washer 10".
//
// It promises the same order everywhere. It knows digits and lower case, and not the alphabets of
// languages.
package natural

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Compare compares two names by their numbers, without case. Names that differ only in case or in
// leading zeros are in the order of their bytes. It allocates nothing, so that lists of all machines
// are sorted quickly.
func Compare(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if isDigit(x[0]) && isDigit(y[0]) {
			var m, n string
			m, x = number(x)
			n, y = number(y)
			if len(m) != len(n) {
				return cmp.Compare(len(m), len(n))
			}
			if m != n {
				return strings.Compare(m, n)
			}
			continue
		}
		var r, s rune
		r, x = letter(x)
		s, y = letter(y)
		if r != s {
			return cmp.Compare(r, s)
		}
	}
	switch {
	case x != "":
		return 1
	case y != "":
		return -1
	}
	return strings.Compare(a, b)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number returns the number at the beginning of a text, without leading zeros, and what follows it.
func number(text string) (digits, rest string) {
	end := 0
	for end < len(text) && isDigit(text[end]) {
		end++
	}
	return strings.TrimLeft(text[:end], "0"), text[end:]
}

// letter returns the first character of a text in lower case, and what follows it.
func letter(text string) (r rune, rest string) {
	switch c := text[0]; {
	case 'A' <= c && c <= 'Z':
		return rune(c - 'A' + 'a'), text[1:]
	case c < utf8.RuneSelf:
		return rune(c), text[1:]
	}
	r, n := utf8.DecodeRuneInString(text)
	return unicode.ToLower(r), text[n:]
}
