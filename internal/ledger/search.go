package ledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What an operator looks for. Each of these reads a bounded number of rows, however many there are.

// Sold is what was taken from the customer, in minor currency units: nothing while the money is
// only held, or was let go.
func (p Payment) Sold() int64 {
	switch p.Money {
	case Authorized, Capturing, Releasing, Released, CaptureFailed:
		return 0
	}
	return p.Amount
}

// GivenBack is what the customer, or their bank, has back of it, in minor currency units.
func (p Payment) GivenBack() int64 {
	if p.Money == Lost {
		return p.Amount
	}
	return min(p.RefundedAmount, p.Sold())
}

// Search chooses payments for a person who looks for some; zero fields choose all.
type Search struct {
	Devices   []string // uids
	Name      string   // a part of the device's name as it was at the payment, in small or capital letters
	Card      string   // the last four digits
	From, To  time.Time
	Amount    *int64 // minor currency units
	Currency  string
	Attention bool
	Money     []Money
	Machine   []Machine
	Limit     int    // at least 1
	Cursor    string // from an earlier call, "" for the newest
}

// examined is how many payments a search looks through for what no index finds, before it gives what it has so far.
const examined = 10_000

// query collects conditions and their values.
type query struct {
	conditions []string
	args       []any
}

func (q *query) add(condition string, values ...any) {
	for _, v := range values {
		q.args = append(q.args, v)
		condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(q.args)), 1)
	}
	q.conditions = append(q.conditions, condition)
}

