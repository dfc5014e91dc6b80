package fleet

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// pause pauses a device as the bridge and the operator's API do: in the ledger first.
func (r *running) pause(uid string, automatic bool) {
	r.t.Helper()
	p := ledger.Pause{DeviceUID: uid, Reason: "broken", By: "anna", At: time.Now(), Automatic: automatic}
	if err := r.Ledger.Update(r.t.Context(), func(tx *ledger.Tx) error { return tx.Pause(p) }); err != nil {
		r.t.Fatal(err)
	}
	r.Paused(p)
}

func (r *running) resume(uid string) {
	r.t.Helper()
	if err := r.Ledger.Update(r.t.Context(), func(tx *ledger.Tx) error { return tx.Resume(uid) }); err != nil {
		r.t.Fatal(err)
	}
	r.Resumed(uid)
}

func (r *running) wantState(uid string, want State) Availability {
	r.t.Helper()
	sale := r.Availability(uid, time.Now())
	if sale.State != want {
		r.t.Errorf("%s: %s; want %s", uid, sale.State, want)
	}
	return sale
}

// active returns the ids of a device's active links at Stripe.
func (v *vendors) active(uid string) (ids []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range v.links {
		if l.Active && l.DeviceUID == uid {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

func TestAvailability(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{
			devices: many(5),
			broken:  &upstream.Error{Outcome: upstream.Unknown},
			own:     map[string]map[string]string{"dev:0002": {"payment_enabled": "false"}},
		}
		v.devices[1].Disabled = true
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		r.wantState("dev:0000", NotLoaded)
		v.set(func() {
			v.broken = nil
			v.create = func(_ int, uid string, _ time.Time) error {
				if uid == "dev:0004" {
					return &upstream.Error{Outcome: upstream.Rejected, Status: 400}
				}
				return nil
			}
		})
		pass(2 * time.Minute)
		r.wantState("dev:unknown", NoDevice)
		r.wantState("dev:0000", Open)
		r.wantState("dev:0001", Disabled)
		r.wantState("dev:0002", PaymentsOff)
		r.wantState("dev:0004", NotReady)
		if got := v.active("dev:0001"); got != nil {
			t.Errorf("a device that is out of sale has the links %v", got)
		}
		if got := v.active("dev:0002"); got != nil {
			t.Errorf("a device whose payments are off has the links %v", got)
		}
		for uid, want := range map[string]Eligibility{
			"dev:0000": Known, "dev:0001": NotSelling, "dev:0002": NotSelling, "dev:0004": Known,
		} {
			if got := r.Eligibility(uid, time.Now()); got != want {
				t.Errorf("standing of %s: %v; want %v", uid, got, want)
			}
		}
		v.set(func() {
			v.prices = map[string]error{
				"price_1": &upstream.Error{Outcome: upstream.Rejected, Detail: "it is not active"},
			}
		})
		pass(15 * time.Minute)
		r.wantState("dev:0000", NoOffers)
		r.hasProblem("dev:0000", "price_1", "it is not active")
		if p := r.Problems(); len(p) != 1 || p[0].Devices != 5 {
			t.Errorf("problems %v; want one of five devices", p)
		}
	})
}

func TestPauseDeactivatesTheLinkAndResumeActivatesItAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		v := &vendors{devices: many(2)}
		r := run(t, path, v, "price_1")
		pass(time.Minute)
		link := v.active("dev:0000")
		r.pause("dev:0000", false)
		if sale := r.wantState("dev:0000", Paused); sale.Reason != "broken" {
			t.Errorf("reason %q; want the operator's", sale.Reason)
		}
		r.wantState("dev:0001", Open)
		pass(time.Second)
		if got := v.active("dev:0000"); got != nil || len(v.active("dev:0001")) != 1 {
			t.Errorf("the paused device has %v, the other %v", got, v.active("dev:0001"))
		}
		if got := r.Eligibility("dev:0000", time.Now().Add(-time.Hour)); got != NotSelling {
			t.Errorf("standing %v; want not selling", got)
		}
		r.stop()
		r = run(t, path, v, "price_1")
		pass(20 * time.Minute)
		r.wantState("dev:0000", Paused)
		r.resume("dev:0000")
		pass(time.Second)
		r.wantState("dev:0000", Open)
		if got := v.active("dev:0000"); !slices.Equal(got, link) || len(copyOf(v, &v.links)) != 2 {
			t.Errorf("links %v of %d; want %v again", got, len(copyOf(v, &v.links)), link)
		}
	})
}

func TestAutoPauseEndsWhenTheDeviceIsActiveAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(2)}
		for i := range v.devices {
			v.devices[i].LastActivity = time.Now()
		}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		pass(time.Minute)
		r.pause("dev:0000", true)
		r.pause("dev:0001", false)
		pass(31 * time.Minute)
		r.wantState("dev:0000", Paused)
		v.set(func() {
			for i := range v.devices {
				v.devices[i].LastActivity = time.Now()
			}
		})
		pass(16 * time.Minute)
		r.wantState("dev:0000", Open)
		r.wantState("dev:0001", Paused)
		pauses, err := r.Ledger.Pauses(t.Context())
		if err != nil || len(pauses) != 1 || pauses[0].DeviceUID != "dev:0001" {
			t.Errorf("pauses %v (%v); want the operator's alone", pauses, err)
		}
		audits, _, err := r.Ledger.Audits(t.Context(), "dev:0000", 10, "")
		if err != nil || len(audits) != 1 || audits[0].What != "resume" || audits[0].Before != "broken" {
			t.Errorf("audit %+v (%v); want the resumption", audits, err)
		}
	})
}

