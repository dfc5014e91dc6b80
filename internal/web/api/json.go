package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"notepay/internal/web"
)

// Error is an error answer in JSON.
type Error struct {
	Status  int
	Code    string // for programs: "not_found", ...
	Message string // for people
}

// NewError returns an error answer.
func NewError(status int, code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Write answers with the error.
func (e *Error) Write(w http.ResponseWriter) error {
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	return WriteJSON(w, e.Status, map[string]inner{"error": {e.Code, e.Message}})
}

// WriteJSON answers with v as JSON. Caches must not store the answer.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeBody(w, status, body)
}

// writeBody answers with JSON that is encoded already.
func writeBody(w http.ResponseWriter, status int, body []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write(append(body, '\n'))
	return err
}

// Bearer reports whether a request carries a bearer token. It compares in constant time.
func Bearer(r *http.Request, token string) bool {
	text := given(r)
	return text != "" && web.SameSecret(text, token)
}

// given returns the bearer token of a request, "" if there is none.
func given(r *http.Request) string {
	scheme, text, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "Bearer") { // in any case (RFC 9110, 11.1)
		return ""
	}
	return strings.TrimSpace(text)
}
