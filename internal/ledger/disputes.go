package ledger

import "time"

// Dispute is what was told last of one dispute. A payment may have several.
type Dispute struct {
	ID            string // dp_... or du_...
	PaymentIntent string
	Status        string // Stripe's word
	Amount        int64  // minor units of Currency
	Currency      string
	Refundable    bool      // Stripe lets the charge be refunded nevertheless
	ToldAt        time.Time // by Stripe's clock
}

// SaveDispute stores what was told of a dispute, in place of what was told before.
func (tx *Tx) SaveDispute(d Dispute) error {
	_, err := tx.exec(
		`INSERT INTO disputes (id, payment_intent, status, amount, currency, refundable, told_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (id) DO UPDATE SET status = excluded.status, amount = excluded.amount, currency = excluded.currency,
		refundable = excluded.refundable, told_at = excluded.told_at`,
		d.ID,
		d.PaymentIntent,
		d.Status,
		d.Amount,
		d.Currency,
		bit(d.Refundable),
		d.ToldAt.UnixMilli(),
	)
	return err
}

// Disputes reads the disputes about a PaymentIntent.
func (tx *Tx) Disputes(intent string) ([]Dispute, error) {
	rows, err := tx.db.query(`SELECT id, payment_intent, status, amount, currency, refundable, told_at FROM disputes
		WHERE payment_intent = $1 ORDER BY id`, intent)
	return all(rows, err, func(s scanner) (d Dispute, err error) {
		err = s.Scan(
			&d.ID,
			&d.PaymentIntent,
			&d.Status,
			&d.Amount,
			&d.Currency,
			flag{&d.Refundable},
			instant{&d.ToldAt},
		)
		return d, err
	})
}
