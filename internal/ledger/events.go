package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"time"

	"notepay/internal/payment"
)

// StripeEvent is a received event and its outcome here.
type StripeEvent struct {
	ID       string
	Type     string
	ObjectID string
	Livemode bool
	Created  time.Time // by Stripe's clock
	Received time.Time
	Outcome  string
	Repeats  int
	Body     string // without customer_details, billing_details and shipping

	// PaymentIntent identifies the payment of a later event, such as a refund or dispute. It is ""
	// for all other events.
	PaymentIntent string
}

const insertEvent = `INSERT INTO stripe_events (` + newEventColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING`

func insertEvents(rows string) string {
	return `INSERT INTO stripe_events (` + newEventColumns + `)
	SELECT ` + rowColumns(newEventColumns) + ` FROM ` + rows + ` ON CONFLICT (id) DO NOTHING`
}

const newEventColumns = `id, type, object_id, livemode, created_at, received, outcome, body, payment_intent`

// AddEvent stores an event. If the event is stored already, AddEvent counts the repeat and returns
// false.
func (tx *Tx) AddEvent(e StripeEvent) (isNew bool, err error) {
	statement := rowStatement{one: insertEvent, many: insertEvents, about: []string{"event " + e.ID}, exact: true}
	isNew, err = tx.db.write(statement,
		e.ID, e.Type, e.ObjectID, bit(e.Livemode), e.Created.UnixMilli(), e.Received.UnixMilli(), e.Outcome, e.Body,
		nullable(e.PaymentIntent))
	if err != nil || isNew {
		return isNew, err
	}
	_, err = tx.RepeatOfEvent(e.ID)
	return false, err
}

// RepeatOfEvent counts a repeat of a stored event. It returns false if the event is not stored.
func (tx *Tx) RepeatOfEvent(id string) (bool, error) {
	n, err := tx.exec(`UPDATE stripe_events SET repeats = repeats + 1 WHERE id = $1`, id)
	return n == 1, err
}

// HasEvent reports whether an event is stored.
func (l *Ledger) HasEvent(ctx context.Context, id string) (bool, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT received FROM stripe_events WHERE id = $1`, id)
	return Found(errOnly(one(rows, err, scanInstant)))
}

const eventColumns = `id, type, object_id, livemode, created_at, received, outcome, repeats, body, payment_intent`

func scanEvent(s scanner) (e StripeEvent, err error) {
	var intent sql.NullString
	err = s.Scan(
		&e.ID,
		&e.Type,
		&e.ObjectID,
		flag{&e.Livemode},
		instant{&e.Created},
		instant{&e.Received},
		&e.Outcome,
		&e.Repeats,
		&e.Body,
		&intent,
	)
	e.PaymentIntent = intent.String
	return e, err
}

// Events reads up to limit events, newest first.
func (l *Ledger) Events(ctx context.Context, limit int) ([]StripeEvent, error) {
	rows, err := l.reads.QueryContext(ctx,
		`SELECT `+eventColumns+` FROM stripe_events ORDER BY received DESC, id LIMIT $1`, limit)
	return all(rows, err, scanEvent)
}

// Events about the Checkout Session or the PaymentIntent itself arrive near the payment, or count
// as repeats later. The event that created the payment has the same time as the payment.
const (
	eventsBefore = time.Minute
	eventsAfter  = 15 * time.Minute
)

// EventsOf reads Stripe's events about a payment, in the order of receipt.
func (l *Ledger) EventsOf(ctx context.Context, p payment.Payment) ([]StripeEvent, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+eventColumns+` FROM stripe_events
		WHERE received >= $1 AND received <= $2 AND object_id IN ($3, $4) AND payment_intent IS NULL`,
		p.CreatedAt.Add(-eventsBefore).UnixMilli(), p.CreatedAt.Add(eventsAfter).UnixMilli(),
		p.SessionID, p.PaymentIntent)
	list, err := all(rows, err, scanEvent)
	if err != nil {
		return nil, err
	}
	if p.PaymentIntent != "" {
		rows, err = l.reads.QueryContext(ctx, `SELECT `+eventColumns+` FROM stripe_events
			WHERE payment_intent IS NOT NULL AND payment_intent = $1`, p.PaymentIntent)
		later, err := all(rows, err, scanEvent)
		if err != nil {
			return nil, err
		}
		list = append(list, later...)
	}
	slices.SortStableFunc(list, func(a, b StripeEvent) int { return a.Received.Compare(b.Received) })
	return list, nil
}

// Event reads an event, or returns ErrNotFound.
func (l *Ledger) Event(ctx context.Context, id string) (StripeEvent, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+eventColumns+` FROM stripe_events WHERE id = $1`, id)
	return one(rows, err, scanEvent)
}

// maxEventScan is the MaxScan of a list of events. Their rows are long.
const maxEventScan = 2000

// EventPage lists events, last received first, and the cursor of the next page, "" after the last.
// An empty eventType selects all. Otherwise a page may hold fewer events than limit and still have
// a next page. limit is at least 1.
func (l *Ledger) EventPage(
	ctx context.Context,
	eventType string,
	limit int,
	cursor string,
) (list []StripeEvent, next string, err error) {
	var q query
	if cursor != "" {
		before, err := parseCursor(cursor)
		if err != nil {
			return nil, "", err
		}
		q.add("(received, id) < (?, ?)", before.at, before.id)
	}
	const order = ` ORDER BY received DESC, id DESC LIMIT `
	since := position{} // SQLite sorts the whole table without a bound
	if eventType != "" {
		span := q.from("received", since)
		rows, err := l.reads.QueryContext(
			ctx,
			`SELECT received, id FROM stripe_events`+span.where()+order+fmt.Sprintf(`1 OFFSET %d`, maxEventScan-1),
			span.args...)
		ends, err := all(rows, err, scanPosition)
		if err != nil {
			return nil, "", err
		}
		for _, end := range ends {
			since, next = end, end.String()
		}
	}
	if q = q.from("received", since); eventType != "" {
		q.add("type = ?", eventType)
	}
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT `+eventColumns+` FROM stripe_events`+q.where()+order+strconv.Itoa(limit+1),
		q.args...)
	list, err = all(rows, err, scanEvent)
	if err != nil || len(list) <= limit {
		return list, next, err
	}
	last := list[limit-1]
	return list[:limit], position{last.Received.UnixMilli(), last.ID}.String(), nil
}

// EventsSince lists up to limit events in the order of receipt. The list starts behind the event
// with the id after. If that is "" or unknown, the list starts at since. Events received after
// until are not listed.
func (l *Ledger) EventsSince(
	ctx context.Context,
	since time.Time,
	after string,
	until time.Time,
	limit int,
) ([]StripeEvent, error) {
	from := position{at: since.UnixMilli()}
	if last, err := l.Event(ctx, after); err == nil {
		from = position{last.Received.UnixMilli(), last.ID}
	} else if known, err := Found(err); known || err != nil {
		return nil, err
	}
	rows, err := l.reads.QueryContext(ctx, `SELECT `+eventColumns+` FROM stripe_events
		WHERE (received, id) > ($1, $2) AND received <= $3 ORDER BY received, id LIMIT $4`,
		from.at, from.id, until.UnixMilli(), limit)
	return all(rows, err, scanEvent)
}
