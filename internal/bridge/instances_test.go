package bridge

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
	"notepay/internal/vendortime"
)

// instanceHouse returns a house on PostgreSQL.
func instanceHouse(t *testing.T, clock *vendortime.Clock) *house {
	t.Helper()
	h := newHouseAt(t, pgtest.Database(t), clock)
	h.told.unchecked = true // queue publishes nothing
	return h
}

// queue stores a credit of a device that is due.
func (h *house) queue(session, device string) {
	h.Helper()
	err := h.l.Update(h.Context(), func(tx *ledger.Tx) error {
		p := unsent()
		p.ID, p.SessionID, p.PaymentIntent, p.DeviceUID = payment.CreditID(session), session, "pi_"+session, device
		p.Token = payment.TokenOf(p.ID, [16]byte{})
		p.PaidAt, p.CreatedAt, p.ExpiresAt = tx.Now, tx.Now, time.Time{}
		_, err := tx.InsertPayment(payment.Next(p, tx.Now))
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
}

// When a lease has ended, Notehub lists what its call did, however late the call began and however
// long it took. Another instance looks then.
func TestInstanceLeasesEndAfterTheListing(t *testing.T) {
	t.Parallel()
	h := instanceHouse(t, vendortime.New(nil))
	h.queue("cs_test_1", "dev:1")
	p := h.claim(h.b.notehub(), 1)[0]
	latest := time.Now()
	for !h.b.outlived(p, latest) {
		latest = latest.Add(10 * time.Millisecond)
	}
	listed := latest.Add(maxClockDifference + payment.CallTimeout + payment.MaxListingDelay)
	if late := h.b.clock().At(listed).Sub(p.DueAt); late > 20*time.Millisecond {
		t.Errorf("a call may be listed only %v after the end of its lease", late)
	}
	if time.Until(latest) < 2*time.Second {
		t.Errorf("a call has to begin %v after its claim; want a few seconds", time.Until(latest))
	}
}

// A host that is suspended between a claim and its call does not make the call: its monotonic clock
// says that no time has passed, and another instance may have the payment by now.
func TestInstanceSuspendedBeforeACall(t *testing.T) {
	t.Parallel()
	var suspended atomic.Bool
	var slept atomic.Int64
	h := instanceHouse(t, vendortime.New(func() time.Time {
		if suspended.Load() { // each reading finds that the host has just been suspended
			slept.Add(int64(30 * time.Second))
		}
		return time.Now().Add(time.Duration(slept.Load()))
	}))
	h.queue("cs_test_1", "dev:1")
	p := h.claim(h.b.notehub(), 1)[0]
	suspended.Store(true)
	h.b.execute(context.Background(), p)
	if n := len(h.hub.posted); n != 0 {
		t.Errorf("%d notes after a suspension of 30 s; want none", n)
	}
	suspended.Store(false)
	for h.b.clock().Suspended() > 0 { // until the time of the database is read again
		time.Sleep(20 * time.Millisecond)
	}
	h.queue("cs_test_2", "dev:2")
	h.b.execute(context.Background(), h.claim(h.b.notehub(), 1)[0])
	if n := len(h.hub.posted); n != 1 {
		t.Errorf("%d notes by a host that was not suspended; want 1", n)
	}
}

// instancePair returns two bridges on one ledger, which follow each other. The first one leads. They do
// not run yet.
func instancePair(t *testing.T, change ...func(*Config)) (leader, follower *house) {
	t.Helper()
	database := pgtest.Database(t)
	houses := []*house{newHouseAt(t, database, nil, change...), newHouseAt(t, database, nil, change...)}
	for n, h := range houses {
		h.told.unchecked = true
		h.until("it sees the other one, and one leads", func() bool {
			return len(h.l.Peers()) == 1 && h.l.Leads() == (n == 0)
		})
	}
	for _, h := range houses {
		ctx, cancel := context.WithCancel(context.Background())
		followed := make(chan struct{})
		go func() {
			defer close(followed)
			h.l.Follow(ctx, func(ctx context.Context, changes []ledger.Change) error {
				h.b.Follow(ctx, changes)
				return nil
			})
		}()
		t.Cleanup(func() { cancel(); <-followed })
	}
	return houses[0], houses[1]
}

// until waits up to 15 s.
func (h *house) until(what string, done func() bool) {
	h.Helper()
	for end := time.Now().Add(15 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("after 15 s it is not so: %s", what)
		}
	}
}

// The leader reads Stripe's events and the machines' answers. The other instance knows when it has
// caught up, and can ask it to read on.
func TestInstancesReadAtTheLeader(t *testing.T) {
	t.Parallel()
	leader, follower := instancePair(t, confirming)
	leader.run()
	follower.run()
	for _, h := range []*house{leader, follower} {
		h.until("it knows that the events and the answers were read", func() bool {
			return h.b.eventsRead.Load() && h.b.answersRead.Load()
		})
	}
	early := follower.b.now().UnixMilli()
	follower.b.chargeEarly.Store(early) // a charge came before its session
	read := leader.money.called(forEvents)
	leader.until("the reading that the follower wants has been made", func() bool {
		follower.b.wantEvents()
		time.Sleep(100 * time.Millisecond)
		return leader.money.called(forEvents) > read
	})
	follower.until("it knows that the charge was read", func() bool { return follower.b.readingBegan.Load() > early })
	if n := follower.money.called(forEvents) + follower.hub.called(forAnswers); n > 0 {
		t.Errorf("%d readings by the instance that does not lead; want none", n)
	}
}

// What one instance does to a payment is published by the other one: to the pages of customers, and to
// the fleet.
func TestInstancesPublishEachOthersChanges(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	shown := map[Observer]int{} // by the instance that shows it
	leader, follower := instancePair(t, func(c *Config) {
		c.Changed = func(p payment.Payment) {
			mu.Lock()
			defer mu.Unlock()
			if p.SessionID == "cs_test_1" && p.Token != "" {
				shown[c.Observe]++
			}
		}
	})
	leader.run() // and the other one does nothing but follow
	sale := func(h *house) fleet.State { return h.b.c.Fleet.Availability("dev:1", h.b.now()).State }
	leader.paidTimed("cs_test_1", "dev:1")
	follower.until("the machine is in use at the other instance", func() bool { return sale(follower) == fleet.InUse })
	follower.until("its pages know of the payment", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return shown[follower.told] > 0
	})
}

// A payment that another instance has left behind is delivered soon, although nothing signals it.
func TestInstancesFindWorkOfOthers(t *testing.T) {
	t.Parallel()
	leader, follower := instancePair(t)
	leader.run()
	follower.run()
	follower.until("it has read all", func() bool { return follower.b.eventsRead.Load() })
	time.Sleep(time.Second) // the workers sleep until something is due
	leader.queue("cs_test_1", "dev:1")
	began := time.Now()
	leader.until("the note is posted", func() bool { return leader.hub.notes()+follower.hub.notes() == 1 })
	if took := time.Since(began); took > 2*maxSharedIdle {
		t.Errorf("the note is posted after %v; want %v at most", took, maxSharedIdle)
	}
}
