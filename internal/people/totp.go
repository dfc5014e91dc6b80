package people

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

const (
	totpStep   = 30 * time.Second
	totpDigits = 6
	// totpSkew is how many steps the clock of a phone may differ.
	totpSkew = 1
	// totpBytes is the length of a secret: that of SHA-1, as RFC 4226 recommends.
	totpBytes = 20
)

// NewTOTP returns a secret for an authenticator app, in base 32.
func NewTOTP() string {
	secret := make([]byte, totpBytes)
	_, _ = rand.Read(secret) // never fails
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// ValidTOTP reports whether a text is a secret of NewTOTP.
func ValidTOTP(secret string) bool {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	return err == nil && len(raw) == totpBytes
}

// TOTPAddress returns the address that authenticator apps read from a QR code.
func TOTPAddress(secret, name, issuer string) string {
	q := url.Values{"secret": {secret}, "issuer": {issuer}}
	return "otpauth://totp/" + url.PathEscape(issuer+":"+name) + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// hotp returns the code of a counter (RFC 4226).
func hotp(secret []byte, counter uint64, digits int) string {
	mac := hmac.New(sha1.New, secret)
	_ = binary.Write(mac, binary.BigEndian, counter) // never fails
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 15
	value := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	power := uint32(1)
	for range digits {
		power *= 10
	}
	return fmt.Sprintf("%0*d", digits, value%power)
}

// CheckTOTP returns the step of a code (RFC 6238), and whether the code is valid now. used is the step
// of the last code that counted. That code and older ones are refused, so each counts once.
func CheckTOTP(secret, code string, used int64, now time.Time) (step int64, ok bool) {
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	code = strings.ReplaceAll(code, " ", "")
	if err != nil || len(raw) != totpBytes || len(code) != totpDigits {
		return 0, false
	}
	current := now.Unix() / int64(totpStep/time.Second)
	for at := current - totpSkew; at <= current+totpSkew; at++ {
		right := subtle.ConstantTimeCompare([]byte(hotp(raw, uint64(at), totpDigits)), []byte(code)) == 1
		if right && at > used {
			step, ok = at, true
		}
	}
	return step, ok
}
