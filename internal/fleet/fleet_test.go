package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// running is a running fleet in a synctest bubble.
type running struct {
	*Fleet
	t    *testing.T
	v    *vendors
	stop func()
}

func run(t *testing.T, path string, v *vendors, prices ...string) *running {
	t.Helper()
	return runWith(t, path, v, func(*Config) {}, prices...)
}

func runWith(t *testing.T, path string, v *vendors, set func(*Config), prices ...string) *running {
	t.Helper()
	l, err := ledger.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if v.keys == nil {
		v.keys = map[string]string{}
	}
	c := Config{Ledger: l, Notehub: v, Stripe: v, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), PriceIDs: prices,
		Interval: 15 * time.Minute, LinkLimiter: upstream.NewLimiter(23*60, 1),
		// so that the fleet reads all variables at once
		NotehubLimiter: upstream.NewLimiter(6000, 6000)}
	set(&c)
	f, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return &running{f, t, v, stop}
}

// pass lets time pass and then waits until every goroutine is blocked, so that all calls are made.
func pass(d time.Duration) {
	time.Sleep(d) // in the bubble's time
	synctest.Wait()
}

func (r *running) url(uid string) string {
	if d := r.Device(uid); d != nil && len(d.Offers) > 0 {
		return d.Offers[0].URL
	}
	return ""
}

func many(n int) (list []ledger.Device) {
	for i := range n {
		list = append(list, ledger.Device{UID: fmt.Sprintf("dev:%04d", i)})
	}
	return list
}

func TestColdStartCreatesLinksAtItsRateAndForScannedDevicesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(500)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(2 * time.Second)
		last := "dev:0499"
		if r.url(last) != "" {
			t.Fatal("the last device has its link already: the test shows nothing")
		}
		r.Prioritize(last)
		time.Sleep(time.Second)
		if r.url(last) == "" {
			t.Error("a scanned device is not payable within a second")
		}
		time.Sleep(time.Minute)
		if _, links, _ := r.Counts(); links != 500 {
			t.Errorf("%d links; want 500", links)
		}
		r.stop()
		took := v.created[len(v.created)-1].Sub(v.created[0]).Seconds()
		if rate := float64(len(v.created)-1) / took; rate < 22.5 || rate > 23.5 {
			t.Errorf("%.1f links a second; want 23", rate)
		}
	})
}

func TestLinkCreationSlowsDownAtStripesRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(40)}
		v.create = func(n int, _ string, _ time.Time) error {
			if n >= 5 && n < 8 {
				return &upstream.Error{Outcome: upstream.RateLimited, Status: 429, RetryAfter: 10 * time.Second}
			}
			return nil
		}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		r.stop()
		if _, links, _ := r.Counts(); links != 40 || len(v.links) != 40 {
			t.Errorf("%d links known, %d made; want 40", links, len(v.links))
		}
		var pause time.Duration
		for i := 1; i < len(v.created); i++ {
			pause = max(pause, v.created[i].Sub(v.created[i-1]))
		}
		if pause < 9*time.Second {
			t.Errorf("the longest pause was %v; want the 10 s that Stripe asked for", pause)
		}
	})
}

func TestLinkCreationIsRetriedUnderTheRightKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   *upstream.Error
		links int // created at the end
	}{
		"no reply: the same key, so the same link": {&upstream.Error{Outcome: upstream.Unknown}, 1},
		"a stored failure: another key":            {&upstream.Error{Outcome: upstream.Unknown, Status: 500}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := &vendors{devices: many(1), create: func(n int, _ string, _ time.Time) error {
					if n < 2 {
						return c.err
					}
					return nil
				}}
				r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
				time.Sleep(time.Minute)
				r.stop()
				if r.url("dev:0000") == "" || len(v.links) != c.links {
					t.Errorf("sells at %q, %d links made; want %d", r.url("dev:0000"), len(v.links), c.links)
				}
			})
		})
	}
}

func TestIncompleteListingRemovesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(4)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		v.mu.Lock()
		v.broken = &upstream.Error{Outcome: upstream.Unknown}
		v.devices = append(v.devices[:2:2], ledger.Device{UID: "dev:new"}, ledger.Device{UID: "dev:unread"})
		v.mu.Unlock()
		if _, err := r.Refresh(t.Context()); err == nil {
			t.Fatal("the refresh did not fail")
		}
		if r.url("dev:0003") == "" {
			t.Error("a device that was not listed is gone")
		}
		v.mu.Lock()
		v.broken = nil
		v.mu.Unlock()
		result, err := r.Refresh(t.Context())
		if err != nil || result != (Result{Devices: 4, Added: 2, Removed: 2, LinksCreated: 2}) {
			t.Errorf("%+v (%v)", result, err)
		}
		if r.Device("dev:0003") != nil {
			t.Error("a device that a complete listing does not hold is still there")
		}
		time.Sleep(time.Minute)
		r.stop()
		for _, l := range v.links {
			if l.Active != (r.Device(l.DeviceUID) != nil) {
				t.Errorf("the link of %s is active: %v", l.DeviceUID, l.Active)
			}
		}
	})
}

func TestEligibility(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1), broken: errors.New("down")}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		paid := time.Now()
		time.Sleep(time.Second)
		if got := r.Eligibility("dev:0000", paid); got != Unsure {
			t.Errorf("%v before any listing; want unsure", got)
		}
		v.mu.Lock()
		v.broken = nil
		v.mu.Unlock()
		time.Sleep(time.Minute) // it retries by itself
		if got := r.Eligibility("dev:0000", paid); got != Known {
			t.Errorf("%v; want known", got)
		}
		if got := r.Eligibility("dev:other", paid); got != Unknown {
			t.Errorf("%v after a listing that began later; want unknown", got)
		}
		paid = time.Now()
		if got := r.Eligibility("dev:other", paid); got != Unsure {
			t.Errorf("%v for a payment after the listing; want unsure", got)
		}
		time.Sleep(minRefreshInterval + time.Second)
		if got := r.Eligibility("dev:other", paid); got != Unknown {
			t.Errorf("%v; want unknown: being unsure asks for a listing", got)
		}
	})
}

func TestRefreshIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(3)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		gate := make(chan struct{}) // the listing waits here until all callers are there
		v.mu.Lock()
		before := v.listings
		v.gate = gate
		v.mu.Unlock()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := r.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		time.AfterFunc(time.Second, func() { close(gate) })
		all.Wait()
		r.stop()
		if n := v.listings - before; n != 1 {
			t.Errorf("%d listings for 20 who asked at once; want 1", n)
		}
	})
}

func TestRequestLookupAllowsOneCallAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		v.mu.Lock()
		v.devices = append(v.devices, ledger.Device{UID: "dev:new1"}, ledger.Device{UID: "dev:new2"})
		v.mu.Unlock()
		r.RequestLookup("dev:new1")
		r.RequestLookup("dev:new2")
		time.Sleep(5 * time.Second)
		if r.url("dev:new1") == "" || r.Device("dev:new2") != nil {
			t.Errorf(
				"the first sells at %q, the second is known: %v; want the first alone",
				r.url("dev:new1"),
				r.Device("dev:new2") != nil,
			)
		}
		time.Sleep(lookupInterval)
		r.RequestLookup("dev:new2")
		time.Sleep(5 * time.Second)
		if r.url("dev:new2") == "" {
			t.Error("a minute later the second is still not looked up")
		}
	})
}

func TestPriceThatCannotBeSoldRemovesOnlyItsPlan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{
			devices: many(1),
			prices:  map[string]error{"price_bad": &upstream.Error{Outcome: upstream.Rejected, Status: 404}},
		}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_bad", "price_1")
		time.Sleep(time.Minute)
		d := r.Device("dev:0000")
		if len(d.Offers) != 1 || d.Offers[0].Plan.PriceID != "price_1" || d.Offers[0].URL == "" {
			t.Errorf("offers %+v; want price_1 alone", d.Offers)
		}
	})
}

func TestLinkOfAnotherAccountIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		r := run(t, path, &vendors{devices: many(1)}, "price_1")
		time.Sleep(time.Minute)
		r.stop()
		other := &vendors{devices: many(1)} // with the same ledger, and an account without its links
		r = run(t, path, other, "price_1")
		time.Sleep(time.Minute)
		if r.url("dev:0000") == "" || other.madeSoFar() != 1 {
			t.Errorf("sells at %q, %d links made; want one", r.url("dev:0000"), other.madeSoFar())
		}
	})
}

