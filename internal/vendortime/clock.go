// Package vendortime provides Stripe's time, independent of the host's clock.
//
// Payments, events and signatures carry Stripe's time, so deadlines must be compared with Stripe's
// time. A Clock learns it from the Date header of Stripe's replies. In between it counts with the
// monotonic clock, so a step of the host's clock has no effect.
//
// Before the first reply from Stripe, a Clock returns the host's time, corrected by Notehub's
// replies if there are any, and Known reports false. After the host was suspended, a Clock is wrong
// until the next reply from Stripe.
package vendortime

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Tolerance is the maximum difference between the host's clock and Stripe's with which notepay
// sells.
const Tolerance = 2 * time.Minute

// maxOffset is the maximum difference between a Date and the host's clock. A host without a battery
// starts in 1970.
const maxOffset = 100 * 365 * 24 * time.Hour

// Witness is a vendor whose replies carry the time.
type Witness int

const (
	Stripe  Witness = iota // its time is authoritative
	Notehub                // its time is used until Stripe has answered
)

// Clock provides Stripe's time. It is safe for concurrent use. A nil *Clock is the host's clock,
// and counts as known.
type Clock struct {
	host   func() time.Time // the host's clock, which may step
	anchor time.Time        // a reading of the monotonic clock
	base   time.Time        // the host's time at the anchor

	offset atomic.Int64 // Stripe's time minus the host's at the anchor, in nanoseconds; each scan reads it
	known  atomic.Bool  // Stripe has answered

	mu    sync.Mutex    // guards the following, and serializes learn and Follow
	seen  bool          // a vendor has answered
	asked time.Duration // step of the host's clock since the anchor when a vendor last answered
	read  time.Duration // the same when Follow was last called

	shared    bool          // Follow was called
	reference time.Duration // the shared clock's time minus the host's at the anchor
	ahead     time.Duration // Stripe's time minus the shared clock's, as all hosts count
	proposal  time.Duration // what ahead should be, by the last reply that contradicted it
	proposed  bool          // proposal is set
	byStripe  bool          // proposal follows from a reply of Stripe
}

// New returns a clock that starts with the host's time. host is read only where the host's clock
// itself matters. nil means time.Now.
func New(host func() time.Time) *Clock {
	if host == nil {
		host = time.Now
	}
	return &Clock{host: host, anchor: time.Now(), base: host().Round(0).UTC()}
}

// Now returns Stripe's time.
func (c *Clock) Now() time.Time { return c.At(time.Now()) }

// At returns Stripe's time at a local instant, a value of time.Now.
func (c *Clock) At(local time.Time) time.Time {
	if c == nil {
		return local
	}
	return c.carried(local).Add(c.Offset())
}

// carried returns the host's time at a local instant, as if its clock had not stepped since the
// anchor.
func (c *Clock) carried(local time.Time) time.Time { return c.base.Add(local.Sub(c.anchor)) }

// Known reports whether Stripe has answered.
func (c *Clock) Known() bool { return c == nil || c.known.Load() }

// Offset returns the difference between Stripe's time and the host's at the anchor. It changes only
// when a reply contradicts it.
func (c *Clock) Offset() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.offset.Load())
}

// Ahead returns how far the host's clock is ahead of the vendors'. The value is negative if the
// clock is behind. The second result is false until a vendor has answered.
func (c *Clock) Ahead() (time.Duration, bool) {
	if c == nil {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stepped() - c.Offset(), c.seen
}

// stepped returns the step of the host's clock since the anchor.
func (c *Clock) stepped() time.Duration { return c.host().Round(0).Sub(c.carried(time.Now())) }

// Doubtful reports whether the host's clock has stepped since Stripe last answered. The host may
// have been suspended, and Now may be wrong.
func (c *Clock) Doubtful() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Known() && (c.stepped()-c.asked).Abs() > time.Second
}

// Suspended returns for how long the host may have stood still since Follow was last called. The
// monotonic clock, and with it Now, stops while a host is suspended, and the host's clock goes on.
func (c *Clock) Suspended() time.Duration {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.stepped()-c.read, 0)
}

