package process

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// vendorLine carries the calls of one instance to a vendor.
type vendorLine struct {
	*httptest.Server
	mu    sync.Mutex
	calls []string          // method and path of each
	cut   func(string) bool // which calls find no vendor
}

func newVendorLine(t *testing.T, vendor http.Handler) *vendorLine {
	l := &vendorLine{cut: func(string) bool { return false }}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := r.Method + " " + r.URL.Path
		l.mu.Lock()
		l.calls = append(l.calls, call)
		gone := l.cut(call)
		l.mu.Unlock()
		if gone {
			panic(http.ErrAbortHandler)
		}
		vendor.ServeHTTP(w, r)
	}))
	t.Cleanup(l.Close)
	return l
}

// cuts makes some calls find no vendor from now on.
func (l *vendorLine) cuts(which func(call string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = which
}

// count returns how often a call was made.
func (l *vendorLine) count(call string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.calls {
		if c == call {
			n++
		}
	}
	return n
}

const createLink = "POST /v1/payment_links"

// Only the leader makes links, also while it cannot, and the last listing is so old that an instance
// that starts would list the devices at once if it led.
func TestInstancesMakeLinksAtTheLeader(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 0)
	lines := []*vendorLine{newVendorLine(t, s.w.Stripe), newVendorLine(t, s.w.Stripe)}
	s.w.Set("STRIPE_API_URL", lines[0].URL)
	s.procs = append(s.procs, s.w.Spawn())
	s.service(0).Selling(fixture.Washer)
	lines[0].cuts(func(call string) bool { return call == createLink })
	s.w.Notehub.AddDevice(sandbox.Device{UID: "dev:new", LastActivity: time.Now()})
	s.refresh(0)
	s.w.Until("the leader has tried", func() bool { return lines[0].count(createLink) > 1 })
	if n := s.d.query(`WITH old AS (UPDATE facts SET value = value - 120000 WHERE name = 'fleet_loaded' RETURNING 1)
		SELECT count(*) FROM old`); n != 1 {
		t.Fatalf("%d listings are known; want 1", n)
	}
	s.w.Set("STRIPE_API_URL", lines[1].URL)
	s.procs = append(s.procs, s.w.Spawn())
	s.service(1).Selling(fixture.Washer)
	for range 5 { // the other one knows the machine, and its customers want to pay
		if status, _, _ := s.service(1).Get("/pay?device=dev:new"); status == http.StatusTemporaryRedirect {
			t.Error("the machine sells without a link")
		}
		pause(time.Second)
	}
	if !s.leading(0) || s.leading(1) {
		t.Error("the first instance does not lead alone")
	}
	lines[0].cuts(func(string) bool { return false })
	if a, b := s.service(0).Selling("dev:new"), s.service(1).Selling("dev:new"); a != b {
		t.Errorf("the machine leads to %s and to %s", a, b)
	}
	if n := lines[1].count(createLink); n > 0 {
		t.Errorf("an instance that does not lead has made %d calls to create links", n)
	}
	s.stop()
}

// refresh lists the devices, whether an instance leads or not.
func (s *instances) refresh(n int) {
	s.service(n).Do(http.MethodPost, "/refresh-devices", "", "Authorization", "Bearer "+apptest.OperatorToken)
}

// A leader that has not reached Notehub for a minute leaves the lead to an instance that does.
func TestInstancesLeaderWithoutNotehub(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 0)
	line := newVendorLine(t, s.calls.watch(s.w.Notehub))
	direct := s.w.Env["NOTEHUB_API_URL"]
	s.w.Set("NOTEHUB_API_URL", line.URL)
	s.procs = append(s.procs, s.w.Spawn())
	s.w.Set("NOTEHUB_API_URL", direct)
	s.procs = append(s.procs, s.w.Spawn())
	s.service(1).Selling(fixture.Washer)
	s.w.Until("the first instance leads alone", func() bool { return s.leading(0) && !s.leading(1) })
	line.cuts(func(string) bool { return true })
	s.w.Notehub.AddDevice(sandbox.Device{UID: "dev:new", LastActivity: time.Now()})
	for range 4 { // one failure alone is noise
		s.refresh(0)
	}
	began := time.Now()
	for s.leading(0) || !s.leading(1) {
		if time.Since(began) > 100*time.Second {
			t.Fatal("after 100 s the instance without Notehub still leads")
		}
		pause(200 * time.Millisecond)
	}
	t.Logf("the other one leads after %v", time.Since(began))
	s.service(1).Selling("dev:new")
	for range 3 {
		pause(time.Second)
		if s.leading(0) || !s.leading(1) {
			t.Error("the lead went back to the instance without Notehub")
		}
	}
	s.stop()
}
