package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
	"notepay/internal/vendortime"
)

// joins opens a ledger by a host whose clock is ahead.
func joins(t *testing.T, database string, ahead time.Duration) *Ledger {
	t.Helper()
	clock := vendortime.New(func() time.Time { return time.Now().Add(ahead) })
	l, err := OpenBy(t.Context(), database, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// claimDue claims what is due at Notehub.
func claimDue(t *testing.T, l *Ledger) (claimed []payment.Payment) {
	t.Helper()
	mustUpdate(t, l, func(tx *Tx) error {
		claimed = nil
		due, err := tx.DueForNotehub(false, 100)
		for _, p := range due {
			after, _ := payment.Claim(p, tx.Now)
			if err := tx.ChangePayment(p, after); err != nil {
				return err
			}
			claimed = append(claimed, after)
		}
		return err
	})
	return claimed
}

// The lease of a claim holds for every instance, whatever its host's clock says. This one's clock may
// be two minutes ahead of that one's.
func TestInstancesShareTheClock(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	behind, ahead := joins(t, database, -time.Minute), joins(t, database, time.Minute)
	if d := ahead.Now().Sub(behind.Now()); d.Abs() > time.Second {
		t.Errorf("their times differ by %v", d)
	}
	var p payment.Payment
	mustUpdate(t, behind, func(tx *Tx) error {
		p = testPayment("one")
		p.Step, p.Delivery, p.DueAt, p.ExpiresAt = payment.StepPostNote, payment.Queued, tx.Now, time.Time{}
		return errOnly(tx.InsertPayment(p))
	})
	if n := len(claimDue(t, behind)); n != 1 {
		t.Fatalf("%d payments claimed; want 1", n)
	}
	if again := claimDue(t, ahead); len(again) != 0 {
		t.Errorf("claimed again during the call: %+v", again)
	}
	// The next start is not the first, so the claims of others are alive.
	third := joins(t, database, 0)
	for name, l := range map[string]*Ledger{"a later instance": third, "the first": behind} {
		mustUpdate(t, l, func(tx *Tx) error {
			called, err := tx.CallUnderWay(p.DeviceUID)
			if !called {
				t.Errorf("%s does not see the call under way", name)
			}
			return err
		})
	}
	if !third.Began().Before(time.Now()) || third.Began().Sub(behind.Began()).Abs() > time.Second {
		t.Errorf("the instances began at %v and %v; want the same time", behind.Began(), third.Began())
	}
}

// A host that was suspended has a clock that is behind, and must not write leases by it.
func TestInstanceWithAStoppedClock(t *testing.T) {
	t.Parallel()
	l := joins(t, pgtest.Database(t), 0)
	far := time.Now().Add(-time.Hour)
	l.clock.Follow(far, time.Now(), time.Now(), 0)
	mustUpdate(t, l, func(tx *Tx) error {
		if d := time.Since(tx.Now); d.Abs() > 2*time.Second && !tx.Now.Before(time.Now().Add(-30*time.Minute)) {
			t.Errorf("a transaction that is %v behind", d)
		}
		return tx.SetMeta("at", tx.Now)
	})
	at, err := l.Meta(t.Context(), "at")
	if err != nil || time.Since(at).Abs() > 2*time.Second {
		t.Errorf("stored %v, %v; want the time of the database", at, err)
	}
}

// Many workers of two instances claim. No payment is claimed twice, and no device has two calls.
func TestInstancesClaimOnce(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	instances := []*Ledger{joins(t, database, 0), joins(t, database, 0)}
	const payments, devices = 120, 8
	mustUpdate(t, instances[0], func(tx *Tx) error {
		for n := range payments {
			p := testPayment("p" + string(rune('a'+n%26)) + strings.Repeat("x", n/26))
			p.DeviceUID = "dev:" + string(rune('a'+n%devices))
			p.HoldsDevice = false
			p.Step, p.Delivery, p.DueAt, p.ExpiresAt = payment.StepPostNote, payment.Queued, tx.Now, time.Time{}
			if err := errOnly(tx.InsertPayment(p)); err != nil {
				return err
			}
		}
		return nil
	})
	var mu sync.Mutex
	calling, claims := map[string]int{}, map[string]int{}
	var all sync.WaitGroup
	for _, l := range instances {
		for range 3 {
			all.Go(func() {
				for range 12 {
					var claimed []payment.Payment
					mustUpdate(t, l, func(tx *Tx) error {
						claimed = nil
						due, err := tx.DueForNotehub(false, 4)
						taken := map[string]bool{}
						for _, p := range due {
							if taken[p.DeviceUID] {
								continue
							}
							taken[p.DeviceUID] = true
							after, _ := payment.Claim(p, tx.Now)
							if err := tx.ChangePayment(p, after); err != nil {
								return err
							}
							claimed = append(claimed, after)
						}
						return err
					})
					mu.Lock()
					for _, p := range claimed {
						if calling[p.DeviceUID]++; calling[p.DeviceUID] > 1 {
							t.Errorf("two calls at once for %s", p.DeviceUID)
						}
						if claims[p.ID]++; claims[p.ID] > 1 {
							t.Errorf("%s was claimed twice", p.ID)
						}
					}
					for _, p := range claimed { // the call ends before its result is recorded
						calling[p.DeviceUID]--
					}
					mu.Unlock()
					mustUpdate(t, l, func(tx *Tx) error {
						for _, p := range claimed {
							sent := payment.ApplyOutcome(p, payment.Outcome{Action: p.Step}, tx.Now)
							if err := tx.ChangePayment(p, sent); err != nil {
								return err
							}
						}
						return nil
					})
				}
			})
		}
	}
	all.Wait()
	if len(claims) < payments/2 {
		t.Errorf("%d claims; want most of %d", len(claims), payments)
	}
}

// Two payments for a timed credit of one device arrive at two instances at once. One of them finds
// that the device is held, and no transaction fails.
func TestInstancesOccupyADeviceOnce(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	instances := []*Ledger{joins(t, database, 0), joins(t, database, 0)}
	for n := range 20 {
		var held atomic.Int32
		var all sync.WaitGroup
		for i, l := range instances {
			all.Go(func() {
				p := testPayment(strings.Repeat("x", n+1) + string(rune('a'+i)))
				p.HoldsDevice, p.DeviceUID = true, "dev:"+strings.Repeat("y", n+1)
				mustUpdate(t, l, func(tx *Tx) error {
					inserted, err := tx.TryInsertPayment(p)
					if err != nil || inserted {
						return err
					}
					if _, err := tx.Occupant(p.DeviceUID); err != nil {
						return err
					}
					p.HoldsDevice = false
					held.Add(1)
					return errOnly(tx.InsertPayment(p))
				})
			})
		}
		all.Wait()
		if held.Load() < 1 {
			t.Errorf("the device was held by both, or by none")
		}
	}
}

func TestInstancesThatDoNotFit(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	as := func(i Identity) (*Ledger, error) { return OpenAs(t.Context(), database, i, vendortime.New(nil)) }
	first, err := as(Identity{Livemode: "test", Project: "app:one", Settings: "A=1"})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for name, other := range map[string]Identity{
		"mode":    {Livemode: "live", Project: "app:one"},
		"project": {Livemode: "test", Project: "app:two"},
	} {
		l, err := as(other)
		if err == nil {
			_ = l.Close()
		}
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), other.Project) && name == "project" {
			t.Errorf("another %s: got %v; want %v", name, err, ErrLocked)
		}
	}
}

