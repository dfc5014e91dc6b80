package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"notepay/internal/payment"
)

// The sums of the table revenue are made in the background, and are SumDelay behind. They follow from
// two tables: payments, and movements. A payment that is captured when it is recorded writes nothing
// but its own row. Each later movement of its money writes a row of movements, in the transaction that
// changes the payment.
//
// What is changed later than that marks its hour, and its day is summed up again.

// SumDelay is how old payments and movements are when they are summed up. By then their transactions
// have ended.
const SumDelay = 10 * time.Minute

// lateChange is the age from which a change marks its hour. It is below SumDelay, so that each change
// of what was summed up marks it.
const lateChange = SumDelay / 2

// Movement is money that moved, with its payment.
type Movement struct {
	payment.Movement
	At       time.Time
	Currency string
	Net      int64  // of a fee: by how much the transaction changed Stripe's balance
	Ref      string // of a fee: Stripe's balance transaction
	Payment  payment.Payment
	order    int64
}

const insertMovement = `INSERT INTO movements (payment_id, at, kind, reason, amount, currency, net, ref)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`

// insertedMoney records what moved of a new payment, but its capture.
func (tx *Tx) insertedMoney(p payment.Payment) error {
	captured := p
	captured.RefundedAmount, captured.LostAmount = 0, 0
	if captured.Funds == payment.DisputeLost {
		captured.Funds = payment.Paid
	}
	return tx.addMovements(captured, p)
}

// changedMoney records what moved of a payment, and marks its hour if its sums may have changed.
func (tx *Tx) changedMoney(before, after payment.Payment) error {
	if err := tx.addMovements(before, after); err != nil {
		return err
	}
	failed := func(p payment.Payment) bool { return p.Delivery == payment.Failed }
	if failed(before) == failed(after) && payment.Use(before) == payment.Use(after) && before.Plan == after.Plan {
		return nil
	}
	return tx.markLate(after.CreatedAt)
}

