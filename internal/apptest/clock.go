package apptest

import (
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"notepay/internal/vendortime"
)

// HostClock is the clock of the service's host. The vendors have the time of the bubble, unless the
// test sets their clocks.
type HostClock struct{ ahead atomic.Int64 }

// Set sets the clock ahead of the bubble's time.
func (h *HostClock) Set(ahead time.Duration) { h.ahead.Store(int64(ahead)) }

// Clock returns the service's estimate of Stripe's time. It returns nil for a nil h, and the
// service then uses the bubble's time.
func (h *HostClock) Clock() *vendortime.Clock {
	if h == nil {
		return nil
	}
	return vendortime.New(func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) })
}

// AsksForThePast checks that the service never asked Stripe for events of the future.
func (f *Front) AsksForThePast() {
	f.Helper()
	for _, r := range f.Stripe.Requests("GET /v1/events") {
		query, err := url.ParseQuery(r.Query)
		if err != nil {
			f.Fatal(err)
		}
		since, _ := strconv.ParseInt(query.Get("created[gte]"), 10, 64)
		if time.Unix(since, 0).After(f.Stripe.Now()) {
			f.Errorf(
				"events were asked for since %v, and Stripe has %v",
				time.Unix(since, 0).UTC(),
				f.Stripe.Now().UTC(),
			)
		}
	}
}
