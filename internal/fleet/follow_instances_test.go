package fleet

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// fleetOn returns a fleet that does not run yet, as an instance on a database.
func fleetOn(t *testing.T, database string, v *vendors, set func(*Config)) *running {
	t.Helper()
	l, err := ledger.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	v.keys = map[string]string{}
	c := Config{Ledger: l, Notehub: v, Stripe: v, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		PriceIDs: []string{"price_1"}, Interval: 15 * time.Minute, LinkLimiter: upstream.NewLimiter(0, 1),
		NotehubLimiter: upstream.NewLimiter(6000, 6000)}
	set(&c)
	f, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return &running{f, t, v, func() {}}
}

// until waits up to 15 s.
func (r *running) until(what string, done func() bool) {
	r.t.Helper()
	for end := time.Now().Add(15 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("after 15 s it is not so: %s", what)
		}
	}
}

// together runs two fleets on one ledger, of which the first one leads.
func together(t *testing.T, v *vendors, set func(*Config)) (leader, follower *running) {
	t.Helper()
	database := pgtest.Database(t)
	leader, follower = fleetOn(t, database, v, set), fleetOn(t, database, &vendors{}, set)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	for _, r := range []*running{leader, follower} {
		r.until("it sees the other one", func() bool { return len(r.Ledger.Peers()) == 1 })
		work.Go(func() { r.Ledger.Follow(ctx, r.Follow) })
		work.Go(func() { r.Run(ctx) })
	}
	return leader, follower
}

// priceIs reports whether a device sells one price.
func (r *running) priceIs(uid, price string) bool {
	sale := r.Availability(uid, r.Ledger.Now())
	return sale.State == Open && len(sale.Device.Offers) == 1 && sale.Device.Offers[0].Plan.PriceID == price
}

// An instance that does not lead sells what the leader has read, and calls no vendor. No link carries
// the plans here.
func TestInstancesFollowDevicesPlansAndVariables(t *testing.T) {
	t.Parallel()
	v := &vendors{devices: []ledger.Device{{UID: "dev:1", LastActivity: time.Now()}}}
	leader, follower := together(t, v, func(c *Config) { c.Sessions = true })
	both := []*running{leader, follower}
	sells := func(what, uid, price string) {
		t.Helper()
		for _, r := range both {
			r.until(what, func() bool { return r.priceIs(uid, price) })
		}
	}
	sells("it sells the plan", "dev:1", "price_1")
	changes := func(change func()) {
		t.Helper()
		v.set(change)
		if _, err := leader.refreshOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	changes(func() {
		v.devices = append(v.devices, ledger.Device{UID: "dev:2", LastActivity: time.Now()})
		v.own = map[string]map[string]string{"dev:2": {"stripe_price_id": "price_2"}}
	})
	sells("it sells the plan of the new machine", "dev:2", "price_2")
	changes(func() { v.project = map[string]string{"stripe_price_id": "price_3"} })
	sells("it sells the project's plan", "dev:1", "price_3")
	changes(func() { v.devices = v.devices[1:] })
	for _, r := range both {
		r.until("the machine is gone", func() bool { return r.Device("dev:1") == nil })
	}

	v.set(func() { v.devices = append(v.devices, ledger.Device{UID: "dev:3", LastActivity: time.Now()}) })
	follower.RequestLookup("dev:3")
	sells("the leader looks up what was scanned at the other instance", "dev:3", "price_3")

	at := follower.v
	if n := at.listings + len(at.pricesGot) + len(at.asked) + len(at.created); n > 0 {
		t.Errorf("%d calls by the instance that does not lead; want none", n)
	}
}

// An instance that leads again reads Stripe's list before it creates a link, because the leader in between may
// have created it.
func TestLeaderReadsTheLinksOfEachTerm(t *testing.T) {
	t.Parallel()
	v := &vendors{devices: []ledger.Device{{UID: "dev:1", LastActivity: time.Now()}}}
	r := fleetOn(t, pgtest.Database(t), v, func(*Config) {})
	leads := func(until func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { r.lead(ctx); close(ended) }()
		defer func() { cancel(); <-ended }()
		r.until("the link is known", until)
	}
	leads(func() bool { return r.url("dev:1") != "" })
	other := ledger.Link{ID: "plink_other", DeviceUID: "dev:2", URL: "https://buy.example.com/other", Active: true,
		Plan: payment.Offer{PriceID: "price_1"}}
	v.set(func() {
		v.devices = append(v.devices, ledger.Device{UID: "dev:2", LastActivity: time.Now()})
		v.links = append(v.links, other)
	})
	leads(func() bool { return r.url("dev:2") != "" })
	if got := r.url("dev:2"); got != other.URL || v.madeSoFar() != 1 {
		t.Errorf("%d links were created, and customers are led to %s; want the other leader's, %s",
			v.madeSoFar(), got, other.URL)
	}
}
