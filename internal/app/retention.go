package app

import (
	"context"
	"time"

	"notepay/internal/problem"
)

const (
	// pruneInterval is how often old events are removed.
	pruneInterval = time.Hour
	// pruneBreak is the wait between two batches, so that payments are not delayed.
	pruneBreak = 200 * time.Millisecond
)

// prune removes old events of Stripe, and what instances have told each other, until ctx ends.
func (a *App) prune(ctx context.Context) {
	wait := time.Minute // the first calls of a start matter more
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = pruneInterval
		for what, batch := range map[string]func(context.Context) (bool, error){
			"changes": a.pruneChanges,
			"events":  a.pruneEvents,
		} {
			more, err := batch(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				a.log.Warn("old "+what+" not removed", "err", err)
			case more:
				wait = pruneBreak
			}
		}
	}
}

// pruneChanges removes a batch of what instances have told each other, and reports whether there may be
// more.
func (a *App) pruneChanges(ctx context.Context) (more bool, err error) {
	if !a.Ledger.Shared() {
		return false, nil
	}
	return a.Ledger.PruneChanges(ctx)
}

// pruneEvents removes a batch of old events of Stripe, and reports whether there may be more. It does
// nothing until Stripe's time is known, because a host's clock that is ahead would remove too much.
func (a *App) pruneEvents(ctx context.Context) (more bool, err error) {
	events, bodies := a.eventLimits(a.Ledger.Now())
	if events.IsZero() || !a.Ledger.Settled() || a.clockWrong() {
		return false, nil
	}
	return a.Ledger.PruneEvents(ctx, events, bodies)
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