func TestScansDoNotRepeatARejectedCreation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{
			devices: many(1),
			create: func(int, string, time.Time) error {
				return &upstream.Error{Outcome: upstream.Rejected, Status: 400}
			},
		}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			r.Prioritize("dev:0000")
		}
		if n := v.madeSoFar(); n != 1 {
			t.Errorf("%d tries within a minute of scans; want 1 until the next refresh", n)
		}
		time.Sleep(15 * time.Minute)
		if n := v.madeSoFar(); n != 2 {
			t.Errorf("%d tries after the next refresh; want 2", n)
		}
	})
}

func TestEmptyListingRemovesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(2)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		v.mu.Lock()
		v.devices = nil
		v.mu.Unlock()
		if _, err := r.Refresh(t.Context()); err == nil {
			t.Error("an empty listing was believed")
		}
		if r.url("dev:0001") == "" {
			t.Error("a machine is gone")
		}
	})
}

func TestPriceThatIsGoneCausesNoListings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{
			devices: many(1),
			prices:  map[string]error{"price_gone": &upstream.Error{Outcome: upstream.Rejected, Status: 404}},
		}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1", "price_gone")
		time.Sleep(14 * time.Minute)
		r.stop()
		if v.listings != 1 {
			t.Errorf("%d listings in 14 minutes; want 1", v.listings)
		}
	})
}

func TestPartialListingDeactivatesNoLinks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		v := &vendors{devices: many(4)}
		r := run(t, filepath.Join(dir, "l.db"), v, "price_1")
		pass(time.Minute)
		r.stop()
		v.set(func() { v.broken = &upstream.Error{Outcome: upstream.Unknown} }) // the listing stops after half of them

		// The new ledger knows no device, so they are unknown until they are listed.
		run(t, filepath.Join(dir, "another.db"), v, "price_1")
		pass(40 * time.Minute)
		for _, uid := range []string{"dev:0000", "dev:0002", "dev:0003"} {
			if len(v.active(uid)) != 1 {
				t.Errorf("%s has the active links %v after partial listings; want its own", uid, v.active(uid))
			}
		}
		if n := len(copyOf(v, &v.updated)); n != 0 {
			t.Errorf("%d changes of links after partial listings", n)
		}
		v.set(func() { v.broken, v.devices = nil, v.devices[:3] })
		pass(2 * time.Minute)
		if len(v.active("dev:0002")) != 1 || len(v.active("dev:0003")) != 0 {
			t.Errorf(
				"after a complete listing: %v and %v; want the link of the device that is gone deactivated",
				v.active("dev:0002"),
				v.active("dev:0003"),
			)
		}
	})
}

func TestLinkMissingInTheListIsReadFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		v := &vendors{devices: many(2)}
		r := run(t, path, v, "price_1")
		pass(time.Minute)
		v.set(func() { v.leftOut = v.links[0].ID }) // as if its record could not be decoded
		pass(20 * time.Minute)
		r.wantState("dev:0000", Open)
		r.stop()
		v.set(func() { v.unread = &upstream.Error{Outcome: upstream.Unknown} })
		r = run(t, path, v, "price_1")
		pass(time.Minute)
		r.wantState("dev:0000", NotReady) // the link may be closed
		r.wantState("dev:0001", Open)
		v.set(func() { v.unread = nil })
		pass(2 * time.Minute)
		r.wantState("dev:0000", Open)
		if n := v.madeSoFar(); n != 2 {
			t.Errorf("%d links were made; want two", n)
		}
	})
}

// Another installation signs the link after this one read the list, and before this one watches the
// link.
func TestSignatureOverwrittenDuringAListingIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(2)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		pass(time.Minute)
		v.set(func() { v.devices = v.devices[1:] })
		pass(15 * time.Minute) // the signed link is deactivated
		next := v.active("dev:0001")[0]
		v.set(func() {
			v.listed = func() {
				_ = v.SignLink(t.Context(), next, "another process")
				r.OfferChanged(LinkUpdated, next, true, false)
				synctest.Wait()
			}
		})
		pass(15 * time.Minute)
		if signed := copyOf(v, &v.signatures); !slices.Equal(signed, []string{next, next}) {
			t.Errorf("signed: %v; want %s by the other process, and then by this one", signed, next)
		}
	})
}
