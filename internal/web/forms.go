package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
)

// maxForm bounds the form of a page, in bytes. Any client can send one, and the longest form that
// our pages have holds a reason and a path.
const maxForm = 16 << 10

// LimitForm bounds the form that a handler reads. Parsing a longer form fails.
func LimitForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
}

// SameSecret reports whether given equals secret. The time it takes does not depend on how much of
// given is right, nor on its length.
func SameSecret(given, secret string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
