package upstream

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// Limiter limits how often one vendor is called, and tracks whether the vendor answers. All calls
// to the vendor share it. It is safe for concurrent use.
type Limiter struct {
	slots slots // nil: only the vendor's own 429 slows us down

	// OnHold is called when the vendor says that no call may be made until a time. It must not block,
	// and may be nil.
	OnHold func(until time.Time)

	mu       sync.Mutex
	hold     time.Time // no call is made before this
	holds    int       // rate limits in a row, for a vendor that does not say how long to wait
	troubles int       // calls in a row that failed to reach the vendor, or were rejected for our account
	refusals int       // of them, the last ones in a row that were rejected for our key or account
	last     string    // the last of their errors
}

// NewLimiter allows perMinute calls a minute with a burst of at least 1. With perMinute 0 it sets
// no limit of our own.
func NewLimiter(perMinute float64, burst int) *Limiter {
	l := &Limiter{}
	if perMinute > 0 {
		b := &bucket{perSecond: perMinute / 60, burst: float64(max(burst, 1))}
		b.tokens = b.burst
		l.slots = b
	}
	return l
}

// NewWindow allows limit calls in any minute. With limit 0 it sets no limit of our own. Its callers
// must call Release after each call.
func NewWindow(limit int) *Limiter {
	l := &Limiter{}
	if limit > 0 {
		l.slots = &window{limit: limit}
	}
	return l
}

// Earlier records when an earlier process may have used the whole limit. For a minute after that
// time this process makes no calls.
func (l *Limiter) Earlier(at time.Time) {
	w, ok := l.slots.(*window)
	if ago := time.Since(at); !ok || ago < 0 || ago >= windowLength {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for range w.limit {
		w.over = append(w.over, at)
	}
}

// Join makes this process wait for its part of the limit, because it starts beside processes that may
// have used all of it.
func (l *Limiter) Join() {
	if w, ok := l.slots.(*window); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.parts = []part{{time.Now(), 0}}
	}
}

// Divide gives this process one of n parts of the limit, because n processes share it. They are
// numbered from 0. A smaller part counts at once. A larger one counts after more than a minute,
// because others may have used the difference.
func (l *Limiter) Divide(number, n int) {
	if w, ok := l.slots.(*window); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.divide(time.Now(), (w.limit+n-1-number)/n) // together they are the limit
	}
}

// PerMinute returns how many calls this process may make in a minute, and false if there is no limit.
func (l *Limiter) PerMinute() (calls int, limited bool) {
	if l.slots == nil {
		return 0, false
	}
	return l.slots.perMinute(time.Now()), true
}

// Share returns a limiter with the same budget whose results do not affect the health state of l.
func (l *Limiter) Share() *Limiter { return &Limiter{slots: l.slots} }

// Delay returns how long the next call has to wait, or 0 if it may be made now.
func (l *Limiter) Delay(now time.Time) time.Duration {
	d := l.held(now)
	if l.slots == nil {
		return d
	}
	return max(d, l.slots.delay(now))
}

// rounding is added to a delay, so that a caller does not wake just before the slot is free.
const rounding = time.Microsecond

// Available returns how many calls may be made now.
func (l *Limiter) Available() int {
	now := time.Now()
	switch {
	case l.held(now) > 0:
		return 0
	case l.slots == nil:
		return math.MaxInt
	default:
		return l.slots.free(now)
	}
}

// Spare reports whether more than half of the slots are free, so that calls that can wait may use
// one. It returns false if there is no limit, because then nothing tells what can be spared.
func (l *Limiter) Spare() bool {
	return l.slots != nil && l.Available() > (l.slots.size(time.Now())+1)/2
}

// Reserve reserves the slots of up to n calls and returns how many it reserved. For each slot the
// caller either makes a call after Begin, or calls Return.
func (l *Limiter) Reserve(n int) int {
	now := time.Now()
	switch {
	case l.held(now) > 0:
		return 0
	case l.slots == nil:
		return n
	default:
		return l.slots.reserve(now, n)
	}
}

// Begin records that n calls with reserved slots are being made.
func (l *Limiter) Begin(n int) {
	if l.slots != nil {
		l.slots.begin(time.Now(), n)
	}
}

// Return frees n reserved slots for which no call was made.
func (l *Limiter) Return(n int) {
	if l.slots != nil {
		l.slots.giveBack(n)
	}
}

// Take takes the slot of a call that is about to be made, and reports whether one was free.
func (l *Limiter) Take() bool {
	if l.Reserve(1) == 0 {
		return false
	}
	l.Begin(1)
	return true
}

// Use takes the slot of a call that is about to be made, even if none is free. The next call then
// waits longer.
func (l *Limiter) Use(now time.Time) {
	if l.slots != nil {
		l.slots.spend(now)
	}
}

// Release records that a call for which a slot was taken has ended.
func (l *Limiter) Release(now time.Time) {
	if l.slots != nil {
		l.slots.ended(now)
	}
}

// held returns how long the vendor must not be called.
func (l *Limiter) held(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.hold.Sub(now), 0)
}

// Wait waits for a free slot and takes it. It is for reads and links. Claims use Delay and Reserve,
// and go first if both are waiting. A claim takes the slot the moment it is free, and Wait a little
// later.
func (l *Limiter) Wait(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := time.Now()
		if l.Take() {
			return nil
		}
		if err := Sleep(ctx, l.Delay(now)+yield); err != nil {
			return err
		}
	}
}

// yield is how long a read lets claims go first.
const yield = 200 * time.Microsecond

// failuresBeforeUnreachable is how many calls in a row must fail before the vendor counts as
// unreachable. A single failure is noise.
const failuresBeforeUnreachable = 3

// Observe records the result of a call. A rate limit of the vendor holds for all calls. Failures in
// a row make the vendor unreachable.
func (l *Limiter) Observe(now time.Time, err error) {
	outcome := OutcomeOf(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch outcome {
	case OK, Rejected:
		l.holds, l.troubles, l.refusals, l.last = 0, 0, 0, ""
	case RateLimited:
		if !now.Before(l.hold) {
			l.holds++ // otherwise the call began before the hold
		}
		wait := Backoff(l.holds, 1)
		if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
			wait = e.RetryAfter
		}
		if until := now.Add(wait); until.After(l.hold) {
			l.hold = until
			if l.OnHold != nil {
				l.OnHold(until)
			}
		}
	default:
		l.troubles++
		l.last = err.Error()
		if l.refusals++; outcome != Misconfigured {
			l.refusals = 0
		}
	}
}

// Hold delays all calls until a time, as a Retry-After does.
func (l *Limiter) Hold(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until.After(l.hold) {
		l.hold = until
	}
}

// Refuses reports whether the vendor rejects our key, permission or account. What is sold then
// cannot be delivered until the operator fixes it.
func (l *Limiter) Refuses() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusals >= failuresBeforeUnreachable
}

// Unreachable returns why the vendor counts as unreachable, or "" if it does not.
func (l *Limiter) Unreachable() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.troubles < failuresBeforeUnreachable {
		return ""
	}
	return l.last
}
