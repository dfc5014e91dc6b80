package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"notepay/internal/payment"
)

// Payment reads a payment by its credit id, session id or PaymentIntent id, or returns ErrNotFound.
func (l *Ledger) Payment(ctx context.Context, key string) (payment.Payment, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments WHERE id = $1
		UNION SELECT `+paymentColumns+` FROM payments WHERE session_id = $1
		UNION SELECT `+paymentColumns+` FROM payments WHERE payment_intent = $1`, key)
	return one(rows, err, scanPayment)
}

// PaymentOfToken reads a payment by the token of its customer's page, or returns ErrNotFound.
func (l *Ledger) PaymentOfToken(ctx context.Context, token string) (payment.Payment, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments WHERE token = $1`, token)
	return one(rows, err, scanPayment)
}

// PaymentsOfTokens reads the existing payments among up to some hundred tokens, in no particular
// order. One query for all is faster, because most of the time of a small query goes into its
// statement.
func (l *Ledger) PaymentsOfTokens(ctx context.Context, tokens []string) ([]payment.Payment, error) {
	if len(tokens) == 0 {
		return nil, nil
	}
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments
		WHERE token IN (`+numbered(len(tokens))+`)`, anys(tokens)...)
	return all(rows, err, scanPayment)
}

// Occupant reads the payment whose timed credit holds a device, or returns ErrNotFound.
func (l *Ledger) Occupant(ctx context.Context, device string) (payment.Payment, error) {
	rows, err := l.reads.QueryContext(ctx, occupantOf, device)
	return one(rows, err, scanPayment)
}

// Occupants reads all payments whose timed credits hold their devices.
func (l *Ledger) Occupants(ctx context.Context) ([]payment.Payment, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments WHERE occupies = 1`)
	return all(rows, err, scanPayment)
}

// The columns of payments keep the names that they had when the first ledger was made. Most are
// called like their field of payment.Payment. The others are:
//
//	column            field                 meaning
//	plan              Plan                  name of the offer that was sold
//	money             Funds                 where the customer's money is
//	money_at          FundsAt               since when the money is there
//	money_not_before  FundsBackoffUntil     backoff of calls to Stripe
//	money_failures    FundsFailures         failed calls to Stripe in a row
//	machine           Delivery              progress of the credit to the machine
//	machine_at        DeliveryAt            since when the credit is there
//	code              MachineCode           the machine's own code, such as E-DOOR
//	attention         ReviewReason          why a person has to review the payment
//	occupies          HoldsDevice           the timed credit reserves its device
//	step              Step                  the next call, "wait" for a time, "" for none
//	due_at            DueAt                 when the step is due; during a lease, the end of the lease
//	in_flight         InFlight              the lease: one of leaseFree, leaseHeld, leaseOrphaned
//	turn              FencingToken          grows with each claim
//	not_before        BackoffUntil          backoff of calls to Notehub
//	failures          Failures              failed calls to Notehub in a row
//	posted            MaybeAccepted         Notehub has, or may have, accepted a note
//	unclear           OutcomeUnknown        the last post may have been applied
//	vanished          NotFoundAfterUnclear  a note of unknown outcome was not found pending
//	stop              CancelReason          why to recall the note, "" for no recall
//	recalled          RecallStatus          result of the deletions of a recall so far
//	tell              PendingNotice         what the machine still has to be told
//	refund_number     RefundSeq             number of the latest refund
//	refund_goal       RefundTarget          refunded total after that refund
//	refund_look       ReconcileRefund       read the charge before the next refund
//	with_code         NeedsAccessCode       the offer includes an access code
//
// immutableColumns are written once. mutableColumns follow the payment.
const (
	immutableColumns = `id, session_id, payment_intent, token, device_uid, amount, currency, livemode, paid_at,
	created_at, card_last4, receipt_url`
	mutableColumns = `device_name, price_id, plan, duration_s, delayed_start_s, money, refunded_amount, machine,
	reason, code, attention, sent_at, started_at, ends_at, expires_at, confirm_by, occupies, step, due_at, not_before,
	turn, in_flight, failures, posted, unclear, vanished, stop, recalled, note_ids, tell, refund_number, refund_amount,
	refund_goal, refund_at, refund_look, with_code, access_code, machine_at, money_at, money_not_before,
	money_failures, lost_amount`
	paymentColumns = immutableColumns + `, ` + mutableColumns
)

