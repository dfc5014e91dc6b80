package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"notepay/internal/payment"
)

// Stats are the figures of the queue for /health and for the decision to stop selling.
type Stats struct {
	Queued         int
	OldestQueued   time.Time // recording time; zero if none is queued
	NeedsAttention int       // payments to review, and late look-ups
	NextNotehub    time.Time // when the next call to Notehub is due; zero if there is none
	NextStripe     time.Time
	NextWait       time.Time // when the next wait ends; zero if there is none
	NextLookup     time.Time // when the next look-up is due; zero if there is none
	NextSilent     time.Time // the earliest deadline of a confirmation; zero if there is none
	Awaited        bool      // a machine that confirms has, or may fetch, a note
}

// Part selects a part of the queue by the vendor of the next step.
type Part string

// The parts of the queue.
const (
	ForNotehub Part = `(SELECT min(due_at) FROM (
		SELECT min(due_at) AS due_at FROM payments WHERE ` + notehubSteps + ` AND failures = 0
		UNION ALL SELECT min(due_at) FROM payments WHERE ` + notehubSteps + ` AND failures > 0) AS due)`
	ForStripe Part = `(SELECT min(due_at) FROM payments WHERE ` + stripeSteps + `)`
	InTime    Part = `(SELECT min(due_at) FROM payments WHERE ` + waitStep + `)`
	ForLookUp Part = `(SELECT min(due_at) FROM lookups)`
)

// NextDue returns when the next step of a part of the queue is due. It returns the zero time if the
// part is empty.
func (l *Ledger) NextDue(ctx context.Context, p Part) (time.Time, error) {
	rows, err := l.reads.queryOften(ctx, `SELECT `+string(p))
	return one(rows, err, scanInstant)
}

// OldestUntried returns the recording time of the oldest queued credit that is valid and has no
// failed call. It returns the zero time if there is none. A credit with a failed call waits for its
// device or for Notehub, and says nothing about the length of the queue.
func (l *Ledger) OldestUntried(ctx context.Context) (time.Time, error) {
	rows, err := l.reads.queryOften(
		ctx,
		`SELECT created_at FROM payments WHERE `+unsentQueued+` AND (expires_at IS NULL OR expires_at > $1)
		AND failures = 0 AND not_before IS NULL AND unclear = 0 ORDER BY created_at LIMIT 1`,
		l.Now().UnixMilli(),
	)
	oldest, err := one(rows, err, scanInstant)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return oldest, err
}