func TestAutoPauseDoesNotEndAnOperatorsPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		pass(time.Minute)
		r.pause("dev:0000", true)
		pass(time.Second)
		// The operator's pause is in the ledger, but the fleet does not know it yet.
		if err := r.Ledger.Update(t.Context(), func(tx *ledger.Tx) error {
			return tx.Pause(ledger.Pause{DeviceUID: "dev:0000", Reason: "vandals", By: "anna", At: time.Now()})
		}); err != nil {
			t.Fatal(err)
		}
		v.set(func() { v.devices[0].LastActivity = time.Now().Add(time.Minute) })
		pass(15 * time.Minute)
		if pauses, err := r.Ledger.Pauses(t.Context()); err != nil || len(pauses) != 1 ||
			pauses[0].Reason != "vandals" {
			t.Errorf("pauses %v (%v); want the operator's", pauses, err)
		}
	})
}

func TestPauseOfARemovedDeviceIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(2)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		pass(time.Minute)
		r.pause("dev:0001", false)
		v.set(func() { v.devices = v.devices[:1] })
		pass(15 * time.Minute)
		r.wantState("dev:0001", NoDevice)
		v.set(func() { v.devices = many(2) })
		pass(15 * time.Minute)
		r.wantState("dev:0001", Paused)
	})
}

func TestOfflineDeviceDoesNotSell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		v := &vendors{devices: many(3)}
		v.devices[0].LastActivity, v.devices[1].LastActivity = time.Now(), time.Now().Add(-time.Hour)
		offline := func(c *Config) { c.OfflineAfter = 20 * time.Minute }
		r := runWith(t, path, v, offline, "price_1")
		pass(time.Minute)
		r.wantState("dev:0000", Open)
		r.wantState("dev:0001", Offline)
		r.wantState("dev:0002", Offline) // never connected
		if len(v.active("dev:0001")) != 1 {
			t.Error("the link of a device that is offline was touched")
		}
		paid := time.Now()
		pass(time.Second)
		for uid, want := range map[string]Eligibility{"dev:0000": Known, "dev:0001": Unsure} {
			if got := r.Eligibility(uid, paid); got != want {
				t.Errorf("standing of %s: %v; want %v", uid, got, want)
			}
		}
		pass(time.Minute)
		if got := r.Eligibility("dev:0001", paid); got != NotSelling {
			t.Errorf("standing %v; want not selling: a listing since the payment shows nothing of it", got)
		}
		pass(22 * time.Minute)
		if got := r.Eligibility("dev:0000", paid); got != Known {
			t.Errorf("standing %v; want known: it went silent after the payment", got)
		}
		pass(10 * time.Minute)
		r.wantState("dev:0000", Offline)
		v.set(func() { v.devices[0].LastActivity = time.Now() })
		pass(15 * time.Minute)
		r.wantState("dev:0000", Open)
		r.stop()

		pass(3 * time.Hour) // no listing succeeded, so the device may have been active
		v.set(func() { v.devices[0].LastActivity = time.Now() })
		r = runWith(t, path, v, offline, "price_1")
		if got := r.Eligibility("dev:0000", time.Now()); got != Unsure {
			t.Errorf("standing %v before the first listing; want unsure", got)
		}
		pass(time.Minute)
		r.wantState("dev:0000", Open)
	})
}

func TestInUseDeviceDoesNotSell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(2)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		pass(time.Minute)
		until := time.Now().Add(30 * time.Minute)
		r.InUse("dev:0000", until)
		r.InUse("dev:0001", time.Time{})
		if sale := r.wantState("dev:0000", InUse); !sale.Until.Equal(until) {
			t.Errorf("until %v; want %v", sale.Until, until)
		}
		if sale := r.wantState("dev:0001", InUse); !sale.Until.IsZero() {
			t.Errorf("until %v; want no time", sale.Until)
		}
		if got := r.Eligibility("dev:0000", time.Now()); got != Known {
			t.Errorf("standing %v; want known: who is in use is judged elsewhere", got)
		}
		pass(31 * time.Minute)
		r.wantState("dev:0000", Open)  // its end is over
		r.wantState("dev:0001", InUse) // until Free is called
		if len(copyOf(v, &v.updated)) != 0 {
			t.Errorf("links were changed: %v", copyOf(v, &v.updated))
		}
		r.Free("dev:0001")
		r.wantState("dev:0001", Open)
	})
}

