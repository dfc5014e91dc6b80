package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// NewTransport returns a transport for one vendor. It keeps enough idle connections for all workers,
// where the default is two for a host. A successful reply may have up to maxReply bytes, and all
// replies together share a bounded memory, see Replies.
func NewTransport(maxReply int) http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64
	return new(Replies).Over(t, maxReply)
}

// CheckReplies returns a transport that accepts only replies of the vendor itself:
//
//   - - A redirect is an error, because the request and its secret are for this host alone.
//   - - A 2xx reply is an error if check rejects its body, because something else answered,
//     such as a captive portal.
func CheckReplies(next http.RoundTripper, check func(body []byte) error) http.RoundTripper {
	return &checkedReplies{next, check}
}

// checkedReplies is the transport of CheckReplies.
type checkedReplies struct {
	next  http.RoundTripper
	check func([]byte) error
}

// RoundTrip implements http.RoundTripper.
func (c *checkedReplies) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode / 100 {
	case 3:
		_ = resp.Body.Close()
		return nil, fmt.Errorf(
			"%s answered with a redirect (status %d), which is not followed",
			r.URL.Host,
			resp.StatusCode,
		)
	case 2:
	default:
		return resp, nil
	}
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	if err == nil {
		err = c.check(body.Bytes())
	}
	if err != nil {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("the reply of %s with status %d: %w", r.URL.Host, resp.StatusCode, err)
	}
	resp.Body = &cut{&body, resp.Body} // the memory counts until Close
	return resp, nil
}

// TransportError returns the outcome of a call without a reply. It is Retryable if no connection
// was made, because then nothing was done. Otherwise it is Unknown.
func TransportError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return &Error{Outcome: Retryable, Err: err}
	}
	return &Error{Outcome: Unknown, Err: err}
}

// RetryAfter returns how long the header Retry-After asks to wait, in seconds or as a date. It
// returns 0 without a valid header, and at most 24 hours.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	const maxWait = 24 * time.Hour
	v := strings.TrimSpace(h.Get("Retry-After"))
	d := time.Duration(0)
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
			now = theirs // the vendor's clock set the date, and ours may be wrong
		}
		d = t.Sub(now)
	}
	return min(max(d, 0), maxWait)
}
