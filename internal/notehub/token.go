package notehub

import (
	"errors"
	"fmt"
	"net/http"
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
