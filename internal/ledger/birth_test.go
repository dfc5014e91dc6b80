package ledger

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/vendortime"
)

// stripeSays is a transport that answers with a Date ahead of the host's clock.
type stripeSays time.Duration

// RoundTrip implements http.RoundTripper.
func (s stripeSays) RoundTrip(r *http.Request) (*http.Response, error) {
	date := time.Now().Add(time.Duration(s)).UTC().Format(http.TimeFormat)
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Date": {date}, "Request-Id": {"req_1"}},
		Body:       http.NoBody,
		Request:    r,
	}, nil
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
	for range 50 { // on PostgreSQL all instances have to agree first
		if c.Known() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the time is not known")
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

// near fails unless a time is ahead of the host's clock by about the given duration.
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
	if l.Settled() || !l.CreatedAt().IsZero() {
		t.Errorf("born at %v before the time is known", l.CreatedAt())
	}
	closeLedger(t, l)
	l = openBy(t, database, clock) // nothing was stored
	if l.Settled() || !l.CreatedAt().IsZero() {
		t.Errorf("born at %v before the time is known", l.CreatedAt())
	}
	learn(t, clock, ahead)
	for range 2 {
		if err := l.Settle(t.Context()); err != nil || !l.Settled() {
			t.Fatalf("settle: %v, settled %v", err, l.Settled())
		}
		near(t, "the birth", l.CreatedAt(), ahead)
	}
	near(t, "the ledger's time", l.Now(), ahead)
	mustUpdate(t, l, func(tx *Tx) error { near(t, "a transaction's time", tx.Now, ahead); return nil })
	first := l.CreatedAt()
	closeLedger(t, l)

	l = openBy(t, database, vendortime.New(nil))
	if l.Settled() || !l.CreatedAt().Equal(first) {
		t.Errorf("the stored birth is %v, settled %v; want %v, not settled", l.CreatedAt(), l.Settled(), first)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetMeta(metaBackup, noon2020(0)) })
	closeLedger(t, l)
	clock = vendortime.New(nil)
	if l = openBy(t, database, clock); !l.CreatedAt().IsZero() {
		t.Errorf("a restored copy was born at %v before the time is known", l.CreatedAt())
	}
	learn(t, clock, time.Hour)
	if err := l.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	near(t, "a restored copy's birth", l.CreatedAt(), time.Hour)
}

func testTimesAhead(t *testing.T, database string) {
	const day = 24 * time.Hour
	settled := func(facts map[string]time.Duration, payments ...payment.Payment) *Ledger {
		t.Helper()
		l := open(t, database)
		mustUpdate(t, l, func(tx *Tx) error {
			_, err := tx.exec(`DELETE FROM facts`)
			for name, ahead := range facts {
				err = errors.Join(err, tx.SetMeta(name, tx.Now.Add(ahead)))
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
		near(t, "the birth", l.CreatedAt(), want[metaBorn])
		for name, ahead := range want {
			at, err := l.Meta(t.Context(), name)
			if err != nil {
				t.Error(err)
			}
			near(t, name, at, ahead)
		}
		closeLedger(t, l)
	}
	type facts = map[string]time.Duration
	check(settled(facts{metaBorn: -90 * day, MetaEventsRead: -time.Hour, "fleet_loaded": -time.Minute}),
		facts{metaBorn: -90 * day, MetaEventsRead: -time.Hour, "fleet_loaded": -time.Minute})
	check(settled(facts{metaBorn: 2 * time.Hour, MetaEventsRead: -time.Hour, "fleet_loaded": -time.Minute}),
		facts{metaBorn: -time.Hour, MetaEventsRead: -time.Hour, "fleet_loaded": -time.Minute})
	check(settled(facts{metaBorn: 2 * time.Hour, MetaEventsRead: 3 * time.Hour, "fleet_loaded": 3 * time.Hour}),
		facts{metaBorn: 0, MetaEventsRead: 0, "fleet_loaded": 0})
	check(settled(facts{metaBorn: -5 * day, MetaEventsRead: day}), facts{metaBorn: -5 * day, MetaEventsRead: -5 * day})
	check(
		settled(facts{metaBorn: -90 * day, MetaEventsRead: day}),
		facts{metaBorn: -90 * day, MetaEventsRead: -eventsListed},
	)
	// Two consecutive starts estimate Stripe's time, and the second estimate may be earlier.
	check(settled(facts{metaBorn: 5 * time.Second, MetaEventsRead: -time.Hour}),
		facts{metaBorn: 5 * time.Second, MetaEventsRead: -time.Hour})
	ours := idle(testPayment("ours"))
	ours.Delivery, ours.SentAt, ours.MaybeAccepted = payment.Sent, noon(), true
	ours.PaidAt = time.Now().Add(-40 * day)
	check(
		settled(facts{metaBorn: day, MetaEventsRead: day}, ours),
		facts{metaBorn: -40 * day, MetaEventsRead: -eventsListed},
	)
}

func testBirth(t *testing.T, database string) {
	before := time.Now().Truncate(time.Second)
	l := open(t, database)
	born := l.CreatedAt()
	if born.Before(before) || born.After(time.Now()) || born.Nanosecond() != 0 {
		t.Errorf("born %v; want the whole second in which it was made, %v", born, before)
	}
	closeLedger(t, l)
	if got := open(t, database).CreatedAt(); !got.Equal(born) {
		t.Errorf("born %v after it was opened again; want %v", got, born)
	}
}
