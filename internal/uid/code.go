package uid

import (
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"strings"
)

// alphabet holds the letters and digits of short codes. Those that look alike in print or by hand
// are missing: 0 and O, 1, I and L, 2 and Z, 5 and S, 8 and B, U and V.
const alphabet = "34679ACDEFGHJKMNPQRTWXY"

const (
	// MinCode is the length of a short code, and of each of its extensions by two.
	MinCode = 4
	// MaxCode is the length of the longest code of a device.
	MaxCode = 8
)

// Code returns the longest short code of a device, MaxCode characters. A sticker shows the shortest
// beginning of it that no other device has. The code depends on the UID alone, so that a sticker
// stays valid whatever happens to the service.
func Code(key string) string {
	sum := sha256.Sum256([]byte("notepay sticker " + key))
	code := make([]byte, MaxCode)
	for i := range code {
		// The remainder of two bytes is almost equally distributed.
		code[i] = alphabet[(int(sum[2*i])<<8|int(sum[2*i+1]))%len(alphabet)]
	}
	return string(code)
}

// ShowCode returns a short code as stickers show it, in pairs, such as W3-7F.
func ShowCode(code string) string {
	var pairs []string
	for len(code) > 2 {
		pairs, code = append(pairs, code[:2]), code[2:]
	}
	return strings.Join(append(pairs, code), "-")
}

// ParseCode parses a short code as people type it, in lower case or with other separators. ok
// reports whether it may be one.
func ParseCode(given string) (code string, ok bool) {
	code, ok = readable(given)
	if !ok || len(code) < MinCode || len(code) > MaxCode || len(code)%2 != 0 {
		return "", false
	}
	return code, true
}

// readable returns a code without the separators that people type. ok reports whether all other
// characters are those of codes.
func readable(given string) (code string, ok bool) {
	if len(given) > 4*StartCode {
		return "", false
	}
	code = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -_\u2010\u2011\u2012\u2013\u2014\u00a0", r) {
			return -1
		}
		return r
	}, strings.ToUpper(Plain(given)))
	return code, strings.Trim(code, alphabet) == ""
}

// StartCode is the length of a code for a free start. It differs from that of each short code, so that
// both can be typed into one field.
const StartCode = 10

// NewStartCode returns a random code for a free start. It has 45 random bits.
func NewStartCode() string {
	code := make([]byte, StartCode)
	for i := range code {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet)))) // never fails (crypto/rand)
		code[i] = alphabet[n.Int64()]
	}
	return string(code)
}

// ShowStartCode returns a code for a free start as people read it, such as K7QM4-6XPDA.
func ShowStartCode(code string) string { return code[:len(code)/2] + "-" + code[len(code)/2:] }

// ParseStartCode parses a code for a free start as people type it.
func ParseStartCode(given string) (code string, ok bool) {
	code, ok = readable(given)
	if !ok || len(code) != StartCode {
		return "", false
	}
	return code, true
}
