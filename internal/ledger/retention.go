package ledger

import (
	"context"
	"fmt"
	"time"
)

// metaBodies is the time of receipt up to which the bodies of events have been removed.
const metaBodies = "event_bodies_removed"

// pruneBatch is how many events one transaction changes. Payments wait for it.
const pruneBatch = 200

// oldest returns a statement that deletes the oldest rows of a table, up to a limit, whose column is
// less than $1. A statement for all of them could take longer than a transaction may, and would then
// never succeed. The limit is a literal, so that PostgreSQL plans for few rows.
func oldest(table, key, column string, limit int) string {
	return fmt.Sprintf(`DELETE FROM %[1]s WHERE %[2]s IN
		(SELECT %[2]s FROM %[1]s WHERE %[3]s < $1 ORDER BY %[3]s LIMIT %[4]d)`, table, key, column, limit)
}

// PruneEvents removes Stripe's events that were received before events, and the bodies of those
// received before bodies. It changes at most one batch, and reports whether there may be more to do.
// Payments, attempts and the audit stay.
//
// If notepay stops in between, the next call continues.
func (l *Ledger) PruneEvents(ctx context.Context, events, bodies time.Time) (more bool, err error) {
	err = l.Update(ctx, func(tx *Tx) (err error) {
		more, err = tx.pruneBodies(bodies)
		if err == nil && !more {
			more, err = tx.pruneEvents(events)
		}
		return err
	})
	return more, err
}

// pruneEvents removes one batch of events.
func (tx *Tx) pruneEvents(before time.Time) (more bool, err error) {
	n, err := tx.exec(oldest("stripe_events", "id", "received", pruneBatch), before.UnixMilli())
	return n == pruneBatch, err
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
