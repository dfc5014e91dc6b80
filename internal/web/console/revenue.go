package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/natural"
	"notepay/internal/revenue"
	"notepay/internal/uid"
	"notepay/internal/web"
)

const (
	// maxMachineRows bounds the table of machines.
	maxMachineRows = 100
	// maxDayPeriods and the others bound the periods of a chart.
	maxDayPeriods   = 93
	maxWeekPeriods  = 106
	maxMonthPeriods = 120
	shownPayouts    = 10
	usualDays       = 30
)

// revenueQuery is what the form of the page asks for.
type revenueQuery struct {
	From, To string // days
	By       revenue.By
	Machine  string // part of a name or UID, "" for all
	Site     string // a fleet's UID, "" for all
	Currency string
}

type revenuePage struct {
	revenueQuery
	Presets  []navLink
	Sites    []fleet.Site
	Report   revenue.Report
	Totals   []revenueRow
	Currency string // of the charts and tables
	Others   []navLink
	Notes    []string
	Empty    bool

	Bars     []bar
	Periods  []revenueRow
	Highest  string
	Week     []weekday
	HourRows []hourRow
	Busiest  string // the hour of the week with the most revenue, in words
	Machines []revenueRow
	More     int // machines that are not in the table
	BySite   []revenueRow
	Plans    []revenueRow
	Reasons  []reasonRow
	Fees     ledger.BalanceState
	Payouts  []ledger.Payout
}

// revenueRow is a row of a table: a currency, a period, a machine, a site or a plan.
type revenueRow struct {
	Name, Link string
	Currency   string
	ledger.Sums
	Machines int
	Span     time.Duration // the time in which the machines could be used
}

// Kept returns what is left of the captured amount.
func (r revenueRow) Kept() int64 { return r.Captured - r.Refunded - r.Lost }

// FailedShare returns the share of credits that did not start, in words.
func (r revenueRow) FailedShare() string {
	if r.Failed == 0 {
		return "0"
	}
	return percent(r.Failed, r.Credits, "%d of %d")
}

// InUse returns the share of the time in which the machines were used, in words.
func (r revenueRow) InUse() string {
	if r.Used == 0 || r.Span <= 0 {
		return "–"
	}
	whole := int64(r.Span/time.Second) * int64(max(r.Machines, 1))
	return percent(min(r.Used, whole), whole, "")
}

type reasonRow struct {
	Name string
	revenue.Count
}

// revenue shows what was sold in a time.
func (c *Console) revenue(w http.ResponseWriter, r *http.Request) error {
	page, query, problem := c.readRevenueQuery(c.langOf(r), r.URL.Query())
	v := view{Title: "Revenue", Nav: "revenue"}
	if problem != "" {
		v.Status, v.Problem = http.StatusBadRequest, problem
		page.Empty = true
		v.Data = page
		return c.write(w, r, "revenue", v)
	}
	report, err := revenue.Read(r.Context(), c.Ledger, query)
	if err != nil {
		return err
	}
	page.Report = report
	if page.Fees, err = c.Ledger.BalanceState(r.Context(), query.Livemode); err != nil {
		return err
	}
	if page.Payouts, err = c.Ledger.Payouts(r.Context(), query.Livemode, shownPayouts); err != nil {
		return err
	}
	c.fillRevenue(c.langOf(r), &page, query, r.URL.Query())
	v.Data = page
	return c.write(w, r, "revenue", v)
}

// readRevenueQuery reads the form of the page.
func (c *Console) readRevenueQuery(l lang, q url.Values) (page revenuePage, query revenue.Query, problem string) {
	today := midnight(c.Ledger.Now(), c.Zone)
	page.From, page.To = strings.TrimSpace(q.Get("from")), strings.TrimSpace(q.Get("to"))
	page.By, page.Machine, page.Site = revenue.By(q.Get("by")), strings.TrimSpace(q.Get("machine")), q.Get("site")
	page.revenueQuery.Currency = strings.ToLower(strings.TrimSpace(q.Get("currency")))
	page.From = cmp.Or(page.From, today.AddDate(0, 0, 1-usualDays).Format(dayLayout))
	page.To = cmp.Or(page.To, today.Format(dayLayout))
	page.Presets = revenuePresets(q, today, page.From, page.To)
	page.Sites = c.sites()
	query = revenue.Query{Livemode: !c.Test, Zone: c.Zone}
	if query.From, query.To, problem = revenueDays(page.From, page.To, c.Zone); problem != "" {
		return page, query, problem
	}
	query.By = fitting(page.By, query.From, query.To)
	if page.By != "" && query.By != page.By {
		page.Notes = append(page.Notes, l.T(
			"The time is too long for this. It is shown by {period}.", "period", l.T(byWords(query.By))))
	}
	page.By = query.By
	if page.Machine != "" || page.Site != "" {
		for _, d := range c.named(page.Machine) {
			if page.Site == "" || c.siteOf(d.UID) == page.Site {
				query.Devices = append(query.Devices, d.UID)
			}
		}
		if len(query.Devices) == 0 && page.Site == "" && uid.Valid(page.Machine) { // removed from the project
			query.Devices = []string{strings.ToLower(page.Machine)}
		}
		if len(query.Devices) == 0 {
			return page, query, "No machine has this name or UID at this site."
		}
		if len(query.Devices) > maxRevenueDevices {
			return page, query, "Too many machines have this in their names. Enter more of the name."
		}
	}
	return page, query, ""
}