// QueuedWithFailures reads up to limit queued credits with failed calls, oldest first.
func (l *Ledger) QueuedWithFailures(ctx context.Context, limit int) ([]payment.Payment, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT `+paymentColumns+` FROM payments WHERE `+unsentQueued+` AND failures > 0
		ORDER BY created_at LIMIT $1`,
		limit,
	)
	return all(rows, err, scanPayment)
}

// lateLookup is the age from which a look-up counts as needing attention.
const lateLookup = 15 * time.Minute

// Stats reads the queue's figures.
func (l *Ledger) Stats(ctx context.Context) (s Stats, err error) {
	rows, err := l.reads.queryOften(ctx, `SELECT
		(SELECT count(*) FROM payments WHERE `+unsentQueued+`),
		(SELECT min(created_at) FROM payments WHERE `+unsentQueued+`),
		(SELECT count(*) FROM payments WHERE attention <> '') + (SELECT count(*) FROM lookups WHERE paid_at < $1),
		`+string(ForNotehub)+`, `+string(ForStripe)+`, `+string(InTime)+`,
		(SELECT min(confirm_by) FROM (SELECT min(confirm_by) AS confirm_by FROM payments
			WHERE `+awaited+` AND machine = 'fetched'
			UNION ALL SELECT min(confirm_by) FROM payments WHERE `+inDoubt+`) AS silent),
		(SELECT count(*) FROM (SELECT 1 AS awaited FROM payments WHERE `+awaited+`
			UNION ALL SELECT 1 FROM payments WHERE `+inDoubt+` LIMIT 1) AS those),
		`+string(ForLookUp), l.Now().Add(-lateLookup).UnixMilli())
	return one(rows, err, func(row scanner) (s Stats, err error) {
		err = row.Scan(
			&s.Queued,
			instant{&s.OldestQueued},
			&s.NeedsAttention,
			instant{&s.NextNotehub},
			instant{&s.NextStripe},
			instant{&s.NextWait},
			instant{&s.NextSilent},
			flag{&s.Awaited},
			instant{&s.NextLookup},
		)
		return s, err
	})
}

// The parts of the queries below repeat the conditions of the partial indexes word for word,
// because the databases use a partial index only then. LIMIT $2 + 0 hides the parameter from
// SQLite, which would otherwise plan the query again for each value. Planning takes five times as
// long as running.
const (
	due = `SELECT ` + paymentColumns + ` FROM payments WHERE %s AND %s 0 AND due_at <= $1 %s
		ORDER BY due_at LIMIT $2 + 0`

	notehubSteps = `(step = 'note' OR step = 'check_pending' OR step = 'recall')`
	stripeSteps  = `(step = 'capture' OR step = 'release' OR step = 'refund')`
	waitStep     = `step = 'wait'`
	unsentQueued = `machine = 'queued' AND step <> '' AND step <> 'wait'`
	awaited      = `machine IN ('sent', 'fetched') AND confirm_by IS NOT NULL`
	inDoubt      = `machine = 'queued' AND vanished = 1 AND confirm_by IS NOT NULL`
	calledNow    = `in_flight = ` + leaseHeld + ` AND due_at > $1 AND ` + notehubSteps
	deviceIsFree = `AND NOT EXISTS (SELECT 1 FROM payments AS other
		WHERE other.device_uid = payments.device_uid AND other.in_flight = ` + leaseHeld + ` AND other.due_at > $1
		AND (other.step = 'note' OR other.step = 'check_pending' OR other.step = 'recall'))`
)

var (
	dueNotehubFresh = fmt.Sprintf(due, notehubSteps, "failures =", deviceIsFree)
	dueNotehubAgain = fmt.Sprintf(due, notehubSteps, "failures >", deviceIsFree)
	dueStripeFresh  = fmt.Sprintf(due, stripeSteps, "money_failures =", "")
	dueStripeAgain  = fmt.Sprintf(due, stripeSteps, "money_failures >", "")
	dueWaits        = fmt.Sprintf(due, waitStep, "failures =", "")
)

func (tx *Tx) due(query string, limit int) ([]payment.Payment, error) {
	rows, err := tx.db.query(query, tx.Now.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

// DueForNotehub reads up to limit payments with a due call to Notehub, the earliest due first. If
// again is set it reads those whose last call failed, otherwise the others. It leaves out devices
// with a running call of this process.
func (tx *Tx) DueForNotehub(again bool, limit int) ([]payment.Payment, error) {
	if again {
		return tx.due(dueNotehubAgain, limit)
	}
	return tx.due(dueNotehubFresh, limit)
}

// DueForStripe reads up to limit payments with a due call to Stripe, in the same two parts.
func (tx *Tx) DueForStripe(again bool, limit int) ([]payment.Payment, error) {
	if again {
		return tx.due(dueStripeAgain, limit)
	}
	return tx.due(dueStripeFresh, limit)
}

// DueWaits reads up to limit payments whose wait has ended.
func (tx *Tx) DueWaits(limit int) ([]payment.Payment, error) { return tx.due(dueWaits, limit) }

// CallUnderWay reports whether a call to Notehub for a device is running. Of several instances, any
// may have made it.
func (tx *Tx) CallUnderWay(device string) (bool, error) {
	m := tx.memory
	if m == nil {
		m = newMemory()
		m.begin()
	}
	if m.unread {
		if err := tx.readCalls(m); err != nil {
			return false, err
		}
	}
	return m.calls(device, tx.Now), nil
}

// readCalls reads the calls to Notehub that are running.
func (tx *Tx) readCalls(m *memory) error {
	rows, err := tx.db.query(`SELECT id, device_uid, due_at FROM payments WHERE `+calledNow, tx.Now.UnixMilli())
	leases, err := all(rows, err, func(s scanner) (l lease, err error) {
		return l, s.Scan(&l.payment, &l.device, &l.until)
	})
	if err == nil {
		m.read(leases)
	}
	return err
}

// silent selects payments whose confirmation is overdue.
const silent = `SELECT ` + paymentColumns + ` FROM payments WHERE %s AND confirm_by <= $1
	AND in_flight = ` + leaseFree + ` ORDER BY confirm_by LIMIT $2 + 0`

var (
	silentFetched = fmt.Sprintf(silent, awaited+` AND machine = 'fetched'`)
	silentInDoubt = fmt.Sprintf(silent, inDoubt+` AND unclear = 0`)
)

// SilentAt reads up to limit payments whose machines have the note and did not confirm it by asOf.
func (tx *Tx) SilentAt(asOf time.Time, limit int) ([]payment.Payment, error) {
	rows, err := tx.db.query(silentFetched, asOf.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

// InDoubtAt reads up to limit payments whose note Notehub never accepted for certain, and whose
// machines did not confirm it by asOf.
func (tx *Tx) InDoubtAt(asOf time.Time, limit int) ([]payment.Payment, error) {
	rows, err := tx.db.query(silentInDoubt, asOf.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

// Waiting reads the payments whose next step is not due yet, or whose vendor is in backoff.
func (tx *Tx) Waiting() (list []payment.Payment, err error) {
	const notehubFresh, notehubAgain = notehubSteps + ` AND failures = 0`, notehubSteps + ` AND failures > 0`
	for _, part := range []string{notehubFresh, notehubAgain, stripeSteps, waitStep} {
		query := `SELECT ` + paymentColumns + ` FROM payments WHERE ` + part + `
			AND (due_at > $1 OR not_before > $1 OR money_not_before > $1)`
		rows, err := tx.db.query(query, tx.Now.UnixMilli())
		some, err := all(rows, err, scanPayment)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

// ShortenLease makes the lease of a payment end no later than until.
func (tx *Tx) ShortenLease(id string, until time.Time) error {
	tx.memory.shorten(id, until)
	_, err := tx.exec(`UPDATE payments SET rev = rev + 1, due_at = $1
		WHERE id = $2 AND in_flight <> `+leaseFree+` AND due_at > $1`,
		until.UnixMilli(), id)
	return err
}

// ClampTimes moves recording times that lie in the future to now, and due times of look-ups to
// lookupsDue at the latest. In a restored backup, SetQuarantined moves the recording times, because
// RestoredPayments compares them with the restore.
func (tx *Tx) ClampTimes(lookupsDue time.Time) error {
	restored, err := Found(errOnly(tx.Meta(metaRestored)))
	if err == nil && !restored {
		err = tx.clampCreated()
	}
	_, lookupErr := tx.exec(`UPDATE lookups SET due_at = $1 WHERE due_at > $1`, lookupsDue.UnixMilli())
	return errors.Join(err, lookupErr)
}
