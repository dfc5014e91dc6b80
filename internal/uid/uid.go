// Package uid compares the UIDs of Notehub's devices. All parts compare them in the one form that
// Key returns.
//
// Notehub may spell a UID with capitals, a sticker in capitals alone, and people in many ways. What
// Notehub is asked for is always spelled as Notehub spells it, which the package does not know.
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

// maxName is how long a UID may be behind its prefix.
const maxName = 64

// Key returns the form in which UIDs are compared.
func Key(uid string) string { return strings.ToLower(strings.TrimSpace(uid)) }

// Valid reports whether a device with this UID can be scanned: "dev:" and at most 64 lower-case
// letters, digits and "-_.", with single colons between them, as in dev:lora:70b3d57ed0051234.
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

// bare is a UID without its prefix, as it is printed on the module: an IMEI, or the hexadecimal
// number of a Wi-Fi Notecard.
var bare = regexp.MustCompile(`^[0-9a-f]{12,16}$`)

// Parse reads a UID as scanners, shorteners and people write it, and returns its key. It undoes
// escapes, capitals, full-width letters and invisible characters, and takes a UID out of a pasted
// address. A template that was not filled in ("[deviceUID]") is none.
func Parse(given string) (key string, ok bool) {
	if Valid(given) {
		return given, true
	}
	if len(given) > 2000 {
		return "", false
	}
	for range 3 { // a shortener may have escaped what was escaped already
		plain, err := url.PathUnescape(given)
		if err != nil || plain == given {
			break
		}
		given = plain
	}
	key = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) || unicode.IsControl(r) { // such as a zero-width space
			return -1
		}
		return r
	}, norm.NFKC.String(given))
	key = strings.Trim(Key(key), `"'<>.,;`+"`")
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

// Of returns the key of a UID that was given by an operator, who may also name a device that cannot
// be scanned.
func Of(given string) string {
	if key, ok := Parse(given); ok {
		return key
	}
	return Key(given)
}

// Spellings remembers how Notehub spells UIDs that have capitals. The zero value is ready to use
// and safe for concurrent use.
type Spellings struct{ byKey sync.Map }

// Learn remembers a spelling, unless it is "" or the key itself, and returns what it remembers: ""
// for nothing.
func (s *Spellings) Learn(key, spelled string) string {
	if spelled == "" || spelled == key {
		return ""
	}
	s.byKey.Store(key, spelled)
	return spelled
}

// Of returns the spelling of a key, or the key where there is no other.
func (s *Spellings) Of(key string) string {
	if spelled, ok := s.byKey.Load(key); ok {
		return spelled.(string)
	}
	return key
}

// Split returns the key of a UID as Notehub spells it, and the spelling where that is another,
// which it remembers.
func (s *Spellings) Split(spelled string) (key, other string) {
	key = Key(spelled)
	return key, s.Learn(key, spelled)
}
