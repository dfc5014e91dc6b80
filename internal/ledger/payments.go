package ledger

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"notepay/internal/payment"
)

// Payment reads a payment by its credit id, session id or PaymentIntent id, or returns ErrNotFound.
func (l *Ledger) Payment(ctx context.Context, key string) (payment.Payment, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments WHERE id = $1
		UNION ALL SELECT `+paymentColumns+` FROM payments WHERE id = $2
		UNION ALL SELECT `+paymentColumns+` FROM payments WHERE payment_intent = $1`, key, payment.CreditID(key))
	return one(rows, err, scanPayment)
}

// byOldToken selects payments whose token does not name its credit. They are found by an index of
// their own, so that new payments need none.
var byOldToken = `SELECT ` + paymentColumns + ` FROM payments
	WHERE length(token) < ` + strconv.Itoa(payment.TokenLength) + ` AND token `

// PaymentOfToken reads a payment by the token of its customer's page, or returns ErrNotFound.
func (l *Ledger) PaymentOfToken(ctx context.Context, token string) (payment.Payment, error) {
	list, err := l.PaymentsOfTokens(ctx, []string{token})
	if err == nil && len(list) == 0 {
		return payment.Payment{}, ErrNotFound
	}
	if err != nil {
		return payment.Payment{}, err
	}
	return list[0], nil
}

// PaymentsOfTokens reads the existing payments among up to some hundred tokens, in no particular
// order. One query for all is faster, because most of the time of a small query goes into its
// statement.
func (l *Ledger) PaymentsOfTokens(ctx context.Context, tokens []string) ([]payment.Payment, error) {
	var ids, old []any
	given := map[string]string{} // the token for a credit id
	for _, token := range tokens {
		if id, ok := payment.CreditOfToken(token); ok && given[id] == "" {
			given[id] = token
			ids = append(ids, id)
		} else if !ok {
			old = append(old, token)
		}
	}
	var list []payment.Payment
	if len(ids) > 0 {
		rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments
			WHERE id IN (`+numbered(len(ids))+`)`, ids...)
		found, err := all(rows, err, scanPayment)
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			// The time of the comparison must not tell how much of a guess is right.
			if subtle.ConstantTimeCompare([]byte(p.Token), []byte(given[p.ID])) == 1 {
				list = append(list, p)
			}
		}
	}
	if len(old) > 0 {
		rows, err := l.reads.QueryContext(ctx, byOldToken+`IN (`+numbered(len(old))+`)`, old...)
		found, err := all(rows, err, scanPayment)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
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
//	refund_reference  RefundReference       the number by which the bank finds the last refund
//	with_code         NeedsAccessCode       the offer includes an access code
//
// n is the number of the row, by which attempts refer to it. It has no field.
//
// immutableColumns are written once. mutableColumns follow the payment.
const (
	immutableColumns = `id, session_id, payment_intent, token, device_uid, amount, currency, livemode, paid_at,
	created_at, card_last4, receipt_url, rev, discount`
	mutableColumns = `device_name, price_id, plan, duration_s, delayed_start_s, money, refunded_amount, machine,
	reason, code, attention, sent_at, started_at, ends_at, expires_at, confirm_by, occupies, step, due_at, not_before,
	turn, in_flight, failures, posted, unclear, vanished, stop, recalled, note_ids, tell, refund_number, refund_amount,
	refund_goal, refund_at, refund_look, with_code, access_code, machine_at, money_at, money_not_before,
	money_failures, lost_amount, note_file, pulses, output, refund_reference`
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

func insertPayments(rows string) string {
	return `INSERT INTO payments (` + paymentColumns + `) SELECT ` + rowColumns(paymentColumns) + ` FROM ` + rows + `
	ON CONFLICT DO NOTHING`
}

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
		p.Rev,
		p.Discount,
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
		p.NoteFile,
		p.Pulses,
		p.Output,
		p.RefundReference,
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
		&p.Rev,
		&p.Discount,
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
		&p.NoteFile,
		&p.Pulses,
		&p.Output,
		&p.RefundReference,
	)
	p.PaymentIntent = intent.String
	return p, err
}

