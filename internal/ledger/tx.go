package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Tx is a transaction. It is valid only inside the function that it was given to.
type Tx struct {
	// Now is one time for the whole transaction, so that rows written together agree.
	Now time.Time
	db  statements
}

// statements is what the two databases have in common.
type statements interface {
	exec(query string, args ...any) (rowsAffected int64, err error)
	query(query string, args ...any) (*sql.Rows, error)
}

func (tx *Tx) exec(query string, args ...any) (int64, error) { return tx.db.exec(query, args...) }

// all reads every row of a query with scan.
func all[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) (list []T, _ error) {
	if unstorable(err) {
		return nil, nil // it was looked for by text that no row can hold
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		t, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// one reads the only row of a query, or returns ErrNotFound.
func one[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) (t T, _ error) {
	list, err := all(rows, err, scan)
	if err != nil || len(list) == 1 {
		if err == nil {
			t = list[0]
		}
		return t, err
	}
	if len(list) > 1 {
		return t, fmt.Errorf("%d rows where there can be one", len(list))
	}
	return t, ErrNotFound
}

type scanner interface{ Scan(dest ...any) error }

// Times are Unix milliseconds on disk, NULL for the zero time.
func milliseconds(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

type instant struct{ *time.Time }

func (i instant) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*i.Time = time.Time{}
	case int64:
		*i.Time = time.UnixMilli(v).UTC()
	default:
		return fmt.Errorf("a time is stored as %T", v)
	}
	return nil
}

type seconds struct{ *time.Duration }

func (s seconds) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a duration is stored as %T", v)
	}
	*s.Duration = time.Duration(n) * time.Second
	return nil
}

type flag struct{ *bool }

func (f flag) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a flag is stored as %T", v)
	}
	*f.bool = n != 0
	return nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Facts.

// SetFact stores a named time.
func (tx *Tx) SetFact(name string, t time.Time) error {
	_, err := tx.exec(`INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, t.UnixMilli())
	return err
}

// SetFactOnce stores a named time unless there is one.
func (tx *Tx) SetFactOnce(name string, t time.Time) error {
	_, err := tx.exec(`INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, t.UnixMilli())
	return err
}

// Fact reads a named time, or returns ErrNotFound.
func (tx *Tx) Fact(name string) (time.Time, error) {
	rows, err := tx.db.query(`SELECT value FROM facts WHERE name = $1`, name)
	return one(rows, err, scanInstant)
}

func scanInstant(s scanner) (t time.Time, err error) {
	err = s.Scan(instant{&t})
	return t, err
}

// Payments.

// What a payment is never changes; how it stands does. A save writes only the second: the database would enter each column that
// it is given anew into its indexes, also where the value is the same.
const (
	whatColumns = `id, session_id, payment_intent, token, device_uid, amount, currency, livemode, paid_at, created_at`
	howColumns  = `device_name, price_id, plan, duration_s, delayed_start_s, money, refunded_amount, machine, reason, attention, sent_at,
	started_at, ends_at, expires_at, step, due_at, not_before, turn, in_flight, failures, posted, unclear`
	paymentColumns = whatColumns + `, ` + howColumns
)

var insertPayment = `INSERT INTO payments (` + paymentColumns + `) VALUES (` + placeholders(paymentColumns) + `) ON CONFLICT DO NOTHING`

var updatePayment = `UPDATE payments SET (` + howColumns + `) = (` + placeholders(howColumns) + `) WHERE id = $` + strconv.Itoa(strings.Count(howColumns, ",")+2)

// placeholders is "$1, $2, ..." for so many columns.
func placeholders(columns string) string {
	n := strings.Count(columns, ",") + 1
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("$%d", i+1)
	}
	return strings.Join(list, ", ")
}

func (p *Payment) what() []any {
	return []any{p.ID, p.SessionID, nullable(p.PaymentIntent), p.Token, p.DeviceUID, p.Amount, p.Currency, bit(p.Livemode), milliseconds(p.PaidAt), milliseconds(p.CreatedAt)}
}

func (p *Payment) how() []any {
	return []any{p.DeviceName, p.PriceID, p.Plan, int64(p.Duration / time.Second), int64(p.DelayedStart / time.Second), string(p.Money), p.RefundedAmount,
		string(p.Machine), p.Reason, p.Attention, milliseconds(p.SentAt), milliseconds(p.StartedAt), milliseconds(p.EndsAt), milliseconds(p.ExpiresAt),
		string(p.Step), milliseconds(p.DueAt), milliseconds(p.NotBefore), p.Turn, bit(p.InFlight), p.Failures, bit(p.Posted), bit(p.Unclear)}
}

func scanPayment(s scanner) (p Payment, err error) {
	var intent sql.NullString
	err = s.Scan(&p.ID, &p.SessionID, &intent, &p.Token, &p.DeviceUID, &p.Amount, &p.Currency, flag{&p.Livemode}, instant{&p.PaidAt}, instant{&p.CreatedAt},
		&p.DeviceName, &p.PriceID, &p.Plan, seconds{&p.Duration}, seconds{&p.DelayedStart}, &p.Money, &p.RefundedAmount,
		&p.Machine, &p.Reason, &p.Attention, instant{&p.SentAt}, instant{&p.StartedAt}, instant{&p.EndsAt}, instant{&p.ExpiresAt},
		&p.Step, instant{&p.DueAt}, instant{&p.NotBefore}, &p.Turn, flag{&p.InFlight}, &p.Failures, flag{&p.Posted}, flag{&p.Unclear})
	p.PaymentIntent = intent.String
	return p, err
}

