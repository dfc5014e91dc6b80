package ledger

import (
	"context"
	"time"
)

// Lookup is a session that notepay has to read from Stripe.
type Lookup struct {
	ID           string // cs_... or pi_...
	PaidAt       time.Time
	Reconcile    bool   // read refunds and disputes, even if the payment is known
	Handled      string // evidence that another state of this ledger handled the payment, "" for none
	DueAt        time.Time
	FencingToken int64
	Failures     int
}

// HandledUnsure is the Handled of a session that Stripe lists as not accepted. If Stripe later
// lists the session as accepted and this ledger did not accept it, a later state of this ledger
// did. A webhook for the session ends the doubt.
const HandledUnsure = "?"

// lookupColumns are the columns of lookups: facts is Reconcile, and turn is FencingToken.
const lookupColumns = `id, paid_at, facts, handled, due_at, turn, failures`

func scanLookup(s scanner) (l Lookup, err error) {
	err = s.Scan(&l.ID, instant{&l.PaidAt}, flag{&l.Reconcile}, &l.Handled, instant{&l.DueAt}, &l.FencingToken,
		&l.Failures)
	return l, err
}

// AddLookup requests a look-up of a session. If the look-up exists, its fencing token grows, so
// that a look-up in progress does not end it.
func (tx *Tx) AddLookup(l Lookup) error {
	return tx.run(`INSERT INTO lookups (`+lookupColumns+`) VALUES ($1, $2, $3, $4, $5, 0, 0)
		ON CONFLICT (id) DO UPDATE SET turn = lookups.turn + 1,
		facts = CASE WHEN excluded.facts = 1 THEN 1 ELSE lookups.facts END,
		handled = CASE WHEN excluded.handled <> '' THEN excluded.handled
			WHEN lookups.handled = '`+HandledUnsure+`' THEN '' ELSE lookups.handled END,
		due_at = CASE WHEN excluded.due_at < lookups.due_at THEN excluded.due_at ELSE lookups.due_at END`,
		l.ID, l.PaidAt.UnixMilli(), bit(l.Reconcile), l.Handled, l.DueAt.UnixMilli())
}

// HandleLookup sets Handled of a look-up whose Handled is HandledUnsure.
func (tx *Tx) HandleLookup(id, why string) error {
	return tx.run(`UPDATE lookups SET handled = $1 WHERE id = $2 AND handled = $3`, why, id, HandledUnsure)
}

// Lookup reads the look-up of a session, or returns ErrNotFound.
func (l *Ledger) Lookup(ctx context.Context, id string) (Lookup, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+lookupColumns+` FROM lookups WHERE id = $1`, id)
	return one(rows, err, scanLookup)
}

// ReconcileWanted reports whether a look-up with Reconcile waits for its first attempt.
func (l *Ledger) ReconcileWanted(ctx context.Context) (bool, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT due_at FROM lookups WHERE facts = 1 AND failures = 0 LIMIT 1`)
	return Found(errOnly(one(rows, err, scanInstant)))
}

// ClaimLookups claims up to limit due look-ups. A look-up that is not finished is due again at
// lease. Looking up twice does no harm.
func (tx *Tx) ClaimLookups(lease time.Time, limit int) ([]Lookup, error) {
	rows, err := tx.db.query(`UPDATE lookups SET turn = turn + 1, due_at = $1 WHERE id IN
		(SELECT id FROM lookups WHERE due_at <= $2 ORDER BY due_at LIMIT $3 + 0) RETURNING `+lookupColumns,
		lease.UnixMilli(), tx.Now.UnixMilli(), limit)
	return all(rows, err, scanLookup)
}

// PostponeLookup records a failure of a claimed look-up and makes it due at due. It does nothing if
// the look-up was claimed again meanwhile.
func (tx *Tx) PostponeLookup(l Lookup, due time.Time) error {
	return tx.run(`UPDATE lookups SET due_at = $1, failures = failures + 1 WHERE id = $2 AND turn = $3`,
		due.UnixMilli(), l.ID, l.FencingToken)
}

// DelayLookup makes a claimed look-up due at due that was not tried. It does nothing if the look-up
// was claimed again meanwhile.
func (tx *Tx) DelayLookup(l Lookup, due time.Time) error {
	return tx.run(`UPDATE lookups SET due_at = $1 WHERE id = $2 AND turn = $3`,
		due.UnixMilli(), l.ID, l.FencingToken)
}

// HastenLookup makes a look-up due now that is due until the given time.
func (tx *Tx) HastenLookup(id string, until time.Time) error {
	return tx.run(`UPDATE lookups SET due_at = $1 WHERE id = $2 AND due_at > $1 AND due_at <= $3`,
		tx.Now.UnixMilli(), id, until.UnixMilli())
}

// DropLookup deletes a finished look-up. It does nothing if the look-up was claimed or requested
// again meanwhile.
func (tx *Tx) DropLookup(l Lookup) error {
	return tx.run(`DELETE FROM lookups WHERE id = $1 AND turn = $2`, l.ID, l.FencingToken)
}

// LateLookups reads up to limit look-ups of payments from before since, oldest first.
func (l *Ledger) LateLookups(ctx context.Context, since time.Time, limit int) ([]Lookup, error) {
	rows, err := l.reads.QueryContext(ctx,
		`SELECT `+lookupColumns+` FROM lookups WHERE paid_at < $1 ORDER BY paid_at LIMIT $2`, since.UnixMilli(), limit)
	return all(rows, err, scanLookup)
}
