package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// maxForm bounds the form of a page, in bytes: the longest holds a reason and a path. Anybody can
// send one.
const maxForm = 16 << 10

// LimitForm bounds what is read of a form. What does not fit is missing.
func LimitForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
}

// APIError is an error answer of /api.
type APIError struct {
	Status  int
	Code    string // "not_found", ...
	Message string
}

// NewAPIError returns an error answer with a status, a code for programs and a message for people.
func NewAPIError(status int, code, message string) *APIError {
	return &APIError{Status: status, Code: code, Message: message}
}

func (e *APIError) Error() string { return e.Code + ": " + e.Message }

// Answered is the error of a request that was answered in full: it is only for the log.
type Answered struct{ Err error }

func (a *Answered) Error() string { return a.Err.Error() }
func (a *Answered) Unwrap() error { return a.Err }

// Shown returns what a handler returns that showed a page in place of an error: that error, or
// why the page could not be written.
func Shown(err, shown error) error {
	if shown != nil {
		return errors.Join(err, shown)
	}
	return &Answered{err}
}

// WriteJSON answers with JSON that nobody stores.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return WriteRawJSON(w, status, body)
}

func WriteRawJSON(w http.ResponseWriter, status int, body []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write(append(body, '\n'))
	return err
}

// Write answers with the error.
func (e *APIError) Write(w http.ResponseWriter) error {
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	return WriteJSON(w, e.Status, map[string]inner{"error": {e.Code, e.Message}})
}

// Bearer says whether a request carries a token, in a time that does not tell how much of it was
// right.
func Bearer(r *http.Request, token string) bool {
	scheme, given, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	return strings.EqualFold(scheme, "Bearer") &&
		SameSecret(strings.TrimSpace(given), token) // the scheme has no case: RFC 9110, 11.1
}

// SameSecret compares in a time that does not tell how much of it was right.
func SameSecret(given, secret string) bool {
	a, b := sha256.Sum256(
		[]byte(given),
	), sha256.Sum256(
		[]byte(secret),
	) // equal lengths for a comparison in constant time
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