// in is true for rows whose column holds one of the values.
func in[T ~string](q *query, column string, values []T) {
	list := make([]any, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	q.add(column+" IN ("+strings.TrimSuffix(strings.Repeat("?, ", len(values)), ", ")+")", list...)
}

func (q *query) where() string {
	if len(q.conditions) == 0 {
		return ""
	}
	return ` WHERE ` + strings.Join(q.conditions, " AND ")
}

// from is the query from a place in the order of time on. There is but one such bound: with two,
// the database might go by the other.
func (q *query) from(time string, p place) query {
	bound := query{slices.Clone(q.conditions), slices.Clone(q.args)}
	bound.add("("+time+", id) >= (?, ?)", p.at, p.id)
	return bound
}

const newestFirst = ` ORDER BY created_at DESC, id DESC LIMIT `

// Search lists payments, newest first, and the cursor from which to go on, "" at the end. It may
// give fewer than the limit, even none, and a cursor: then it has looked through its share, and
// going on looks further back.
func (l *Ledger) Search(ctx context.Context, s Search) (list []Payment, next string, err error) {
	return l.search(ctx, s, examined)
}

func (l *Ledger) search(ctx context.Context, s Search, share int) (list []Payment, next string, err error) {
	var found, rest query // what an index finds, and what has to be looked at one by one
	if err := s.indexed(&found); err != nil {
		return nil, "", err
	}
	s.examined(&rest)
	since := place{}
	if !s.From.IsZero() {
		since.at = s.From.UnixMilli()
	}
	if len(rest.conditions) > 0 {
		span := found.from("created_at", since)
		rows, err := l.reads.QueryContext(
			ctx,
			`SELECT created_at, id FROM payments`+span.where()+newestFirst+fmt.Sprintf(`1 OFFSET %d`, share-1),
			span.args...)
		ends, err := all(rows, err, scanPlace)
		if err != nil {
			return nil, "", err
		}
		for _, end := range ends { // there is one if there are so many
			since, next = end, end.String()
		}
	}
	found = found.from("created_at", since)
	s.examined(&found)
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT `+paymentColumns+` FROM payments`+found.where()+newestFirst+strconv.Itoa(s.Limit+1),
		found.args...)
	list, err = all(rows, err, scanPayment)
	if err != nil || len(list) <= s.Limit {
		return list, next, err
	}
	return list[:s.Limit], placeOf(list[s.Limit-1]).String(), nil
}

// indexed adds the conditions for which there are indexes. Those of partial indexes stand in the words of the index.
func (s *Search) indexed(q *query) error {
	if len(s.Devices) == 1 {
		q.add("device_uid = ?", s.Devices[0])
	}
	if s.Card != "" {
		q.add("card_last4 <> '' AND card_last4 = ?", s.Card)
	}
	if s.Attention {
		q.add("attention <> ''")
	}
	usual := func(m Money) bool { return m == Authorized || m == Capturing || m == Paid }
	if len(s.Money) > 0 && !slices.ContainsFunc(s.Money, usual) {
		q.add("money <> 'authorized' AND money <> 'capturing' AND money <> 'paid'")
	}
	if len(s.Machine) == 1 && s.Machine[0] == Failed {
		q.add("machine = 'failed'")
	}
	switch {
	case s.Cursor != "":
		before, err := parseCursor(s.Cursor)
		if err != nil {
			return err
		}
		q.add("(created_at, id) < (?, ?)", before.at, before.id)
	case !s.To.IsZero():
		q.add("created_at < ?", s.To.UnixMilli())
	}
	return nil
}

// examined adds the other conditions.
func (s *Search) examined(q *query) {
	if len(s.Devices) > 1 {
		in(q, "device_uid || ''", s.Devices) // not by their index: the newest of all would have to be sorted
	}
	if s.Name != "" {
		part := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(s.Name))
		q.add("lower(device_name) LIKE ? ESCAPE '!'", "%"+part+"%")
	}
	if s.Amount != nil {
		q.add("amount = ?", *s.Amount)
	}
	if s.Currency != "" {
		q.add("currency = ?", s.Currency)
	}
	if len(s.Money) > 0 {
		in(q, "money", s.Money)
	}
	if len(s.Machine) > 1 || (len(s.Machine) == 1 && s.Machine[0] != Failed) {
		in(q, "machine", s.Machine)
	}
}

// Takings are what was taken and given back in one currency.
type Takings struct {
	Currency  string
	Payments  int   // that somebody paid for
	Sold      int64 // minor currency units
	GivenBack int64 // minor currency units, of these payments, whenever it was
}

// Net is what stays, in minor currency units.
func (t Takings) Net() int64 { return t.Sold - t.GivenBack }

// Takings sums up the payments recorded from one time until before another, by currency.
func (l *Ledger) Takings(ctx context.Context, from, to time.Time) ([]Takings, error) {
	// The sums follow Payment.Sold and Payment.GivenBack.
	const held = `money IN ('authorized', 'capturing', 'releasing', 'released', 'capture_failed')`
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT currency, count(*), CAST(sum(CASE WHEN `+held+` THEN 0 ELSE amount END) AS BIGINT),
		CAST(sum(CASE WHEN `+held+` THEN 0 WHEN money = 'lost' THEN amount ELSE refunded_amount END) AS BIGINT)
		FROM payments WHERE created_at >= $1 AND created_at < $2 AND amount > 0 GROUP BY currency ORDER BY currency`,
		from.UnixMilli(),
		to.UnixMilli(),
	)
	return all(rows, err, func(row scanner) (t Takings, err error) {
		return t, row.Scan(&t.Currency, &t.Payments, &t.Sold, &t.GivenBack)
	})
}

// Credit is how one credit of a device went.
type Credit struct {
	Machine   Machine
	Reason    string
	Confirms  bool // the machine is expected to answer
	SentAt    time.Time
	StartedAt time.Time
}

