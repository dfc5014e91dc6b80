package notehub

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"notepay/internal/upstream"
)

// classify converts a reply other than 2xx and 401 into an *upstream.Error. Notehub documents no
// statuses for single calls (docs/vendors.md, U5, U6, U15), so all assumptions about them are here.
// In doubt the outcome is Misconfigured, after which the call is repeated, and not Rejected, which
// is final.
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
	case names("notes may be pending"): // U6: only the text is known, not the status
		e.Outcome = upstream.Retryable
	case status == http.StatusTooManyRequests:
		e.Outcome = upstream.RateLimited
	case status == http.StatusRequestTimeout || status >= 500:
		e.Outcome = upstream.Unknown
		// An error of Notehub's own ends the call. After a gateway's error it may go on.
		e.Over = reply.Err != "" && status != http.StatusBadGateway && status != http.StatusGatewayTimeout
	case aboutDevice &&
		(status == http.StatusNotFound || status == http.StatusForbidden || status == http.StatusBadRequest): // U5
		e.Outcome = upstream.Rejected
	case status == http.StatusNotFound && c.method == http.MethodGet && names("{notefile-noexist}", "{file-noexist}"):
		e.Outcome = upstream.Rejected // there is no such queue
	case status/100 == 4 && c.method == http.MethodDelete &&
		names("{note-noexist}", "{notefile-noexist}", "{file-noexist}"): // U15
		// There is no such note. If Notehub answers 200 instead, it looks like a deletion.
		e.Outcome = upstream.Rejected
	case (status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge) &&
		c.method == http.MethodPost && reply.Err != "":
		e.Outcome = upstream.Rejected // Notehub itself, and not a proxy, rejects this note
	}
	return e
}
