package vendortime_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"notepay/internal/vendortime"
)

func FuzzReplyDate(f *testing.F) {
	for _, value := range []string{
		"", "tomorrow", "Sat, 01 Jan 2000 00:01:30 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
		"Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "Saturday, 01-Jan-00 00:01:30 GMT",
		"Sat Jan  1 00:01:30 2000",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		clock := vendortime.New(nil)
		resp, err := clock.Watch(vendortime.Stripe, replies{"Request-Id": {"req_1"}, "Date": {value}}).
			RoundTrip(httptest.NewRequest("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		told, err := http.ParseTime(value)
		plausible := err == nil && time.Until(told).Abs() < 50*365*24*time.Hour
		if plausible && (!clock.Known() || clock.Now().Sub(told).Abs() > time.Minute) || err != nil && clock.Known() {
			t.Errorf("after %q it is %v, known: %v", value, clock.Now(), clock.Known())
		}
		if off := time.Until(clock.Now()).Abs(); off > 101*365*24*time.Hour {
			t.Errorf("after %q the clock is %v off", value, off)
		}
	})
}

// replies is a transport that answers every request with these headers.
type replies http.Header

// RoundTrip implements http.RoundTripper.
func (h replies) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header(h), Body: http.NoBody, Request: r}, nil
}
