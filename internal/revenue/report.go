package revenue

import (
	"cmp"
	"context"
	"slices"
	"time"

	"notepay/internal/ledger"
)

// By says how long the periods of a report are.
type By string

// The periods of a report.
const (
	ByDay   By = "day"
	ByWeek  By = "week"
	ByMonth By = "month"
)

const (
	// maxRecent limits the payments, and the movements, that are added to the sums for a page.
	maxRecent = 5000
	// maxBehind is how far the sums may be behind, so that what was recorded since is added. They are
	// behind while nothing happens.
	maxBehind = maxIdle + 2*interval
)

// Query selects what a report is about.
type Query struct {
	From, To time.Time // the first and the last day, each at its beginning
	By       By
	Livemode bool
	Devices  []string // none: all machines
	Zone     *time.Location
}

// Group is the sums of a machine, a plan or a currency, or of all of a period.
type Group struct {
	Name     string // the machine's UID or the plan's name
	Currency string
	Start    time.Time // of a period
	ledger.Sums
}

// Report is what happened in a time. The lists have an entry for each currency.
type Report struct {
	Totals   []Group // the currency with the most payments first
	Periods  []Group // in the order of time; periods without sums are left out
	Plans    []Group
	Machines []Group
	Hours    map[string]Hours   // by currency
	Reasons  map[string]Reasons // by currency

	// Through is until when the figures are complete. Building reports that the sums are made for the
	// first time, or again, so that later figures are missing.
	Through  time.Time
	Building bool
}

// Read reads a report. How much it reads depends on the days and the machines, but not on the payments.
func Read(ctx context.Context, l *ledger.Ledger, q Query) (r Report, err error) {
	state, err := l.SumState(ctx)
	if err != nil {
		return r, err
	}
	now := l.Now()
	r.Through, r.Building = state.Through, now.Sub(state.Through) > maxBehind
	if state.Zone != zoneID(q.Zone) { // nothing is summed up by these days yet
		r.Building = true
		return r, nil
	}
	sums := ledger.SumQuery{Livemode: q.Livemode, Devices: q.Devices, Spans: q.spans(state.Through)}
	days := sums
	days.Spans = []ledger.SumSpan{{From: q.From.Format(dayLayout), To: q.To.Format(dayLayout)}}
	if q.By == ByMonth {
		days = sums
	}
	lists := map[ledger.SumsBy][]ledger.SumRow{}
	for by, query := range map[ledger.SumsBy]ledger.SumQuery{
		ledger.ByStart: days, ledger.ByPlan: sums, ledger.ByMachine: sums,
	} {
		if lists[by], err = l.Sums(ctx, query, by); err != nil {
			return r, err
		}
	}
	texts, err := l.SumTexts(ctx, sums)
	if err != nil {
		return r, err
	}
	if !r.Building {
		recent, complete, err := q.recent(ctx, l, state.Through, now)
		if err != nil {
			return r, err
		}
		if r.Building = !complete; complete {
			r.Through = now
		}
		for _, row := range recent {
			if row.Dim != ledger.SumMachine { // the sums of the machines add up to the others
				continue
			}
			for by, list := range lists {
				lists[by] = append(list, row)
			}
			texts = append(texts, row)
		}
	}
	r.fill(q, lists, texts)
	return r, nil
}

// recent sums up what is not in the sums yet. It reports false if that is too much for a page.
func (q Query) recent(ctx context.Context, l *ledger.Ledger, from, now time.Time) (
	rows []ledger.SumRow, ok bool, err error,
) {
	end := nextDay(q.To)
	if end.After(now) {
		end = now.Add(time.Second)
	}
	if from.Before(q.From) {
		from = q.From
	}
	for day := dayOf(from, q.Zone); day.Before(end); day = nextDay(day) { // one, or two around midnight
		since, until := day, nextDay(day)
		if since.Before(from) {
			since = from
		}
		if until.After(end) {
			until = end
		}
		sums, err := sumUp(ctx, l, since, until, q.Zone, maxRecent+1)
		if err != nil {
			return nil, false, err
		}
		credits := int64(0)
		for key, s := range sums {
			if key.Dim == ledger.SumAll {
				credits += s.Credits
			}
		}
		if credits > maxRecent {
			return nil, false, nil
		}
		for _, row := range sums.rows() {
			row.Start = day.Format(dayLayout)
			if row.Livemode == q.Livemode && (len(q.Devices) == 0 || slices.Contains(q.Devices, row.Device)) {
				rows = append(rows, row)
			}
		}
	}
	return rows, true, nil
}

