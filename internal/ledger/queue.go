package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"notepay/internal/payment"
)

// Stats is what /health and the selling rules ask of the ledger.
type Stats struct {
	Queued         int
	OldestQueued   time.Time // when it was recorded; zero if none is queued
	NeedsAttention int       // payments, and sessions that could not be looked up for a quarter of an hour
	NextNotehub    time.Time // when the next step of a payment is due, by whom it calls; zero if none is
	NextStripe     time.Time
	NextWait       time.Time // when time alone decides the next; zero if nothing waits
	NextLookup     time.Time // when the next session is to be looked up; zero if none is
	NextSilent     time.Time // when the next machine should have been heard of; zero if none is expected to answer
	Awaited        bool      // a machine has, or may fetch, a note that it is expected to confirm
}

// Part is a part of the queue: by whom its next step calls.
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

// NextDue is when the next step of a part of the queue is due; zero if none is.
func (l *Ledger) NextDue(ctx context.Context, p Part) (time.Time, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+string(p))
	return one(rows, err, scanInstant)
}

// OldestUntried is when the oldest queued credit was recorded that has not run out and that nobody
// has tried to send; zero if there is none. One that was tried waits for its device or for Notehub,
// and says nothing of how long the queue is.
func (l *Ledger) OldestUntried(ctx context.Context) (time.Time, error) {
	rows, err := l.reads.QueryContext(
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

// QueuedWithFailures reads the oldest queued credits whose calls failed, up to limit.
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
	rows, err := l.reads.QueryContext(ctx, `SELECT
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
	dueWaits       = fmt.Sprintf(due, waitStep, "failures =", "")
)

func (tx *Tx) due(query string, limit int) ([]payment.Payment, error) {
	rows, err := tx.db.query(query, tx.Now.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

// DueForNotehub reads up to limit payments whose next step is a due call to Notehub, the longest
// due first: those whose last call came to nothing if again is set, else the others. Devices with a
// call of this process under way are left out.
func (tx *Tx) DueForNotehub(again bool, limit int) ([]payment.Payment, error) {
	if again {
		return tx.due(dueNotehubAgain, limit)
	}
	return tx.due(dueNotehubFresh, limit)
}

// DueForStripe reads up to limit payments whose next step is a due call to Stripe, in the same two
// parts.
func (tx *Tx) DueForStripe(again bool, limit int) ([]payment.Payment, error) {
	if again {
		return tx.due(dueStripeAgain, limit)
	}
	return tx.due(dueStripeFresh, limit)
}

// DueWaits reads up to limit payments that were waiting for a time that has come.
func (tx *Tx) DueWaits(limit int) ([]payment.Payment, error) { return tx.due(dueWaits, limit) }

// Called says whether this process has a call to Notehub for a device under way.
func (tx *Tx) CallUnderWay(device string) (bool, error) {
	rows, err := tx.db.query(
		`SELECT due_at FROM payments WHERE `+calledNow+` AND device_uid = $2 LIMIT 1`,
		tx.Now.UnixMilli(),
		device,
	)
	return Found(errOnly(one(rows, err, scanInstant)))
}

// silent selects payments whose confirmation is overdue.
const silent = `SELECT ` + paymentColumns + ` FROM payments WHERE %s AND confirm_by <= $1
	AND in_flight = ` + leaseFree + ` ORDER BY confirm_by LIMIT $2 + 0`

var (
	silentFetched = fmt.Sprintf(silent, awaited+` AND machine = 'fetched'`)
	silentInDoubt = fmt.Sprintf(silent, inDoubt+` AND unclear = 0`)
)

// SilentAt reads up to limit payments whose machines have the note and should have been heard of by
// asOf.
func (tx *Tx) SilentAt(asOf time.Time, limit int) ([]payment.Payment, error) {
	rows, err := tx.db.query(silentFetched, asOf.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}

// InDoubtAt reads up to limit payments that Notehub never said yes to, and whose machines should
// have been heard of by asOf if they have them.
func (tx *Tx) InDoubtAt(asOf time.Time, limit int) ([]payment.Payment, error) {
	rows, err := tx.db.query(silentInDoubt, asOf.UnixMilli(), limit)
	return all(rows, err, scanPayment)
}
