package ledger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"notepay/internal/payment"
)

// Dimension says what a sum is of.
type Dimension string

// The dimensions of sums.
const (
	SumAll     Dimension = "all"
	SumPlan    Dimension = "plan"
	SumMachine Dimension = "machine" // by machine and plan
)

// SumKey says what a sum is of, within its day or month.
type SumKey struct {
	Dim      Dimension
	Livemode bool
	Device   string // "" unless Dim is SumMachine
	Plan     string // "" if Dim is SumAll
	Currency string // "" for free starts
}

// Sums are figures of payments. Amounts are in minor currency units.
type Sums struct {
	Payments int64 // captured
	Credits  int64 // payments and free starts that were recorded
	Failed   int64 // those of them that did not start
	Used     int64 // seconds that timed credits used their machines
	Captured int64
	Refunded int64
	Lost     int64 // in disputes
	Fees     int64 // Stripe's
	Net      int64 // by how much Stripe's balance changed
}

// Add adds other figures.
func (s *Sums) Add(o Sums) {
	s.Payments += o.Payments
	s.Credits += o.Credits
	s.Failed += o.Failed
	s.Used += o.Used
	s.Captured += o.Captured
	s.Refunded += o.Refunded
	s.Lost += o.Lost
	s.Fees += o.Fees
	s.Net += o.Net
}

// SumRow is a row of sums. The ledger does not know what Hours and Reasons mean.
type SumRow struct {
	Start string // 2026-11-30, or 2026-11
	SumKey
	Sums
	Hours, Reasons string
}

const (
	sumFigures = `payments, credits, failed, used_s, captured, refunded, lost, fees, net`
	sumColumns = `start, dim, livemode, device_uid, plan, currency, ` + sumFigures + `, hours, reasons`
)

func (s *Sums) fields() []any {
	return []any{
		&s.Payments, &s.Credits, &s.Failed, &s.Used, &s.Captured, &s.Refunded, &s.Lost, &s.Fees, &s.Net,
	}
}

func scanSumRow(row scanner) (r SumRow, err error) {
	fields := append([]any{&r.Start, &r.Dim, flag{&r.Livemode}, &r.Device, &r.Plan, &r.Currency}, r.Sums.fields()...)
	return r, row.Scan(append(fields, &r.Hours, &r.Reasons)...)
}

// sumCursor is the name of the cursor that holds the SumState.
const sumCursor = "revenue"

// SumState says what is summed up.
type SumState struct {
	Zone    string    // identifies the time zone of the days
	Through time.Time // payments and movements before it are summed up; zero: none
	turn    int64     // grows with each step
}

func (s SumState) String() string {
	return fmt.Sprintf("%d %d %s", s.turn, s.Through.UnixMilli(), s.Zone)
}

// SumState reads what is summed up.
func (l *Ledger) SumState(ctx context.Context) (s SumState, err error) {
	text, err := l.Cursor(ctx, sumCursor)
	turn, rest, _ := strings.Cut(text, " ")
	through, zone, ok := strings.Cut(rest, " ")
	if err != nil || !ok {
		return SumState{}, err
	}
	ms, err := strconv.ParseInt(through, 10, 64)
	if err == nil {
		s.turn, err = strconv.ParseInt(turn, 10, 64)
	}
	if err != nil {
		return SumState{}, fmt.Errorf("read the state of the sums: %w", err)
	}
	s.Zone, s.Through = zone, time.UnixMilli(ms).UTC()
	return s, nil
}

// StaleHour is an hour in which something changed after it was summed up.
type StaleHour struct{ Hour, Marks int64 }

// Start returns when the hour began.
func (h StaleHour) Start() time.Time { return time.Unix(h.Hour*3600, 0).UTC() }

