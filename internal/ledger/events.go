package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// maxReceivedLead is how far the time of an event may be ahead so that later ones are moved behind it.
const maxReceivedLead = 15 * time.Minute

// receivedAt returns the time of receipt of an event that is stored now, as SQL. A transaction takes
// its time before it waits for its turn to write, so others may have committed later times meanwhile.
// The time is then moved behind them, so that a reader that has read them misses nothing. Times of a
// clock that was far ahead do not count.
func receivedAt(now string) string {
	limit := now + ` + ` + strconv.FormatInt(maxReceivedLead.Milliseconds(), 10)
	return `COALESCE((SELECT max(received) + 1 FROM stripe_events
		WHERE received >= ` + now + ` AND received < ` + limit + `), ` + now + `)`
}

var insertEvent = `INSERT INTO stripe_events (` + newEventColumns + `)
	VALUES ($1, $2, $3, $4, $5, ` + receivedAt("CAST($6 AS bigint)") + `, $7, $8, $9) ON CONFLICT (id) DO NOTHING`

func insertEvents(rows string) string {
	columns := strings.Replace(rowColumns(newEventColumns), "v.p6", receivedAt("v.p6"), 1)
	return `INSERT INTO stripe_events (` + newEventColumns + `)
	SELECT ` + columns + ` FROM ` + rows + ` ON CONFLICT (id) DO NOTHING`
}

const newEventColumns = `id, type, object_id, livemode, created_at, received, outcome, body, payment_intent`

// AddEvent stores an event behind all others. If the event is stored already, AddEvent counts the
// repeat and returns false.
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

// ReplaceEvent stores an event in the place of the same event with an outcome. It returns false if
// there is none. When the event was received and how often it was repeated stays.
func (tx *Tx) ReplaceEvent(e StripeEvent, outcome string) (bool, error) {
	n, err := tx.exec(`UPDATE stripe_events SET type = $2, object_id = $3, livemode = $4, created_at = $5, outcome = $6,
		body = $7, payment_intent = $8 WHERE id = $1 AND outcome = $9`,
		e.ID, e.Type, e.ObjectID, bit(e.Livemode), e.Created.UnixMilli(), e.Outcome, e.Body, nullable(e.PaymentIntent),
		outcome)
	return n == 1, err
}

// EventOutcome returns the outcome of a stored event, or ErrNotFound.
func (l *Ledger) EventOutcome(ctx context.Context, id string) (string, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT outcome FROM stripe_events WHERE id = $1`, id)
	return one(rows, err, scanOutcome)
}

// EventOutcome returns the outcome of a stored event, or ErrNotFound.
func (tx *Tx) EventOutcome(id string) (string, error) {
	rows, err := tx.db.query(`SELECT outcome FROM stripe_events WHERE id = $1`, id)
	return one(rows, err, scanOutcome)
}

func scanOutcome(s scanner) (outcome string, err error) { return outcome, s.Scan(&outcome) }

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
		`SELECT `+eventColumns+` FROM stripe_events ORDER BY received DESC, id DESC LIMIT $1`, limit)
	return all(rows, err, scanEvent)
}

// Events about the Checkout Session or the PaymentIntent itself arrive near the payment, or count
// as repeats later. The event that created the payment has the time of the payment, or a little later.
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

// EventsAfter lists up to limit events that were stored after an event, in their order. Only the ID
// and the time of receipt of last count, and its zero value is before all events. An event that is
// stored later is never before one that could be read already, see receivedAt.
func (l *Ledger) EventsAfter(ctx context.Context, last StripeEvent, limit int) ([]StripeEvent, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+eventColumns+` FROM stripe_events
		WHERE (received, id) > ($1, $2) ORDER BY received, id LIMIT $3`, last.Received.UnixMilli(), last.ID, limit)
	return all(rows, err, scanEvent)
}
