// Package natural orders names as people do: "Washer 2" is before "Washer 10".
//
// It promises the same order everywhere. It knows digits and lower case, and not the alphabets of
// languages.
package natural

import (
	"cmp"
	"strings"
)

// maxDigits bounds the length of a number in a key. Longer ones are in order by their first digits.
const maxDigits = 0xffff

// Compare compares two names by their numbers, without case. Names that differ only in case or in
// leading zeros are in the order of their bytes.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	return cmp.Or(strings.Compare(Key(a), Key(b)), strings.Compare(a, b))
}

// Key returns a text whose bytes are in the order of the names, for lists that are sorted often. It
// puts the length of each number in front of its digits, without leading zeros.
func Key(name string) string {
	name = strings.ToLower(name)
	var key strings.Builder
	key.Grow(len(name) + 6)
	for name != "" {
		text := strings.IndexAny(name, "0123456789")
		if text < 0 {
			key.WriteString(name)
			break
		}
		key.WriteString(name[:text])
		digits := name[text:]
		if rest := strings.TrimLeft(digits, "0123456789"); rest != "" {
			digits = digits[:len(digits)-len(rest)]
		}
		name = name[text+len(digits):]
		number := strings.TrimLeft(digits, "0")
		length := min(len(number), maxDigits)
		key.WriteByte('0') // so that a number is where a digit would be
		key.WriteByte(byte(length >> 8))
		key.WriteByte(byte(length))
		key.WriteString(number)
	}
	return key.String()
}