// TryInsertPayment inserts a payment. It returns false if the session or the PaymentIntent already
// has one, or if another timed credit holds the device.
func (tx *Tx) TryInsertPayment(p payment.Payment) (inserted bool, err error) {
	// The id is unique, so a session has one payment only if its id is the session's.
	if p.ID != payment.CreditID(p.SessionID) {
		return false, fmt.Errorf("insert payment %s: it is not the credit of %s", p.ID, p.SessionID)
	}
	inserted, err = tx.db.write(rowStatement{
		one:   insertPayment,
		many:  insertPayments,
		about: []string{"payment " + p.ID, "number of " + p.ID},
		exact: true,
	}, append(immutable(&p), mutable(&p)...)...)
	if inserted {
		tx.memory.stored(p)
		err = tx.insertedMoney(p)
	}
	return inserted, err
}

// InsertPayment inserts a payment. It returns false if the session or the PaymentIntent already has
// one, and an error if another timed credit holds the device.
func (tx *Tx) InsertPayment(p payment.Payment) (inserted bool, err error) {
	if inserted, err = tx.TryInsertPayment(p); inserted || err != nil {
		return inserted, err
	}
	rows, err := tx.db.query(`SELECT created_at FROM payments WHERE id = $1 OR payment_intent = $2`,
		p.ID, nullable(p.PaymentIntent))
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
// after. It alone maintains DeliveryAt, FundsAt and Rev: a changed payment has the next Rev.
func (tx *Tx) ChangePayment(before, after payment.Payment) error {
	changed, err := tx.change(before, after, false)
	if err == nil && !changed {
		err = fmt.Errorf("change payment %s: %w", after.ID, ErrNotFound)
	}
	return err
}

// ChangeUnread is ChangePayment for a payment that was not read in this transaction. If the stored
// payment has another Rev than before, it changes nothing and returns false.
func (tx *Tx) ChangeUnread(before, after payment.Payment) (changed bool, err error) {
	return tx.change(before, after, true)
}

// change writes what differs. One step changes few columns, and unwritten columns cost no index
// update.
func (tx *Tx) change(before, after payment.Payment, unread bool) (changed bool, err error) {
	after.DeliveryAt, after.FundsAt = before.DeliveryAt, before.FundsAt
	if after.Delivery != before.Delivery {
		after.DeliveryAt = tx.Now
	}
	if after.Funds != before.Funds {
		after.FundsAt = tx.Now
	}
	was, is := mutable(&before), mutable(&after)
	var set strings.Builder
	args := make([]any, 0, len(is)+2)
	for i, name := range mutableNames {
		// leaseHeld must replace leaseOrphaned, which reads as the same InFlight.
		claimed := name == "in_flight" && after.InFlight
		if was[i] == is[i] && !claimed {
			continue
		}
		args = append(args, is[i])
		set.WriteString(", " + name + " = $" + strconv.Itoa(len(args)))
	}
	args = append(args, after.ID)
	where := ` WHERE id = $` + strconv.Itoa(len(args))
	if unread {
		args = append(args, before.Rev)
		where += ` AND rev = $` + strconv.Itoa(len(args))
	}
	changed, err = tx.db.write(rowStatement{
		one: `UPDATE payments SET rev = rev + 1` + set.String() + where,
		many: func(rows string) string {
			query := `UPDATE payments SET rev = rev + 1` + set.String() + ` FROM {rows}` + where
			return strings.NewReplacer("$", "v.p", "{rows}", rows).Replace(query)
		},
		about: []string{"payment " + after.ID},
		exact: true,
	}, args...)
	if changed {
		tx.memory.stored(after)
		err = tx.changedMoney(before, after)
	}
	return changed, err
}

// Touch raises the revision of a payment and changes nothing else. A call in flight then reads the
// payment again before its result is recorded.
func (tx *Tx) Touch(id string) error {
	return tx.run(`UPDATE payments SET rev = rev + 1 WHERE id = $1`, id)
}

// SetCharge stores the card's last four digits and the URL of Stripe's receipt. Stripe may send
// them later than the payment.
func (tx *Tx) SetCharge(id, last4, receiptURL string) error {
	return tx.run(`UPDATE payments SET rev = rev + 1, card_last4 = $1, receipt_url = $2 WHERE id = $3`,
		last4, receiptURL, id)
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