// The claims of a process that was killed are orphaned by the next start, unless others are alive.
func TestInstancesRecoverAlone(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	first := joins(t, database, 0)
	if !first.instance.alone {
		t.Error("the first instance is not alone")
	}
	second := joins(t, database, 0)
	if second.instance.alone {
		t.Error("the second instance is alone")
	}
	for _, l := range []*Ledger{first, second} { // killed: nothing is taken back, and nothing reported
		l.instance.stop()
		l.instance.ended.Wait()
	}
	began := time.Now()
	third := joins(t, database, 0)
	if took := time.Since(began); !third.instance.alone || took < time.Second {
		t.Errorf("after %v the third is alone: %v; want that it has waited for the others", took, third.instance.alone)
	}
	err := first.Update(t.Context(), func(tx *Tx) error { return tx.SetMeta("late", tx.Now) })
	if !errors.Is(err, errLeaseLost) {
		t.Errorf("the first writes with %v after it was replaced; want %v", err, errLeaseLost)
	}
}

// A leader that cannot reach a vendor gives up the lead, unless no other instance can either.
func TestInstanceWithoutVendors(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	a, b := joins(t, database, 0), joins(t, database, 0)
	until := func(what string, condition func() bool) {
		t.Helper()
		for end := time.Now().Add(15 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("15 s later not yet: %s", what)
			}
		}
	}
	until("a leads and sees b", func() bool { return a.Leads() && len(a.Peers()) == 1 })
	a.Weak(true)
	until("b leads alone", func() bool { return b.Leads() && !a.Leads() })
	b.Weak(true)
	until("a sees that b is weak", func() bool { return len(a.Peers()) == 1 && a.Peers()[0].Weak })
	term, _ := b.instance.leadership.watch()
	for range 3 {
		time.Sleep(beatInterval)
		if current, _ := b.instance.leadership.watch(); current != term || a.Leads() {
			t.Fatal("the lead changed while no instance reaches the vendors")
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	until("a leads, because it is alone", a.Leads)
}

// One leads. Another takes over after a resignation at once, and after a death within leadTime. A
// lead that is stolen is over.
func TestInstancesLead(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	leading := func(l *Ledger, within time.Duration) bool {
		for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if l.Leads() {
				return true
			}
		}
		return false
	}
	a, b := joins(t, database, 0), joins(t, database, 0)
	if !a.Leads() || b.Leads() {
		t.Fatalf("a leads: %v, b: %v; want a alone", a.Leads(), b.Leads())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var worked atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Lead(ctx, func(ctx context.Context) { worked.Add(1); <-ctx.Done() })
	}()
	for worked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	listens(t, a, b)
	cancel()
	<-ended
	if began := time.Now(); !leading(b, 5*time.Second) || a.Leads() {
		t.Fatal("b does not lead after a has resigned")
	} else if took := time.Since(began); took > time.Second {
		t.Errorf("b leads %v after a has resigned; want at most a second", took)
	}
	c := joins(t, database, 0)
	b.instance.stop()
	b.instance.ended.Wait()
	if !leading(c, 15*time.Second) {
		t.Error("no instance leads 15 s after the death of the leader")
	}
	pgtest.Exec(t, database, `UPDATE leader SET holder = 'thief', until = `+databaseTime+` + 2500`)
	for end := time.Now().Add(2 * time.Second); c.Leads(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("c still leads after the lead was stolen")
		}
	}
	if !leading(c, 10*time.Second) {
		t.Error("c does not lead again after the thief is gone")
	}
}

