package ledger

import (
	"context"
	"time"
)

// Confirmation is a machine's answer and its outcome here.
type Confirmation struct {
	ID        string // of Notehub's event
	DeviceUID string
	CreditID  string
	State     string
	Code      string
	At        time.Time // when Notehub received it
	Outcome   string
}

// SaveConfirmation stores a confirmation, or replaces the one with its id.
func (tx *Tx) SaveConfirmation(c Confirmation) error {
	return tx.run(`INSERT INTO confirmations (id, device_uid, credit_id, state, code, at, received, outcome)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET device_uid = excluded.device_uid,
		credit_id = excluded.credit_id, state = excluded.state, code = excluded.code, at = excluded.at,
		received = excluded.received, outcome = excluded.outcome`,
		c.ID, c.DeviceUID, c.CreditID, c.State, c.Code, c.At.UnixMilli(), tx.Now.UnixMilli(), c.Outcome)
}

// ConfirmationOutcome returns the outcome of a stored confirmation, or ErrNotFound.
func (tx *Tx) ConfirmationOutcome(id string) (string, error) {
	rows, err := tx.db.query(`SELECT outcome FROM confirmations WHERE id = $1`, id)
	return one(rows, err, scanOutcome)
}

// Answered reports whether a machine has confirmed anything about a credit.
func (tx *Tx) Answered(credit string) (bool, error) {
	rows, err := tx.db.query(`SELECT at FROM confirmations WHERE credit_id = $1 LIMIT 1`, credit)
	return Found(errOnly(one(rows, err, scanInstant)))
}

// NotesPosted returns how many notes notepay posted, or may have posted, for a payment. A call
// without a reply or with a 5xx status may have posted one.
func (tx *Tx) NotesPosted(payment string) (int, error) {
	rows, err := tx.db.query(`SELECT count(*) FROM attempts
		WHERE n = (SELECT n FROM payments WHERE id = $1) AND action = 'note'
		AND (outcome = 'ok' OR status = 0 OR status >= 500)`, payment)
	return one(rows, err, func(s scanner) (n int, err error) { return n, s.Scan(&n) })
}

// Confirmations reads the confirmations of a credit, oldest first.
func (l *Ledger) Confirmations(ctx context.Context, credit string) ([]Confirmation, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT id, device_uid, credit_id, state, code, at, outcome
		FROM confirmations WHERE credit_id = $1 ORDER BY at, id`, credit)
	return all(rows, err, func(s scanner) (c Confirmation, err error) {
		err = s.Scan(&c.ID, &c.DeviceUID, &c.CreditID, &c.State, &c.Code, instant{&c.At}, &c.Outcome)
		return c, err
	})
}
