package notehub

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"notepay/internal/upstream"
)

// ClassifyToken returns what the error of a token call means. Nothing was done at the device. Its
// errors have OAuth's shape, not Notehub's.
func ClassifyToken(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return &upstream.Error{Outcome: upstream.Retryable, Err: fmt.Errorf("token: %w", err)}
	}
	out := &upstream.Error{
		Outcome: upstream.Retryable,
		Detail:  upstream.Excerpt([]byte("token: " + e.ErrorCode + " " + e.ErrorDescription)),
	}
	if e.Response != nil {
		out.Status, out.RetryAfter = e.Response.StatusCode, upstream.RetryAfter(e.Response.Header, time.Now())
	}
	switch {
	case out.Status == http.StatusTooManyRequests:
		out.Outcome = upstream.RateLimited
	case out.Status/100 == 4:
		out.Outcome = upstream.Misconfigured
	}
	return out
}

// rejectedToken is a 401, with the token that caused it.
type rejectedToken struct{ token string }

func (*rejectedToken) Error() string { return "token rejected" }

// classify says what a reply other than 2xx and 401 means. Notehub documents no statuses for single
// calls (docs/vendors.md, U5, U6, U15): what is assumed of them stands here and nowhere else. When
// in doubt it is our trouble, which is tried again, not a refusal, which is final.
func classify(c call, resp *http.Response, text []byte) error {
	var reply struct {
		Err string `json:"err"`
	}
	e := &upstream.Error{
		Outcome:    upstream.Misconfigured,
		Status:     resp.StatusCode,
		Detail:     upstream.Excerpt(text),
		RetryAfter: upstream.RetryAfter(resp.Header, time.Now()),
	}
	if json.Unmarshal(text, &reply) == nil && reply.Err != "" {
		e.Detail = upstream.Excerpt([]byte(reply.Err))
	}
	names := func(tokens ...string) bool {
		for _, t := range tokens {
			if strings.Contains(reply.Err, t) {
				return true
			}
		}
		return false
	}
	aboutDevice := c.device != "" &&
		names("{device-noexist}", "{device-none}", "{device-id-invalid}", "{device-disabled}")
	switch status := resp.StatusCode; {
	case names("notes may be pending"): // U6: the status is not known, the text is
		e.Outcome = upstream.Retryable
	case status == http.StatusTooManyRequests:
		e.Outcome = upstream.RateLimited
	case status == http.StatusRequestTimeout || status >= 500:
		e.Outcome = upstream.Unknown
		// Notehub's own words end the call; a gateway may say so of one that goes on behind it.
		e.Over = reply.Err != "" && status != http.StatusBadGateway && status != http.StatusGatewayTimeout
	case (status == http.StatusNotFound || status == http.StatusForbidden || status == http.StatusBadRequest) && aboutDevice: // U5
		e.Outcome = upstream.Rejected
	case status == http.StatusNotFound && c.method == http.MethodGet && names("{notefile-noexist}", "{file-noexist}"):
		e.Outcome = upstream.Rejected // an answer: there is no such queue
	case status/100 == 4 && c.method == http.MethodDelete && names("{note-noexist}", "{notefile-noexist}", "{file-noexist}"): // U15
		// an answer: there is no such note. A Notehub that says 200 of it cannot be told from one
		// that deleted it
		e.Outcome = upstream.Rejected
	case (status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge) && c.method == http.MethodPost && reply.Err != "":
		e.Outcome = upstream.Rejected // Notehub itself, and not a proxy, refuses this note
	}
	return e
}