// StaleHours reads the first marked hours.
func (l *Ledger) StaleHours(ctx context.Context, limit int) ([]StaleHour, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT hour, marks FROM revenue_stale ORDER BY hour LIMIT $1 + 0`, limit)
	return all(rows, err, func(s scanner) (h StaleHour, err error) { return h, s.Scan(&h.Hour, &h.Marks) })
}

// SumStep replaces the sums of a day, and those of its month if the month is over.
type SumStep struct {
	From, To  SumState // To.Through is not before From.Through
	Day       string   // "": begin again, and drop all sums
	DayRows   []SumRow
	Month     string // "": keep the sums of the month
	MonthRows []SumRow
	Stale     []StaleHour // that the rows take into account
}

// TakeSumStep stores a step. It returns false if another step was taken since From was read.
func (l *Ledger) TakeSumStep(ctx context.Context, s SumStep) (taken bool, err error) {
	s.To.turn = s.From.turn + 1
	err = l.Update(ctx, func(tx *Tx) (err error) {
		if s.From.turn == 0 {
			taken, err = tx.expect(`INSERT INTO cursors (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`,
				sumCursor, s.To.String())
		} else {
			taken, err = tx.expect(`UPDATE cursors SET value = $1 WHERE name = $2 AND value = $3`,
				s.To.String(), sumCursor, s.From.String())
		}
		if err != nil || !taken {
			return err
		}
		if s.Day == "" {
			_, err := tx.exec(`DELETE FROM revenue`)
			return err
		}
		if err := tx.replaceSums("day", s.Day, s.DayRows); err != nil {
			return err
		}
		if s.Month != "" {
			if err := tx.replaceSums("month", s.Month, s.MonthRows); err != nil {
				return err
			}
		}
		for _, h := range s.Stale { // a mark that was set meanwhile stays
			err := tx.run(`DELETE FROM revenue_stale WHERE hour = $1 AND marks = $2`, h.Hour, h.Marks)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return taken && err == nil, err
}

func (tx *Tx) replaceSums(scale, start string, rows []SumRow) error {
	const atOnce = 50
	for _, dim := range []Dimension{SumAll, SumPlan, SumMachine} {
		err := tx.run(`DELETE FROM revenue WHERE scale = $1 AND dim = $2 AND start = $3`, scale, string(dim), start)
		if err != nil {
			return err
		}
	}
	width := strings.Count(sumColumns, ",") + 2
	for len(rows) > 0 {
		batch := rows[:min(len(rows), atOnce)]
		rows = rows[len(batch):]
		var values strings.Builder
		var args []any
		for i, r := range batch {
			if i > 0 {
				values.WriteString(", ")
			}
			list := make([]string, width)
			for j := range list {
				list[j] = "$" + strconv.Itoa(len(args)+j+1)
			}
			values.WriteString("(" + strings.Join(list, ", ") + ")")
			args = append(args, scale, start, string(r.Dim), bit(r.Livemode), r.Device, r.Plan, r.Currency,
				r.Payments, r.Credits, r.Failed, r.Used, r.Captured, r.Refunded, r.Lost, r.Fees, r.Net,
				r.Hours, r.Reasons)
		}
		if err := tx.run(`INSERT INTO revenue (scale, `+sumColumns+`) VALUES `+values.String(), args...); err != nil {
			return err
		}
	}
	return nil
}

// FirstPayment returns when the first payment was recorded, or ErrNotFound.
func (l *Ledger) FirstPayment(ctx context.Context) (time.Time, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT created_at FROM payments ORDER BY created_at, id LIMIT 1`)
	return one(rows, err, scanInstant)
}

// CreditsToSum calls f with up to limit payments and free starts that were recorded from one time until
// before another. Only what sums are made of is set. The funds of a payment whose capture is a movement
// are Authorized.
func (l *Ledger) CreditsToSum(ctx context.Context, from, to time.Time, limit int, f func(payment.Payment)) error {
	rows, err := l.reads.QueryContext(ctx, `SELECT p.device_uid, p.plan, p.currency, p.livemode, p.amount, p.created_at,
		CASE WHEN EXISTS (SELECT 1 FROM movements c WHERE c.payment_id = p.id AND c.kind = 'captured')
			THEN 'authorized' ELSE p.money END,
		p.machine, p.started_at, p.ends_at, p.duration_s FROM payments p
		WHERE p.created_at >= $1 AND p.created_at < $2 ORDER BY p.created_at, p.id LIMIT $3 + 0`,
		from.UnixMilli(), to.UnixMilli(), limit)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p payment.Payment
		err := rows.Scan(&p.DeviceUID, &p.Plan, &p.Currency, flag{&p.Livemode}, &p.Amount, instant{&p.CreatedAt},
			&p.Funds, &p.Delivery, instant{&p.StartedAt}, instant{&p.EndsAt}, seconds{&p.Duration})
		if err != nil {
			return err
		}
		f(p)
	}
	return rows.Err()
}

