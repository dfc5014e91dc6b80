package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/payment"
)

// Search chooses payments for a person who looks for some; zero fields choose all.
type Search struct {
	Devices   []string // uids
	Name      string   // a part of the device's name as it was at the payment, in small or capital letters
	Card      string   // the last four digits
	From, To  time.Time
	Amount    *int64 // minor currency units
	Currency  string
	Attention bool
	Money     []payment.FundsStatus
	Machine   []payment.DeliveryStatus
	Limit     int    // at least 1
	Cursor    string // from an earlier call, "" for the newest
}

// maxScan is how many payments a search looks through for what no index finds, before it gives what
// it has so far.
const maxScan = 10_000

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
func (q *query) from(time string, p position) query {
	bound := query{slices.Clone(q.conditions), slices.Clone(q.args)}
	bound.add("("+time+", id) >= (?, ?)", p.at, p.id)
	return bound
}

const newestFirst = ` ORDER BY created_at DESC, id DESC LIMIT `

// Search lists payments, newest first, and the cursor from which to go on, "" at the end. It may
// give fewer than the limit, even none, and a cursor: then it has looked through its share, and
// going on looks further back.
func (l *Ledger) Search(ctx context.Context, s Search) (list []payment.Payment, next string, err error) {
	return l.search(ctx, s, maxScan)
}

func (l *Ledger) search(ctx context.Context, s Search, share int) (list []payment.Payment, next string, err error) {
	var found, rest query // what an index finds, and what has to be looked at one by one
	if err := s.indexed(&found); err != nil {
		return nil, "", err
	}
	s.examined(&rest)
	since := position{}
	if !s.From.IsZero() {
		since.at = s.From.UnixMilli()
	}
	if len(rest.conditions) > 0 {
		span := found.from("created_at", since)
		rows, err := l.reads.QueryContext(
			ctx,
			`SELECT created_at, id FROM payments`+span.where()+newestFirst+fmt.Sprintf(`1 OFFSET %d`, share-1),
			span.args...)
		ends, err := all(rows, err, scanPosition)
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
	return list[:s.Limit], positionOf(list[s.Limit-1]).String(), nil
}

// indexed adds the conditions for which there are indexes. Those of partial indexes stand in the
// words of the index.
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
	usual := func(m payment.FundsStatus) bool {
		return m == payment.Authorized || m == payment.Capturing || m == payment.Paid
	}
	if len(s.Money) > 0 && !slices.ContainsFunc(s.Money, usual) {
		q.add("money <> 'authorized' AND money <> 'capturing' AND money <> 'paid'")
	}
	if len(s.Machine) == 1 && s.Machine[0] == payment.Failed {
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
	if len(s.Machine) > 1 || (len(s.Machine) == 1 && s.Machine[0] != payment.Failed) {
		in(q, "machine", s.Machine)
	}
}

// ErrCursor is returned for a cursor that Payments did not give.
var ErrCursor = errors.New("no such cursor")

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
	Money     payment.FundsStatus
	Machine   payment.DeliveryStatus
	Attention *bool
	Limit     int    // at least 1
	Cursor    string // from an earlier call, "" for the newest
}

// Payments lists payments, newest first, and the cursor of the next page, "" after the last.
func (l *Ledger) Payments(ctx context.Context, f Filter) (list []payment.Payment, next string, err error) {
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
	return list, positionOf(list[f.Limit-1]).String(), nil
}

// position is where a row stands in a list in the order of time; those of the same millisecond are
// in the order of their ids.
type position struct {
	at int64 // Unix milliseconds
	id string
}

func positionOf(p payment.Payment) position { return position{p.CreatedAt.UnixMilli(), p.ID} }

func scanPosition(row scanner) (p position, err error) { return p, row.Scan(&p.at, &p.id) }

// String is the place as a cursor.
func (p position) String() string { return fmt.Sprintf("%d-%s", p.at, p.id) }

func parseCursor(cursor string) (p position, err error) {
	at, id, ok := strings.Cut(cursor, "-")
	p.id = id
	if p.at, err = strconv.ParseInt(at, 10, 64); !ok || err != nil {
		return p, ErrCursor
	}
	return p, nil
}
