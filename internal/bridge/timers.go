package bridge

import (
	"context"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// runTimers applies deadlines that need no call.
func (b *Bridge) runTimers(ctx context.Context) {
	for ctx.Err() == nil {
		if !b.clock().Known() {
			_ = upstream.Sleep(ctx, measureInterval)
			continue
		}
		full := false
		err := b.update(ctx, func(tx *update) error {
			due, err := tx.DueWaits(maxTimed)
			if err != nil {
				return err
			}
			for _, p := range due {
				if err := tx.change(p, payment.Next(p, tx.Now)); err != nil {
					return err
				}
			}
			full = len(due) == maxTimed
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Error("timers not read", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		if !full {
			b.waitUntilDue(ctx, b.timersDue, ledger.InTime)
		}
	}
}