// The values of in_flight. They are SQL text, because partial indexes apply only to constants.
const (
	leaseFree     = `0`
	leaseHeld     = `1` // this process has claimed the payment, and its call may be under way
	leaseOrphaned = `2` // a process that has ended had claimed the payment
)

var insertPayment = `INSERT INTO payments (` + paymentColumns + `) VALUES (` + placeholders(paymentColumns) + `)
	ON CONFLICT DO NOTHING`

var mutableNames = strings.Split(strings.Join(strings.Fields(mutableColumns), ""), ",")

// immutable returns the values of immutableColumns, in their order.
func immutable(p *payment.Payment) []any {
	return []any{
		p.ID,
		p.SessionID,
		nullable(p.PaymentIntent),
		p.Token,
		p.DeviceUID,
		p.Amount,
		p.Currency,
		bit(p.Livemode),
		milliseconds(p.PaidAt),
		milliseconds(p.CreatedAt),
		p.CardLast4,
		p.ReceiptURL,
	}
}

// mutable returns the values of mutableColumns, in their order.
func mutable(p *payment.Payment) []any {
	return []any{
		p.DeviceName,
		p.PriceID,
		p.Plan,
		int64(p.Duration / time.Second),
		int64(p.DelayedStart / time.Second),
		string(p.Funds),
		p.RefundedAmount,
		string(p.Delivery),
		p.Reason,
		p.MachineCode,
		p.ReviewReason,
		milliseconds(p.SentAt),
		milliseconds(p.StartedAt),
		milliseconds(p.EndsAt),
		milliseconds(p.ExpiresAt),
		milliseconds(p.ConfirmBy),
		bit(p.HoldsDevice),
		string(p.Step),
		milliseconds(p.DueAt),
		milliseconds(p.BackoffUntil),
		p.FencingToken,
		bit(p.InFlight), // leaseFree or leaseHeld
		p.Failures,
		bit(p.MaybeAccepted),
		bit(p.OutcomeUnknown),
		bit(p.NotFoundAfterUnclear),
		p.CancelReason,
		string(p.RecallStatus),
		p.NoteIDs,
		p.PendingNotice,
		p.RefundSeq,
		p.RefundAmount,
		p.RefundTarget,
		milliseconds(p.RefundAt),
		bit(p.ReconcileRefund),
		bit(p.NeedsAccessCode),
		p.AccessCode,
		milliseconds(p.DeliveryAt),
		milliseconds(p.FundsAt),
		milliseconds(p.FundsBackoffUntil),
		p.FundsFailures,
		p.LostAmount,
	}
}

func scanPayment(s scanner) (p payment.Payment, err error) {
	var intent sql.NullString
	err = s.Scan(
		&p.ID,
		&p.SessionID,
		&intent,
		&p.Token,
		&p.DeviceUID,
		&p.Amount,
		&p.Currency,
		flag{&p.Livemode},
		instant{&p.PaidAt},
		instant{&p.CreatedAt},
		&p.CardLast4,
		&p.ReceiptURL,
		&p.DeviceName,
		&p.PriceID,
		&p.Plan,
		seconds{&p.Duration},
		seconds{&p.DelayedStart},
		&p.Funds,
		&p.RefundedAmount,
		&p.Delivery,
		&p.Reason,
		&p.MachineCode,
		&p.ReviewReason,
		instant{&p.SentAt},
		instant{&p.StartedAt},
		instant{&p.EndsAt},
		instant{&p.ExpiresAt},
		instant{&p.ConfirmBy},
		flag{&p.HoldsDevice},
		&p.Step,
		instant{&p.DueAt},
		instant{&p.BackoffUntil},
		&p.FencingToken,
		flag{&p.InFlight},
		&p.Failures,
		flag{&p.MaybeAccepted},
		flag{&p.OutcomeUnknown},
		flag{&p.NotFoundAfterUnclear},
		&p.CancelReason,
		&p.RecallStatus,
		&p.NoteIDs,
		&p.PendingNotice,
		&p.RefundSeq,
		&p.RefundAmount,
		&p.RefundTarget,
		instant{&p.RefundAt},
		flag{&p.ReconcileRefund},
		flag{&p.NeedsAccessCode},
		&p.AccessCode,
		instant{&p.DeliveryAt},
		instant{&p.FundsAt},
		instant{&p.FundsBackoffUntil},
		&p.FundsFailures,
		&p.LostAmount,
	)
	p.PaymentIntent = intent.String
	return p, err
}

