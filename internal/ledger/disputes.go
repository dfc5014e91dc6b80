package ledger

import "notepay/internal/payment"

// SaveDispute inserts a dispute or replaces its earlier state.
func (tx *Tx) SaveDispute(d payment.Dispute) error {
	return tx.run(`INSERT INTO disputes (id, payment_intent, status, amount, currency, refundable, told_at, due_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (id) DO UPDATE SET status = excluded.status, amount = excluded.amount, currency = excluded.currency,
		refundable = excluded.refundable, told_at = excluded.told_at, due_at = excluded.due_at`,
		d.ID, d.PaymentIntent, d.Status, d.Amount, d.Currency, bit(d.Refundable),
		d.ReportedAt.UnixMilli(), milliseconds(d.DueAt))
}

// Disputes reads the disputes of a PaymentIntent.
func (tx *Tx) Disputes(intent string) ([]payment.Dispute, error) {
	rows, err := tx.db.query(`SELECT id, payment_intent, status, amount, currency, refundable, told_at, due_at
		FROM disputes WHERE payment_intent = $1 ORDER BY id`, intent)
	return all(rows, err, func(s scanner) (d payment.Dispute, err error) {
		err = s.Scan(&d.ID, &d.PaymentIntent, &d.Status, &d.Amount, &d.Currency, flag{&d.Refundable},
			instant{&d.ReportedAt}, instant{&d.DueAt})
		return d, err
	})
}
