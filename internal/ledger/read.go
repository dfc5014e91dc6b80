package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrCursor is returned for a cursor that Payments did not give.
var ErrCursor = errors.New("no such cursor")

// Payment reads a payment by its credit id, session id or payment intent, or returns ErrNotFound.
func (l *Ledger) Payment(ctx context.Context, key string) (Payment, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments WHERE id = $1
		UNION SELECT `+paymentColumns+` FROM payments WHERE session_id = $1
		UNION SELECT `+paymentColumns+` FROM payments WHERE payment_intent = $1`, key)
	return one(rows, err, scanPayment)
}

// PaymentOfToken reads a payment by the token of its payer's page, or returns ErrNotFound.
func (l *Ledger) PaymentOfToken(ctx context.Context, token string) (Payment, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments WHERE token = $1`, token)
	return one(rows, err, scanPayment)
}

// PaymentsOfTokens reads those of the payments that there are, in any order, in one query: for one
// that is read by itself most of the time goes into its statement. There may be some hundred
// tokens.
func (l *Ledger) PaymentsOfTokens(ctx context.Context, tokens []string) ([]Payment, error) {
	if len(tokens) == 0 {
		return nil, nil
	}
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments
		WHERE token IN (`+numbered(len(tokens))+`)`, anys(tokens)...)
	return all(rows, err, scanPayment)
}

type attemptOf struct {
	payment string
	Attempt
}

func scanAttempt(s scanner) (a attemptOf, err error) {
	var ms int64
	err = s.Scan(&a.payment, instant{&a.At}, &a.Action, &a.Outcome, &a.Status, &a.Detail, &ms)
	a.Took = time.Duration(ms) * time.Millisecond
	return a, err
}

func selectAttempts(payments int) string {
	return `SELECT payment_id, at, action, outcome, status, detail, took_ms FROM attempts
		WHERE payment_id IN (` + numbered(payments) + `) ORDER BY payment_id, at`
}

func attemptsByPayment(list []attemptOf, err error) (map[string][]Attempt, error) {
	found := map[string][]Attempt{}
	for _, a := range list {
		found[a.payment] = append(found[a.payment], a.Attempt)
	}
	return found, err
}

// Attempts reads the calls made for a payment, oldest first.
func (l *Ledger) Attempts(ctx context.Context, paymentID string) ([]Attempt, error) {
	found, err := l.AttemptsOf(ctx, paymentID)
	return found[paymentID], err
}

// AttemptsOf reads the calls made for some hundred payments at most in one query, by payment and oldest first.
func (l *Ledger) AttemptsOf(ctx context.Context, paymentIDs ...string) (map[string][]Attempt, error) {
	if len(paymentIDs) == 0 {
		return nil, nil
	}
	rows, err := l.reads.QueryContext(ctx, selectAttempts(len(paymentIDs)), anys(paymentIDs)...)
	return attemptsByPayment(all(rows, err, scanAttempt))
}

// Attempts reads the calls made for a payment, oldest first.
func (tx *Tx) Attempts(paymentID string) ([]Attempt, error) {
	rows, err := tx.db.query(selectAttempts(1), paymentID)
	found, err := attemptsByPayment(all(rows, err, scanAttempt))
	return found[paymentID], err
}

func anys(list []string) []any {
	args := make([]any, len(list))
	for i, s := range list {
		args[i] = s
	}
	return args
}

// Filter chooses payments; zero fields choose all.
type Filter struct {
	Device    string
	Money     Money
	Machine   Machine
	Attention *bool
	Limit     int    // at least 1
	Cursor    string // from an earlier call, "" for the newest
}

// Payments lists payments, newest first, and the cursor of the next page, "" after the last.
func (l *Ledger) Payments(ctx context.Context, f Filter) (list []Payment, next string, err error) {
	var where []string
	var args []any
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where = append(where, condition)
	}
	if f.Device != "" {
		add("device_uid = ?", f.Device)
	}
	if f.Money != "" {
		add("money = ?", string(f.Money))
	}
	if f.Machine != "" {
		add("machine = ?", string(f.Machine))
	}
	if f.Attention != nil && *f.Attention {
		add("attention <> ''")
	}
	if f.Attention != nil && !*f.Attention {
		add("attention = ''")
	}
	if f.Cursor != "" {
		before, err := parseCursor(f.Cursor)
		if err != nil {
			return nil, "", err
		}
		add("(created_at, id) < (?, ?)", before.at, before.id)
	}
	query := `SELECT ` + paymentColumns + ` FROM payments`
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, " AND ")
	}
	args = append(args, f.Limit+1) // one more than asked for tells whether there is a next page
	rows, err := l.reads.QueryContext(
		ctx,
		query+fmt.Sprintf(` ORDER BY created_at DESC, id DESC LIMIT $%d`, len(args)),
		args...)
	list, err = all(rows, err, scanPayment)
	if err != nil || len(list) <= f.Limit {
		return list, "", err
	}
	list = list[:f.Limit]
	return list, placeOf(list[f.Limit-1]).String(), nil
}

// place is where a row stands in a list in the order of time; those of the same millisecond are in
// the order of their ids.
type place struct {
	at int64 // Unix milliseconds
	id string
}

func placeOf(p Payment) place { return place{p.CreatedAt.UnixMilli(), p.ID} }

func scanPlace(row scanner) (p place, err error) { return p, row.Scan(&p.at, &p.id) }

// String is the place as a cursor.
func (p place) String() string { return fmt.Sprintf("%d-%s", p.at, p.id) }

func parseCursor(cursor string) (p place, err error) {
	at, id, ok := strings.Cut(cursor, "-")
	p.id = id
	if p.at, err = strconv.ParseInt(at, 10, 64); !ok || err != nil {
		return p, ErrCursor
	}
	return p, nil
}

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
	ForNotehub Part = `(SELECT min(due_at) FROM (SELECT min(due_at) AS due_at FROM payments WHERE ` + notehubSteps + ` AND failures = 0
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

// OldestWaiting is when the oldest queued credit was recorded that has not run out and that nobody
// has tried to send; zero if there is none. One that was tried waits for its device or for Notehub,
// and says nothing of how long the queue is.
func (l *Ledger) OldestWaiting(ctx context.Context) (time.Time, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT created_at FROM payments WHERE machine = 'queued' AND step <> '' AND step <> 'wait' AND (expires_at IS NULL OR expires_at > $1)
		AND failures = 0 AND not_before IS NULL AND unclear = 0 ORDER BY created_at LIMIT 1`,
		l.Now().UnixMilli(),
	)
	oldest, err := one(rows, err, scanInstant)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return oldest, err
}

// TriedInVain reads the oldest queued credits whose calls failed, up to limit.
func (l *Ledger) TriedInVain(ctx context.Context, limit int) ([]Payment, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT `+paymentColumns+` FROM payments WHERE machine = 'queued' AND step <> '' AND step <> 'wait' AND failures > 0
		ORDER BY created_at LIMIT $1`,
		limit,
	)
	return all(rows, err, scanPayment)
}

// Stats reads the queue's figures.
func (l *Ledger) Stats(ctx context.Context) (s Stats, err error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT
		(SELECT count(*) FROM payments WHERE machine = 'queued' AND step <> '' AND step <> 'wait'),
		(SELECT min(created_at) FROM payments WHERE machine = 'queued' AND step <> '' AND step <> 'wait'),
		(SELECT count(*) FROM payments WHERE attention <> '') + (SELECT count(*) FROM lookups WHERE paid_at < $1),
		`+string(ForNotehub)+`, `+string(ForStripe)+`, `+string(InTime)+`,
		(SELECT min(confirm_by) FROM (SELECT min(confirm_by) AS confirm_by FROM payments WHERE machine IN ('sent', 'fetched') AND confirm_by IS NOT NULL
			AND machine = 'fetched' UNION ALL SELECT min(confirm_by) FROM payments WHERE `+inDoubt+`) AS silent),
		(SELECT count(*) FROM (SELECT 1 AS awaited FROM payments WHERE machine IN ('sent', 'fetched') AND confirm_by IS NOT NULL
			UNION ALL SELECT 1 FROM payments WHERE `+inDoubt+` LIMIT 1) AS those),
		`+string(ForLookUp), l.Now().Add(-15*time.Minute).UnixMilli())
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

// Fact reads a named time, or returns ErrNotFound.
func (l *Ledger) Fact(ctx context.Context, name string) (time.Time, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT value FROM facts WHERE name = $1`, name)
	return one(rows, err, scanInstant)
}

// Occupant reads the payment whose timed credit holds a device, or returns ErrNotFound.
func (l *Ledger) Occupant(ctx context.Context, device string) (Payment, error) {
	rows, err := l.reads.QueryContext(ctx, occupantOf, device)
	return one(rows, err, scanPayment)
}

// Occupants reads the payments whose timed credits hold their devices.
func (l *Ledger) Occupants(ctx context.Context) ([]Payment, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments WHERE occupies = 1`)
	return all(rows, err, scanPayment)
}
