package process

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// Three instances that start at once with many new machines read each list once, create one link for
// each machine within Stripe's limit, and lead customers to the same page.
func TestInstancesStartTogether(t *testing.T) {
	t.Parallel()
	const machines = 60
	s := newInstances(t, 0, "NOTEHUB_REQUESTS_PER_MINUTE", "6000") // so that variables are read at once
	devices := []string{fixture.Washer}
	for n := range machines - 1 {
		uid := fmt.Sprintf("dev:%d", n)
		s.w.Notehub.AddDevice(sandbox.Device{UID: uid, LastActivity: time.Now()})
		devices = append(devices, uid)
	}
	procs := make([]*apptest.Process, 3)
	s.w.All(len(procs), func(n int) { procs[n] = s.w.Spawn() })
	s.procs = procs
	for n, uid := range devices {
		want := s.service(n % 3).Selling(uid)
		for other := range procs {
			if got := s.service(other).Selling(uid); got != want {
				t.Errorf("%s leads to %s and to %s", uid, want, got)
			}
		}
	}
	made := s.w.Stripe.Requests("POST /v1/payment_links")
	if len(made) != machines {
		t.Errorf("%d links were created; want %d", len(made), machines)
	}
	for n := range len(made) - 25 { // sorted by time
		if took := made[n+25].At.Sub(made[n].At); took < 900*time.Millisecond {
			t.Errorf("26 links were created in %v; want 25 a second at most", took)
			break
		}
	}
	for list, pattern := range map[string]string{
		"devices": "GET /v1/projects/{project}/devices",
		"events":  "GET /v1/events",
	} {
		if n := len(firstPages(s, list, pattern)); n != 1 {
			t.Errorf("the %s were listed %d times; want once", list, n)
		}
	}
	s.stop()
}

// firstPages returns the requests of a list that begin it. Each instance reads one event besides, from
// whose reply it learns the time.
func firstPages(s *instances, list, pattern string) (first []sandbox.Request) {
	requests := s.w.Notehub.Requests(pattern)
	if list == "events" {
		requests = s.w.Stripe.Requests(pattern)
	}
	for _, r := range requests {
		one := list == "events" && !strings.Contains(r.Query, "created")
		if !one && !strings.Contains(r.Query, "starting_after") && !strings.Contains(r.Query, "pageNum=2") {
			first = append(first, r)
		}
	}
	return first
}

// busy starts three instances, which have payments for six machines, and returns their links.
func busy(t *testing.T, settings ...string) (s *instances, links []string) {
	t.Helper()
	s = newInstances(t, 0, settings...)
	devices := []string{fixture.Washer}
	for n := range 5 {
		devices = append(devices, fmt.Sprintf("dev:%d", n))
		s.w.Notehub.AddDevice(sandbox.Device{UID: devices[1+n], LastActivity: time.Now()})
	}
	for range 3 {
		s.procs = append(s.procs, s.w.Spawn())
	}
	for n, uid := range devices {
		links = append(links, s.service(n%3).Selling(uid))
	}
	pause(2500 * time.Millisecond) // until all know of all others
	return s, links
}

// pay makes customers pay at all links, and waits until the webhooks are accepted.
func (s *instances) pay(links []string, each int) {
	s.w.All(len(links), func(n int) {
		for range each {
			if _, err := s.w.Stripe.Pay(links[n], sandbox.PayOptions{}); err != nil {
				s.Error(err)
			}
		}
	})
}

// callsToNotehub returns when calls to Notehub began.
func (s *instances) callsToNotehub() (at []time.Time) {
	for _, r := range s.w.Notehub.Requests("{any} /v1/{rest...}") {
		at = append(at, r.At)
	}
	return at
}

// All instances together keep Notehub's limit.
func TestInstancesShareTheLimit(t *testing.T) {
	t.Parallel()
	const perMinute = 60
	s, links := busy(t, "NOTEHUB_REQUESTS_PER_MINUTE", fmt.Sprint(perMinute))
	s.pay(links, 15)
	pause(5 * time.Second)
	all := s.callsToNotehub()
	for n := range len(all) - perMinute {
		if took := all[n+perMinute].Sub(all[n]); took < 55*time.Second {
			t.Errorf("%d calls began within %v; want %d a minute at most", perMinute+1, took, perMinute)
			break
		}
	}
	t.Logf("%d calls in %v", len(all), all[len(all)-1].Sub(all[0]))
	for _, p := range s.procs { // the rest of the payments waits for its turn
		p.Kill(t)
	}
}

// While Notehub says to one instance that no call may be made, none of them makes one.
func TestInstancesShareAHold(t *testing.T) {
	t.Parallel()
	s, links := busy(t)
	s.w.Notehub.Next("POST /v1/projects/{project}/devices/{device}/notes/{file}", sandbox.Outcome{
		Status: http.StatusTooManyRequests,
		Header: http.Header{"Retry-After": {"10"}},
	})
	s.pay(links[:1], 1)
	var refused time.Time
	s.w.Until("Notehub has refused a call", func() bool {
		for _, r := range s.w.Notehub.Requests("{any} /v1/{rest...}") {
			if r.Status == http.StatusTooManyRequests {
				refused = r.At
				return true
			}
		}
		return false
	})
	pause(time.Until(refused.Add(3 * time.Second))) // until all have heard it
	s.pay(links, 4)
	pause(time.Until(refused.Add(9500 * time.Millisecond)))
	early := 0
	for _, at := range s.callsToNotehub() {
		if at.After(refused.Add(3*time.Second)) && at.Before(refused.Add(9500*time.Millisecond)) {
			early++
		}
	}
	if early > 0 {
		t.Errorf("%d calls began while Notehub had said to wait", early)
	}
	s.w.Until("all notes are sent", func() bool { return len(s.w.Notehub.Notes("")) == 1+4*len(links) })
	s.stop()
}
