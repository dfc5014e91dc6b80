package ledger

import (
	"context"
	"fmt"
	"time"
)

// Audit records one change by an operator, or by notepay itself.
type Audit struct {
	ID      string // set by AddAudit; grows with time
	At      time.Time
	Who     string
	What    string // "pause", "resume", ...
	Subject string // a device's uid, a credit's id
	Why     string
	Before  string
	After   string

	Amount   int64  // minor currency units; 0 if the change is about no money
	Currency string // of Amount, Before and After; "" if the change is about no payment
}

// LastAudit returns the time of the latest change of one kind to a subject. It returns the zero
// time if there is none.
func (tx *Tx) LastAudit(subject, what string) (time.Time, error) {
	rows, err := tx.db.query(`SELECT max(at) FROM audit WHERE subject = $1 AND what = $2`, subject, what)
	return one(rows, err, scanInstant)
}

// AddAudit records a change. A zero At means tx.Now.
func (tx *Tx) AddAudit(a Audit) error {
	if a.At.IsZero() {
		a.At = tx.Now
	}
	at := a.At.UnixMilli()
	moment := fmt.Sprintf("%013d", at)
	rows, err := tx.db.query(`SELECT count(*) FROM audit WHERE id > $1 AND id < $2`, moment, moment+"~")
	before, err := one(rows, err, func(s scanner) (n int, err error) { return n, s.Scan(&n) })
	if err != nil {
		return err
	}
	return tx.run(`INSERT INTO audit (id, at, who, what, subject, why, before, after, amount, currency)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		fmt.Sprintf("%s-%06d", moment, before), at, a.Who, a.What, a.Subject, a.Why, a.Before, a.After,
		amountOrNull(a.Amount), a.Currency)
}

func amountOrNull(amount int64) any {
	if amount == 0 {
		return nil
	}
	return amount
}

// Audits lists changes, newest first, and the cursor of the next page, "" after the last. An empty
// subject selects all. limit is at least 1.
func (l *Ledger) Audits(
	ctx context.Context,
	subject string,
	limit int,
	cursor string,
) (list []Audit, next string, err error) {
	if cursor == "" {
		cursor = "9" // above every id
	}
	query := `SELECT id, at, who, what, subject, why, before, after, coalesce(amount, 0), currency FROM audit
		WHERE id < $1`
	args := []any{cursor, limit + 1} // one more tells whether there is a next page
	if subject != "" {
		query += ` AND subject = $3`
		args = append(args, subject)
	}
	rows, err := l.reads.QueryContext(ctx, query+` ORDER BY id DESC LIMIT $2`, args...)
	list, err = all(rows, err, func(s scanner) (a Audit, err error) {
		err = s.Scan(&a.ID, instant{&a.At}, &a.Who, &a.What, &a.Subject, &a.Why, &a.Before, &a.After,
			&a.Amount, &a.Currency)
		return a, err
	})
	if err != nil || len(list) <= limit {
		return list, "", err
	}
	return list[:limit], list[limit-1].ID, nil
}
