package ledger

import (
	"context"

	"notepay/internal/payment"
)

// ReviewCount is how many payments need attention for a reason.
type ReviewCount struct {
	Reason   string
	Payments int
}

// ReviewCounts counts the payments that need attention by their reason, the most frequent first.
func (l *Ledger) ReviewCounts(ctx context.Context) ([]ReviewCount, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT attention, count(*) FROM payments WHERE attention <> ''
		GROUP BY attention ORDER BY 2 DESC, 1`)
	return all(rows, err, func(row scanner) (c ReviewCount, err error) { return c, row.Scan(&c.Reason, &c.Payments) })
}

// PaymentsOfReview reads up to limit payments that need attention for a reason, newest first.
func (l *Ledger) PaymentsOfReview(ctx context.Context, reason string, limit int) ([]payment.Payment, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments
		WHERE attention <> '' AND attention = $1 ORDER BY created_at DESC, id DESC LIMIT $2 + 0`, reason, limit)
	return all(rows, err, scanPayment)
}

// OpenMatters counts what the console lists as needing attention: payments, and payments with reports
// that no operator has seen.
func (l *Ledger) OpenMatters(ctx context.Context) (int, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT (SELECT count(*) FROM payments WHERE attention <> '')
		+ (SELECT count(*) FROM customer_reports WHERE seen_at IS NULL)`)
	return one(rows, err, func(row scanner) (n int, err error) { return n, row.Scan(&n) })
}
