package app

import (
	"context"
	"errors"
	"strconv"
	"time"

	"notepay/internal/ledger"
)

// hold is what a vendor said: no calls from a time until another, by the ledger's clock.
type hold struct {
	vendor      string
	from, until time.Time
}

const (
	// maxHolds limits the holds that wait to be stored.
	maxHolds = 8
	// minStoredHold is the shortest hold that is stored. A process takes about as long to start.
	minStoredHold = 5 * time.Second
	// maxStoredHold is the longest hold that counts at a start. A longer one is of a clock that was ahead.
	maxStoredHold = 24 * time.Hour
)

// metaHold and metaHoldFrom return the ledger's meta names of when a vendor's last hold ends, and of
// when it began.
func metaHold(vendor string) string     { return "hold_" + vendor }
func metaHoldFrom(vendor string) string { return "hold_from_" + vendor }

// shareHolds tells the other instances when a vendor says that no call may be made, and has it stored
// for processes that start meanwhile.
func (a *App) shareHolds() {
	a.holds = make(chan hold, maxHolds)
	for vendor, l := range a.limiters {
		l.OnHold = func(until time.Time) {
			now := a.Ledger.Now()
			h := hold{vendor, now, now.Add(time.Until(until))}
			a.Ledger.Tell(ledger.ChangedHold, vendor+" "+strconv.FormatInt(h.until.UnixMilli(), 10))
			if time.Until(until) < minStoredHold {
				return
			}
			select {
			case a.holds <- h:
			default: // a start during this hold makes a call, and learns of it
			}
		}
	}
}

// storeHolds stores holds until ctx ends.
func (a *App) storeHolds(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case h := <-a.holds:
			err := a.Ledger.Update(ctx, func(tx *ledger.Tx) error {
				return errors.Join(tx.SetMeta(metaHold(h.vendor), h.until), tx.SetMeta(metaHoldFrom(h.vendor), h.from))
			})
			if err != nil && ctx.Err() == nil {
				a.log.Warn("hold not stored", "vendor", h.vendor, "err", err)
			}
		}
	}
}

// loadHolds applies the holds that run since before this process, or that it has missed. No hold is
// longer than it was at its begin: the host's clock may be behind until a vendor tells the time.
func (a *App) loadHolds(ctx context.Context) error {
	for vendor, l := range a.limiters {
		until, err := a.Ledger.Meta(ctx, metaHold(vendor))
		if err == nil {
			var from time.Time
			from, err = a.Ledger.Meta(ctx, metaHoldFrom(vendor))
			left := min(until.Sub(a.Ledger.Now()), until.Sub(from))
			if err == nil && left > 0 && left <= maxStoredHold {
				l.Hold(time.Now().Add(left))
			}
		}
		if _, err := ledger.Found(err); err != nil {
			return err
		}
	}
	return nil
}