// maxRevenueDevices bounds a query for some machines.
const maxRevenueDevices = 500

// fitting returns the asked period, or a longer one if there would be too many.
func fitting(by revenue.By, from, to time.Time) revenue.By {
	days := int(to.Sub(from)/(24*time.Hour)) + 1
	switch {
	case days > 7*maxWeekPeriods:
		return revenue.ByMonth
	case days > maxDayPeriods && by != revenue.ByMonth:
		return revenue.ByWeek
	case by == revenue.ByWeek || by == revenue.ByMonth:
		return by
	}
	return revenue.ByDay
}

// revenuePresets returns the links to usual times. They keep the machine, the site and the currency.
func revenuePresets(q url.Values, today time.Time, from, to string) (list []navLink) {
	month := today.AddDate(0, 0, 1-today.Day())
	week := revenue.ByWeek.Start(today)
	kept := url.Values{}
	for _, name := range []string{"machine", "site", "currency"} {
		if value := q.Get(name); value != "" {
			kept.Set(name, value)
		}
	}
	for _, p := range []struct {
		text     string
		from, to time.Time
		by       revenue.By
	}{
		{"Today", today, today, revenue.ByDay},
		{"7 days", today.AddDate(0, 0, -6), today, revenue.ByDay},
		{"Last week", week.AddDate(0, 0, -7), week.AddDate(0, 0, -1), revenue.ByDay},
		{"30 days", today.AddDate(0, 0, 1-usualDays), today, revenue.ByDay},
		{"This month", month, today, revenue.ByDay},
		{"Last month", month.AddDate(0, -1, 0), month.AddDate(0, 0, -1), revenue.ByDay},
		{"12 months", month.AddDate(0, -11, 0), today, revenue.ByMonth},
	} {
		a, b := p.from.Format(dayLayout), p.to.Format(dayLayout)
		kept.Set("from", a)
		kept.Set("to", b)
		kept.Set("by", string(p.by))
		list = append(list, navLink{
			Path: "/operator/revenue?" + kept.Encode(),
			Text: p.text,
			Here: a == from && b == to,
		})
	}
	return list
}

// siteOf returns the site of a machine: the first of its Notehub fleets, or "".
func (c *Console) siteOf(device string) string {
	if d := c.Fleet.Device(device); d != nil && len(d.Fleets) > 0 {
		return slices.Min(d.Fleets)
	}
	return ""
}

// sites returns the sites to which revenue is counted, by name.
func (c *Console) sites() []fleet.Site {
	counted := map[string]bool{}
	for _, d := range c.Fleet.All() {
		if len(d.Fleets) > 0 {
			counted[slices.Min(d.Fleets)] = true
		}
	}
	return slices.DeleteFunc(c.Fleet.Sites(), func(s fleet.Site) bool { return !counted[s.UID] })
}

// fillRevenue fills the tables and charts.
func (c *Console) fillRevenue(l lang, page *revenuePage, query revenue.Query, q url.Values) {
	report := page.Report
	for _, t := range report.Totals {
		if t.Currency == "" {
			continue // free starts
		}
		page.Totals = append(page.Totals, revenueRow{Currency: t.Currency, Sums: t.Sums})
		page.Currency = cmp.Or(page.Currency, t.Currency)
	}
	known := func(t revenueRow) bool { return t.Currency == page.revenueQuery.Currency }
	if slices.ContainsFunc(page.Totals, known) {
		page.Currency = page.revenueQuery.Currency
	}
	if len(page.Totals) > 1 {
		for _, t := range page.Totals {
			page.Others = append(page.Others, navLink{
				Path: "/operator/revenue?" + with(q, "currency", t.Currency),
				Text: strings.ToUpper(t.Currency),
				Here: t.Currency == page.Currency,
			})
		}
	}
	page.Empty = len(report.Totals) == 0
	page.Bars, page.Periods = c.periods(l, query, report.Periods, page.Currency)
	page.Highest = page.highest(l)
	page.Week, page.HourRows = week(l, report.Hours[page.Currency], page.Currency)
	page.Busiest = busiest(l, report.Hours[page.Currency], page.Currency)
	c.fillMachines(page, query)
	for _, g := range report.Plans {
		if g.Currency == page.Currency {
			page.Plans = append(page.Plans, revenueRow{
				Name: cmp.Or(g.Name, l.T("no name")), Currency: g.Currency, Sums: g.Sums,
			})
		}
	}
	for reason, count := range report.Reasons[page.Currency] {
		page.Reasons = append(page.Reasons, reasonRow{l.T(refundWords(reason)), count})
	}
	slices.SortFunc(page.Reasons, func(a, b reasonRow) int {
		return cmp.Or(cmp.Compare(b.Amount, a.Amount), cmp.Compare(a.Name, b.Name))
	})
}

