// Package vendortime tells Stripe's time, whatever the host's clock says.
//
// Payments, events and signatures carry Stripe's time, so deadlines can only be compared with
// Stripe's time. A Clock learns it from the Date header of Stripe's replies and carries it on by
// the monotonic clock, so that a step of the host's clock changes nothing. Until Stripe has
// answered, a Clock returns the host's time, corrected by Notehub's replies if there are any, and
// Known reports false. It cannot notice how long a suspended host slept before Stripe answers
// again.
package vendortime

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Tolerance is the largest difference between the host's clock and Stripe's with which notepay
// sells.
const Tolerance = 2 * time.Minute

// maxOffset is how far a Date may be from the host's clock. A host without a battery starts in
// 1970.
const maxOffset = 100 * 365 * 24 * time.Hour

// Witness is a vendor whose replies tell the time.
type Witness int

const (
	Stripe  Witness = iota // decides
	Notehub                // counts until Stripe has answered
)

// Clock tells Stripe's time. It is safe for concurrent use, and a nil *Clock is the host's clock,
// which counts as known.
type Clock struct {
	host   func() time.Time // the host's clock, which may step
	anchor time.Time        // a reading of the monotonic clock
	base   time.Time        // the host's time at the anchor

	offset atomic.Int64 // Stripe's time less the host's at the anchor, in nanoseconds; read by each scan
	known  atomic.Bool  // Stripe has answered

	mu    sync.Mutex    // guards what follows, and learning
	seen  bool          // a vendor has answered
	asked time.Duration // the host's clock had stepped by this when the offset was learned
}

// New returns a clock that starts with the host's time. host is read where only the host's clock
// counts. nil means time.Now.
func New(host func() time.Time) *Clock {
	if host == nil {
		host = time.Now
	}
	return &Clock{host: host, anchor: time.Now(), base: host().Round(0).UTC()}
}

// Now returns Stripe's time.
func (c *Clock) Now() time.Time { return c.At(time.Now()) }

// At returns what Stripe's clock showed at a local instant, a value of time.Now.
func (c *Clock) At(local time.Time) time.Time {
	if c == nil {
		return local
	}
	return c.carried(local).Add(c.Offset())
}

// carried returns the host's time at a local instant as if its clock had not stepped since the
// anchor.
func (c *Clock) carried(local time.Time) time.Time { return c.base.Add(local.Sub(c.anchor)) }

// Known reports whether Stripe has told its time.
func (c *Clock) Known() bool { return c == nil || c.known.Load() }

// Offset returns how far Stripe's time is from the host's at the anchor. It only changes when
// Stripe's replies contradict it.
func (c *Clock) Offset() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.offset.Load())
}

// Ahead returns by how much the host's clock is ahead of the vendors', negative if it is behind. It
// reports false until a vendor has answered.
func (c *Clock) Ahead() (time.Duration, bool) {
	if c == nil {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stepped() - c.Offset(), c.seen
}

// stepped returns how far the host's clock has stepped since the anchor.
func (c *Clock) stepped() time.Duration { return c.host().Round(0).Sub(c.carried(time.Now())) }

// Doubtful reports whether the host's clock stepped since Stripe answered last. The host may have
// been suspended, and then Stripe's time is not what Now returns.
func (c *Clock) Doubtful() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Known() && (c.stepped()-c.asked).Abs() > time.Second
}

// Watch returns a transport that learns the time from the replies that come through next.
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

// genuine reports whether a reply was made by the vendor just now. What a proxy says in its place
// may be from a cache, and a reply that is replayed may carry the date of the first.
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

// learn applies a reply that the vendor made at some time between two local instants. A Date has
// whole seconds, cut off, so the reply bounds the offset from both sides. An offset within the
// bounds stays as it is, and another one becomes the middle.
func (c *Clock) learn(of Witness, began, ended time.Time, date string) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if of != Stripe && c.Known() {
		return
	}
	least, most := theirs.Sub(c.carried(ended)), theirs.Add(time.Second).Sub(c.carried(began))
	if least.Abs() > maxOffset {
		return
	}
	if offset := c.Offset(); offset < least || offset > most {
		c.offset.Store(int64(least + (most-least)/2))
	}
	c.asked, c.seen = c.stepped(), true
	if of == Stripe {
		c.known.Store(true)
	}
}
