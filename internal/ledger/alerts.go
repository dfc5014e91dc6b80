package ledger

import (
	"context"
	"strings"
	"time"
)

// AlertState is what a recipient of alerts was last told of a kind.
type AlertState struct {
	Target, Kind string
	Open         bool // something is wrong
	SentAt       time.Time
	Number       int64    // of messages so far
	Keys         []string // what it knows, without line breaks
}

// AlertStates reads what all recipients were told.
func (l *Ledger) AlertStates(ctx context.Context) ([]AlertState, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT target, kind, is_open, sent_at, number, keys FROM alert_states`)
	return all(rows, err, func(row scanner) (s AlertState, err error) {
		var keys string
		err = row.Scan(&s.Target, &s.Kind, flag{&s.Open}, instant{&s.SentAt}, &s.Number, &keys)
		if keys != "" {
			s.Keys = strings.Split(keys, "\n")
		}
		return s, err
	})
}

// SaveAlertState inserts or replaces what a recipient was told of a kind.
func (l *Ledger) SaveAlertState(ctx context.Context, s AlertState) error {
	return l.Update(ctx, func(tx *Tx) error {
		return tx.run(`INSERT INTO alert_states (target, kind, is_open, sent_at, number, keys)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (target, kind) DO UPDATE SET is_open = excluded.is_open, sent_at = excluded.sent_at,
			number = excluded.number, keys = excluded.keys`,
			s.Target, s.Kind, bit(s.Open), s.SentAt.UnixMilli(), s.Number, strings.Join(s.Keys, "\n"))
	})
}

// Alarming is what an alert says of a payment.
type Alarming struct {
	ID                    string
	DeviceUID, DeviceName string
	Amount                int64 // minor units of Currency
	Currency              string
	Reason                string // of the review, of the report, or the dispute's status
	At                    time.Time
	Due                   time.Time // of a dispute; zero if Stripe did not say
	Dispute               string    // its id
}

// PaymentsToReview reads up to limit payments that need attention, newest first.
func (l *Ledger) PaymentsToReview(ctx context.Context, limit int) ([]Alarming, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT id, device_uid, device_name, amount, currency, attention, created_at
		FROM payments WHERE attention <> '' ORDER BY created_at DESC, id DESC LIMIT $1 + 0`, limit)
	return all(rows, err, scanAlarming)
}

// ReportedPayments reads up to limit payments with reports that no operator has seen, newest first.
func (l *Ledger) ReportedPayments(ctx context.Context, limit int) ([]Alarming, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT p.id, p.device_uid, p.device_name, p.amount, p.currency, r.reason,
		r.at FROM customer_reports r JOIN payments p ON p.id = r.payment_id
		WHERE r.seen_at IS NULL ORDER BY r.at DESC LIMIT $1 + 0`, limit)
	return all(rows, err, scanAlarming)
}

func scanAlarming(row scanner) (a Alarming, err error) {
	err = row.Scan(&a.ID, &a.DeviceUID, &a.DeviceName, &a.Amount, &a.Currency, &a.Reason, instant{&a.At})
	return a, err
}

// DisputesToAnswer reads up to limit disputes and inquiries that wait for the operator's answer. Their
// amount is that of the dispute.
func (l *Ledger) DisputesToAnswer(ctx context.Context, limit int) ([]Alarming, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT p.id, p.device_uid, p.device_name, d.amount, d.currency, d.status,
		d.told_at, d.due_at, d.id
		FROM disputes d JOIN payments p ON p.payment_intent = d.payment_intent
		WHERE d.status IN ('needs_response', 'warning_needs_response') ORDER BY d.id LIMIT $1 + 0`, limit)
	return all(rows, err, func(row scanner) (a Alarming, err error) {
		err = row.Scan(&a.ID, &a.DeviceUID, &a.DeviceName, &a.Amount, &a.Currency, &a.Reason, instant{&a.At},
			instant{&a.Due}, &a.Dispute)
		return a, err
	})
}
