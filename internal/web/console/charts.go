package console

import (
	"fmt"
	"strings"
	"time"

	"notepay/internal/revenue"
	"notepay/internal/web"
)

// chartHeight is the height of a chart in units of its own. Its bars are stretched to the page's width,
// so they have no text in them.
const chartHeight = 100

// bar is a bar of a chart: what was kept, and above it what was refunded.
type bar struct {
	X, Kept, Back int64 // Kept and Back are heights
	Top, BackTop  int64 // where they begin, from above
}

// bars scales amounts to the height of a chart.
func bars(kept, back []int64) (list []bar) {
	highest := int64(1)
	for i := range kept {
		highest = max(highest, kept[i]+back[i])
	}
	for i := range kept {
		b := bar{X: int64(i), Kept: max(kept[i], 0) * chartHeight / highest, Back: back[i] * chartHeight / highest}
		b.Top = chartHeight - b.Kept
		b.BackTop = b.Top - b.Back
		list = append(list, b)
	}
	return list
}

// periods returns the bars and rows of all periods, also of those without payments.
func (c *Console) periods(l lang, query revenue.Query, groups []revenue.Group, currency string) (
	[]bar, []revenueRow,
) {
	sums := map[int64]revenueRow{}
	for _, g := range groups {
		if g.Currency == currency {
			sums[g.Start.Unix()] = revenueRow{Sums: g.Sums}
		}
	}
	var rows []revenueRow
	var kept, back []int64
	for start := query.By.Start(query.From); !start.After(query.To); start = query.By.Next(start) {
		row := sums[start.Unix()]
		row.Name, row.Currency = periodName(l, query.By, start), currency
		rows = append(rows, row)
		kept, back = append(kept, row.Kept()), append(back, max(row.Refunded+row.Lost, 0))
	}
	return bars(kept, back), rows
}

// periodName returns the name of a period.
func periodName(l lang, by revenue.By, start time.Time) string {
	switch by {
	case revenue.ByWeek:
		year, week := start.ISOWeek()
		return l.T("{day} (week {n} of {year})", "day", start.Format(l.layout(layoutDate)),
			"n", fmt.Sprint(week), "year", fmt.Sprint(year))
	case revenue.ByMonth:
		return start.Format(l.layout(layoutMonth))
	}
	return start.Format(l.layout(layoutWeekdayDate))
}

// highest describes the period with the most revenue.
func (p revenuePage) highest(l lang) string {
	best := -1
	for i, row := range p.Periods {
		if row.Captured > 0 && (best < 0 || row.Captured > p.Periods[best].Captured) {
			best = i
		}
	}
	if best < 0 {
		return l.T("No revenue in this time.")
	}
	row := p.Periods[best]
	return l.T("Highest: {amount}, {when}.", "amount", l.money(row.Captured, row.Currency), "when", row.Name)
}

// weekday is a row of the chart by hour of the week.
type weekday struct {
	Name string
	Best string // in words, for those who do not see the bars
	Bars []bar
}

// hourRow is a row of the table by hour of the week.
type hourRow struct {
	Name  string
	Cells []hourCell
}

type hourCell struct{ Day, Amount string }

func weekdays() []string {
	return []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
}

// week returns the chart and the table of revenue by hour of the week.
func week(l lang, hours revenue.Hours, currency string) (days []weekday, rows []hourRow) {
	if len(hours) == 0 {
		return nil, nil
	}
	amounts := make([]int64, 7*24)
	for hour, count := range hours {
		amounts[hour] = max(count.Amount, 0)
	}
	all := bars(amounts, make([]int64, len(amounts)))
	for d, name := range weekdays() {
		day := weekday{Name: name, Best: l.T("nothing")}
		best := int64(0)
		for h := range 24 {
			b := all[d*24+h]
			b.X = int64(h)
			day.Bars = append(day.Bars, b)
			if amount := amounts[d*24+h]; amount > best {
				best = amount
				day.Best = l.T("most at {time}, {amount}", "time", fmt.Sprintf("%02d:00", h),
					"amount", l.money(amount, currency))
			}
		}
		days = append(days, day)
	}
	for h := range 24 {
		row := hourRow{Name: fmt.Sprintf("%02d:00", h)}
		for d, name := range weekdays() {
			row.Cells = append(row.Cells, hourCell{name, web.Figure(amounts[d*24+h], currency)})
		}
		rows = append(rows, row)
	}
	return days, rows
}

// busiest describes the hour of the week with the most revenue. It returns "" if there was none.
func busiest(l lang, hours revenue.Hours, currency string) string {
	best, most := -1, int64(0)
	for hour := range 7 * 24 {
		if amount := hours[hour].Amount; amount > most {
			best, most = hour, amount
		}
	}
	if best < 0 {
		return ""
	}
	return l.T("Busiest hour: {day} {from} to {to}, {amount}.",
		"day", l.T(weekdays()[best/24]), "from", fmt.Sprintf("%02d:00", best%24),
		"to", fmt.Sprintf("%02d:00", best%24+1), "amount", l.money(most, currency))
}

// percent formats a share. counts is a format of both numbers, or "".
func percent(part, whole int64, counts string) string {
	if whole <= 0 {
		return "–"
	}
	share := fmt.Sprintf("%d.%d %%", part*1000/whole/10, part*1000/whole%10)
	if counts == "" {
		return share
	}
	return fmt.Sprintf(counts, part, whole) + " (" + share + ")"
}

// revenueDays reads the first and the last day of a time, or says what is wrong with them.
func revenueDays(first, last string, zone *time.Location) (from, to time.Time, problem string) {
	from, err1 := time.ParseInLocation(dayLayout, strings.TrimSpace(first), zone)
	to, err2 := time.ParseInLocation(dayLayout, strings.TrimSpace(last), zone)
	switch {
	case err1 != nil || err2 != nil:
		problem = "Enter days as in 2026-11-21."
	case to.Before(from):
		problem = "The last day is before the first day."
	case to.After(from.AddDate(0, maxMonthPeriods, 0)):
		problem = "The time is longer than ten years."
	}
	return from, to, problem
}
