package ledger

import (
	"context"
	"time"
)

// What was heard from Stripe and from the machines, and what has to be asked for.

// Lookups.

func scanLookup(s scanner) (l Lookup, err error) {
	err = s.Scan(
		&l.ID,
		instant{&l.PaidAt},
		flag{&l.Reconcile},
		&l.Handled,
		instant{&l.DueAt},
		&l.FencingToken,
		&l.Failures,
	)
	return l, err
}

// AddLookup asks for a session to be looked up. If it is asked for already, who is just looking
// must look again: the turn grows.
func (tx *Tx) AddLookup(l Lookup) error {
	_, err := tx.exec(
		`INSERT INTO lookups (id, paid_at, facts, handled, due_at, turn, failures) VALUES ($1, $2, $3, $4, $5, 0, 0)
		ON CONFLICT (id) DO UPDATE SET turn = lookups.turn + 1, facts = CASE WHEN excluded.facts = 1 THEN 1 ELSE lookups.facts END,
		handled = CASE WHEN excluded.handled <> '' THEN excluded.handled WHEN lookups.handled = '?' THEN '' ELSE lookups.handled END,
		due_at = CASE WHEN excluded.due_at < lookups.due_at THEN excluded.due_at ELSE lookups.due_at END`,
		l.ID,
		l.PaidAt.UnixMilli(),
		bit(l.Reconcile),
		l.Handled,
		l.DueAt.UnixMilli(),
	)
	return err
}

// HandleLookup says of a session that was listed and not accepted that it was handled after all.
func (tx *Tx) HandleLookup(id, why string) error {
	_, err := tx.exec(`UPDATE lookups SET handled = $1 WHERE id = $2 AND handled = $3`, why, id, HandledUnsure)
	return err
}

// Lookup reads what is asked of a session, or returns ErrNotFound.
func (l *Ledger) Lookup(ctx context.Context, id string) (Lookup, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT id, paid_at, facts, handled, due_at, turn, failures FROM lookups WHERE id = $1`,
		id,
	)
	return one(rows, err, scanLookup)
}

// ReconcileWanted says whether a look-up for a payment's money was asked for and not tried yet.
func (l *Ledger) ReconcileWanted(ctx context.Context) (bool, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT due_at FROM lookups WHERE facts = 1 AND failures = 0 LIMIT 1`)
	return Found(errOnly(one(rows, err, scanInstant)))
}

// ClaimLookups takes up to limit due look-ups. They are due again at lease, should nobody settle
// them; looking up twice does no harm.
func (tx *Tx) ClaimLookups(lease time.Time, limit int) ([]Lookup, error) {
	rows, err := tx.db.query(`UPDATE lookups SET turn = turn + 1, due_at = $1 WHERE id IN
		(SELECT id FROM lookups WHERE due_at <= $2 ORDER BY due_at LIMIT $3 + 0) RETURNING id, paid_at, facts, handled, due_at, turn, failures`,
		lease.UnixMilli(), tx.Now.UnixMilli(), limit)
	return all(rows, err, scanLookup)
}

// PostponeLookup makes a claimed look-up due again, after a failure, unless it was claimed again
// meanwhile.
func (tx *Tx) PostponeLookup(l Lookup, due time.Time) error {
	_, err := tx.exec(
		`UPDATE lookups SET due_at = $1, failures = failures + 1 WHERE id = $2 AND turn = $3`,
		due.UnixMilli(),
		l.ID,
		l.FencingToken,
	)
	return err
}

// DelayLookup makes a claimed look-up due again that was not tried, unless it was claimed again
// meanwhile.
func (tx *Tx) DelayLookup(l Lookup, due time.Time) error {
	_, err := tx.exec(
		`UPDATE lookups SET due_at = $1 WHERE id = $2 AND turn = $3`,
		due.UnixMilli(),
		l.ID,
		l.FencingToken,
	)
	return err
}

// DropLookup ends a claimed look-up that was answered, unless it was asked for again meanwhile.
func (tx *Tx) DropLookup(l Lookup) error {
	_, err := tx.exec(`DELETE FROM lookups WHERE id = $1 AND turn = $2`, l.ID, l.FencingToken)
	return err
}

// HandledUnsure is the Handled of a session that Stripe lists as not accepted yet. If it is
// accepted without this ledger, it was handled by a later state of it. A webhook of it ends the
// doubt.
const HandledUnsure = "?"

// Lookup is a session that Stripe has to be asked about.
type Lookup struct {
	ID           string // cs_... or pi_...
	PaidAt       time.Time
	Reconcile    bool   // it is asked for its money, also where the payment is known
	Handled      string // why the payment counts as handled by an earlier state of this ledger, "" if nothing says so
	DueAt        time.Time
	FencingToken int64
	Failures     int
}

// LateLookups reads up to limit of the sessions that could not be looked up since a time, the
// oldest first.
func (l *Ledger) LateLookups(ctx context.Context, since time.Time, limit int) ([]Lookup, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT id, paid_at, facts, handled, due_at, turn, failures FROM lookups WHERE paid_at < $1 ORDER BY paid_at LIMIT $2`,
		since.UnixMilli(),
		limit,
	)
	return all(rows, err, scanLookup)
}
