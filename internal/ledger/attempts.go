package ledger

import (
	"context"
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
	Attempt
}

func scanAttempt(s scanner) (a attemptOf, err error) {
	var ms int64
	err = s.Scan(&a.payment, instant{&a.At}, &a.Action, &a.Outcome, &a.Status, &a.Detail, &ms)
	a.Took = time.Duration(ms) * time.Millisecond
	return a, err
}

func selectAttempts(payments int) string {
	return `SELECT payment_id, at, action, outcome, status, detail, took_ms FROM attempts
		WHERE payment_id IN (` + numbered(payments) + `) ORDER BY payment_id, at`
}

func attemptsByPayment(list []attemptOf, err error) (map[string][]Attempt, error) {
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

// AddAttempt records a call for a payment.
func (tx *Tx) AddAttempt(paymentID string, a Attempt) error {
	_, err := tx.exec(`INSERT INTO attempts (payment_id, at, action, outcome, status, detail, took_ms)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		paymentID, a.At.UnixMilli(), string(a.Action), a.Outcome, a.Status, a.Detail, a.Took.Milliseconds())
	return err
}
