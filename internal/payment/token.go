package payment

import (
	"encoding/hex"
	"strings"
)

// A token names a customer's live page. It consists of the credit id without its prefix, by which
// the payment is found, and 128 random bits. Older tokens are random alone, and shorter.

// TokenLength is the length of a token that names its credit.
const TokenLength = CreditLength - len(creditPrefix) + 32

const (
	creditPrefix = "cr_"
	// CreditLength is the length of a credit id.
	CreditLength = len(creditPrefix) + 16
)

// TokenOf returns the token for the page of a credit's payment.
func TokenOf(credit string, random [16]byte) string {
	return strings.TrimPrefix(credit, creditPrefix) + hex.EncodeToString(random[:])
}

// CreditOfToken returns the credit id in a token. It returns false for a token that names none.
func CreditOfToken(token string) (id string, ok bool) {
	if len(token) != TokenLength {
		return "", false
	}
	return creditPrefix + token[:CreditLength-len(creditPrefix)], true
}
