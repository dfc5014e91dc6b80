package ledger

import (
	"cmp"
	"context"
	"slices"
	"time"

	"notepay/internal/payment"
)

// Attempt is one recorded call for a payment.
type Attempt struct {
	At      time.Time
	Action  payment.Step
	Outcome string // "ok", "retry" or "failed"
	Status  int    // HTTP; 0: no reply
	Detail  string
	Took    time.Duration
}

type attemptOf struct {
	payment string
	seq     int
	Attempt
}

func scanAttempt(s scanner) (a attemptOf, err error) {
	var ms int64
	err = s.Scan(&a.payment, &a.seq, instant{&a.At}, &a.Action, &a.Outcome, &a.Status, &a.Detail, &ms)
	a.Took = time.Duration(ms) * time.Millisecond
	return a, err
}

func selectAttempts(payments int) string {
	return `SELECT id, seq, at, action, outcome, status, detail, took_ms
		FROM payments JOIN attempts ON attempts.n = payments.n WHERE id IN (` + numbered(payments) + `)`
}

func attemptsByPayment(list []attemptOf, err error) (map[string][]Attempt, error) {
	// An interrupted call is recorded after later ones.
	slices.SortFunc(list, func(a, b attemptOf) int { return cmp.Or(a.At.Compare(b.At), a.seq-b.seq) })
	found := map[string][]Attempt{}
	for _, a := range list {
		found[a.payment] = append(found[a.payment], a.Attempt)
	}
	return found, err
}

// Attempts reads the calls made for a payment, oldest first.
func (l *Ledger) Attempts(ctx context.Context, paymentID string) ([]Attempt, error) {
	found, err := l.AttemptsOf(ctx, paymentID)
	return found[paymentID], err
}

// AttemptsOf reads the calls for up to some hundred payments in one query. It groups them by
// payment, oldest first.
func (l *Ledger) AttemptsOf(ctx context.Context, paymentIDs ...string) (map[string][]Attempt, error) {
	if len(paymentIDs) == 0 {
		return nil, nil
	}
	rows, err := l.reads.QueryContext(ctx, selectAttempts(len(paymentIDs)), anys(paymentIDs)...)
	return attemptsByPayment(all(rows, err, scanAttempt))
}

// Attempts reads the calls made for a payment, oldest first.
func (tx *Tx) Attempts(paymentID string) ([]Attempt, error) {
	rows, err := tx.db.query(selectAttempts(1), paymentID)
	found, err := attemptsByPayment(all(rows, err, scanAttempt))
	return found[paymentID], err
}

const insertAttempt = `INSERT INTO attempts (n, seq, at, action, outcome, status, detail, took_ms)
	VALUES ((SELECT n FROM payments WHERE id = $1),
		(SELECT count(*) FROM attempts WHERE n = (SELECT n FROM payments WHERE id = $1)), $2, $3, $4, $5, $6, $7)`

// insertAttempts fails like insertAttempt if a payment is missing.
func insertAttempts(rows string) string {
	return `INSERT INTO attempts (n, seq, at, action, outcome, status, detail, took_ms)
	SELECT payments.n, (SELECT count(*) FROM attempts WHERE attempts.n = payments.n), p2, p3, p4, p5, p6, p7
	FROM ` + rows + ` LEFT JOIN payments ON payments.id = v.p1`
}

// AddAttempt records a call for a payment.
func (tx *Tx) AddAttempt(paymentID string, a Attempt) error {
	statement := rowStatement{one: insertAttempt, many: insertAttempts, about: []string{"number of " + paymentID}}
	return errOnly(tx.db.write(statement,
		paymentID, a.At.UnixMilli(), string(a.Action), a.Outcome, a.Status, a.Detail, a.Took.Milliseconds()))
}
