package bridge

import (
	"context"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// runTimers does what time alone decides, when the time has come.
func (b *Bridge) runTimers(ctx context.Context) {
	for ctx.Err() == nil {
		if !b.clock().Known() {
			_ = upstream.Sleep(ctx, measuring)
			continue
		}
		var changes []change
		err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			changes = changes[:0]
			due, err := tx.DueWaits(maxTimed)
			for _, p := range due {
				c := change{before: p, after: payment.Next(p, tx.Now)}
				if err := tx.ChangePayment(c.before, c.after); err != nil {
					return err
				}
				changes = append(changes, c)
			}
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Error("timers not read", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		b.afterCommit(changes...)
		if len(changes) < maxTimed {
			b.waitUntilDue(ctx, b.timersDue, ledger.InTime)
		}
	}
}