// fillMachines fills the tables of machines and sites. Use and starts count in all currencies, because
// free starts have none.
func (c *Console) fillMachines(page *revenuePage, query revenue.Query) {
	span := c.usable(query)
	rows, index := []revenueRow{}, map[string]int{}
	for _, g := range page.Report.Machines {
		n, known := index[g.Name]
		if !known {
			n = len(rows)
			index[g.Name] = n
			name := g.Name
			if d := c.Fleet.Device(g.Name); d != nil {
				name = web.MachineName(d.Name, d.UID)
			}
			rows = append(rows, revenueRow{
				Name: name, Link: g.Name, Currency: page.Currency, Machines: 1, Span: span,
			})
		}
		sums := g.Sums
		if g.Currency != page.Currency {
			sums = ledger.Sums{Credits: g.Credits, Failed: g.Failed, Used: g.Used}
		}
		rows[n].Add(sums)
	}
	slices.SortFunc(rows, func(a, b revenueRow) int {
		return cmp.Or(cmp.Compare(b.Kept(), a.Kept()), natural.Compare(a.Name, b.Name))
	})
	if len(page.Sites) > 0 {
		page.BySite = c.bySite(rows, span)
	}
	page.Machines = rows[:min(len(rows), maxMachineRows)]
	page.More = len(rows) - len(page.Machines)
}

func (c *Console) bySite(machines []revenueRow, span time.Duration) (list []revenueRow) {
	index := map[string]int{}
	for _, m := range machines {
		site := c.siteOf(m.Link)
		n, known := index[site]
		if !known {
			n = len(list)
			index[site] = n
			name := ""
			if site != "" {
				name = c.Fleet.SiteName(site)
			}
			list = append(list, revenueRow{Name: name, Link: site, Currency: m.Currency, Span: span})
		}
		list[n].Add(m.Sums)
		if m.Used > 0 {
			list[n].Machines++
		}
	}
	slices.SortFunc(list, func(a, b revenueRow) int {
		return cmp.Or(cmp.Compare(b.Kept(), a.Kept()), natural.Compare(a.Name, b.Name))
	})
	return list
}

// usable returns for how long machines could be used: from the first day, or the beginning of the
// ledger, to the end of the last day, or now.
func (c *Console) usable(query revenue.Query) time.Duration {
	from, to := query.From, query.To.AddDate(0, 0, 1)
	if born := c.Ledger.CreatedAt(); born.After(from) {
		from = born
	}
	if now := c.Ledger.Now(); now.Before(to) {
		to = now
	}
	return to.Sub(from)
}

// Choices returns the periods of the form.
func (p revenuePage) Choices() (list []navLink) {
	for _, by := range []revenue.By{revenue.ByDay, revenue.ByWeek, revenue.ByMonth} {
		list = append(list, navLink{Path: string(by), Text: string(by), Here: by == p.By})
	}
	return list
}

// ByName returns the name of a period, as a heading.
func (p revenuePage) ByName() string {
	return cmp.Or(map[revenue.By]string{revenue.ByWeek: "Week from", revenue.ByMonth: "Month"}[p.By], "Day")
}

// FeesKnown reports whether any fees were read.
func (p revenuePage) FeesKnown() bool { return !p.Fees.Through.IsZero() }

// First returns the first period of the chart.
func (p revenuePage) First() revenueRow { return p.Periods[0] }

// Last returns the last period of the chart.
func (p revenuePage) Last() revenueRow { return p.Periods[len(p.Periods)-1] }

// payoutWords names the state of a payout. Others are in Stripe's words.
func payoutWords(status string) word {
	switch status {
	case "paid":
		return word{"paid", "good"}
	case "pending", "in_transit":
		return word{"on its way", "wait"}
	case "failed":
		return word{"failed", "bad"}
	case "canceled":
		return word{"canceled", ""}
	}
	return word{status, ""}
}
