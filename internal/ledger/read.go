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

// Attempts reads the calls made for a payment, oldest first.
func (l *Ledger) Attempts(ctx context.Context, paymentID string) ([]Attempt, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT at, action, outcome, status, detail, took_ms FROM attempts WHERE payment_id = $1 ORDER BY at`, paymentID)
	return all(rows, err, func(s scanner) (a Attempt, err error) {
		var ms int64
		err = s.Scan(instant{&a.At}, &a.Action, &a.Outcome, &a.Status, &a.Detail, &ms)
		a.Took = time.Duration(ms) * time.Millisecond
		return a, err
	})
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
		at, id, ok := strings.Cut(f.Cursor, "-")
		created, err := strconv.ParseInt(at, 10, 64)
		if !ok || err != nil {
			return nil, "", ErrCursor
		}
		add("(created_at, id) < (?, ?)", created, id)
	}
	query := `SELECT ` + paymentColumns + ` FROM payments`
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, " AND ")
	}
	args = append(args, f.Limit+1) // one more than asked for tells whether there is a next page
	rows, err := l.reads.QueryContext(ctx, query+fmt.Sprintf(` ORDER BY created_at DESC, id DESC LIMIT $%d`, len(args)), args...)
	list, err = all(rows, err, scanPayment)
	if err != nil || len(list) <= f.Limit {
		return list, "", err
	}
	list = list[:f.Limit]
	last := list[f.Limit-1]
	return list, fmt.Sprintf("%d-%s", last.CreatedAt.UnixMilli(), last.ID), nil
}

// Stats is what /health and the selling rules ask of the ledger.
type Stats struct {
	Queued         int
	OldestQueued   time.Time // when it was recorded; zero if none is queued
	OldestWaiting  time.Time // the same of those that have not run out
	NeedsAttention int       // payments, and sessions that could not be looked up for a quarter of an hour
	NextDue        time.Time // when the next step of a payment is due; zero if none is
	NextLookup     time.Time // when the next session is to be looked up; zero if none is
}

// Stats reads the queue's figures.
func (l *Ledger) Stats(ctx context.Context) (s Stats, err error) {
	now := time.Now()
	rows, err := l.reads.QueryContext(ctx, `SELECT
		(SELECT count(*) FROM payments WHERE machine = 'queued' AND step <> ''),
		(SELECT min(created_at) FROM payments WHERE machine = 'queued' AND step <> ''),
		(SELECT min(created_at) FROM payments WHERE machine = 'queued' AND step <> '' AND (expires_at IS NULL OR expires_at > $1)),
		(SELECT count(*) FROM payments WHERE attention <> '') + (SELECT count(*) FROM lookups WHERE paid_at < $2),
		(SELECT min(due_at) FROM (SELECT min(due_at) AS due_at FROM payments WHERE step <> '' AND failures = 0
		                    UNION SELECT min(due_at) AS due_at FROM payments WHERE step <> '' AND failures > 0) AS due),
		(SELECT min(due_at) FROM lookups)`, now.UnixMilli(), now.Add(-15*time.Minute).UnixMilli())
	return one(rows, err, func(row scanner) (s Stats, err error) {
		err = row.Scan(&s.Queued, instant{&s.OldestQueued}, instant{&s.OldestWaiting}, &s.NeedsAttention, instant{&s.NextDue}, instant{&s.NextLookup})
		return s, err
	})
}

// Fact reads a named time, or returns ErrNotFound.
func (l *Ledger) Fact(ctx context.Context, name string) (time.Time, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT value FROM facts WHERE name = $1`, name)
	return one(rows, err, scanInstant)
}

// Events reads the newest events, up to limit.
func (l *Ledger) Events(ctx context.Context, limit int) ([]StripeEvent, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT id, type, object_id, livemode, created_at, received, outcome, repeats, body
		FROM stripe_events ORDER BY received DESC, id LIMIT $1`, limit)
	return all(rows, err, func(s scanner) (e StripeEvent, err error) {
		err = s.Scan(&e.ID, &e.Type, &e.ObjectID, flag{&e.Livemode}, instant{&e.Created}, instant{&e.Received}, &e.Outcome, &e.Repeats, &e.Body)
		return e, err
	})
}