// InsertPayment inserts a payment. It returns false if the session or the PaymentIntent already has
// one.
func (tx *Tx) InsertPayment(p payment.Payment) (inserted bool, err error) {
	n, err := tx.exec(insertPayment, append(immutable(&p), mutable(&p)...)...)
	if err != nil || n == 1 {
		return n == 1, err
	}
	rows, err := tx.db.query(`SELECT created_at FROM payments WHERE id = $1 OR session_id = $2 OR payment_intent = $3`,
		p.ID, p.SessionID, nullable(p.PaymentIntent))
	known, err := all(rows, err, scanInstant)
	if len(known) > 0 || err != nil {
		return false, err
	}
	return false, fmt.Errorf("insert payment %s: its device is held by another timed credit", p.ID)
}

// SavePayment reads the stored payment and writes the columns that differ.
func (tx *Tx) SavePayment(p payment.Payment) error {
	before, err := tx.Payment(p.ID)
	if err != nil {
		return fmt.Errorf("save payment %s: %w", p.ID, err)
	}
	return tx.ChangePayment(before, p)
}

// ChangePayment writes the columns that differ between before, as read in this transaction, and
// after. One step changes few columns, and unwritten columns cost no index update. ChangePayment
// alone maintains DeliveryAt and FundsAt.
func (tx *Tx) ChangePayment(before, after payment.Payment) error {
	after.DeliveryAt, after.FundsAt = before.DeliveryAt, before.FundsAt
	if after.Delivery != before.Delivery {
		after.DeliveryAt = tx.Now
	}
	if after.Funds != before.Funds {
		after.FundsAt = tx.Now
	}
	was, is := mutable(&before), mutable(&after)
	var set strings.Builder
	args := make([]any, 0, len(is)+1)
	for i, name := range mutableNames {
		// leaseHeld must replace leaseOrphaned, which reads as the same InFlight.
		claimed := name == "in_flight" && after.InFlight
		if was[i] == is[i] && !claimed {
			continue
		}
		if args = append(args, is[i]); len(args) > 1 {
			set.WriteString(", ")
		}
		fmt.Fprintf(&set, "%s = $%d", name, len(args))
	}
	if len(args) == 0 {
		return nil
	}
	args = append(args, after.ID)
	n, err := tx.exec(fmt.Sprintf(`UPDATE payments SET %s WHERE id = $%d`, set.String(), len(args)), args...)
	if err == nil && n != 1 {
		err = fmt.Errorf("change payment %s: %w", after.ID, ErrNotFound)
	}
	return err
}

// SetCharge stores the card's last four digits and the URL of Stripe's receipt. Stripe may send
// them later than the payment.
func (tx *Tx) SetCharge(id, last4, receiptURL string) error {
	_, err := tx.exec(`UPDATE payments SET card_last4 = $1, receipt_url = $2 WHERE id = $3`, last4, receiptURL, id)
	return err
}

// Payment reads a payment by its credit id, or returns ErrNotFound.
func (tx *Tx) Payment(id string) (payment.Payment, error) {
	rows, err := tx.db.query(`SELECT `+paymentColumns+` FROM payments WHERE id = $1`, id)
	return one(rows, err, scanPayment)
}

// PaymentOfIntent reads a payment by its PaymentIntent id, or returns ErrNotFound.
func (tx *Tx) PaymentOfIntent(intent string) (payment.Payment, error) {
	rows, err := tx.db.query(`SELECT `+paymentColumns+` FROM payments WHERE payment_intent = $1`, intent)
	return one(rows, err, scanPayment)
}

const occupantOf = `SELECT ` + paymentColumns + ` FROM payments WHERE device_uid = $1 AND occupies = 1`

// Occupant reads the payment whose timed credit holds a device, or returns ErrNotFound.
func (tx *Tx) Occupant(device string) (payment.Payment, error) {
	rows, err := tx.db.query(occupantOf, device)
	return one(rows, err, scanPayment)
}

// LastOfDevice reads up to limit payments of a device, newest first.
func (tx *Tx) LastOfDevice(device string, limit int) ([]payment.Payment, error) {
	rows, err := tx.db.query(`SELECT `+paymentColumns+` FROM payments WHERE device_uid = $1`+newestFirst+`$2 + 0`,
		device, limit)
	return all(rows, err, scanPayment)
}
