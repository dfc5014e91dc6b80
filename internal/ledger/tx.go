package ledger

import (
	"database/sql"
	"errors"
	"fmt"
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
	query(query string, args ...any) (resultRows, error)
}

func (tx *Tx) exec(query string, args ...any) (int64, error) { return tx.db.exec(query, args...) }

// all reads every row of a query with scan.
func all[T any](rows resultRows, err error, scan func(scanner) (T, error)) (list []T, _ error) {
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
func one[T any](rows resultRows, err error, scan func(scanner) (T, error)) (t T, _ error) {
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
	_, err := tx.exec(
		`INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
		name,
		t.UnixMilli(),
	)
	return err
}

// SetFactOnce stores a named time unless there is one.
func (tx *Tx) SetFactOnce(name string, t time.Time) error {
	_, err := tx.exec(
		`INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`,
		name,
		t.UnixMilli(),
	)
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

// What a payment is never changes; how it stands does.
const (
	whatColumns = `id, session_id, payment_intent, token, device_uid, amount, currency, livemode, paid_at, created_at, card_last4, receipt_url`
	howColumns  = `device_name, price_id, plan, duration_s, delayed_start_s, money, refunded_amount, machine, reason, code, attention, sent_at,
	started_at, ends_at, expires_at, confirm_by, occupies, step, due_at, not_before, turn, in_flight, failures, posted, unclear, vanished, stop,
	recalled, note_ids, tell, refund_number, refund_amount, refund_goal, refund_at, refund_look, with_code,
	access_code, machine_at, money_at, money_not_before, money_failures, lost_amount`
	paymentColumns = whatColumns + `, ` + howColumns
)

var insertPayment = `INSERT INTO payments (` + paymentColumns + `) VALUES (` + placeholders(
	paymentColumns,
) + `) ON CONFLICT DO NOTHING`

var howNames = strings.Split(strings.Join(strings.Fields(howColumns), ""), ",")

// placeholders is a value for each of the columns.
func placeholders(columns string) string { return numbered(strings.Count(columns, ",") + 1) }

// numbered is "$1, $2, ..." up to n.
func numbered(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("$%d", i+1)
	}
	return strings.Join(list, ", ")
}

func (p *Payment) what() []any {
	return []any{
		p.ID,
		p.SessionID,
		nullable(p.PaymentIntent),
		p.Token,
		p.DeviceUID,
		p.Amount,
		p.Currency,
		bit(p.Livemode),
		milliseconds(p.PaidAt),
		milliseconds(p.CreatedAt),
		p.CardLast4,
		p.ReceiptURL,
	}
}

func (p *Payment) how() []any {
	return []any{
		p.DeviceName,
		p.PriceID,
		p.Plan,
		int64(p.Duration / time.Second),
		int64(p.DelayedStart / time.Second),
		string(p.Money),
		p.RefundedAmount,
		string(
			p.Machine,
		),
		p.Reason,
		p.Code,
		p.Attention,
		milliseconds(p.SentAt),
		milliseconds(p.StartedAt),
		milliseconds(p.EndsAt),
		milliseconds(p.ExpiresAt),
		milliseconds(
			p.ConfirmBy,
		),
		bit(p.Occupies),
		string(p.Step),
		milliseconds(p.DueAt),
		milliseconds(p.NotBefore),
		p.Turn,
		bit(p.InFlight),
		p.Failures,
		bit(p.Posted),
		bit(p.Unclear),
		bit(p.Vanished),
		p.Stop,
		string(p.Recalled),
		p.NoteIDs,
		p.Tell,
		p.RefundNumber,
		p.RefundAmount,
		p.RefundGoal,
		milliseconds(p.RefundAt),
		bit(p.RefundLook),
		bit(p.WithCode),
		p.AccessCode,
		milliseconds(p.MachineAt),
		milliseconds(p.MoneyAt),
		milliseconds(p.MoneyNotBefore),
		p.MoneyFailures,
		p.LostAmount,
	}
}

func scanPayment(s scanner) (p Payment, err error) {
	var intent sql.NullString
	err = s.Scan(
		&p.ID,
		&p.SessionID,
		&intent,
		&p.Token,
		&p.DeviceUID,
		&p.Amount,
		&p.Currency,
		flag{&p.Livemode},
		instant{&p.PaidAt},
		instant{&p.CreatedAt},
		&p.CardLast4,
		&p.ReceiptURL,
		&p.DeviceName,
		&p.PriceID,
		&p.Plan,
		seconds{&p.Duration},
		seconds{&p.DelayedStart},
		&p.Money,
		&p.RefundedAmount,
		&p.Machine,
		&p.Reason,
		&p.Code,
		&p.Attention,
		instant{&p.SentAt},
		instant{&p.StartedAt},
		instant{&p.EndsAt},
		instant{&p.ExpiresAt},
		instant{
			&p.ConfirmBy,
		},
		flag{&p.Occupies},
		&p.Step,
		instant{&p.DueAt},
		instant{&p.NotBefore},
		&p.Turn,
		flag{&p.InFlight},
		&p.Failures,
		flag{&p.Posted},
		flag{&p.Unclear},
		flag{&p.Vanished},
		&p.Stop,
		&p.Recalled,
		&p.NoteIDs,
		&p.Tell,
		&p.RefundNumber,
		&p.RefundAmount,
		&p.RefundGoal,
		instant{&p.RefundAt},
		flag{&p.RefundLook},
		flag{&p.WithCode},
		&p.AccessCode,
		instant{&p.MachineAt},
		instant{&p.MoneyAt},
		instant{&p.MoneyNotBefore},
		&p.MoneyFailures,
		&p.LostAmount,
	)
	p.PaymentIntent = intent.String
	return p, err
}

// InsertPayment stores a new payment, or returns false if its session or payment intent has one already.
func (tx *Tx) InsertPayment(p Payment) (inserted bool, err error) {
	n, err := tx.exec(insertPayment, append(p.what(), p.how()...)...)
	if err != nil || n == 1 {
		return n == 1, err
	}
	rows, err := tx.db.query(
		`SELECT created_at FROM payments WHERE id = $1 OR session_id = $2 OR payment_intent = $3`,
		p.ID,
		p.SessionID,
		nullable(p.PaymentIntent),
	)
	known, err := all(rows, err, scanInstant)
	if len(known) > 0 || err != nil {
		return false, err
	}
	return false, fmt.Errorf("insert payment %s: its device is held by another timed credit", p.ID)
}

// errorOf drops a result whose being there is all that matters.
func errorOf[T any](_ T, err error) error { return err }

// SavePayment stores how a payment stands now.
func (tx *Tx) SavePayment(p Payment) error {
	before, err := tx.Payment(p.ID)
	if err != nil {
		return fmt.Errorf("save payment %s: %w", p.ID, err)
	}
	return tx.ChangePayment(before, p)
}

// ChangePayment stores what has changed of a payment that was read in this transaction: a step of
// one changes a few columns, and what is not written costs no index anything. Since when machine
// and money are where they are is kept here, for it is seen here alone.
func (tx *Tx) ChangePayment(before, after Payment) error {
	after.MachineAt, after.MoneyAt = before.MachineAt, before.MoneyAt
	if after.Machine != before.Machine {
		after.MachineAt = tx.Now
	}
	if after.Money != before.Money {
		after.MoneyAt = tx.Now
	}
	was, is := before.how(), after.how()
	var set strings.Builder
	args := make([]any, 0, len(is)+1)
	for i, name := range howNames {
		if was[i] == is[i] &&
			!(name == "in_flight" && after.InFlight) { // the claim may have been one of a process that is gone
			continue
		}
		if args = append(args, is[i]); len(args) > 1 {
			set.WriteString(", ")
		}
		fmt.Fprintf(&set, "%s = $%d", name, len(args))
	}
	if len(args) == 0 {
		return nil
	}
	args = append(args, after.ID)
	n, err := tx.exec(fmt.Sprintf(`UPDATE payments SET %s WHERE id = $%d`, set.String(), len(args)), args...)
	if err == nil && n != 1 {
		err = fmt.Errorf("change payment %s: %w", after.ID, ErrNotFound)
	}
	return err
}

// SetCharge stores the last four digits of the card that paid and the URL of Stripe's receipt,
// which Stripe may tell later than the payment.
func (tx *Tx) SetCharge(id, last4, receiptURL string) error {
	_, err := tx.exec(`UPDATE payments SET card_last4 = $1, receipt_url = $2 WHERE id = $3`, last4, receiptURL, id)
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

// A LIMIT of a mere parameter would have SQLite plan the query anew for each value, which takes
// five times as long as to run it.
const (
	due = `SELECT ` + paymentColumns + ` FROM payments WHERE %s AND %s 0 AND due_at <= $1 %s ORDER BY due_at LIMIT $2 + 0`

	notehubSteps = `(step = 'note' OR step = 'check_pending' OR step = 'recall')`
	stripeSteps  = `(step = 'capture' OR step = 'release' OR step = 'refund')`
	waitStep     = `step = 'wait'`
	inDoubt      = `machine = 'queued' AND vanished = 1 AND confirm_by IS NOT NULL`
	calledNow    = `in_flight = 1 AND due_at > $1 AND ` + notehubSteps
	deviceIsFree = `AND NOT EXISTS (SELECT 1 FROM payments AS other WHERE other.device_uid = payments.device_uid AND other.in_flight = 1 AND other.due_at > $1
		AND (other.step = 'note' OR other.step = 'check_pending' OR other.step = 'recall'))`
)

var (
	dueNotehubFresh = fmt.Sprintf(due, notehubSteps, "failures =", deviceIsFree)
	dueNotehubAgain = fmt.Sprintf(due, notehubSteps, "failures >", deviceIsFree)
	dueStripeFresh  = fmt.Sprintf(due, stripeSteps, "money_failures =", "")
	dueStripeAgain  = fmt.Sprintf(due, stripeSteps, "money_failures >", "")
	dueInTime       = fmt.Sprintf(due, waitStep, "failures =", "")
)

func (tx *Tx) due(query string, limit int) ([]Payment, error) {
	rows, err := tx.db.query(query, tx.Now.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

// DueForNotehub reads up to limit payments whose next step is a due call to Notehub, the longest
// due first: those whose last call came to nothing if again is set, else the others. Devices with a
// call of this process under way are left out.
func (tx *Tx) DueForNotehub(again bool, limit int) ([]Payment, error) {
	if again {
		return tx.due(dueNotehubAgain, limit)
	}
	return tx.due(dueNotehubFresh, limit)
}

// DueForStripe reads up to limit payments whose next step is a due call to Stripe, in the same two parts.
func (tx *Tx) DueForStripe(again bool, limit int) ([]Payment, error) {
	if again {
		return tx.due(dueStripeAgain, limit)
	}
	return tx.due(dueStripeFresh, limit)
}

// DueInTime reads up to limit payments that were waiting for a time that has come.
func (tx *Tx) DueInTime(limit int) ([]Payment, error) { return tx.due(dueInTime, limit) }

// Called says whether this process has a call to Notehub for a device under way.
func (tx *Tx) Called(device string) (bool, error) {
	rows, err := tx.db.query(
		`SELECT due_at FROM payments WHERE `+calledNow+` AND device_uid = $2 LIMIT 1`,
		tx.Now.UnixMilli(),
		device,
	)
	return Has(errorOf(one(rows, err, scanInstant)))
}

// silent are those of a kind whose machines should have been heard of.
const silent = `SELECT ` + paymentColumns + ` FROM payments WHERE %s AND confirm_by <= $1 AND in_flight = 0 ORDER BY confirm_by LIMIT $2 + 0`

var (
	silentFetched = fmt.Sprintf(
		silent,
		`machine IN ('sent', 'fetched') AND confirm_by IS NOT NULL AND machine = 'fetched'`,
	)
	silentInDoubt = fmt.Sprintf(silent, inDoubt+` AND unclear = 0`)
)

// SilentAt reads up to limit payments whose machines have the note and should have been heard of by asOf.
func (tx *Tx) SilentAt(asOf time.Time, limit int) ([]Payment, error) {
	rows, err := tx.db.query(silentFetched, asOf.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

// InDoubtAt reads up to limit payments that Notehub never said yes to, and whose machines should
// have been heard of by asOf if they have them.
func (tx *Tx) InDoubtAt(asOf time.Time, limit int) ([]Payment, error) {
	rows, err := tx.db.query(silentInDoubt, asOf.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

const occupantOf = `SELECT ` + paymentColumns + ` FROM payments WHERE device_uid = $1 AND occupies = 1`

// Occupant reads the payment whose timed credit holds a device, or returns ErrNotFound.
func (tx *Tx) Occupant(device string) (Payment, error) {
	rows, err := tx.db.query(occupantOf, device)
	return one(rows, err, scanPayment)
}

// LastOfDevice reads up to limit payments of a device, the newest first.
func (tx *Tx) LastOfDevice(device string, limit int) ([]Payment, error) {
	rows, err := tx.db.query(
		`SELECT `+paymentColumns+` FROM payments WHERE device_uid = $1 ORDER BY created_at DESC, id DESC LIMIT $2 + 0`,
		device,
		limit,
	)
	return all(rows, err, scanPayment)
}

// AddAttempt records a call made for a payment.
func (tx *Tx) AddAttempt(paymentID string, a Attempt) error {
	_, err := tx.exec(
		`INSERT INTO attempts (payment_id, at, action, outcome, status, detail, took_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		paymentID,
		a.At.UnixMilli(),
		string(a.Action),
		a.Outcome,
		a.Status,
		a.Detail,
		a.Took.Milliseconds(),
	)
	return err
}

// Has says whether an error means that a row is there: true for nil, false for ErrNotFound, else the error.
func Has(err error) (bool, error) {
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
