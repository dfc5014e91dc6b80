package upstream

import (
	"sync"
	"time"
)

// slots is a limit on calls that several limiters may share. All implementations are safe for
// concurrent use.
type slots interface {
	// free returns how many calls may begin now.
	free(now time.Time) int
	// delay returns how long the next call has to wait; 0 if it may begin now.
	delay(now time.Time) time.Duration
	// reserve takes up to n slots for calls that may follow, and returns how many it took.
	reserve(now time.Time, n int) int
	// giveBack frees reserved slots for which no call was made.
	giveBack(n int)
	// begin uses n reserved slots for calls.
	begin(now time.Time, n int)
	// spend uses a slot for a call even if none is free.
	spend(now time.Time)
	// ended records that a call has ended.
	ended(now time.Time)
	// size returns how many calls may begin at once while all slots of this process are free.
	size(now time.Time) int
	// perMinute returns how many calls may begin in a minute.
	perMinute(now time.Time) int
}

// bucket is a token bucket: a rate with a burst.
type bucket struct {
	perSecond, burst float64

	mu     sync.Mutex
	tokens float64 // below 0 if calls were made without one
	at     time.Time
}

// fill adds the tokens since the last call. The caller holds the mutex.
func (b *bucket) fill(now time.Time) {
	if now.After(b.at) {
		b.tokens = min(b.burst, b.tokens+b.perSecond*now.Sub(b.at).Seconds())
		b.at = now
	}
}

func (b *bucket) free(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	return max(int(b.tokens), 0)
}

func (b *bucket) delay(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	if b.tokens >= 1 {
		return 0
	}
	return time.Duration((1-b.tokens)/b.perSecond*float64(time.Second)) + rounding
}

func (b *bucket) reserve(now time.Time, n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	n = min(n, max(int(b.tokens), 0))
	b.tokens -= float64(n)
	return n
}

func (b *bucket) giveBack(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.burst, b.tokens+float64(n))
}

func (b *bucket) spend(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	b.tokens--
}

func (b *bucket) size(time.Time) int      { return int(b.burst) }
func (b *bucket) perMinute(time.Time) int { return int(b.perSecond * 60) }

func (*bucket) begin(time.Time, int) {}
func (*bucket) ended(time.Time)      {}

const (
	// windowLength is a minute, and some more for clocks of different speed.
	windowLength = time.Minute + 250*time.Millisecond
	// maxCall is the longest time of a call. A call whose end was not recorded has ended by then.
	maxCall = 20 * time.Second
	// reservedFor is about how long a reservation lasts, which is a transaction of the ledger.
	reservedFor = 20 * time.Millisecond
)

// settleTime is how long a part of a limit must be there until it counts. It is a minute, and the time
// in which processes notice each other.
const settleTime = windowLength + 5*time.Second

// part is the part of a limit that a process has since a time.
type part struct {
	since time.Time
	calls int
}

// window allows limit calls in any minute, as the vendor counts them. The vendor counts a call at
// some time between its begin and its end. So a slot is free again a minute after the end.
//
// Processes that share the limit have a part each. The smallest part of the last settleTime counts.
// At the begin of any minute, all processes that call in it have known each other for long enough, so
// the parts that count in it are not larger than those of that set, which are the limit together.
type window struct {
	limit int // of all processes together

	mu       sync.Mutex
	parts    []part // of this process: the one of a settleTime ago, and those since; none: it has the limit for itself
	reserved int
	open     []time.Time // begins of calls in flight, oldest first
	over     []time.Time // ends of calls, oldest first
}

// own returns how many calls this process may make in a minute. The caller holds the mutex.
func (w *window) own(now time.Time) int {
	for len(w.parts) > 1 && now.Sub(w.parts[1].since) >= settleTime {
		w.parts = w.parts[1:]
	}
	least := w.limit
	for _, p := range w.parts {
		least = min(least, p.calls)
	}
	return least
}

// divide gives this process a part of the limit from now on. The caller holds the mutex.
func (w *window) divide(now time.Time, calls int) {
	if last := len(w.parts) - 1; last < 0 || w.parts[last].calls != calls {
		w.parts = append(w.parts, part{now, calls})
	}
}

// left returns how many slots are free, which is below 0 if calls were made without one. The caller
// holds the mutex.
func (w *window) left(now time.Time) int {
	for len(w.open) > 0 && now.Sub(w.open[0]) > maxCall {
		w.end(w.open[0].Add(maxCall))
	}
	for len(w.over) > 0 && now.Sub(w.over[0]) >= windowLength {
		w.over = w.over[1:]
	}
	return w.own(now) - w.reserved - len(w.open) - len(w.over)
}

// end ends the oldest call in flight. It makes no difference which one. The caller holds the mutex.
func (w *window) end(at time.Time) {
	if len(w.open) > 0 {
		w.open = w.open[1:]
		w.over = append(w.over, at)
	}
}

func (w *window) free(now time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.left(now), 0)
}

func (w *window) delay(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := windowLength // at least, if all slots belong to calls in flight
	switch left := w.left(now); {
	case left > 0:
		return 0
	case w.reserved > 0 && left+w.reserved > 0:
		return reservedFor
	case len(w.over) > 0:
		d = w.over[0].Add(windowLength).Sub(now)
	}
	if len(w.parts) > 1 { // a larger part may count then
		d = min(d, w.parts[1].since.Add(settleTime).Sub(now))
	}
	return d
}

func (w *window) reserve(now time.Time, n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = min(n, max(w.left(now), 0))
	w.reserved += n
	return n
}

func (w *window) giveBack(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reserved = max(w.reserved-n, 0)
}

func (w *window) begin(now time.Time, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reserved = max(w.reserved-n, 0)
	for range n {
		w.open = append(w.open, now)
	}
}

func (w *window) spend(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, now)
}

func (w *window) size(now time.Time) int { return w.perMinute(now) }

func (w *window) perMinute(now time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.own(now)
}

func (w *window) ended(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(now)
}