// spans divides the days of a query into complete months, whose sums are rows of their own, and the
// days before and after them.
func (q Query) spans(through time.Time) (list []ledger.SumSpan) {
	days := func(from, to time.Time) { // to is exclusive
		if from.Before(to) {
			last := to.AddDate(0, 0, -1)
			list = append(list, ledger.SumSpan{From: from.Format(dayLayout), To: last.Format(dayLayout)})
		}
	}
	end := nextDay(q.To)
	first := time.Date(q.From.Year(), q.From.Month(), 1, 0, 0, 0, 0, q.Zone)
	if first.Before(q.From) {
		first = first.AddDate(0, 1, 0)
	}
	last := first
	for next := last.AddDate(0, 1, 0); !next.After(end) && !next.After(through); next = last.AddDate(0, 1, 0) {
		last = next
	}
	if last.Equal(first) {
		days(q.From, end)
		return list
	}
	days(q.From, first)
	list = append(list, ledger.SumSpan{
		Months: true, From: first.Format(monthLayout), To: last.AddDate(0, 0, -1).Format(monthLayout),
	})
	days(last, end)
	return list
}

// fill groups the rows.
func (r *Report) fill(q Query, lists map[ledger.SumsBy][]ledger.SumRow, texts []ledger.SumRow) {
	r.Totals = group(lists[ledger.ByPlan], func(row ledger.SumRow) Group { return Group{Currency: row.Currency} })
	r.Plans = group(lists[ledger.ByPlan], func(row ledger.SumRow) Group {
		return Group{Name: row.Plan, Currency: row.Currency}
	})
	r.Machines = group(lists[ledger.ByMachine], func(row ledger.SumRow) Group {
		return Group{Name: row.Device, Currency: row.Currency}
	})
	r.Periods = group(lists[ledger.ByStart], func(row ledger.SumRow) Group {
		return Group{Currency: row.Currency, Start: q.By.Start(readStart(row.Start, q.Zone))}
	})
	slices.SortStableFunc(r.Periods, func(a, b Group) int { return a.Start.Compare(b.Start) })
	r.Hours, r.Reasons = map[string]Hours{}, map[string]Reasons{}
	for _, row := range texts {
		if r.Hours[row.Currency] == nil {
			r.Hours[row.Currency], r.Reasons[row.Currency] = Hours{}, Reasons{}
		}
		r.Hours[row.Currency].Add(row.Hours)
		r.Reasons[row.Currency].Add(row.Reasons)
	}
}

// group adds up the rows of each group. The groups with the most revenue come first.
func group(rows []ledger.SumRow, of func(ledger.SumRow) Group) (list []Group) {
	index := map[Group]int{}
	for _, row := range rows {
		g := of(row)
		n, known := index[g]
		if !known {
			n = len(list)
			index[g] = n
			list = append(list, g)
		}
		list[n].Add(row.Sums)
	}
	slices.SortFunc(list, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Payments, a.Payments), cmp.Compare(a.Currency, b.Currency),
			cmp.Compare(a.Name, b.Name))
	})
	return list
}

// readStart returns the beginning of a stored day or month.
func readStart(text string, zone *time.Location) time.Time {
	layout := dayLayout
	if len(text) == len(monthLayout) {
		layout = monthLayout
	}
	t, err := time.ParseInLocation(layout, text, zone)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Start returns the beginning of the period of a day. Weeks begin on Monday.
func (b By) Start(day time.Time) time.Time {
	switch b {
	case ByWeek:
		return day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
	case ByMonth:
		return time.Date(day.Year(), day.Month(), 1, 0, 0, 0, 0, day.Location())
	}
	return day
}

// Next returns the beginning of the period after one.
func (b By) Next(start time.Time) time.Time {
	switch b {
	case ByWeek:
		return start.AddDate(0, 0, 7)
	case ByMonth:
		return start.AddDate(0, 1, 0)
	}
	return nextDay(start)
}
