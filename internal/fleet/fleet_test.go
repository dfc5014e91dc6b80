package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// The vendors as far as the fleet asks them; the wire is tested where the clients are. Both may be told to fail.
type vendors struct {
	mu       sync.Mutex
	devices  []ledger.Device
	links    []ledger.Link
	listings int
	broken   error                                       // of the next listings
	create   func(n int, uid string, at time.Time) error // before the n-th creation; nil: all succeed
	created  []time.Time
	keys     map[string]string // link by idempotency key
	prices   map[string]error
	gate     chan struct{} // a listing waits for it; nil: it does not

	project   map[string]string
	fleets    map[string]map[string]string
	own       map[string]map[string]string // by device
	silent    error                        // of the next reads of variables
	asked     []string                     // devices whose variables were read
	askedAt   []time.Time
	manual    bool             // links are made so
	amounts   map[string]int64 // of prices; else 350
	pricesGot []string         // prices that were read
	updated   []ledger.Link
}

func (v *vendors) ProjectVariables(context.Context) (map[string]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.project), v.silent
}

func (v *vendors) FleetVariables(context.Context) (map[string]map[string]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.fleets), v.silent
}

func (v *vendors) DeviceVariables(_ context.Context, uid string) (map[string]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked, v.askedAt = append(v.asked, uid), append(v.askedAt, time.Now())
	return maps.Clone(v.own[uid]), v.silent
}

// copyOf is what one of the lists of the vendors holds by now.
func copyOf[T any](v *vendors, list *[]T) []T {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(*list)
}

// set changes what the vendors know.
func (v *vendors) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func (v *vendors) Devices(context.Context) ([]ledger.Device, error) {
	v.mu.Lock()
	gate := v.gate
	v.mu.Unlock()
	if gate != nil {
		<-gate
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listings++
	if v.broken != nil {
		return v.devices[:len(v.devices)/2], v.broken
	}
	return slices.Clone(v.devices), nil
}

func (v *vendors) Device(_ context.Context, uid string) (ledger.Device, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range v.devices {
		if d.UID == uid {
			return d, nil
		}
	}
	return ledger.Device{}, &upstream.Error{Outcome: upstream.Refused, Status: 404}
}

func (v *vendors) Plan(_ context.Context, id string) (ledger.Plan, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pricesGot = append(v.pricesGot, id)
	return ledger.Plan{PriceID: id, Name: "Plan " + id, Amount: cmp.Or(v.amounts[id], 350), Currency: "eur"}, v.prices[id]
}

func (v *vendors) Links(context.Context) (active []ledger.Link, _ error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range v.links {
		if l.Active {
			l.Plan = ledger.Plan{PriceID: l.Plan.PriceID}
			active = append(active, l)
		}
	}
	return active, nil
}

// creationTime is Stripe's usual answer time.
const creationTime = 300 * time.Millisecond

func (v *vendors) CreateLink(ctx context.Context, d ledger.Device, plan ledger.Plan, returnURL, key string) (ledger.Link, error) {
	v.mu.Lock()
	n := len(v.created)
	v.created = append(v.created, time.Now())
	v.mu.Unlock()
	if err := upstream.Sleep(ctx, creationTime); err != nil {
		return ledger.Link{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.create != nil {
		if err := v.create(n, d.UID, time.Now()); err != nil {
			return ledger.Link{}, err
		}
	}
	id, again := v.keys[key]
	if !again {
		id = fmt.Sprintf("plink_%d", len(v.links))
		v.keys[key] = id
		v.links = append(v.links, ledger.Link{ID: id, DeviceUID: d.UID, URL: "https://buy.example.com/" + id, ReturnURL: returnURL, Active: true, Plan: plan, Manual: v.manual})
	}
	return v.links[slices.IndexFunc(v.links, func(l ledger.Link) bool { return l.ID == id })], nil
}

func (v *vendors) madeSoFar() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.created)
}

func (v *vendors) UpdateLink(_ context.Context, change ledger.Link) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.links {
		if v.links[i].ID == change.ID {
			v.links[i].Active, v.links[i].ReturnURL = change.Active, change.ReturnURL
			v.updated = append(v.updated, change)
			return nil
		}
	}
	return &upstream.Error{Outcome: upstream.Refused, Status: 404}
}

// running is a fleet at work in a bubble.
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
		Interval: 15 * time.Minute, LinkPace: upstream.NewPace(23*60, 1)}
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

