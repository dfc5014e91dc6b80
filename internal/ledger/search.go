package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/payment"
)

// Filter selects payments. Zero fields select all.
type Filter struct {
	Devices   []string // UIDs
	Name      string   // part of the device's name at the time of the payment, in any case
	Card      string   // the last four digits
	From, To  time.Time
	Amount    *int64 // minor currency units
	Currency  string
	Attention *bool // whether the payment needs a review; nil for both
	Funds     []payment.FundsStatus
	Delivery  []payment.DeliveryStatus

	// MaxScan bounds how many payments one call of Payments examines for the conditions that no
	// index covers. 0 sets no bound, and each page is then full.
	MaxScan int
	Limit   int    // at least 1
	Cursor  string // from an earlier call, "" for the newest
}

// MaxScan is the bound for a search that a person waits for.
const MaxScan = 10_000

// query collects conditions and their arguments.
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

// in adds the condition that a column holds one of the values.
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

// from returns the query with a lower bound in the order of time. A query has only one such bound,
// because with two the database may search by the wrong one.
func (q *query) from(time string, p position) query {
	bound := query{slices.Clone(q.conditions), slices.Clone(q.args)}
	bound.add("("+time+", id) >= (?, ?)", p.at, p.id)
	return bound
}

const newestFirst = ` ORDER BY created_at DESC, id DESC LIMIT `

// Payments lists payments, newest first, and the cursor of the next page, "" after the last. With a
// MaxScan a page may hold fewer payments than the limit, even none, and still have a next page. It
// returns ErrCursor for an unknown cursor.
func (l *Ledger) Payments(ctx context.Context, f Filter) (list []payment.Payment, next string, err error) {
	var conditions, bounded query
	if err := f.indexed(&conditions); err != nil {
		return nil, "", err
	}
	f.bounded(&bounded)
	since := position{}
	if !f.From.IsZero() {
		since.at = f.From.UnixMilli()
	}
	if f.MaxScan > 0 && len(bounded.conditions) > 0 {
		span := conditions.from("created_at", since)
		rows, err := l.reads.QueryContext(
			ctx,
			`SELECT created_at, id FROM payments`+span.where()+newestFirst+fmt.Sprintf(`1 OFFSET %d`, f.MaxScan-1),
			span.args...)
		ends, err := all(rows, err, scanPosition)
		if err != nil {
			return nil, "", err
		}
		for _, end := range ends { // one, if there are at least MaxScan payments
			since, next = end, end.String()
		}
	}
	conditions = conditions.from("created_at", since)
	f.bounded(&conditions)
	rows, err := l.reads.QueryContext(
		ctx,
		`SELECT `+paymentColumns+` FROM payments`+conditions.where()+newestFirst+strconv.Itoa(f.Limit+1),
		conditions.args...)
	list, err = all(rows, err, scanPayment)
	if err != nil || len(list) <= f.Limit {
		return list, next, err
	}
	return list[:f.Limit], positionOf(list[f.Limit-1]).String(), nil
}

// PaymentsOfSessions returns the payments of Checkout Sessions that match a filter, newest first. It
// reads all of them, so the caller bounds how many there are.
func (l *Ledger) PaymentsOfSessions(ctx context.Context, ids []string, f Filter) (list []payment.Payment, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	credits := make([]string, len(ids))
	for i, id := range ids {
		credits[i] = payment.CreditID(id)
	}
	list, err = l.PaymentsOf(ctx, credits)
	list = slices.DeleteFunc(list, func(p payment.Payment) bool { return !f.Matches(p) })
	slices.SortFunc(list, func(a, b payment.Payment) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
	})
	return list, err
}

// PaymentsOf returns the payments with these ids, in no order. It leaves out those that do not exist.
func (l *Ledger) PaymentsOf(ctx context.Context, ids []string) ([]payment.Payment, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var q query
	in(&q, "id", ids)
	rows, err := l.reads.QueryContext(ctx, `SELECT `+paymentColumns+` FROM payments`+q.where(), q.args...)
	return all(rows, err, scanPayment)
}

