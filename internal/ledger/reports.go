package ledger

import (
	"context"
	"errors"
	"time"
)

// Report is what a customer reports about a payment. It changes neither the credit nor the money.
type Report struct {
	PaymentID string
	At        time.Time
	Reason    string // a key of the customer's pages
	Words     string // the customer's own, "" for none
	SeenAt    time.Time
}

const (
	// MaxReports is how many reports a payment can have.
	MaxReports = 3
	// ReportInterval is the time between two reports about a payment.
	ReportInterval = time.Minute
)

// ErrTooManyReports is returned for a report about a payment that has enough of them.
var ErrTooManyReports = errors.New("the payment has too many reports")

const reportColumns = `payment_id, at, reason, words, seen_at`

func scanReport(s scanner) (r Report, err error) {
	err = s.Scan(&r.PaymentID, instant{&r.At}, &r.Reason, &r.Words, instant{&r.SeenAt})
	return r, err
}

// AddReport stores a report. It returns ErrTooManyReports after MaxReports, or within ReportInterval
// of the last one. The payment must exist.
func (tx *Tx) AddReport(r Report) error {
	rows, err := tx.db.query(`SELECT `+reportColumns+` FROM customer_reports WHERE payment_id = $1 ORDER BY at DESC`,
		r.PaymentID)
	earlier, err := all(rows, err, scanReport)
	if err != nil {
		return err
	}
	if len(earlier) >= MaxReports || (len(earlier) > 0 && tx.Now.Sub(earlier[0].At) < ReportInterval) {
		return ErrTooManyReports
	}
	_, err = tx.exec(`INSERT INTO customer_reports (payment_id, at, reason, words) VALUES ($1, $2, $3, $4)`,
		r.PaymentID, tx.Now.UnixMilli(), r.Reason, r.Words)
	return err
}

// SeeReports marks the reports about a payment as seen. It returns ErrNotFound if all are.
func (tx *Tx) SeeReports(payment string) error {
	n, err := tx.exec(`UPDATE customer_reports SET seen_at = $1 WHERE payment_id = $2 AND seen_at IS NULL`,
		tx.Now.UnixMilli(), payment)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// Reports reads the reports about a payment, oldest first.
func (l *Ledger) Reports(ctx context.Context, payment string) ([]Report, error) {
	rows, err := l.reads.QueryContext(ctx,
		`SELECT `+reportColumns+` FROM customer_reports WHERE payment_id = $1 ORDER BY at`, payment)
	return all(rows, err, scanReport)
}

// OpenReports reads up to limit reports that no operator has seen, newest first.
func (l *Ledger) OpenReports(ctx context.Context, limit int) ([]Report, error) {
	rows, err := l.reads.QueryContext(ctx,
		`SELECT `+reportColumns+` FROM customer_reports WHERE seen_at IS NULL ORDER BY at DESC LIMIT $1 + 0`, limit)
	return all(rows, err, scanReport)
}
