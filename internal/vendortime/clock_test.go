package vendortime

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// reply describes a vendor's reply.
type reply struct {
	ahead  time.Duration // of the vendor's clock
	took   time.Duration
	status int
	header []string
}

type vendor struct{ reply }

// RoundTrip implements http.RoundTripper.
func (v vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(v.took / 2)
	h := http.Header{
		"Date":         {time.Now().Add(v.ahead).UTC().Format(http.TimeFormat)},
		"Content-Type": {"application/json"},
	}
	time.Sleep(v.took / 2)
	for i := 0; i < len(v.header); i += 2 {
		h.Set(v.header[i], v.header[i+1])
	}
	return &http.Response{StatusCode: v.status, Header: h, Body: http.NoBody, Request: r}, nil
}

func ask(t *testing.T, c *Clock, of Witness, r reply) {
	t.Helper()
	if r.status == 0 {
		r.status = http.StatusOK
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://vendor.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Watch(of, vendor{r}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// near fails if the clock differs from Stripe's time by more than within.
func near(t *testing.T, c *Clock, ahead, within time.Duration) {
	t.Helper()
	if off := c.Now().Sub(time.Now().Add(ahead)).Abs(); off > within {
		t.Errorf("Now is %v off Stripe's time; want at most %v", off, within)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	of := []string{"Request-Id", "req_1"}
	for name, test := range map[string]func(t *testing.T){
		"before a reply it is the host's time and unknown": func(t *testing.T) {
			c := New(nil)
			if _, seen := c.Ahead(); c.Known() || seen {
				t.Error("the time is known before anybody answered")
			}
			near(t, c, 0, 0)
		},
		"a reply of the same time changes nothing at all": func(t *testing.T) {
			c := New(nil)
			for range 20 {
				ask(t, c, Stripe, reply{took: 300 * time.Millisecond, header: of})
				time.Sleep(77 * time.Millisecond)
			}
			if near(t, c, 0, 0); !c.Known() || c.Offset() != 0 {
				t.Errorf("known %v, offset %v", c.Known(), c.Offset())
			}
		},
		"a slow reply is as good as its duration": func(t *testing.T) {
			c := New(nil)
			ask(t, c, Stripe, reply{ahead: -20 * time.Minute, took: 14 * time.Second, header: of})
			near(t, c, -20*time.Minute, 8*time.Second)
			ask(t, c, Stripe, reply{ahead: -20 * time.Minute, took: 20 * time.Millisecond, header: of})
			near(t, c, -20*time.Minute, time.Second+20*time.Millisecond)
		},
		"an error of Stripe's own tells the time": func(t *testing.T) {
			c := New(nil)
			ask(t, c, Stripe, reply{ahead: time.Hour, status: 401, header: of})
			near(t, c, time.Hour, time.Second)
		},
		"a proxy's reply does not": func(t *testing.T) {
			c := New(nil)
			ask(t, c, Stripe, reply{header: of})
			ask(t, c, Stripe, reply{ahead: -time.Hour, status: 502})
			ask(t, c, Stripe, reply{ahead: -time.Hour, header: []string{"Content-Type", "text/html"}})
			ask(t, c, Stripe, reply{ahead: -time.Hour, header: []string{"Request-Id", "req_1", "Age", "3600"}})
			replayed := []string{"Request-Id", "req_1", "Idempotent-Replayed", "true"}
			ask(t, c, Stripe, reply{ahead: -time.Hour, header: replayed})
			ask(t, c, Stripe, reply{header: []string{"Request-Id", "req_1", "Date", "yesterday"}})
			near(t, c, 0, 0)
		},
		"Notehub counts only until Stripe has answered": func(t *testing.T) {
			c := New(nil)
			ask(t, c, Notehub, reply{ahead: time.Hour})
			if ahead, seen := c.Ahead(); c.Known() || !seen || (ahead+time.Hour).Abs() > 2*time.Second {
				t.Errorf("after Notehub alone: known %v, seen %v, ahead %v", c.Known(), seen, ahead)
			}
			near(t, c, time.Hour, time.Second)
			ask(t, c, Stripe, reply{header: of})
			ask(t, c, Notehub, reply{ahead: time.Hour})
			near(t, c, 0, time.Second)
		},
		"a step of the host's clock shows as a difference and moves nothing": func(t *testing.T) {
			step := time.Duration(0)
			c := New(func() time.Time { return time.Now().Add(step) })
			ask(t, c, Stripe, reply{header: of})
			before := c.Now()
			step = -time.Hour
			time.Sleep(time.Minute)
			if got := c.Now().Sub(before); got != time.Minute {
				t.Errorf("a minute took %v", got)
			}
			if ahead, _ := c.Ahead(); ahead != -time.Hour || !c.Doubtful() {
				t.Errorf("ahead %v, doubtful %v", ahead, c.Doubtful())
			}
			ask(t, c, Stripe, reply{header: of})
			if near(t, c, 0, 0); c.Doubtful() {
				t.Error("still doubtful after Stripe has answered")
			}
			step = 0
			if ahead, _ := c.Ahead(); ahead != 0 {
				t.Errorf("ahead %v after the clock was set right", ahead)
			}
		},
		"a host that slept learns it from the next reply": func(t *testing.T) {
			c := New(nil)
			ask(t, c, Stripe, reply{header: of})
			ask(t, c, Stripe, reply{ahead: 3 * time.Hour, header: of})
			near(t, c, 3*time.Hour, time.Second)
		},
		"a reading of before is converted by what is known now": func(t *testing.T) {
			c := New(nil)
			began := time.Now()
			time.Sleep(time.Minute)
			ask(t, c, Stripe, reply{ahead: -time.Hour, header: of})
			if off := c.At(began).Sub(began.Add(-time.Hour)).Abs(); off > time.Second {
				t.Errorf("%v off", off)
			}
		},
		"no clock is the host's": func(t *testing.T) {
			var c *Clock
			now := time.Now()
			if !c.At(now).Equal(now) || !c.Known() || c.Offset() != 0 || c.Doubtful() {
				t.Error("a nil clock is not the host's")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, test)
		})
	}
}
