package ledger

import (
	"context"
	"strings"
	"time"
)

// Change tells the other instances what one of them did, or what it wants the leader to do. It is
// written in the transaction of what it tells, and only while there are other instances. Nothing
// depends on it but what they show and how soon they do something.
type Change struct {
	Kind    ChangeKind
	Subject string
	seq     int64
}

// ChangeKind says what the subject of a Change is.
type ChangeKind string

// The kinds of changes.
const (
	ChangedDevice    ChangeKind = "device"    // its UID: the device, its links or its variables
	ChangedUse       ChangeKind = "use"       // its UID: use, pause or state of the machine
	ChangedVariables ChangeKind = "variables" // "project" or a fleet's UID
	ChangedListing   ChangeKind = "listing"   // Unix milliseconds: a complete listing that began then was stored
	ChangedPlan      ChangeKind = "plan"      // a price id: it was read at Stripe
	ChangedPayment   ChangeKind = "payment"   // token and session id, separated by a space
	ChangedHold      ChangeKind = "hold"      // vendor and Unix milliseconds: no calls until then
	Wished           ChangeKind = "wish"      // what the leader should do, with arguments, separated by spaces
	// Missed stands for all changes: this instance did not read them for long.
	Missed ChangeKind = "missed"
)

const (
	// followInterval is how often an instance reads what the others did, if nothing hints at it.
	followInterval = time.Second
	// changesKept is how long changes stay. An instance that did not read for half of that reads
	// everything again.
	changesKept = 10 * time.Minute
	// changesBatch is how many old changes one transaction deletes. Payments wait for it.
	changesBatch = 1000
	// maxChanges limits one reading.
	maxChanges = 1000
	// maxTold limits what waits to be told. What is too much is lost, as after a crash.
	maxTold = 256
)

// Changed tells the other instances of a change in this transaction. It does nothing if there are no
// others.
func (tx *Tx) Changed(kind ChangeKind, subject string) error {
	if tx.self == "" {
		return nil
	}
	if t, ok := tx.db.(*postgresTx); ok {
		t.told = true
	}
	statement := rowStatement{one: insertChange, many: insertChanges} // about nothing: the order does not matter
	return errOnly(tx.db.write(statement, tx.Now.UnixMilli(), tx.self, string(kind), subject))
}

const insertChange = `INSERT INTO changes (at, origin, kind, subject) SELECT $1, $2, $3, $4
	WHERE EXISTS (SELECT 1 FROM instances WHERE id <> $2)`

func insertChanges(rows string) string {
	return `INSERT INTO changes (at, origin, kind, subject) SELECT v.p1, v.p2, v.p3, v.p4 FROM ` + rows + `
	WHERE EXISTS (SELECT 1 FROM instances WHERE id <> v.p2)`
}

// PruneChanges deletes changes that every instance has read. It deletes at most one batch, and reports
// whether there may be more.
func (l *Ledger) PruneChanges(ctx context.Context) (more bool, err error) {
	err = l.Update(ctx, func(tx *Tx) (err error) {
		more, err = tx.pruneChanges()
		return err
	})
	return more, err
}

// pruneChanges deletes one batch of changes. Their numbers have gaps, so there may be more until none is
// deleted.
func (tx *Tx) pruneChanges() (more bool, err error) {
	rows, err := tx.db.query(`SELECT COALESCE(min(seq), 0) FROM changes`)
	first, err := one(rows, err, func(s scanner) (n int64, err error) { return n, s.Scan(&n) })
	if err != nil {
		return false, err
	}
	n, err := tx.exec(`DELETE FROM changes WHERE seq < $1 AND at < $2`, first+changesBatch,
		tx.Now.Add(-changesKept).UnixMilli())
	return n > 0, err
}

// Tell tells the other instances of something that is in no transaction. It returns at once, and does
// nothing if there are no others.
func (l *Ledger) Tell(kind ChangeKind, subject string) {
	if l.instance == nil || len(l.Peers()) == 0 {
		return
	}
	select {
	case l.instance.told <- Change{Kind: kind, Subject: subject}:
	default:
	}
}

// Follow calls apply with what other instances did since Open, again and again until ctx ends. What
// apply could not do comes again with the next call. It returns at once on SQLite.
func (l *Ledger) Follow(ctx context.Context, apply func(context.Context, []Change) error) {
	if l.instance == nil {
		return
	}
	read := time.Now()
	timer := time.NewTimer(followInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-l.instance.told:
			l.tell(ctx, c)
			continue
		case <-l.instance.hinted:
		case <-timer.C:
		}
		changes, err := l.changesAfter(ctx, l.instance.followed)
		if err == nil {
			if time.Since(read) > changesKept/2 {
				changes = append([]Change{{Kind: Missed}}, changes...)
			}
			if began := time.Now(); len(changes) == 0 {
				read = began
			} else if err = apply(ctx, changes); err == nil {
				read = began
			}
		}
		wait := followInterval
		if n := len(changes); err == nil && n > 0 {
			l.instance.followed = max(l.instance.followed, changes[n-1].seq)
			if n >= maxChanges {
				wait = 0 // there may be more
			}
		}
		timer.Reset(wait)
	}
}

// tell writes a change and those that wait with it.
func (l *Ledger) tell(ctx context.Context, first Change) {
	list := []Change{first}
	for more := true; more; {
		select {
		case c := <-l.instance.told:
			list = append(list, c)
		default:
			more = false
		}
	}
	_ = l.Update(ctx, func(tx *Tx) error { // a hint that is lost costs time and nothing else
		for _, c := range list {
			if err := tx.Changed(c.Kind, c.Subject); err != nil {
				return err
			}
		}
		return nil
	})
}

// changesAfter reads what other instances did after a number, oldest first. One transaction writes at
// a time, so the numbers are in the order of the commits.
func (l *Ledger) changesAfter(ctx context.Context, seq int64) ([]Change, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT seq, kind, subject FROM changes WHERE seq > $1 AND origin <> $2
		ORDER BY seq LIMIT $3`, seq, l.instance.id, maxChanges)
	return all(rows, err, func(s scanner) (c Change, err error) { return c, s.Scan(&c.seq, &c.Kind, &c.Subject) })
}

// lastChange returns the number of the newest change.
func (tx *Tx) lastChange() (seq int64, err error) {
	rows, err := tx.db.query(`SELECT coalesce(max(seq), 0) FROM changes`)
	return one(rows, err, func(s scanner) (n int64, err error) { return n, s.Scan(&n) })
}

// Cut returns the words of a subject.
func (c Change) Cut() []string { return strings.Fields(c.Subject) }
