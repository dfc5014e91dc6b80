package app

import (
	"context"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/problem"
)

const (
	// pruneInterval is how often old events are removed.
	pruneInterval = time.Hour
	// pruneBreak is the wait between two batches, so that payments are not delayed.
	pruneBreak = 200 * time.Millisecond
)

// pruneEvents removes old events of Stripe until ctx ends. It waits until Stripe's time is known,
// because a host's clock that is ahead would remove too much.
func (a *App) pruneEvents(ctx context.Context) {
	wait := time.Minute // the first calls of a start matter more
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = pruneInterval
		if a.Ledger.Shared() {
			if err := a.Ledger.Update(ctx, (*ledger.Tx).PruneChanges); err != nil && ctx.Err() == nil {
				a.log.Warn("old changes not removed", "err", err)
			}
		}
		events, bodies := a.eventLimits(a.Ledger.Now())
		if events.IsZero() || !a.Ledger.Settled() || a.clockWrong() {
			continue
		}
		more, err := a.Ledger.PruneEvents(ctx, events, bodies)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log.Warn("old events not removed", "err", err)
		case more:
			wait = pruneBreak
		}
	}
}

// clockWrong reports whether the host's clock is known to be wrong.
func (a *App) clockWrong() bool {
	for _, p := range a.Problems.List() {
		if p.Code == problem.Clock {
			return true
		}
	}
	return false
}
