package ledger

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"notepay/internal/vendortime"
)

// stripeSays is a Stripe whose clock is ahead of the host's.
type stripeSays time.Duration

// RoundTrip implements http.RoundTripper.
func (s stripeSays) RoundTrip(r *http.Request) (*http.Response, error) {
	date := time.Now().Add(time.Duration(s)).UTC().Format(http.TimeFormat)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Date": {date}, "Request-Id": {"req_1"}}, Body: http.NoBody, Request: r}, nil
}

func learn(t *testing.T, c *vendortime.Clock, ahead time.Duration) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://stripe.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Watch(vendortime.Stripe, stripeSays(ahead)).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func openBy(t *testing.T, database string, clock *vendortime.Clock) *Ledger {
	t.Helper()
	l, err := OpenBy(t.Context(), database, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// near fails if a time is not so far ahead of the host's clock.
func near(t *testing.T, what string, at time.Time, ahead time.Duration) {
	t.Helper()
	if off := time.Until(at) - ahead; off.Abs() > 20*time.Second {
		t.Errorf("%s is %v, %v ahead; want %v", what, at, time.Until(at), ahead)
	}
}

func testBirthWaits(t *testing.T, database string) {
	const ahead = -26 * time.Hour
	clock := vendortime.New(nil)
	l := openBy(t, database, clock)
	if l.Settled() || !l.Born().IsZero() {
		t.Errorf("born at %v before the time is known", l.Born())
	}
	closeLedger(t, l)
	l = openBy(t, database, clock) // nothing was decided
	if l.Settled() || !l.Born().IsZero() {
		t.Errorf("born at %v before the time is known", l.Born())
	}
	learn(t, clock, ahead)
	for range 2 {
		if err := l.Settle(t.Context()); err != nil || !l.Settled() {
			t.Fatalf("settle: %v, settled %v", err, l.Settled())
		}
		near(t, "the birth", l.Born(), ahead)
	}
	near(t, "the ledger's time", l.Now(), ahead)
	mustUpdate(t, l, func(tx *Tx) error { near(t, "a transaction's time", tx.Now, ahead); return nil })
	first := l.Born()
	closeLedger(t, l)

	l = openBy(t, database, vendortime.New(nil))
	if l.Settled() || !l.Born().Equal(first) {
		t.Errorf("the stored birth is %v, settled %v; want %v, not settled", l.Born(), l.Settled(), first)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetFact(factBackup, noon2020(0)) })
	closeLedger(t, l)
	clock = vendortime.New(nil)
	if l = openBy(t, database, clock); !l.Born().IsZero() {
		t.Errorf("a restored copy was born at %v before the time is known", l.Born())
	}
	learn(t, clock, time.Hour)
	if err := l.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	near(t, "a restored copy's birth", l.Born(), time.Hour)
}

func testTimesAhead(t *testing.T, database string) {
	const day = 24 * time.Hour
	settled := func(facts map[string]time.Duration, payments ...Payment) *Ledger {
		t.Helper()
		l := open(t, database)
		mustUpdate(t, l, func(tx *Tx) error {
			_, err := tx.exec(`DELETE FROM facts`)
			for name, ahead := range facts {
				err = errors.Join(err, tx.SetFact(name, tx.Now.Add(ahead)))
			}
			return err
		})
		insert(t, l, payments...)
		closeLedger(t, l)
		clock := vendortime.New(nil)
		l = openBy(t, database, clock)
		learn(t, clock, 0)
		if err := l.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		return l
	}
	check := func(l *Ledger, want map[string]time.Duration) {
		t.Helper()
		near(t, "the birth", l.Born(), want[factBorn])
		for name, ahead := range want {
			at, err := l.Fact(t.Context(), name)
			if err != nil {
				t.Error(err)
			}
			near(t, name, at, ahead)
		}
		closeLedger(t, l)
	}
	type facts = map[string]time.Duration
	check(settled(facts{factBorn: -90 * day, FactEventsRead: -time.Hour, "fleet_loaded": -time.Minute}),
		facts{factBorn: -90 * day, FactEventsRead: -time.Hour, "fleet_loaded": -time.Minute})
	check(settled(facts{factBorn: 2 * time.Hour, FactEventsRead: -time.Hour, "fleet_loaded": -time.Minute}),
		facts{factBorn: -time.Hour, FactEventsRead: -time.Hour, "fleet_loaded": -time.Minute})
	check(settled(facts{factBorn: 2 * time.Hour, FactEventsRead: 3 * time.Hour, "fleet_loaded": 3 * time.Hour}),
		facts{factBorn: 0, FactEventsRead: 0, "fleet_loaded": 0})
	check(settled(facts{factBorn: -5 * day, FactEventsRead: day}), facts{factBorn: -5 * day, FactEventsRead: -5 * day})
	check(settled(facts{factBorn: -90 * day, FactEventsRead: day}), facts{factBorn: -90 * day, FactEventsRead: -eventsListed})
	// Two starts in a row estimate Stripe's time, and the second estimate may be the earlier one.
	check(settled(facts{factBorn: 5 * time.Second, FactEventsRead: -time.Hour}),
		facts{factBorn: 5 * time.Second, FactEventsRead: -time.Hour})
	ours := idle(payment("ours"))
	ours.Machine, ours.SentAt, ours.Posted = Sent, noon(), true
	ours.PaidAt = time.Now().Add(-40 * day)
	check(settled(facts{factBorn: day, FactEventsRead: day}, ours), facts{factBorn: -40 * day, FactEventsRead: -eventsListed})
}