// pass lets time pass, and then all come to rest: only then may be looked at what the vendors were asked.
func pass(d time.Duration) {
	time.Sleep(d) // of the bubble
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

func TestAColdStartMintsAtItsPaceAndTheScannedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(500)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(2 * time.Second)
		last := "dev:0499"
		if r.url(last) != "" {
			t.Fatal("the last device has its link already: the test shows nothing")
		}
		r.Hurry(last)
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

func TestMintingSlowsDownWhenStripeSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(40)}
		v.create = func(n int, _ string, _ time.Time) error {
			if n >= 5 && n < 8 {
				return &upstream.Error{Outcome: upstream.Wait, Status: 429, RetryAfter: 10 * time.Second}
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

func TestAFailedCreationIsTriedAgainUnderTheRightKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   *upstream.Error
		links int // made in the end
	}{
		"no reply: the same key, so the same link": {&upstream.Error{Outcome: upstream.Unclear}, 1},
		"a stored failure: another key":            {&upstream.Error{Outcome: upstream.Unclear, Status: 500}, 1},
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

func TestAnIncompleteListingTakesNothingAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(4)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		v.mu.Lock()
		v.broken = &upstream.Error{Outcome: upstream.Unclear}
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

func TestStanding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1), broken: errors.New("down")}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		paid := time.Now()
		time.Sleep(time.Second)
		if got := r.Standing("dev:0000", paid); got != Unsure {
			t.Errorf("%v before any listing; want unsure", got)
		}
		v.mu.Lock()
		v.broken = nil
		v.mu.Unlock()
		time.Sleep(time.Minute) // it tries again by itself
		if got := r.Standing("dev:0000", paid); got != Known {
			t.Errorf("%v; want known", got)
		}
		if got := r.Standing("dev:other", paid); got != Unknown {
			t.Errorf("%v after a listing that began later; want unknown", got)
		}
		paid = time.Now()
		if got := r.Standing("dev:other", paid); got != Unsure {
			t.Errorf("%v for a payment after the listing; want unsure", got)
		}
		time.Sleep(soonest + time.Second)
		if got := r.Standing("dev:other", paid); got != Unknown {
			t.Errorf("%v; want unknown: being unsure asks for a listing", got)
		}
	})
}

func TestRefreshesAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(3)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		gate := make(chan struct{}) // whoever lists waits here until all have asked
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

func TestAnUnknownDeviceIsLookedUpOnceAMinuteForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		v.mu.Lock()
		v.devices = append(v.devices, ledger.Device{UID: "dev:new1"}, ledger.Device{UID: "dev:new2"})
		v.mu.Unlock()
		r.AskFor("dev:new1")
		r.AskFor("dev:new2")
		time.Sleep(5 * time.Second)
		if r.url("dev:new1") == "" || r.Device("dev:new2") != nil {
			t.Errorf("the first sells at %q, the second is known: %v; want the first alone", r.url("dev:new1"), r.Device("dev:new2") != nil)
		}
		time.Sleep(singleLookUps)
		r.AskFor("dev:new2")
		time.Sleep(5 * time.Second)
		if r.url("dev:new2") == "" {
			t.Error("a minute later the second is still not looked up")
		}
	})
}

func TestAPriceThatCannotBeSoldTakesOnlyItsPlanOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1), prices: map[string]error{"price_bad": &upstream.Error{Outcome: upstream.Refused, Status: 404}}}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_bad", "price_1")
		time.Sleep(time.Minute)
		d := r.Device("dev:0000")
		if len(d.Offers) != 1 || d.Offers[0].Plan.PriceID != "price_1" || d.Offers[0].URL == "" {
			t.Errorf("offers %+v; want price_1 alone", d.Offers)
		}
	})
}

func TestALinkOfAnotherAccountIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		r := run(t, path, &vendors{devices: many(1)}, "price_1")
		time.Sleep(time.Minute)
		r.stop()
		other := &vendors{devices: many(1)} // the same ledger, and an account that knows none of its links
		r = run(t, path, other, "price_1")
		time.Sleep(time.Minute)
		if r.url("dev:0000") == "" || other.madeSoFar() != 1 {
			t.Errorf("sells at %q, %d links made; want one", r.url("dev:0000"), other.madeSoFar())
		}
	})
}

func TestScansDoNotRepeatWhatStripeRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1), create: func(int, string, time.Time) error { return &upstream.Error{Outcome: upstream.Refused, Status: 400} }}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			r.Hurry("dev:0000")
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

func TestAnEmptyListingIsNotBelieved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(2)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		time.Sleep(time.Minute)
		v.mu.Lock()
		v.devices = nil
		v.mu.Unlock()
		if _, err := r.Refresh(t.Context()); err == nil {
			t.Error("an empty listing was taken for true")
		}
		if r.url("dev:0001") == "" {
			t.Error("a machine is gone")
		}
	})
}

func TestAPriceThatIsGoneCostsNoListings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1), prices: map[string]error{"price_gone": &upstream.Error{Outcome: upstream.Refused, Status: 404}}}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1", "price_gone")
		time.Sleep(14 * time.Minute)
		r.stop()
		if v.listings != 1 {
			t.Errorf("%d listings in 14 minutes; want 1", v.listings)
		}
	})
}
