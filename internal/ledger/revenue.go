package ledger

import (
	"context"
	"time"

	"notepay/internal/payment"
)

// Revenue is the captured and the refunded amount in one currency.
type Revenue struct {
	Currency string
	Payments int   // with an amount above 0
	Captured int64 // minor currency units
	Refunded int64 // minor currency units; refunds of these payments at any time
}

// Net returns the revenue after refunds, in minor currency units.
func (t Revenue) Net() int64 { return t.Captured - t.Refunded }

// Revenue sums up the payments recorded from one time until before another, by currency.
func (l *Ledger) Revenue(ctx context.Context, from, to time.Time) ([]Revenue, error) {
	// Payment.Captured and Payment.Refunded compute the same for one payment.
	const held = `money IN ('authorized', 'capturing', 'releasing', 'released', 'capture_failed')`
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

// Credit is the result of one credit of a device.
type Credit struct {
	Machine   payment.DeliveryStatus
	Reason    string
	Confirms  bool // the machine has to confirm
	SentAt    time.Time
	StartedAt time.Time
}

// History reads the last credits of a device, newest first.
func (l *Ledger) History(ctx context.Context, device string, limit int) ([]Credit, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT machine, reason, confirm_by, sent_at, started_at
		FROM payments WHERE device_uid = $1`+newestFirst+`$2`, device, limit)
	return all(rows, err, func(row scanner) (c Credit, err error) {
		var confirmBy time.Time
		err = row.Scan(&c.Machine, &c.Reason, instant{&confirmBy}, instant{&c.SentAt}, instant{&c.StartedAt})
		c.Confirms = !confirmBy.IsZero()
		return c, err
	})
}
