package app_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// refusedListing starts the service, whose next listing of devices will be refused with a Retry-After. It
// returns a function that counts the calls to Notehub.
func refusedListing(f *apptest.Front, retryAfter time.Duration) (calls func() int) {
	f.Run()
	f.Pass(time.Minute)
	f.Notehub.Next(fixture.HubList, sandbox.Outcome{
		Status: http.StatusTooManyRequests,
		Header: http.Header{"Retry-After": {fmt.Sprint(retryAfter.Seconds())}},
	})
	return func() int { return len(f.Notehub.Requests("{any} /v1/{rest...}")) }
}

// A vendor's Retry-After holds for a process that starts during it.
func TestHoldOutlivesARestart(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		calls := refusedListing(f, time.Hour)
		f.Pass(15 * time.Minute)
		before := calls()
		for range 3 {
			f.Restarted(nil)
			f.Pass(5 * time.Minute)
		}
		if n := calls() - before; n > 0 {
			f.Errorf("%d calls after restarts during a hold; want none", n)
		}
		f.Pass(time.Hour)
		if calls() == before {
			f.Error("no call after the hold")
		}
	})
}

// A host whose clock is behind takes no hold for a longer one. The stored times are those of a clock
// that was an hour ahead of it.
func TestHoldIsNoLongerThanItWas(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		calls := refusedListing(f, 30*time.Second)
		f.Pass(15*time.Minute + 10*time.Second)
		before := calls()
		f.Restart(`UPDATE facts SET value = value + 3600000 WHERE name LIKE 'hold%'`)
		f.Pass(5 * time.Minute)
		if calls() == before {
			f.Error("no call within five minutes of a hold of 30 s")
		}
	})
}
