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

// busy prepares three instances that were started by start, with payments for six machines, and
// returns their links.
func busy(
	t *testing.T,
	start func(t *testing.T, n int, settings ...string) *instances,
	settings ...string,
) (s *instances, links []string) {
	t.Helper()
	s = start(t, 0, settings...)
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

// All instances together keep Notehub's limit while one joins, one is replaced and one leaves, and use it,
// with more payments than it allows in two minutes. An instance that has just started makes no calls,
// because others may have used the limit, and the others deliver what it receives. A minute after its
// start, the leader removes what is old, and no other instance does.
func TestInstancesShareTheLimit(t *testing.T) {
	t.Parallel()
	const perMinute, payments, watched, most = 60, 150, 30 * time.Second, 92
	s, links := busy(t, newInstances, "NOTEHUB_REQUESTS_PER_MINUTE", fmt.Sprint(perMinute))
	s.d.exec(`CREATE TABLE prunings (at TIMESTAMPTZ NOT NULL)`)
	s.d.exec(`CREATE FUNCTION note_pruning() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO prunings VALUES (now()); RETURN NULL; END'`)
	s.d.exec(`CREATE TRIGGER prunes AFTER DELETE ON changes FOR EACH STATEMENT EXECUTE FUNCTION note_pruning()`)
	pause(70 * time.Second)
	if n := s.d.query(`SELECT count(*) FROM prunings`); n != 1 {
		t.Errorf("old changes were removed %d times; want once, by the leader", n)
	}
	began := time.Now()
	s.pay(links, payments/len(links))
	pause(3 * time.Second)
	s.kill(2)
	if err := s.procs[0].Stop(); err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
	late := s.w.Spawn()
	pause(time.Until(began.Add(watched)))
	all := s.callsToNotehub()
	for n := range len(all) - perMinute {
		if took := all[n+perMinute].Sub(all[n]); took < 55*time.Second {
			t.Errorf("%d calls began within %v; want %d a minute at most", perMinute+1, took, perMinute)
			break
		}
	}
	during := 0
	for _, at := range all {
		if at.After(began) {
			during++
		}
	}
	if during > most || during < perMinute/2 {
		t.Errorf("%d calls in %v; want from %d to %d", during, watched, perMinute/2, most)
	}
	t.Logf("%d calls in all, %d of them in %v with payments", len(all), during, watched)
	for _, p := range append(s.procs[1:], late) { // the rest of the payments waits for its turn
		p.Kill(t)
	}
}

// While Notehub says to one instance that no call may be made, none of them makes one.
func TestInstancesShareAHold(t *testing.T) {
	t.Parallel()
	testHold(t, newInstances, time.Second)
}

// The same where instances only poll.
func TestInstancesShareAHoldBehindAPooler(t *testing.T) {
	t.Parallel()
	testHold(t, newPooledInstances, 3*time.Second)
}

// testHold makes Notehub answer 429 with a Retry-After of 20 s while customers pay all the time. Soon
// after that, no call may begin until the time is over.
func testHold(t *testing.T, start func(*testing.T, int, ...string) *instances, soon time.Duration) {
	t.Helper()
	const held = 20 * time.Second
	s, links := busy(t, start)
	s.w.Notehub.Next("POST /v1/projects/{project}/devices/{device}/notes/{file}", sandbox.Outcome{
		Status: http.StatusTooManyRequests,
		Header: http.Header{"Retry-After": {fmt.Sprint(held.Seconds())}},
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
	paid := 1
	for time.Since(refused) < 2*soon {
		s.pay(links, 1)
		paid += len(links)
		pause(200 * time.Millisecond)
	}
	s.kill(1) // the next one knows nothing but what the ledger has
	s.pay(links, 1)
	paid += len(links)
	pause(time.Until(refused.Add(held - 500*time.Millisecond)))
	early := 0
	last := time.Duration(0)
	for _, at := range s.callsToNotehub() {
		after := at.Sub(refused)
		if after <= 0 || after > held-500*time.Millisecond {
			continue
		}
		if last = max(last, after); after > soon {
			early++
		}
	}
	t.Logf("the last call before the end of the hold began %v after the refusal", last)
	if early > 0 {
		t.Errorf("%d calls began more than %v after Notehub had said to wait; the last after %v", early, soon, last)
	}
	s.w.Until("all notes are sent", func() bool { return len(s.w.Notehub.Notes("")) == paid })
	s.stop()
}