// MovementsToSum calls f with up to limit movements of a time. Of their payments, only what sums are
// made of is set.
func (l *Ledger) MovementsToSum(ctx context.Context, from, to time.Time, limit int, f func(Movement)) error {
	rows, err := l.reads.QueryContext(ctx, `SELECT m.at, m.kind, m.reason, m.amount, m.currency, m.net,
		p.device_uid, p.plan, p.livemode FROM movements m JOIN payments p ON p.id = m.payment_id
		WHERE m.at >= $1 AND m.at < $2 ORDER BY m.at, m.n LIMIT $3 + 0`, from.UnixMilli(), to.UnixMilli(), limit)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var m Movement
		err := rows.Scan(instant{&m.At}, &m.Kind, &m.Reason, &m.Amount, &m.Currency, &m.Net,
			&m.Payment.DeviceUID, &m.Payment.Plan, flag{&m.Payment.Livemode})
		if err != nil {
			return err
		}
		f(m)
	}
	return rows.Err()
}

// DaySums reads the sums of the days of a month.
func (l *Ledger) DaySums(ctx context.Context, month string) ([]SumRow, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+sumColumns+` FROM revenue
		WHERE scale = 'day' AND dim IN ('all', 'plan', 'machine') AND start >= $1 AND start <= $2`,
		month+"-01", month+"-31")
	return all(rows, err, scanSumRow)
}

// SumSpan is a range of days or months.
type SumSpan struct {
	Months   bool
	From, To string // inclusive
}

// SumQuery selects sums.
type SumQuery struct {
	Livemode bool
	Devices  []string // none: all machines
	Spans    []SumSpan
}

// SumsBy says what sums are grouped by.
type SumsBy int

// The groups of sums. Each is also by currency.
const (
	ByTotal SumsBy = iota
	ByStart        // by day, or month
	ByPlan
	ByMachine
)

// conditions returns the conditions of one span, with their arguments.
func (q SumQuery) conditions(span SumSpan, by SumsBy) (text string, args []any) {
	dim, scale := SumAll, "day"
	switch {
	case by == ByMachine || len(q.Devices) > 0:
		dim = SumMachine
	case by == ByPlan:
		dim = SumPlan
	}
	if span.Months {
		scale = "month"
	}
	column := "dim"
	if len(q.Devices) > 0 {
		column = "dim || ''" // keeps SQLite from the primary key, by which it would read all machines
	}
	text = fmt.Sprintf(`scale = '%s' AND %s = '%s' AND start >= $1 AND start <= $2 AND livemode = $3`,
		scale, column, dim)
	args = []any{span.From, span.To, bit(q.Livemode)}
	if len(q.Devices) > 0 {
		list := make([]string, len(q.Devices))
		for i, d := range q.Devices {
			args = append(args, d)
			list[i] = "$" + strconv.Itoa(len(args))
		}
		text += ` AND device_uid IN (` + strings.Join(list, ", ") + `)`
	}
	return text, args
}

// Sums reads sums without Hours and Reasons. A group may come once for each span.
func (l *Ledger) Sums(ctx context.Context, q SumQuery, by SumsBy) (list []SumRow, err error) {
	group := map[SumsBy]string{
		ByTotal: `'', '', ''`, ByStart: `start, '', ''`, ByPlan: `'', '', plan`, ByMachine: `'', device_uid, ''`,
	}[by]
	column := map[SumsBy]string{ByStart: `start, `, ByPlan: `plan, `, ByMachine: `device_uid, `}[by]
	var figures []string
	for name := range strings.SplitSeq(sumFigures, ", ") {
		figures = append(figures, `CAST(sum(`+name+`) AS BIGINT)`)
	}
	for _, span := range q.Spans {
		where, args := q.conditions(span, by)
		rows, err := l.reads.QueryContext(ctx, `SELECT `+group+`, currency, `+strings.Join(figures, ", ")+`
			FROM revenue WHERE `+where+` GROUP BY `+column+`currency`, args...)
		some, err := all(rows, err, func(row scanner) (r SumRow, err error) {
			return r, row.Scan(append([]any{&r.Start, &r.Device, &r.Plan, &r.Currency}, r.Sums.fields()...)...)
		})
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

// SumTexts reads Hours and Reasons of sums, with their currencies.
func (l *Ledger) SumTexts(ctx context.Context, q SumQuery) (list []SumRow, err error) {
	for _, span := range q.Spans {
		where, args := q.conditions(span, ByTotal)
		rows, err := l.reads.QueryContext(ctx, `SELECT currency, hours, reasons FROM revenue
			WHERE `+where+` AND hours || reasons <> ''`, args...)
		some, err := all(rows, err, func(row scanner) (r SumRow, err error) {
			return r, row.Scan(&r.Currency, &r.Hours, &r.Reasons)
		})
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}
