package bridge

import (
	"context"
	"time"
)

// A webhook of a payment that was made before this process's start needs Stripe's list of events
// first, see errListUnread. The list is read at the start, which takes a moment. So such a webhook
// waits, and Stripe need not repeat it after each restart.

const (
	// maxHold is how long a webhook waits for Stripe's list. It is below the time in which a caller
	// wants an answer, and below the 10 s for which Checkout waits (docs/vendors.md, Q2 and Q7).
	maxHold = 4 * time.Second
	// maxHeld limits the waiting webhooks, because each one keeps its event and its connection in
	// memory. Stripe repeats the others.
	maxHeld = 1000
)

// awaitList blocks until Stripe's list was read once since the start, and reports whether it was. It
// returns false after maxHold, after the end of ctx or of Run, and at once if too many events wait.
func (b *Bridge) awaitList(ctx context.Context, e Event) bool {
	defer b.held.Add(-1)
	if b.held.Add(1) > maxHeld {
		return false
	}
	b.c.Log.Info("event held", "event", e.ID, "type", e.Type, "object", e.ObjectID)
	timer := time.NewTimer(maxHold)
	defer timer.Stop()
	for {
		ended := b.returning.nextEnd()
		if b.listed.Load() {
			return true
		}
		select {
		case <-ended:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		case <-b.stopping:
			return false
		}
	}
}
