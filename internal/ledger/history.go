package ledger

import (
	"context"
	"time"

	"notepay/internal/payment"
)

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

// Start is when a payment or free start of a device was recorded, and whether the machine failed to
// start.
type Start struct {
	At     time.Time
	Failed bool
}

// Starts reads the payments and free starts of a device since a time, newest first, at most limit.
func (l *Ledger) Starts(ctx context.Context, device string, since time.Time, limit int) ([]Start, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT created_at, machine FROM payments
		WHERE device_uid = $1 AND (created_at, id) >= ($2, '')`+newestFirst+`$3`, device, since.UnixMilli(), limit)
	return all(rows, err, func(row scanner) (s Start, err error) {
		var machine payment.DeliveryStatus
		err = row.Scan(instant{&s.At}, &machine)
		s.Failed = machine == payment.Failed
		return s, err
	})
}