// An instance tells the others what it did, in the order of the commits.
func TestInstancesFollow(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	a := joins(t, database, 0)
	mustUpdate(t, a, func(tx *Tx) error { return tx.Pause(Pause{DeviceUID: "dev:before", At: tx.Now}) })
	b := joins(t, database, 0)
	var mu sync.Mutex
	var seen []string
	for end := time.Now().Add(10 * time.Second); len(a.Peers()) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a does not see b")
		}
	}
	failed := false
	go b.Follow(t.Context(), func(_ context.Context, changes []Change) error {
		mu.Lock()
		defer mu.Unlock()
		if !failed {
			failed = true
			return errors.New("not now") // the same changes come again
		}
		for _, c := range changes {
			seen = append(seen, string(c.Kind)+" "+c.Subject)
		}
		return nil
	})
	mustUpdate(t, a, func(tx *Tx) error { return tx.Pause(Pause{DeviceUID: "dev:one", At: tx.Now}) })
	mustUpdate(t, b, func(tx *Tx) error { return tx.Resume("dev:own") })
	_ = a.Update(t.Context(), func(tx *Tx) error { _ = tx.Resume("dev:rolled-back"); return errors.New("no") })
	uses := func(uid string) string { return "use " + uid }
	is := func(uid string) string { return "device " + uid }
	want := []string{uses("dev:one")}
	for _, c := range []struct {
		change func(*Tx) error
		want   string
	}{
		{func(tx *Tx) error { return tx.Resume("dev:1") }, uses("dev:1")},
		{func(tx *Tx) error { return tx.SaveMachineState(MachineState{DeviceUID: "dev:2"}) }, uses("dev:2")},
		{func(tx *Tx) error { return tx.PlanMaintenance(Maintenance{DeviceUID: "dev:3"}) }, uses("dev:3")},
		{func(tx *Tx) error { return tx.CancelMaintenance("dev:4") }, uses("dev:4")},
		{func(tx *Tx) error { return tx.SaveDevice(Device{UID: "dev:5"}) }, is("dev:5")},
		{func(tx *Tx) error { return tx.RemoveDevice("dev:6") }, is("dev:6")},
		{func(tx *Tx) error { return tx.SaveLink(Link{ID: "plink_1", DeviceUID: "dev:7"}) }, is("dev:7")},
		{func(tx *Tx) error { return tx.SaveVariables(Variables{Owner: "dev:8"}) }, is("dev:8")},
		{func(tx *Tx) error { return tx.SaveVariables(Variables{Owner: "project"}) }, "variables project"},
		{func(tx *Tx) error { return tx.RemoveVariables("fleet:9") }, "variables fleet:9"},
	} {
		mustUpdate(t, a, c.change)
		want = append(want, c.want)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		got := slices.Clone(seen)
		mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("b has seen %q; want %q", got, want)
		}
	}
}

