package upstream

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// Limiter is how fast one vendor may be asked, and whether it answers. All calls to that vendor
// share it. It is safe for concurrent use.
type Limiter struct {
	slots slots // nil: only the vendor's own 429 slows us down

	mu       sync.Mutex
	hold     time.Time // nobody asks before this
	holds    int       // holds in a row, for a vendor that does not say how long
	troubles int       // calls in a row that found the vendor unreachable or refusing us
	refusals int       // of them, those in a row that were refused: by key, permission or account
	last     string    // what the last of them said
}

// NewLimiter allows perMinute calls a minute with the given burst (at least 1); perMinute 0 sets no
// limit of our own.
func NewLimiter(perMinute float64, burst int) *Limiter {
	p := &Limiter{}
	if perMinute > 0 {
		b := &bucket{perSecond: perMinute / 60, burst: float64(max(burst, 1))}
		b.tokens = b.burst
		p.slots = b
	}
	return p
}

// NewWindow allows limit calls in any minute; 0 sets no limit of our own. Its callers note the end
// of each call with Ended.
func NewWindow(limit int) *Limiter {
	p := &Limiter{}
	if limit > 0 {
		p.slots = &window{limit: limit}
	}
	return p
}

// Earlier notes when an earlier process may have made as many calls as the limit allows. Until a
// minute after that this one makes none.
func (p *Limiter) Earlier(at time.Time) {
	w, ok := p.slots.(*window)
	if ago := time.Since(at); !ok || ago < 0 || ago >= windowLength {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for range w.limit {
		w.over = append(w.over, at)
	}
}

// Share shares the slots of a pace and nothing else: what the guest's calls come to does not tell
// the others whether the vendor answers.
func (p *Limiter) Share() *Limiter { return &Limiter{slots: p.slots} }

// Delay is how long the next call has to wait; 0 means that it may be made now.
func (p *Limiter) Delay(now time.Time) time.Duration {
	d := p.held(now)
	if p.slots == nil {
		return d
	}
	return max(d, p.slots.delay(now))
}

// rounding is added to a delay, so that who waits it out is not a hair short of the slot.
const rounding = time.Microsecond

// Available is how many calls may be made now.
func (p *Limiter) Available() int {
	now := time.Now()
	switch {
	case p.held(now) > 0:
		return 0
	case p.slots == nil:
		return math.MaxInt
	default:
		return p.slots.free(now)
	}
}

// Reserve takes the slots of up to n calls that may follow, and returns how many it took. For each
// the caller makes a call after Begin, or gives it back with Return.
func (p *Limiter) Reserve(n int) int {
	now := time.Now()
	switch {
	case p.held(now) > 0:
		return 0
	case p.slots == nil:
		return n
	default:
		return p.slots.reserve(now, n)
	}
}

// Begin notes that n calls are being made for which slots were reserved.
func (p *Limiter) Begin(n int) {
	if p.slots != nil {
		p.slots.begin(time.Now(), n)
	}
}

// Return gives back n reserved slots for which no call was made.
func (p *Limiter) Return(n int) {
	if p.slots != nil {
		p.slots.giveBack(n)
	}
}

// Take takes the slot of a call that is about to be made. It reports whether one was free.
func (p *Limiter) Take() bool {
	if p.Reserve(1) == 0 {
		return false
	}
	p.Begin(1)
	return true
}

// Use takes the slot of one call that is about to be made, even if none is free. The next one
// then waits so much longer.
func (p *Limiter) Use(now time.Time) {
	if p.slots != nil {
		p.slots.spend(now)
	}
}

// Release notes that a call has ended for which a slot was taken.
func (p *Limiter) Release(now time.Time) {
	if p.slots != nil {
		p.slots.ended(now)
	}
}

func (p *Limiter) held(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.hold.Sub(now), 0)
}

// Wait waits for a free slot and takes it. It is for reads and links. Claims use Delay and Reserve,
// and so go first whenever both are waiting: a claim looks at the slot the moment it is free, Wait
// a little later.
func (p *Limiter) Wait(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := time.Now()
		if p.Take() {
			return nil
		}
		if err := Sleep(ctx, p.Delay(now)+yield); err != nil {
			return err
		}
	}
}

// yield is by how much a read lets a claim go first.
const yield = 200 * time.Microsecond

// failuresBeforeUnreachable is how many calls in a row have to fail before the vendor is called
// unreachable: one is noise.
const failuresBeforeUnreachable = 3

// Observe takes in what a call came to: a wait holds for all, and failures in a row make the vendor
// unreachable.
func (p *Limiter) Observe(now time.Time, err error) {
	outcome := OutcomeOf(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch outcome {
	case OK, Rejected:
		p.holds, p.troubles, p.refusals, p.last = 0, 0, 0, ""
	case RateLimited:
		if !now.Before(p.hold) {
			p.holds++ // else it answers a call that was under way when the hold began
		}
		wait := Backoff(p.holds, 1)
		if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
			wait = e.RetryAfter
		}
		if until := now.Add(wait); until.After(p.hold) {
			p.hold = until
		}
	default:
		p.troubles++
		p.last = err.Error()
		if p.refusals++; outcome != Misconfigured {
			p.refusals = 0
		}
	}
}

// Hold lets nobody ask before a time, as a Retry-After does.
func (p *Limiter) Hold(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.hold) {
		p.hold = until
	}
}

// Refuses says whether the vendor refuses us altogether: what is sold now could not be delivered
// until a person has mended it.
func (p *Limiter) Refuses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusals >= failuresBeforeUnreachable
}

// Unreachable says why the vendor is taken for unreachable, or "" while it is not.
func (p *Limiter) Unreachable() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.troubles < failuresBeforeUnreachable {
		return ""
	}
	return p.last
}
