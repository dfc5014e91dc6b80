package bridge

import (
	"sync"
	"time"
)

// alarm wakes a worker when one of its rows may be due. Most changes of payments need no worker: the
// row is claimed already, or due later than the worker looks anyway. So an alarm knows when that is.
// All times are Stripe's.
type alarm struct {
	wake chan struct{}

	mu       sync.Mutex
	next     time.Time // when the sleeping worker looks again; zero while it is awake
	obscured bool      // the worker left out a due row, because its device or all slots were in use
}

func newAlarm() *alarm { return &alarm{wake: make(chan struct{}, 1)} }

// ring wakes the worker whatever it waits for.
func (a *alarm) ring() { signal(a.wake) }

// dueAt wakes the worker if at has come, or if it would look later than at. The clock may have been
// corrected since the worker went to sleep.
func (a *alarm) dueAt(at, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next.IsZero() || at.Before(a.next) || !at.After(now) {
		signal(a.wake)
	}
}

// freed wakes the worker if a row may have waited for the device or the slot that is free again.
func (a *alarm) freed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next.IsZero() || a.obscured {
		signal(a.wake)
	}
}

// sleepUntil notes until when the worker sleeps, and whether a due row is left.
func (a *alarm) sleepUntil(next time.Time, obscured bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next, a.obscured = next, obscured
}

// awake notes that the worker is about to read its rows. Whatever changes from now on rings.
func (a *alarm) awake() { a.sleepUntil(time.Time{}, false) }