// Matches reports whether a payment is one that Payments would select.
func (f *Filter) Matches(p payment.Payment) bool {
	switch {
	case len(f.Devices) > 0 && !slices.Contains(f.Devices, p.DeviceUID),
		!strings.Contains(strings.ToLower(p.DeviceName), strings.ToLower(f.Name)),
		f.Card != "" && f.Card != p.CardLast4,
		!f.From.IsZero() && p.CreatedAt.Before(f.From),
		!f.To.IsZero() && !p.CreatedAt.Before(f.To),
		f.Amount != nil && *f.Amount != p.Amount,
		f.Currency != "" && f.Currency != p.Currency,
		f.Attention != nil && *f.Attention != (p.ReviewReason != ""),
		len(f.Funds) > 0 && !slices.Contains(f.Funds, p.Funds),
		len(f.Delivery) > 0 && !slices.Contains(f.Delivery, p.Delivery):
		return false
	}
	return true
}

// indexed adds the conditions that an index covers. SQLite uses a partial index only if the query
// repeats the condition of the index, so these are in the index's words.
func (f *Filter) indexed(q *query) error {
	if len(f.Devices) == 1 {
		q.add("device_uid = ?", f.Devices[0])
	}
	if f.Card != "" {
		q.add("card_last4 <> '' AND card_last4 = ?", f.Card)
	}
	if f.Attention != nil && *f.Attention {
		q.add("attention <> ''")
	}
	usual := func(m payment.FundsStatus) bool {
		return m == payment.Authorized || m == payment.Capturing || m == payment.Paid
	}
	if len(f.Funds) > 0 && !slices.ContainsFunc(f.Funds, usual) {
		q.add("money <> 'authorized' AND money <> 'capturing' AND money <> 'paid'")
	}
	if len(f.Delivery) == 1 && f.Delivery[0] == payment.Failed {
		q.add("machine = 'failed'")
	}
	switch {
	case f.Cursor != "":
		before, err := parseCursor(f.Cursor)
		if err != nil {
			return err
		}
		q.add("(created_at, id) < (?, ?)", before.at, before.id)
	case !f.To.IsZero():
		q.add("created_at < ?", f.To.UnixMilli())
	}
	return nil
}

// bounded adds the other conditions.
func (f *Filter) bounded(q *query) {
	if len(f.Devices) > 1 {
		// The concatenation keeps SQLite from the index of devices, which would make it sort all rows.
		in(q, "device_uid || ''", f.Devices)
	}
	if f.Name != "" {
		part := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(f.Name))
		q.add("lower(device_name) LIKE ? ESCAPE '!'", "%"+part+"%")
	}
	if f.Attention != nil && !*f.Attention {
		q.add("attention = ''")
	}
	if f.Amount != nil {
		q.add("amount = ?", *f.Amount)
	}
	if f.Currency != "" {
		q.add("currency = ?", f.Currency)
	}
	if len(f.Funds) > 0 {
		in(q, "money", f.Funds)
	}
	if len(f.Delivery) > 1 || (len(f.Delivery) == 1 && f.Delivery[0] != payment.Failed) {
		in(q, "machine", f.Delivery)
	}
}

// ErrCursor is returned for a cursor that no earlier call returned.
var ErrCursor = errors.New("no such cursor")

// position is the place of a row in a list ordered by time and then by id.
type position struct {
	at int64 // Unix milliseconds
	id string
}

func positionOf(p payment.Payment) position { return position{p.CreatedAt.UnixMilli(), p.ID} }

func scanPosition(row scanner) (p position, err error) { return p, row.Scan(&p.at, &p.id) }

// String returns the position as a cursor.
func (p position) String() string { return fmt.Sprintf("%d-%s", p.at, p.id) }

// CursorTime returns the time down to which the pages before a cursor were searched. It is zero for an
// unknown cursor.
func CursorTime(cursor string) time.Time {
	p, err := parseCursor(cursor)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(p.at)
}

func parseCursor(cursor string) (p position, err error) {
	at, id, ok := strings.Cut(cursor, "-")
	p.id = id
	if p.at, err = strconv.ParseInt(at, 10, 64); !ok || err != nil {
		return p, ErrCursor
	}
	return p, nil
}