// InsertPayment stores a new payment, or returns false if its session or payment intent has one already.
func (tx *Tx) InsertPayment(p Payment) (inserted bool, err error) {
	n, err := tx.exec(insertPayment, append(p.what(), p.how()...)...)
	return n == 1, err
}

// SavePayment stores how a payment stands now.
func (tx *Tx) SavePayment(p Payment) error {
	n, err := tx.exec(updatePayment, append(p.how(), p.ID)...)
	if err == nil && n != 1 {
		err = fmt.Errorf("save payment %s: %w", p.ID, ErrNotFound)
	}
	return err
}

// Payment reads a payment by its credit id, or returns ErrNotFound.
func (tx *Tx) Payment(id string) (Payment, error) {
	rows, err := tx.db.query(`SELECT `+paymentColumns+` FROM payments WHERE id = $1`, id)
	return one(rows, err, scanPayment)
}

// PaymentOfIntent reads a payment by its payment intent, or returns ErrNotFound.
func (tx *Tx) PaymentOfIntent(intent string) (Payment, error) {
	rows, err := tx.db.query(`SELECT `+paymentColumns+` FROM payments WHERE payment_intent = $1`, intent)
	return one(rows, err, scanPayment)
}

// A LIMIT of a mere parameter would have SQLite plan the query anew for each value, which takes five times as long as to run it.
const dueForNotehub = `SELECT ` + paymentColumns + ` FROM payments WHERE step <> '' AND failures %s 0 AND due_at <= $1
	AND step IN ('note', 'check_pending', 'recall')
	AND device_uid NOT IN (SELECT device_uid FROM payments WHERE in_flight = 1 AND due_at > $1)
	ORDER BY due_at LIMIT $2 + 0`

var dueFresh, dueAgain = fmt.Sprintf(dueForNotehub, "="), fmt.Sprintf(dueForNotehub, ">")

// DueForNotehub reads up to limit payments whose next step is a due call to Notehub, the longest due first: those whose last call
// came to nothing if again is set, else the others. Devices with a call of this process under way are left out.
func (tx *Tx) DueForNotehub(again bool, limit int) ([]Payment, error) {
	query := dueFresh
	if again {
		query = dueAgain
	}
	rows, err := tx.db.query(query, tx.Now.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

// AddAttempt records a call made for a payment.
func (tx *Tx) AddAttempt(paymentID string, a Attempt) error {
	_, err := tx.exec(`INSERT INTO attempts (payment_id, at, action, outcome, status, detail, took_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		paymentID, a.At.UnixMilli(), string(a.Action), a.Outcome, a.Status, a.Detail, a.Took.Milliseconds())
	return err
}

// Lookups.

func scanLookup(s scanner) (l Lookup, err error) {
	err = s.Scan(&l.ID, instant{&l.PaidAt}, instant{&l.DueAt}, &l.Turn, &l.Failures)
	return l, err
}

// AddLookup asks for a session to be looked up. If it is asked for already, who is just looking must look again: the turn grows.
func (tx *Tx) AddLookup(l Lookup) error {
	_, err := tx.exec(`INSERT INTO lookups (id, paid_at, due_at, turn, failures) VALUES ($1, $2, $3, 0, 0)
		ON CONFLICT (id) DO UPDATE SET turn = lookups.turn + 1, due_at = CASE WHEN excluded.due_at < lookups.due_at THEN excluded.due_at ELSE lookups.due_at END`,
		l.ID, l.PaidAt.UnixMilli(), l.DueAt.UnixMilli())
	return err
}

// ClaimLookups takes up to limit due look-ups. They are due again at lease, should nobody settle them; looking up twice does no harm.
func (tx *Tx) ClaimLookups(lease time.Time, limit int) ([]Lookup, error) {
	rows, err := tx.db.query(`UPDATE lookups SET turn = turn + 1, due_at = $1 WHERE id IN
		(SELECT id FROM lookups WHERE due_at <= $2 ORDER BY due_at LIMIT $3 + 0) RETURNING id, paid_at, due_at, turn, failures`,
		lease.UnixMilli(), tx.Now.UnixMilli(), limit)
	return all(rows, err, scanLookup)
}

// PostponeLookup makes a claimed look-up due again, after a failure, unless it was claimed again meanwhile.
func (tx *Tx) PostponeLookup(l Lookup, due time.Time) error {
	_, err := tx.exec(`UPDATE lookups SET due_at = $1, failures = failures + 1 WHERE id = $2 AND turn = $3`, due.UnixMilli(), l.ID, l.Turn)
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
	n, err := tx.exec(`INSERT INTO stripe_events (id, type, object_id, livemode, created_at, received, outcome, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`,
		e.ID, e.Type, e.ObjectID, bit(e.Livemode), e.Created.UnixMilli(), e.Received.UnixMilli(), e.Outcome, e.Body)
	if err != nil || n == 1 {
		return n == 1, err
	}
	_, err = tx.exec(`UPDATE stripe_events SET repeats = repeats + 1 WHERE id = $1`, e.ID)
	return false, err
}

// Has says whether an error means that a row is there: true for nil, false for ErrNotFound, else the error.
func Has(err error) (bool, error) {
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
