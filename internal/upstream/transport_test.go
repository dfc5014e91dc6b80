package upstream_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"notepay/internal/upstream"
)

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{
		"", "0", "7", " 7 ", "-1", "1e9", "4294967295", "4294967296", "soon", "7.5", "Sat, 01 Jan 2000 00:01:30 GMT",
		"Sat, 01 Jan 9999 00:00:00 GMT", "Saturday, 01-Jan-00 00:01:30 GMT",
	} {
		f.Add(value)
	}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		d := upstream.RetryAfter(http.Header{"Retry-After": {value}}, now)
		if d < 0 || d > 24*time.Hour {
			t.Errorf("%q is %v; want between nothing and a day", value, d)
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16); err == nil &&
			d != min(time.Duration(n)*time.Second, 24*time.Hour) {
			t.Errorf("%q is %v; want %d s", value, d, n)
		}
	})
}
