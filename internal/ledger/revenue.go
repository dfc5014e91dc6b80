package ledger

import (
	"context"
	"time"
)

// Revenue is the captured and the refunded amount in one currency.
type Revenue struct {
	Currency string
	Payments int   // with an amount above 0
	Captured int64 // minor currency units
	Refunded int64 // minor currency units; refunds of these payments at any time
}

// held is the condition for payments whose money was not captured. Payment.Captured knows the same.
const held = `money IN ('authorized', 'capturing', 'releasing', 'released', 'capture_failed')`

// Net returns the revenue after refunds, in minor currency units.
func (t Revenue) Net() int64 { return t.Captured - t.Refunded }

// Revenue sums up the payments recorded from one time until before another, by currency.
func (l *Ledger) Revenue(ctx context.Context, from, to time.Time) ([]Revenue, error) {
	// Payment.Captured and Payment.Refunded compute the same for one payment.
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT currency, count(*), CAST(sum(CASE WHEN `+held+` THEN 0 ELSE amount END) AS BIGINT),
		CAST(sum(CASE WHEN `+held+` THEN 0 WHEN money = 'lost' THEN amount ELSE refunded_amount END) AS BIGINT)
		FROM payments WHERE created_at >= $1 AND created_at < $2 AND amount > 0 GROUP BY currency ORDER BY currency`,
		from.UnixMilli(),
		to.UnixMilli(),
	)
	return all(rows, err, func(row scanner) (t Revenue, err error) {
		return t, row.Scan(&t.Currency, &t.Payments, &t.Captured, &t.Refunded)
	})
}