func TestLinksWithTheWrongCaptureMethodAreReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		v := &vendors{devices: many(3)}
		r := run(t, path, v, "price_1")
		pass(time.Minute)
		first := v.active("dev:0000")
		r.stop()
		v.manual = true
		r = runWith(t, path, v, func(c *Config) { c.ManualCapture = true }, "price_1")
		pass(time.Minute)
		r.stop()
		for _, l := range copyOf(v, &v.links) {
			if l.Active != l.Manual {
				t.Errorf("link %s: active %v, manual %v", l.ID, l.Active, l.Manual)
			}
		}
		if len(copyOf(v, &v.links)) != 6 || r.url("dev:0002") == "" {
			t.Errorf("%d links; want each of the three replaced once", len(copyOf(v, &v.links)))
		}
		v.manual = false
		r = run(t, path, v, "price_1")
		pass(time.Minute)
		r.wantState("dev:0000", Open)
		r.stop()
		if got := v.active("dev:0000"); len(got) != 1 || len(copyOf(v, &v.links)) > 9 {
			t.Errorf("links %v (the first was %v), %d in all", got, first, len(copyOf(v, &v.links)))
		}
	})
}

func TestLinkCreatedWithTheWrongCaptureIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1)} // creates links with immediate capture, whatever the setting says
		runWith(t, filepath.Join(t.TempDir(), "l.db"), v, func(c *Config) { c.ManualCapture = true }, "price_1")
		pass(10 * time.Minute)
		if n := v.madeSoFar(); n != 1 {
			t.Errorf("%d links in ten minutes; want one", n)
		}
	})
}

func TestPriceBelowTheMinimumRemovesOnlyItsPlan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1), amounts: map[string]int64{"price_blog": 5}}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_blog", "price_1")
		pass(time.Minute)
		r.wantSold(map[string]string{"dev:0000": "default: price_1"})
		r.hasProblem("dev:0000", "price_blog", "5", "50")
	})
	for _, c := range []struct {
		amount   int64
		currency string
		ok       bool
	}{
		{50, "usd", true}, {49, "usd", false}, {30, "gbp", true}, {50, "jpy", true}, {49, "jpy", false},
		{1, "xxx", true}, {0, "usd", true}, {17_499, "huf", false},
	} {
		if got := BelowMinimum(c.amount, c.currency) == ""; got != c.ok {
			t.Errorf("%d %s may be charged: %v; want %v", c.amount, c.currency, got, c.ok)
		}
	}
}

func TestRefreshReadsManyPricesAFewAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(60), fleets: map[string]map[string]string{}}
		for i := range v.devices {
			uid := fmt.Sprintf("fleet:%02d", i)
			v.devices[i].Fleets = []string{uid}
			v.fleets[uid] = map[string]string{"stripe_price_id": fmt.Sprintf("price_%02d", i)}
		}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_default")
		pass(14 * time.Minute)
		if n := len(copyOf(v, &v.pricesGot)); n != 61 {
			t.Errorf("%d reads at first; want all 61", n)
		}
		r.wantSold(map[string]string{"dev:0059": "fleet: price_59"})
		pass(15 * time.Minute)
		if n := len(copyOf(v, &v.pricesGot)); n != 61+maxPlanReads {
			t.Errorf("%d reads after the second refresh; want %d more", n, maxPlanReads)
		}
		pass(6 * 15 * time.Minute)
		again := slices.Compact(slices.Sorted(slices.Values(copyOf(v, &v.pricesGot)[61:])))
		if len(again) != 61 {
			t.Errorf("%d of 61 prices were read again in seven refreshes; want all", len(again))
		}
	})
}

func TestHundredThousandDevicesStayCheap(t *testing.T) { // not parallel: allocations are counted
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "l.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := New(
		t.Context(),
		Config{
			Ledger:      l,
			Log:         slog.New(slog.DiscardHandler),
			PriceIDs:    []string{"price_1"},
			Interval:    time.Hour,
			LinkLimiter: upstream.NewLimiter(0, 1),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	f.plans["price_1"] = payment.Offer{PriceID: "price_1"}
	const n = 100_000
	for i := range n {
		f.links.remember(
			ledger.Link{
				ID:        fmt.Sprint(i),
				DeviceUID: fmt.Sprintf("dev:%04d", i),
				Active:    true,
				URL:       "https://buy.example.com",
				Plan:      f.plans["price_1"],
			},
		)
	}
	f.vars[projectOwner] = variables{at: time.Now()}
	for _, d := range many(n) {
		f.vars[d.UID] = variables{at: time.Now()}
	}
	f.put(many(n)...)
	f.InUse("dev:0001", time.Time{})
	now := time.Now()
	for uid, want := range map[string]State{"dev:50000": Open, "dev:0001": InUse} {
		if got := f.Availability(uid, now).State; got != want {
			t.Fatalf("%s: %s; want %s", uid, got, want)
		}
		if allocs := testing.AllocsPerRun(1000, func() { f.Availability(uid, now) }); allocs != 0 {
			t.Errorf("a scan of %s allocates %v times; want never", uid, allocs)
		}
	}
	if len(f.shared) != 1 {
		t.Errorf("%d copies of what the devices have in common; want one", len(f.shared))
	}
	if list := f.List(); len(list) != n || list[1].State != InUse {
		t.Errorf("%d devices listed", len(list))
	}
}
