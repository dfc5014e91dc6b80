package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// What was heard from Stripe and from the machines, and what has to be asked for.

// Lookups.

func scanLookup(s scanner) (l Lookup, err error) {
	err = s.Scan(&l.ID, instant{&l.PaidAt}, flag{&l.Facts}, &l.Handled, instant{&l.DueAt}, &l.Turn, &l.Failures)
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
		bit(l.Facts),
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

// FactsWanted says whether a look-up for a payment's money was asked for and not tried yet.
func (l *Ledger) FactsWanted(ctx context.Context) (bool, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT due_at FROM lookups WHERE facts = 1 AND failures = 0 LIMIT 1`)
	return Has(errorOf(one(rows, err, scanInstant)))
}

// ClaimLookups takes up to limit due look-ups. They are due again at lease, should nobody settle
// them; looking up twice does no harm.
func (tx *Tx) ClaimLookups(lease time.Time, limit int) ([]Lookup, error) {
	rows, err := tx.db.query(`UPDATE lookups SET turn = turn + 1, due_at = $1 WHERE id IN
		(SELECT id FROM lookups WHERE due_at <= $2 ORDER BY due_at LIMIT $3 + 0) RETURNING id, paid_at, facts, handled, due_at, turn, failures`,
		lease.UnixMilli(), tx.Now.UnixMilli(), limit)
	return all(rows, err, scanLookup)
}

// PostponeLookup makes a claimed look-up due again, after a failure, unless it was claimed again meanwhile.
func (tx *Tx) PostponeLookup(l Lookup, due time.Time) error {
	_, err := tx.exec(
		`UPDATE lookups SET due_at = $1, failures = failures + 1 WHERE id = $2 AND turn = $3`,
		due.UnixMilli(),
		l.ID,
		l.Turn,
	)
	return err
}

// DelayLookup makes a claimed look-up due again that was not tried, unless it was claimed again meanwhile.
func (tx *Tx) DelayLookup(l Lookup, due time.Time) error {
	_, err := tx.exec(`UPDATE lookups SET due_at = $1 WHERE id = $2 AND turn = $3`, due.UnixMilli(), l.ID, l.Turn)
	return err
}

// DropLookup ends a claimed look-up that was answered, unless it was asked for again meanwhile.
func (tx *Tx) DropLookup(l Lookup) error {
	_, err := tx.exec(`DELETE FROM lookups WHERE id = $1 AND turn = $2`, l.ID, l.Turn)
	return err
}

// Stripe's events.

// AddEvent stores an event, or, if it is stored already, counts the repeat and returns false.
func (tx *Tx) AddEvent(e StripeEvent) (isNew bool, err error) {
	n, err := tx.exec(
		`INSERT INTO stripe_events (id, type, object_id, livemode, created_at, received, outcome, body, payment_intent)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING`,
		e.ID,
		e.Type,
		e.ObjectID,
		bit(e.Livemode),
		e.Created.UnixMilli(),
		e.Received.UnixMilli(),
		e.Outcome,
		e.Body,
		nullable(e.PaymentIntent),
	)
	if err != nil || n == 1 {
		return n == 1, err
	}
	_, err = tx.exec(`UPDATE stripe_events SET repeats = repeats + 1 WHERE id = $1`, e.ID)
	return false, err
}

// RepeatOfEvent counts a repeat of an event that is stored already, or returns false if it is not.
func (tx *Tx) RepeatOfEvent(id string) (bool, error) {
	n, err := tx.exec(`UPDATE stripe_events SET repeats = repeats + 1 WHERE id = $1`, id)
	return n == 1, err
}

// HasEvent says whether an event is stored already.
func (l *Ledger) HasEvent(ctx context.Context, id string) (bool, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT received FROM stripe_events WHERE id = $1`, id)
	return Has(errorOf(one(rows, err, scanInstant)))
}

// What machines answered.

// AddConfirmation stores an answer, or returns false if it is stored already.
func (tx *Tx) AddConfirmation(c Confirmation) (isNew bool, err error) {
	n, err := tx.exec(`INSERT INTO confirmations (id, device_uid, credit_id, state, code, at, received, outcome)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`,
		c.ID, c.DeviceUID, c.CreditID, c.State, c.Code, c.At.UnixMilli(), tx.Now.UnixMilli(), c.Outcome)
	return n == 1, err
}

// HasConfirmation says whether an answer is stored.
func (tx *Tx) HasConfirmation(id string) (bool, error) {
	rows, err := tx.db.query(`SELECT at FROM confirmations WHERE id = $1`, id)
	return Has(errorOf(one(rows, err, scanInstant)))
}

// Answered reports whether a machine answered to a credit.
func (tx *Tx) Answered(credit string) (bool, error) {
	rows, err := tx.db.query(`SELECT at FROM confirmations WHERE credit_id = $1 LIMIT 1`, credit)
	return Has(errorOf(one(rows, err, scanInstant)))
}

// NotesPosted returns how many notes were posted for a payment, or may have been: of a call without
// a reply, and of one that broke a server, that is not known.
func (tx *Tx) NotesPosted(payment string) (int, error) {
	rows, err := tx.db.query(`SELECT count(*) FROM attempts WHERE payment_id = $1 AND action = 'note'
		AND (outcome = 'ok' OR status = 0 OR status >= 500)`, payment)
	return one(rows, err, func(s scanner) (n int, err error) { return n, s.Scan(&n) })
}

// SetCursor remembers where reading goes on.
func (tx *Tx) SetCursor(name, value string) error {
	_, err := tx.exec(
		`INSERT INTO cursors (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
		name,
		value,
	)
	return err
}

// Cursor reads where reading goes on, "" if it has not begun.
func (l *Ledger) Cursor(ctx context.Context, name string) (string, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT value FROM cursors WHERE name = $1`, name)
	value, err := one(rows, err, func(s scanner) (v string, err error) { return v, s.Scan(&v) })
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return value, err
}

// Confirmations reads what the machine answered to a credit, oldest first.
func (l *Ledger) Confirmations(ctx context.Context, credit string) ([]Confirmation, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT id, device_uid, credit_id, state, code, at, outcome FROM confirmations WHERE credit_id = $1 ORDER BY at, id`,
		credit,
	)
	return all(rows, err, func(s scanner) (c Confirmation, err error) {
		err = s.Scan(&c.ID, &c.DeviceUID, &c.CreditID, &c.State, &c.Code, instant{&c.At}, &c.Outcome)
		return c, err
	})
}

const eventColumns = `id, type, object_id, livemode, created_at, received, outcome, repeats, body, payment_intent`

func scanEvent(s scanner) (e StripeEvent, err error) {
	var intent sql.NullString
	err = s.Scan(
		&e.ID,
		&e.Type,
		&e.ObjectID,
		flag{&e.Livemode},
		instant{&e.Created},
		instant{&e.Received},
		&e.Outcome,
		&e.Repeats,
		&e.Body,
		&intent,
	)
	e.PaymentIntent = intent.String
	return e, err
}

// Events reads the newest events, up to limit.
func (l *Ledger) Events(ctx context.Context, limit int) ([]StripeEvent, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT `+eventColumns+` FROM stripe_events ORDER BY received DESC, id LIMIT $1`,
		limit,
	)
	return all(rows, err, scanEvent)
}
