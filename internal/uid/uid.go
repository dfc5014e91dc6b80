// Package uid parses and normalizes the UIDs of Notehub's devices. All packages compare UIDs in the
// form that Key returns.
//
// Notehub may spell a UID with capitals, a sticker may use only capitals, and people write UIDs in
// many ways. Calls to Notehub use Notehub's own spelling, which Spellings remembers.
package uid

import (
	"net/url"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const prefix = "dev:"

// maxName is the maximum length of a UID after its prefix.
const maxName = 64

// Key returns the normalized form of a UID.
func Key(uid string) string { return strings.ToLower(strings.TrimSpace(uid)) }

// Valid reports whether a device with this UID can be scanned. A valid UID is "dev:" and at most 64
// lower-case letters, digits and "-_.", with single colons between them, as in
// dev:lora:70b3d57ed0051234.
func Valid(key string) bool {
	name, ok := strings.CutPrefix(key, prefix)
	if !ok || name == "" || len(name) > maxName {
		return false
	}
	last := byte(':')
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		case c == ':' && last != ':':
		default:
			return false
		}
		last = c
	}
	return last != ':'
}

// bare matches a UID without its prefix, as printed on the module: an IMEI, or the hexadecimal
// number of a Wi-Fi Notecard.
var bare = regexp.MustCompile(`^[0-9a-f]{12,16}$`)

// Parse parses a UID as scanners, URL shorteners and people write it, and returns its key. It
// undoes escapes, capitals, full-width letters and invisible characters, and extracts a UID from a
// pasted address. It rejects a template that was not filled in, such as "[deviceUID]".
func Parse(given string) (key string, ok bool) {
	if Valid(given) {
		return given, true
	}
	if len(given) > 2000 {
		return "", false
	}
	for range 3 { // a shortener may have escaped an escaped URL
		plain, err := url.PathUnescape(given)
		if err != nil || plain == given {
			break
		}
		given = plain
	}
	key = Key(Plain(given))
	if i := strings.IndexAny(key, "?&#"); i >= 0 && (Valid(key[:i]) || bare.MatchString(key[:i])) {
		key = key[:i] // a tracker or another parameter was added behind it
	}
	if i := strings.LastIndex(key, prefix); i > 0 && strings.ContainsAny(key[:i], "/=") {
		key, _, _ = strings.Cut(key[i:], "/")
		key = key[:len(key)-len(strings.TrimLeft(key, "abcdefghijklmnopqrstuvwxyz0123456789-_.:"))]
	}
	if digits := strings.NewReplacer(" ", "", "-", "").Replace(key); bare.MatchString(digits) {
		key = prefix + digits
	}
	if !Valid(key) {
		return "", false
	}
	return key, true
}

// around holds what stands around a UID, a code or an address in a text, and is no part of it.
const around = `"'<>.,;()` + "`"

// Plain returns a text as it was meant, whatever keyboard typed it and whatever program passed it
// on. It makes full-width letters and the digits of other scripts plain ones, and drops invisible
// characters, spaces and punctuation marks around the text.
func Plain(text string) string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r) || unicode.IsControl(r): // for example a zero-width space
			return -1
		case r > unicode.MaxASCII && unicode.IsDigit(r):
			return digit(r)
		}
		return r
	}, norm.NFKC.String(text))
	return strings.TrimSpace(strings.Trim(strings.TrimSpace(plain), around))
}

// digit returns the plain digit of the same value. Each script has its ten digits in a row.
func digit(r rune) rune {
	for _, digits := range unicode.Nd.R16 {
		if lo, hi := rune(digits.Lo), rune(digits.Hi); lo <= r && r <= hi {
			return '0' + (r-lo)%10
		}
	}
	for _, digits := range unicode.Nd.R32 {
		if lo, hi := rune(digits.Lo), rune(digits.Hi); lo <= r && r <= hi {
			return '0' + (r-lo)%10
		}
	}
	return r
}

// Of returns the key of a UID that an operator gave. The device need not fit on a sticker.
func Of(given string) string {
	if key := Key(given); Valid(key) {
		return key
	}
	if key, ok := Parse(given); ok {
		return key
	}
	return Key(given)
}

// Spellings stores Notehub's spelling of UIDs with capitals. The zero value is ready to use and
// safe for concurrent use.
type Spellings struct{ byKey sync.Map }

// Learn stores a spelling and returns it. If the spelling is "" or the key itself, Learn stores
// nothing and returns "".
func (s *Spellings) Learn(key, spelled string) string {
	if spelled == "" || spelled == key {
		return ""
	}
	s.byKey.Store(key, spelled)
	return spelled
}

// Of returns the spelling of a key, or the key if there is no other.
func (s *Spellings) Of(key string) string {
	if spelled, ok := s.byKey.Load(key); ok {
		return spelled.(string)
	}
	return key
}

// Split returns the key of a UID in Notehub's spelling. If the spelling differs, Split stores it
// and returns it as other.
func (s *Spellings) Split(spelled string) (key, other string) {
	key = Key(spelled)
	return key, s.Learn(key, spelled)
}
