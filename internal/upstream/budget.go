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
	// divide makes this process use one of n equal parts.
	divide(n int)
	// size returns how many calls may begin at once while all slots of this process are free.
	size() int
}

// bucket is a token bucket: a rate with a burst.
type bucket struct {
	perSecond, burst float64 // the parts of this process
	whole            rates

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

// rates are those of a bucket that is not divided; zero until it is.
type rates struct{ perSecond, burst float64 }

func (b *bucket) divide(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.whole == (rates{}) {
		b.whole = rates{b.perSecond, b.burst}
	}
	b.perSecond, b.burst = b.whole.perSecond/float64(n), max(b.whole.burst/float64(n), 1)
	b.tokens = min(b.tokens, b.burst)
}

func (b *bucket) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int(b.burst)
}

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

// window allows limit calls in any minute, as the vendor counts them. The vendor counts a call at
// some time between its begin and its end. So a slot is free again a minute after the end.
type window struct {
	limit int // the part of this process
	whole int // limit when it is not divided; 0 until it is

	mu       sync.Mutex
	reserved int
	open     []time.Time // begins of calls in flight, oldest first
	over     []time.Time // ends of calls, oldest first
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
	return w.limit - w.reserved - len(w.open) - len(w.over)
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
	switch left := w.left(now); {
	case left > 0:
		return 0
	case w.reserved > 0 && left+w.reserved > 0:
		return reservedFor
	case len(w.over) > 0:
		return w.over[0].Add(windowLength).Sub(now)
	}
	return windowLength // at least, because all slots belong to calls in flight
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

func (w *window) divide(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.whole == 0 {
		w.whole = w.limit
	}
	w.limit = max(w.whole/n, 1)
}

func (w *window) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.limit
}

func (w *window) ended(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(now)
}
