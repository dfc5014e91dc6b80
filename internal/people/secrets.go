package people

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Tokens, links and recovery codes are random, with at least 80 bits, so a plain digest keeps them
// secret. Only passwords, which people choose, need a slow one.

// tokenStart begins each named token, so that scanners for leaked secrets can find them, and a request
// with another secret needs no read of the ledger.
const tokenStart = "np_"

// NewToken returns a named token. It has 130 random bits.
func NewToken() string { return tokenStart + rand.Text() }

// LooksLikeToken reports whether a text may be a named token.
func LooksLikeToken(text string) bool {
	return strings.HasPrefix(text, tokenStart) && len(text) == len(tokenStart)+26
}

// NewLink returns the secret of an invitation. It has 130 random bits.
func NewLink() string { return rand.Text() }

// NewID returns a random id with a prefix.
func NewID(prefix string) string { return prefix + strings.ToLower(rand.Text()[:16]) }

// Digest returns the form in which a random secret is stored.
func Digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

const (
	// recoveryCodes is how many codes a person gets at once.
	recoveryCodes = 10
	recoveryGroup = 4
	// recoveryLength is the length of a code without hyphens: 80 bits.
	recoveryLength = 16
)

// NewRecoveryCodes returns codes that replace the code of an authenticator app, once each.
func NewRecoveryCodes() (codes []string) {
	for range recoveryCodes {
		text := rand.Text()[:recoveryLength]
		var groups []string
		for n := 0; n < recoveryLength; n += recoveryGroup {
			groups = append(groups, text[n:n+recoveryGroup])
		}
		codes = append(codes, strings.Join(groups, "-"))
	}
	return codes
}

// RecoveryDigest returns the form in which a recovery code is stored, "" if the text is none. It
// accepts lower case, spaces and missing hyphens.
func RecoveryDigest(text string) string {
	text = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(text))
	if len(text) != recoveryLength {
		return ""
	}
	return Digest(text)
}
