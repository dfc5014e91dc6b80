package vendortime

import (
	"testing"
	"time"
)

// Two hosts whose clocks differ by two minutes count the same time, and change it only together.
func TestFollow(t *testing.T) {
	t.Parallel()
	var hosts [2]*Clock
	for n, ahead := range []time.Duration{-time.Minute, time.Minute} {
		hosts[n] = New(func() time.Time { return time.Now().Add(ahead) })
	}
	follow := func(c *Clock, ahead time.Duration) {
		began := time.Now()
		c.Follow(time.Now().Round(0), began, time.Now(), ahead)
	}
	near := func(what string, c *Clock, ahead time.Duration) {
		t.Helper()
		if off := time.Until(c.Now()) - ahead; off.Abs() > time.Second {
			t.Errorf("%s: the clock is %v ahead; want %v", what, time.Until(c.Now()), ahead)
		}
	}
	for _, c := range hosts {
		follow(c, 0)
		near("at first", c, 0)
	}
	a, b := hosts[0], hosts[1]
	stripe := time.Now().Add(10 * time.Second).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	a.learn(Stripe, time.Now(), time.Now(), stripe)
	near("before they agree", a, 0)
	if a.Known() {
		t.Error("the time is known before the others know it")
	}
	ahead, ok := a.Proposal()
	if !ok || (ahead-10*time.Second).Abs() > time.Second {
		t.Fatalf("it proposes %v, %v; want 10 s", ahead, ok)
	}
	ahead = ahead.Truncate(time.Millisecond) // as stored
	for _, c := range hosts {
		follow(c, ahead)
		near("after they agreed", c, ahead)
	}
	if _, ok := a.Proposal(); ok || !a.Known() || b.Known() {
		t.Errorf("proposal %v, known %v and %v; want none, and only the one that asked knows", ok, a.Known(), b.Known())
	}
	b.learn(Stripe, time.Now(), time.Now(), stripe)
	if _, ok := b.Proposal(); ok || !b.Known() {
		t.Error("the second host contradicts the first")
	}
	// Notehub's time does not count beside what the hosts have agreed on.
	notehub := time.Now().Add(time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	a.learn(Notehub, time.Now(), time.Now(), notehub)
	if _, ok := a.Proposal(); ok {
		t.Error("it proposes Notehub's time")
	}
	// After a step of the shared clock, Stripe's time is unknown until Stripe has told it again.
	step := func(by time.Duration) bool {
		return b.Follow(time.Now().Round(0).Add(by), time.Now(), time.Now(), ahead)
	}
	if step(100*time.Millisecond) || !b.Known() {
		t.Error("a drift counts as a step")
	}
	if !step(2*time.Minute) || b.Known() {
		t.Error("the time is still known after the shared clock has stepped")
	}
	// A reading that took long says little.
	a.Follow(time.Now().Add(time.Hour), time.Now().Add(-2*time.Second), time.Now(), ahead)
	near("after a slow reading", a, ahead)
}

// While a host is suspended its monotonic clock stops. The step of its clock shows for how long, until
// the shared clock is read again.
func TestSuspended(t *testing.T) {
	t.Parallel()
	var slept time.Duration
	c := New(func() time.Time { return time.Now().Add(slept) })
	read := func() { c.Follow(time.Now().Round(0), time.Now(), time.Now(), 0) }
	want := func(when string, d time.Duration) {
		t.Helper()
		if got := c.Suspended(); (got - d).Abs() > 100*time.Millisecond {
			t.Errorf("%s: suspended for %v; want %v", when, got, d)
		}
	}
	read()
	want("at first", 0)
	slept = 30 * time.Second
	want("after a suspension", 30*time.Second)
	began := time.Now().Add(-1500 * time.Millisecond)
	c.Follow(time.Now().Round(0), began, time.Now(), 0)
	want("after a reading that took too long to tell the time", 30*time.Second)
	read()
	want("after a reading", 0)
	slept = 0
	want("after the clock was set back", 0)
	var none *Clock
	if none.Suspended() != 0 {
		t.Error("without a clock it was suspended")
	}
}