func (tx *Tx) addMovements(before, after payment.Payment) error {
	for _, m := range payment.Movements(before, after) {
		err := tx.run(insertMovement, after.ID, tx.Now.UnixMilli(), string(m.Kind), m.Reason, m.Amount,
			after.Currency, int64(0), nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// markLate marks the hour of a time that may have been summed up.
func (tx *Tx) markLate(at time.Time) error {
	if tx.Now.Sub(at) < lateChange {
		return nil
	}
	return tx.MarkHour(at)
}

// MarkHour makes the day of a time be summed up again.
func (tx *Tx) MarkHour(at time.Time) error {
	return tx.run(`INSERT INTO revenue_stale (hour, marks) VALUES ($1, 1)
		ON CONFLICT (hour) DO UPDATE SET marks = revenue_stale.marks + 1`, at.Unix()/3600)
}

// Fee is one of Stripe's balance transactions of a payment.
type Fee struct {
	ID       string
	Intent   string // the PaymentIntent
	Category string // Stripe's reporting category, such as "charge"
	At       time.Time
	Amount   int64 // the fee, in minor units of Currency
	Net      int64 // by how much the transaction changed the balance
	Currency string
}

// AddFee stores a balance transaction once, if it is of a payment of this ledger.
func (tx *Tx) AddFee(f Fee) (added bool, err error) {
	p, err := tx.PaymentOfIntent(f.Intent)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n, err := tx.exec(insertMovement, p.ID, f.At.UnixMilli(), string(payment.MovedFee), f.Category, -f.Amount,
		f.Currency, f.Net, f.ID)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.markLate(f.At)
}

// missingMovements selects the amounts by which the movements of one kind differ from the rows of
// payments, for payments with numbers in a range.
const missingMovements = `SELECT id,
		coalesce(CASE WHEN money = 'paid' THEN refund_at ELSE money_at END, refund_at, money_at, created_at),
		CAST($3 AS TEXT),
		CASE WHEN $3 = 'lost' THEN '' WHEN machine = 'failed' THEN reason
		WHEN refund_number > 0 THEN '` + payment.RefundByOperator + `' ELSE '` + payment.RefundElsewhere + `' END,
		missing, currency, 0, NULL
	FROM (SELECT p.*, -(CASE WHEN $3 = 'refund' THEN back WHEN money = 'lost' THEN amount - back
			WHEN lost_amount < amount - back THEN lost_amount ELSE amount - back END)
		- (SELECT coalesce(sum(m.amount), 0) FROM movements m WHERE m.payment_id = p.id AND m.kind = $3) AS missing
		FROM (SELECT *, CASE WHEN ` + held + ` THEN 0 ELSE refunded_amount END AS back FROM payments
			WHERE n >= $1 AND n < $2 AND (refunded_amount > 0 OR lost_amount > 0 OR money = 'lost')) p
		WHERE NOT ` + held + `) q
	WHERE missing <> 0`

// restoreStep is how many payments one call of RestoreMovements examines.
const restoreStep = 20_000

// RestoreMovements adds the refunds and losses that the rows of some payments tell of, and the
// movements do not, because an earlier version wrote none. It examines the payments from number n on,
// and returns the number to go on with, or 0 after the last.
func (l *Ledger) RestoreMovements(ctx context.Context, n int64) (next int64, err error) {
	count := func(query string, args ...any) (n int64, err error) {
		rows, err := l.reads.QueryContext(ctx, query, args...)
		return one(rows, err, func(s scanner) (n int64, err error) { return n, s.Scan(&n) })
	}
	last, err := count(`SELECT coalesce(max(n), 0) FROM payments`)
	for _, kind := range []payment.MovementKind{payment.MovedRefund, payment.MovedLost} {
		if err != nil {
			return 0, err
		}
		var missing int64
		missing, err = count(`SELECT count(*) FROM (`+missingMovements+`) m`, n, n+restoreStep, string(kind))
		if err == nil && missing > 0 { // one statement reads payments and movements, so it is right beside changes
			err = l.Update(ctx, func(tx *Tx) error { return tx.restoreMovements(n, kind) })
		}
	}
	if n += restoreStep; err != nil || n > last {
		return 0, err
	}
	return n, nil
}

func (tx *Tx) restoreMovements(n int64, kind payment.MovementKind) error {
	_, err := tx.exec(`INSERT INTO movements (payment_id, at, kind, reason, amount, currency, net, ref)
		`+missingMovements, n, n+restoreStep, string(kind))
	if err != nil {
		return err
	}
	// They may be of any time.
	_, err = tx.exec(`INSERT INTO revenue_stale (hour, marks) SELECT DISTINCT m.at / 3600000, 1 FROM movements m
		JOIN payments p ON p.id = m.payment_id WHERE p.n >= $1 AND p.n < $2 AND m.kind = $3
		ON CONFLICT (hour) DO UPDATE SET marks = revenue_stale.marks + 1`, n, n+restoreStep, string(kind))
	return err
}

// movementColumns are those of a Movement. A payment's own columns are the few that an export shows.
const movementColumns = `m.at, m.kind, m.reason, m.amount, m.currency, m.net, coalesce(m.ref, ''),
	p.id, p.session_id, p.payment_intent, p.device_uid, p.device_name, p.plan, p.card_last4, p.livemode, p.created_at`

func scanMovement(s scanner) (m Movement, err error) {
	var intent sql.NullString
	p := &m.Payment
	err = s.Scan(instant{&m.At}, &m.Kind, &m.Reason, &m.Amount, &m.Currency, &m.Net, &m.Ref, &p.ID, &p.SessionID,
		&intent, &p.DeviceUID, &p.DeviceName, &p.Plan, &p.CardLast4, flag{&p.Livemode}, instant{&p.CreatedAt}, &m.order)
	p.PaymentIntent = intent.String
	return m, err
}

// MovementPage is a place in the list of movements.
type MovementPage struct {
	From, Until         time.Time
	Livemode            bool
	captures, movements place
}

// place is the position behind a movement: that of a payment by its id, any other by its number.
type place struct {
	at     int64 // Unix milliseconds
	id     string
	number int64
}

// Movements reads up to limit movements of a page in the order of their times, and the next page. It
// returns done after the last one. The capture of a payment that was captured when it was recorded
// counts as a movement of that time.
func (l *Ledger) Movements(ctx context.Context, page MovementPage, limit int) (
	list []Movement, next MovementPage, done bool, err error,
) {
	if page.captures == (place{}) {
		page.captures, page.movements = place{at: page.From.UnixMilli()}, place{at: page.From.UnixMilli()}
	}
	rows, err := l.reads.QueryContext(ctx, `SELECT p.created_at, 'captured', '', p.amount, p.currency, 0, '',
		p.id, p.session_id, p.payment_intent, p.device_uid, p.device_name, p.plan, p.card_last4, p.livemode,
		p.created_at, 0
		FROM payments p WHERE (p.created_at, p.id) > ($1, $2) AND p.created_at < $3 AND p.amount > 0
		AND p.livemode = $4 AND NOT `+held+`
		AND NOT EXISTS (SELECT 1 FROM movements c WHERE c.payment_id = p.id AND c.kind = 'captured')
		ORDER BY p.created_at, p.id LIMIT $5 + 0`,
		page.captures.at, page.captures.id, page.Until.UnixMilli(), bit(page.Livemode), limit)
	captures, err := all(rows, err, scanMovement)
	if err != nil {
		return nil, page, false, err
	}
	rows, err = l.reads.QueryContext(ctx, `SELECT `+movementColumns+`, m.n FROM movements m
		JOIN payments p ON p.id = m.payment_id
		WHERE (m.at, m.n) > ($1, $2) AND m.at < $3 AND p.livemode = $4 ORDER BY m.at, m.n LIMIT $5 + 0`,
		page.movements.at, page.movements.number, page.Until.UnixMilli(), bit(page.Livemode), limit)
	moved, err := all(rows, err, scanMovement)
	if err != nil {
		return nil, page, false, err
	}
	for len(list) < limit && len(captures)+len(moved) > 0 {
		if len(moved) == 0 || len(captures) > 0 && !moved[0].At.Before(captures[0].At) {
			m := captures[0]
			list, captures = append(list, m), captures[1:]
			page.captures = place{at: m.At.UnixMilli(), id: m.Payment.ID}
			continue
		}
		m := moved[0]
		list, moved = append(list, m), moved[1:]
		page.movements = place{at: m.At.UnixMilli(), number: m.order}
	}
	return list, page, len(list) < limit, nil
}