// History reads how the last credits of a device went, the newest first.
func (l *Ledger) History(ctx context.Context, device string, limit int) ([]Credit, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT machine, reason, confirm_by, sent_at, started_at FROM payments WHERE device_uid = $1`+newestFirst+`$2`,
		device,
		limit,
	)
	return all(rows, err, func(row scanner) (c Credit, err error) {
		var confirmBy time.Time
		err = row.Scan(&c.Machine, &c.Reason, instant{&confirmBy}, instant{&c.SentAt}, instant{&c.StartedAt})
		c.Confirms = !confirmBy.IsZero()
		return c, err
	})
}

// An event of a payment's own session or intent comes within a quarter of an hour of the payment,
// or, later, counts as a repeat. The one that made the payment has its very time.
const (
	eventsBefore = time.Minute
	eventsAfter  = 15 * time.Minute
)

// EventsOf reads Stripe's events about a payment, in the order in which they were received.
func (l *Ledger) EventsOf(ctx context.Context, p Payment) ([]StripeEvent, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT `+eventColumns+` FROM stripe_events WHERE received >= $1 AND received <= $2
		AND object_id IN ($3, $4) AND payment_intent IS NULL`,
		p.CreatedAt.Add(-eventsBefore).
			UnixMilli(),
		p.CreatedAt.Add(eventsAfter).UnixMilli(),
		p.SessionID,
		p.PaymentIntent,
	)
	list, err := all(rows, err, scanEvent)
	if err != nil {
		return nil, err
	}
	if p.PaymentIntent != "" {
		rows, err = l.reads.QueryContext(
			ctx,
			`SELECT `+eventColumns+` FROM stripe_events WHERE payment_intent IS NOT NULL AND payment_intent = $1`,
			p.PaymentIntent,
		)
		later, err := all(rows, err, scanEvent)
		if err != nil {
			return nil, err
		}
		list = append(list, later...)
	}
	slices.SortStableFunc(list, func(a, b StripeEvent) int { return a.Received.Compare(b.Received) })
	return list, nil
}

// Event reads one of Stripe's events, or returns ErrNotFound.
func (l *Ledger) Event(ctx context.Context, id string) (StripeEvent, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+eventColumns+` FROM stripe_events WHERE id = $1`, id)
	return one(rows, err, scanEvent)
}

// eventsExamined is examined for events, whose rows are long.
const eventsExamined = 2000

// EventPage lists Stripe's events, the last received first, and the cursor from which to go on, ""
// at the end. An empty type means all; with a type it may give fewer than the limit, as Search
// does. limit is at least 1.
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
	since := place{} // without a bound SQLite would sort the whole table
	if eventType != "" {
		span := q.from("received", since)
		rows, err := l.reads.QueryContext(
			ctx,
			`SELECT received, id FROM stripe_events`+span.where()+order+fmt.Sprintf(`1 OFFSET %d`, eventsExamined-1),
			span.args...)
		ends, err := all(rows, err, scanPlace)
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
	return list[:limit], place{last.Received.UnixMilli(), last.ID}.String(), nil
}

// EventsSince lists Stripe's events in the order in which they were received, up to limit: those
// behind the event with the id after, or, for "" and an unknown id, those received since a time.
// Those received after until are left for later.
func (l *Ledger) EventsSince(
	ctx context.Context,
	since time.Time,
	after string,
	until time.Time,
	limit int,
) ([]StripeEvent, error) {
	from := place{at: since.UnixMilli()}
	if last, err := l.Event(ctx, after); err == nil {
		from = place{last.Received.UnixMilli(), last.ID}
	} else if known, err := Has(err); known || err != nil {
		return nil, err
	}
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT `+eventColumns+` FROM stripe_events WHERE (received, id) > ($1, $2) AND received <= $3 ORDER BY received, id LIMIT $4`,
		from.at,
		from.id,
		until.UnixMilli(),
		limit,
	)
	return all(rows, err, scanEvent)
}

// LateLookups reads up to limit of the sessions that could not be looked up since a time, the oldest first.
func (l *Ledger) LateLookups(ctx context.Context, since time.Time, limit int) ([]Lookup, error) {
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT id, paid_at, facts, handled, due_at, turn, failures FROM lookups WHERE paid_at < $1 ORDER BY paid_at LIMIT $2`,
		since.UnixMilli(),
		limit,
	)
	return all(rows, err, scanLookup)
}
