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
