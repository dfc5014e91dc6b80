package ledger

import (
	"context"
	"time"
)

// metaBodies is the time of receipt up to which the bodies of events have been removed.
const metaBodies = "event_bodies_removed"

// pruneBatch is how many events one transaction changes. Payments wait for it.
const pruneBatch = 200

// PruneEvents removes Stripe's events that were received before events, and the bodies of those
// received before bodies. It changes at most one batch, and reports whether there may be more to do.
// Payments, attempts and the audit stay.
//
// If notepay stops in between, the next call continues.
func (l *Ledger) PruneEvents(ctx context.Context, events, bodies time.Time) (more bool, err error) {
	err = l.Update(ctx, func(tx *Tx) (err error) {
		more, err = tx.pruneBodies(bodies)
		if err != nil || more {
			return err
		}
		n, err := tx.exec(`DELETE FROM stripe_events WHERE id IN
			(SELECT id FROM stripe_events WHERE received < $1 ORDER BY received LIMIT $2)`,
			events.UnixMilli(), pruneBatch)
		more = n == pruneBatch
		return err
	})
	return more, err
}

// pruneBodies removes the bodies of one batch of events. It remembers how far it came, so that no
// event is read twice.
func (tx *Tx) pruneBodies(before time.Time) (more bool, err error) {
	from, err := tx.Meta(metaBodies)
	if _, err := Found(err); err != nil {
		return false, err
	}
	since := int64(0)
	if !from.IsZero() {
		since = from.UnixMilli()
	}
	rows, err := tx.db.query(`SELECT received FROM stripe_events WHERE received >= $1 AND received < $2
		ORDER BY received LIMIT $3`, since, before.UnixMilli(), pruneBatch)
	received, err := all(rows, err, scanInstant)
	if err != nil || len(received) == 0 {
		return false, err
	}
	last := received[len(received)-1] // events of the same millisecond may be more than the batch
	if _, err := tx.exec(`UPDATE stripe_events SET body = '' WHERE received >= $1 AND received <= $2 AND body <> ''`,
		since, last.UnixMilli()); err != nil {
		return false, err
	}
	return len(received) == pruneBatch, tx.SetMeta(metaBodies, last.Add(time.Millisecond))
}