// What one instance has read of the calls that are running is not true for its next transaction.
func TestInstancesSeeEachOthersCalls(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	one, two := joins(t, database, 0), joins(t, database, 0)
	p := testPayment("one")
	p.Step, p.Delivery, p.ExpiresAt = payment.StepPostNote, payment.Queued, time.Time{}
	sees := func(l *Ledger, want bool) {
		t.Helper()
		mustUpdate(t, l, func(tx *Tx) error {
			called, err := tx.CallUnderWay(p.DeviceUID)
			if called != want {
				t.Errorf("a call is under way: %v; want %v", called, want)
			}
			return err
		})
	}
	sees(one, false)
	mustUpdate(t, two, func(tx *Tx) error {
		p.DueAt = tx.Now
		return errOnly(tx.InsertPayment(p))
	})
	claimed := claimDue(t, two)
	if len(claimed) != 1 {
		t.Fatalf("%d payments claimed; want 1", len(claimed))
	}
	sees(one, true)
	mustUpdate(t, two, func(tx *Tx) error {
		ended := claimed[0]
		ended.InFlight = false
		return tx.ChangePayment(claimed[0], ended)
	})
	sees(one, false)
}

// Updates that arrive while another instance writes share the next turn, not one turn each.
func TestInstancesShareATurn(t *testing.T) {
	t.Parallel()
	database, seen := pgtest.Database(t), &statementsSeen{}
	one, two := joins(t, database, 0), opensTraced(t, database, seen)
	for len(two.Peers()) == 0 || len(one.Peers()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	turn, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		err := one.Update(context.Background(), func(tx *Tx) error {
			if err := tx.readCalls(tx.memory); err != nil { // it has the turn
				return err
			}
			close(turn)
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-turn
	seen.take()
	const updates = 12
	for n := range updates {
		all.Go(func() {
			p := testPayment("shares_" + string(rune('a'+n)))
			p.DeviceUID = p.SessionID
			err := two.Update(context.Background(), func(tx *Tx) error { return errOnly(tx.InsertPayment(p)) })
			if err != nil {
				t.Error(err)
			}
		})
		time.Sleep(20 * time.Millisecond)
	}
	close(release)
	all.Wait()
	turns := 0
	for _, s := range seen.take() {
		if s.query == begin {
			turns++
		}
	}
	if turns != 1 {
		t.Errorf("%d transactions for %d updates; want one", turns, updates)
	}
	if n := len(names(t, two.reads.DB, `SELECT session_id FROM payments`)); n != updates {
		t.Errorf("%d payments; want %d", n, updates)
	}
}

// Updates join a transaction while others of it fail. Each one that is acknowledged has to be stored.
func TestInstancesLoseNothingBesideFailures(t *testing.T) {
	t.Parallel()
	database := pgtest.Database(t)
	joins(t, database, 0)
	l := joins(t, database, 0)
	for len(l.Peers()) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	own := errors.New("changed my mind")
	var all sync.WaitGroup
	var mu sync.Mutex
	var good []string
	for writer := range 24 {
		all.Go(func() {
			for n := range 25 {
				if writer%3 == 0 { // enough of them that each update runs alone
					err := l.Update(context.Background(), func(*Tx) error { return own })
					if !errors.Is(err, own) {
						t.Errorf("got %v; want %v", err, own)
					}
					continue
				}
				p := testPayment(fmt.Sprintf("beside_%d_%d", writer, n))
				p.DeviceUID = p.SessionID
				ran := false
				err := l.Update(context.Background(), func(tx *Tx) error {
					ran = true
					return errOnly(tx.InsertPayment(p))
				})
				if err != nil || !ran {
					t.Errorf("%v, and it ran: %v", err, ran)
				}
				mu.Lock()
				good = append(good, p.SessionID)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	wantStored(t, l, good)
}