// Watch returns a transport that calls next and learns the time from the replies.
func (c *Clock) Watch(of Witness, next http.RoundTripper) http.RoundTripper {
	if c == nil {
		return next
	}
	return watched{c, of, next}
}

type watched struct {
	clock *Clock
	of    Witness
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := w.next.RoundTrip(r)
	if err == nil && genuine(w.of, resp) {
		w.clock.learn(w.of, began, time.Now(), resp.Header.Get("Date"))
	}
	return resp, err
}

// genuine reports whether the vendor made the reply just now. A proxy may answer from a cache, and
// a replayed reply carries the Date of the first one.
func genuine(of Witness, resp *http.Response) bool {
	h := resp.Header
	if h.Get("Age") != "" || h.Get("Idempotent-Replayed") != "" {
		return false
	}
	if of == Stripe && h.Get("Request-Id") != "" {
		return true
	}
	return resp.StatusCode/100 == 2 && strings.HasPrefix(h.Get("Content-Type"), "application/json")
}

// learn applies the Date of a reply that the vendor made between two local instants. A Date has
// whole seconds, rounded down, so a reply bounds the offset from both sides. learn keeps an offset
// within the bounds, and otherwise takes their middle.
func (c *Clock) learn(of Witness, began, ended time.Time, date string) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if of != Stripe && (c.shared || c.Known()) {
		return
	}
	low, high := theirs.Sub(c.carried(ended)), theirs.Add(time.Second).Sub(c.carried(began))
	if low.Abs() > maxOffset {
		return
	}
	offset := c.Offset()
	fits := offset >= low && offset <= high
	middle := low + (high-low)/2
	c.asked, c.seen = c.stepped(), true
	switch {
	case c.shared && (of == Stripe || !fits):
		// The hosts change the time together, so it is not known before that. See Follow.
		c.proposal, c.proposed, c.byStripe = middle-c.reference, !fits, of == Stripe
		if of == Stripe && fits {
			c.known.Store(true)
		}
		return
	case !fits:
		c.offset.Store(int64(middle))
	}
	if of == Stripe {
		c.known.Store(true)
	}
}

// Follow makes several hosts count the same time. It is called again and again with the time of a
// clock that they share, which that clock showed between two local instants, and with what they have
// agreed on: how far Stripe's time is ahead of that clock. From the first call on, a vendor's reply
// changes the time only through Proposal. A reading that took longer than maxReading is ignored.
//
// Follow reports whether the shared clock has stepped against this host's. The time is then unknown
// until Stripe's next reply.
func (c *Clock) Follow(now, began, ended time.Time, ahead time.Duration) (stepped bool) {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	low, high := now.Sub(c.carried(ended)), now.Add(time.Millisecond).Sub(c.carried(began))
	outside := c.reference < low-referenceSlack || c.reference > high+referenceSlack
	if before := c.reference; !c.shared || outside && high-low < maxReading {
		c.reference = low + (high-low)/2
		// The shared clock or this host's has stepped, so Stripe has to tell the time again.
		if stepped = c.shared && (c.reference-before).Abs() > time.Second; stepped {
			c.known.Store(false)
		}
	}
	if !c.shared && c.seen { // it has learned the time before there was a shared clock
		c.proposal, c.proposed, c.byStripe = c.Offset()-c.reference, c.known.Load(), c.known.Load()
		c.known.Store(false)
	}
	if !c.shared || high-low < maxReading { // a slower reading does not show that the time is right
		c.read = c.stepped()
	}
	c.shared, c.ahead = true, ahead
	c.offset.Store(int64(c.reference + c.ahead))
	if c.proposed && c.proposal.Truncate(time.Millisecond) == ahead {
		c.proposed = false
		if c.byStripe {
			c.known.Store(true)
		}
	}
	return stepped
}

const (
	// maxReading is how long a reading of the shared clock may take.
	maxReading = time.Second
	// referenceSlack is how far the host's clock may drift before it is set by the shared one.
	referenceSlack = 50 * time.Millisecond
)

// Proposal returns how far Stripe's time is ahead of the shared clock by the last reply that
// contradicts what the hosts have agreed on. ok is false if there is none.
func (c *Clock) Proposal() (ahead time.Duration, ok bool) {
	if c == nil {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proposal, c.proposed
}
