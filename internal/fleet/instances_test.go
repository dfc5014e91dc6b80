package fleet

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// member is the fleet of one of several instances.
type member struct {
	*running
	cut  atomic.Bool // changes and reads of links at Stripe get no reply
	deaf atomic.Bool // it does not read what the others do, and then has missed it
	told atomic.Int64
}

// join starts the fleet of another instance on a database.
func join(t *testing.T, database string, v *vendors, set func(*Config), prices ...string) *member {
	t.Helper()
	m := &member{}
	m.running = runWith(t, database, v, func(c *Config) {
		c.Stripe = cutVendors{v, &m.cut}
		set(c)
	}, prices...)
	missed := false
	go m.Ledger.Follow(t.Context(), func(ctx context.Context, changes []ledger.Change) error {
		m.told.Add(int64(len(changes)))
		if m.deaf.Load() {
			missed = true
			return nil
		}
		if missed {
			changes = append([]ledger.Change{{Kind: ledger.Missed}}, changes...)
		}
		err := m.Follow(ctx, changes)
		missed = missed && err != nil
		return err
	})
	return m
}

// cutVendors are vendors that an instance may not reach.
type cutVendors struct {
	*vendors
	cut *atomic.Bool
}

var errCut = &upstream.Error{Outcome: upstream.Unknown, Detail: "no reply"}

func (c cutVendors) UpdateLink(ctx context.Context, l ledger.Link, text string) (url string, err error) {
	if c.cut.Load() {
		return "", errCut
	}
	return c.vendors.UpdateLink(ctx, l, text)
}

func (c cutVendors) Link(ctx context.Context, id string) (ledger.Link, error) {
	if c.cut.Load() {
		return ledger.Link{}, errCut
	}
	return c.vendors.Link(ctx, id)
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func usual(*Config) {}

// What a leader did not know of its links when it gave up the lead is for the next one to find out.
// Then it sells with the links that the ledger has.
func TestInstancesFormerLeaderSells(t *testing.T) {
	t.Parallel()
	const uid = "dev:0000"
	for name, lose := range map[string]func(a *member){
		"a switch of the link gets no reply": func(a *member) {
			a.pause(uid, false)
			eventually(t, "the link is on disk as inactive", func() bool {
				links, err := a.Ledger.LinksOf(t.Context(), false, []string{uid})
				return err == nil && len(links) == 1 && !links[0].Active
			})
			a.resume(uid)
		},
		"a changed link is not read": func(a *member) {
			a.OfferChanged(LinkUpdated, "plink_0", false, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database, v := pgtest.Database(t), &vendors{devices: many(1)}
			a := join(t, database, v, usual, "price_1")
			eventually(t, "the leader sells", func() bool { return a.url(uid) != "" })
			b := join(t, database, v, usual, "price_1")
			eventually(t, "the other one sells", func() bool { return b.url(uid) != "" })
			a.cut.Store(true)
			lose(a)
			eventually(t, "the leader is not sure", func() bool { return a.url(uid) == "" })
			a.Ledger.Weak(true)
			eventually(t, "the other one leads", b.Ledger.Leads)
			if _, err := b.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the new leader sells", func() bool { return b.url(uid) != "" })
			eventually(t, "the former leader sells", func() bool { return a.url(uid) != "" })
		})
	}
}

// A scan costs an instance that does not lead no more than the leader: customers and strangers who
// scan all the time write next to nothing to the database.
func TestInstancesScansTellLittle(t *testing.T) {
	t.Parallel()
	database, v := pgtest.Database(t), &vendors{devices: many(300)}
	v.silent = &upstream.Error{Outcome: upstream.Unknown} // so that the variables stay unread
	a := join(t, database, v, usual, "price_1")
	eventually(t, "the devices are listed", func() bool { return a.Device("dev:0299") != nil })
	b := join(t, database, v, usual, "price_1")
	eventually(t, "the leader sees the other one", func() bool { return len(a.Ledger.Peers()) == 1 })
	eventually(t, "the other one sees the leader", func() bool { return len(b.Ledger.Peers()) == 1 })
	before := a.told.Load()
	for scan := range 3000 {
		b.RequestLookup(fmt.Sprintf("dev:stranger-%d", scan))
		b.Availability(fmt.Sprintf("dev:%04d", scan%300), time.Now())
		b.Prioritize(fmt.Sprintf("dev:%04d", scan%300))
		time.Sleep(time.Millisecond)
	}
	eventually(t, "the leader hears of a scan", func() bool { return a.told.Load() > before })
	time.Sleep(1500 * time.Millisecond) // the rest is read meanwhile
	if n := a.told.Load() - before; n > maxScanned+1 {
		t.Errorf("the leader was told %d times by 3000 scans; want at most %d", n, maxScanned+1)
	}
}

// An instance that did not read for long what the others did learns also what the leader has read of
// prices since. So does one that starts.
func TestInstancesLearnPricesAgain(t *testing.T) {
	t.Parallel()
	perPurchase := func(c *Config) { c.Sessions = true }
	database, v := pgtest.Database(t), &vendors{devices: many(1)}
	a := join(t, database, v, perPurchase, "price_1", "price_2")
	sells := func(m *member, id string) bool { _, ok := m.Offer(id); return ok }
	eventually(t, "the prices are read", func() bool { return sells(a, "price_1") && sells(a, "price_2") })
	b := join(t, database, v, perPurchase, "price_1", "price_2")
	eventually(t, "the other one knows the prices", func() bool { return sells(b, "price_1") && sells(b, "price_2") })
	b.deaf.Store(true)
	v.set(func() {
		v.prices = map[string]error{"price_1": &upstream.Error{Outcome: upstream.Rejected, Detail: "archived"}}
		v.amounts = map[string]int64{"price_2": 500}
	})
	a.OfferChanged(ProductUpdated, "prod_1", false, false)
	eventually(t, "the leader does not sell the archived price", func() bool { return !sells(a, "price_1") })
	time.Sleep(2500 * time.Millisecond) // the other one misses what the leader told
	b.deaf.Store(false)
	b.pause("dev:0000", false)
	a.pause("dev:0000", false) // something to read
	learns := func(what string, m *member) {
		t.Helper()
		eventually(t, what+" does not sell the archived price", func() bool { return !sells(m, "price_1") })
		eventually(t, what+" knows the new amount", func() bool {
			plan, ok := m.Offer("price_2")
			return ok && plan.Amount == 500
		})
	}
	learns("the one that missed it", b)

	err := a.Ledger.Update(t.Context(), func(tx *ledger.Tx) error { // of before CHECKOUT=session
		for _, id := range []string{"price_1", "price_2"} {
			plan := payment.Offer{PriceID: id, Name: "Old", Amount: 100, Currency: "eur"}
			err := tx.SaveLink(ledger.Link{ID: "plink_" + id, DeviceUID: "dev:0000", Plan: plan})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	learns("one that starts", join(t, database, v, perPurchase, "price_1", "price_2"))
}
