package console

import (
	"cmp"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/natural"
)

const (
	machinesPerPage = 50
	// barDays is how many days the bars of a machine show.
	barDays = 7
	// maxBarStarts bounds the payments that the bars of one machine read.
	maxBarStarts = 2000
)

// machineFilter selects and sorts machines.
type machineFilter struct {
	Query string
	Site  string // a fleet's UID, "" for all
	State string // a fleet.State, or one of the groups below; "" for all
	Sort  string
}

// The groups of states.
const (
	stateSells = "sells" // also in use
	stateNot   = "not"
	stateWrong = "problem" // its variables or prices cannot be used, at least in part
)

// The orders of machines. "" is by name.
const (
	sortState  = "state"
	sortSite   = "site"
	sortActive = "active" // the longest silent first
)

// machineFilterOf reads the filter of a list or form.
func machineFilterOf(q url.Values) machineFilter {
	return machineFilter{
		Query: strings.TrimSpace(q.Get("q")),
		Site:  q.Get("site"),
		State: q.Get("state"),
		Sort:  q.Get("sort"),
	}
}

// sells reports whether customers can pay, now or once the current use is over.
func sells(s fleet.State) bool { return s == fleet.Open || s == fleet.InUse }

// onlyNamed reports whether a filter selects by name alone, and keeps the order of names.
func (f machineFilter) onlyNamed() bool { return f.Site == "" && f.State == "" && f.Sort == "" }

// machines returns the machines that a filter selects, in its order.
func (c *Console) machines(f machineFilter) []fleet.Listed {
	devices := c.devicesOf(c.named(f.Query))
	if f.Site != "" {
		devices = slices.DeleteFunc(devices, func(d *fleet.Device) bool { return !slices.Contains(d.Fleets, f.Site) })
	}
	list := c.Fleet.Listed(devices...)
	if f.State != "" {
		list = slices.DeleteFunc(list, func(l fleet.Listed) bool {
			switch f.State {
			case stateSells:
				return !sells(l.State)
			case stateNot:
				return sells(l.State)
			case stateWrong:
				return len(l.Problems) == 0
			}
			return string(l.State) != f.State
		})
	}
	switch f.Sort { // equal ones stay in the order of their names
	case sortState:
		rank := map[string]int{"bad": 0, "wait": 1, "": 2, "good": 3}
		slices.SortStableFunc(list, func(a, b fleet.Listed) int {
			if a.State == b.State {
				return 0
			}
			return cmp.Or(rank[stateWords(a.State).Class]-rank[stateWords(b.State).Class],
				strings.Compare(string(a.State), string(b.State)))
		})
	case sortSite:
		names := make(map[string]string, len(list)) // by UID
		for _, l := range list {
			names[l.UID] = c.siteNames(l)
		}
		slices.SortStableFunc(list, func(a, b fleet.Listed) int {
			return natural.Compare(names[a.UID], names[b.UID])
		})
	case sortActive:
		slices.SortStableFunc(list, func(a, b fleet.Listed) int { return a.LastActivity.Compare(b.LastActivity) })
	}
	return list
}

// siteNames returns the names of a machine's sites.
func (c *Console) siteNames(l fleet.Listed) string {
	names := make([]string, len(l.Fleets))
	for i, id := range l.Fleets {
		names[i] = c.Fleet.SiteName(id)
	}
	slices.SortFunc(names, natural.Compare)
	return strings.Join(names, ", ")
}

type machineRow struct {
	fleet.Listed
	StateIs word
	Why     string // why it does not sell, "" if it does
	Sites   string
	Bars    weekBars
}

type stateOption struct{ Key, Text string }

type machinesPage struct {
	machineFilter
	Rows     []machineRow
	Sites    []fleet.Site
	States   []stateOption
	Total    int
	Previous string // address, "" for none
	Next     string
	Stopped  string // why all machines are stopped, "" if they are not
	From, To string // of the form for maintenance
}

// devices lists the machines.
func (c *Console) devices(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	page := machinesPage{machineFilter: machineFilterOf(q), Stopped: c.stopped(c.langOf(r))}
	if d := c.Fleet.Device(strings.ToLower(page.Query)); d != nil { // a whole UID, as in a link of an alert
		http.Redirect(w, r, devicePath(d.UID), http.StatusSeeOther)
		return nil
	}
	var states []stateCount
	page.Sites, states = c.roster.filters(c.Fleet)
	for _, s := range states {
		page.States = append(page.States, stateOption{string(s.State), s.Text})
	}
	page.From, page.To = maintenanceDefaults(c.Ledger.Now(), c.Zone)
	var show func(from, to int) []fleet.Listed
	if page.onlyNamed() { // the states of a hundred thousand machines are not needed to show fifty
		all := c.named(page.Query)
		page.Total = len(all)
		show = func(from, to int) []fleet.Listed { return c.Fleet.Listed(c.devicesOf(all[from:to])...) }
	} else {
		all := c.machines(page.machineFilter)
		page.Total = len(all)
		show = func(from, to int) []fleet.Listed { return all[from:to] }
	}
	number, _ := strconv.Atoi(q.Get("page")) // no number: the first page
	number = min(max(number, 1), (page.Total+machinesPerPage-1)/machinesPerPage+1)
	from := min((number-1)*machinesPerPage, page.Total)
	to := min(from+machinesPerPage, page.Total)
	if number > 1 {
		page.Previous = "/operator/devices?" + with(q, "page", strconv.Itoa(number-1))
	}
	if to < page.Total {
		page.Next = "/operator/devices?" + with(q, "page", strconv.Itoa(number+1))
	}
	for _, d := range show(from, to) {
		row, err := c.machineRow(r, d)
		if err != nil {
			return err
		}
		page.Rows = append(page.Rows, row)
	}
	return c.write(w, r, "devices", view{Title: "Machines", Nav: "devices", Data: page})
}

// stopped returns why no machine sells at all, or "".
func (c *Console) stopped(in lang) string {
	if c.Config.Problems != nil {
		for _, p := range c.Config.Problems() {
			if p.StopsSales {
				return in.say(p.Text)
			}
		}
	}
	if c.Bridge.Late() {
		return in.T("Credits wait too long to be sent to Notehub.")
	}
	return ""
}

// machineRow describes a machine for the list.
func (c *Console) machineRow(r *http.Request, l fleet.Listed) (machineRow, error) {
	in := c.langOf(r)
	row := machineRow{Listed: l, StateIs: stateWords(l.State), Why: c.whyNot(in, l), Sites: c.siteNames(l)}
	row.Problems = slices.DeleteFunc(slices.Clone(l.Problems), func(p message.Message) bool {
		return strings.Contains(row.Why, in.say(p))
	})
	if l.State == fleet.Open && row.Why != "" {
		row.StateIs = word{"not reached", "bad"}
	}
	today := midnight(c.Ledger.Now(), c.Zone)
	starts, err := c.Ledger.Starts(r.Context(), l.UID, today.AddDate(0, 0, 1-barDays), maxBarStarts)
	row.Bars = barsOf(in, starts, today, c.Zone)
	return row, err
}

// whyNot returns one sentence that says why a machine does not sell now, or "".
func (c *Console) whyNot(in lang, l fleet.Listed) string {
	at := func(t time.Time) string {
		if midnight(t, c.Zone).Equal(midnight(c.Ledger.Now(), c.Zone)) {
			return t.In(c.Zone).Format("15:04")
		}
		return t.In(c.Zone).Format(in.layout(layoutWeekday))
	}
	problem := ""
	if len(l.Problems) > 0 {
		problem = ": " + in.say(l.Problems[0])
	}
	switch l.State {
	case fleet.Open:
		if c.Bridge.LateFor(l.UID) {
			return "Notehub has not accepted credits for it lately. A customer may try again within 15 minutes."
		}
		return ""
	case fleet.InUse:
		if l.Until.IsZero() {
			return "A customer is using it."
		}
		return in.T("A customer is using it until about {time}.", "time", at(l.Until))
	case fleet.Paused:
		if l.Pause.Automatic {
			return in.T("notepay paused it at {time}: {reason}. It sells again when the machine responds.",
				"time", at(l.Pause.At), "reason", strings.TrimSuffix(in.pauseReason(*l.Pause), "."))
		}
		return in.T("Paused by {who} at {time}: {reason}", "who", l.Pause.By, "time", at(l.Pause.At),
			"reason", sentence(l.Reason))
	case fleet.Maintained:
		return in.T("Maintenance until {time}: {reason}", "time", at(l.Planned.To), "reason", sentence(l.Reason))
	case fleet.OutOfHours:
		return in.T("Its opening hours begin again: {time}.", "time", at(l.Until))
	case fleet.OutOfOrder:
		code := ""
		if l.Out.Code != "" {
			code = " (" + l.Out.Code
			if name := c.Fleet.Device(l.UID).CodeName(l.Out.Code); name != "" {
				code += ", " + name
			}
			code += ")"
		}
		return in.T("The machine has said since {time} that it is out of order{code}. "+
			"It sells again when the machine says so, or when you resume sales.",
			"time", at(l.Out.At), "code", code)
	case fleet.Offline:
		if l.LastActivity.IsZero() {
			return "Notehub has never heard it. Check its power and its connection."
		}
		return in.T("Notehub heard it last {ago}, longer ago than OFFLINE_AFTER. Check its power and its connection.",
			"ago", in.ago(c.Ledger.Now().Sub(l.LastActivity)))
	case fleet.Disabled:
		return "It is disabled in Notehub. Enable it there."
	case fleet.PaymentsOff:
		return sentence(in.T("Its variable payment_enabled in Notehub takes it out of sale")+problem) + " " +
			in.T("Set it to true there to sell again.")
	case fleet.NoOffers:
		return sentence(in.T("It has no price that can be sold")+problem) + " " +
			in.T("Set stripe_price_id in Notehub to a price that Stripe sells.")
	case fleet.LinkClosed:
		return "Its Payment Link was deactivated or limited in Stripe’s Dashboard."
	case fleet.NotReady:
		return "Its Payment Link is being created."
	case fleet.Unread:
		return "Its variables in Notehub were not read yet."
	case fleet.NoKey:
		return "Its public key is not known, so no note can be encrypted for it."
	case fleet.Unreadable, fleet.Unscannable:
		return sentence(in.T("It cannot be sold") + problem)
	}
	return stateWords(l.State).Text
}

// sentence ends a text with a full stop.
func sentence(text string) string { return strings.TrimSuffix(text, ".") + "." }

// weekBars are the payments of a machine on the last days, oldest first.
type weekBars struct {
	Days  [barDays]weekBar
	Total int
	Label string // the same in words
	None  string // what is shown without any
}

// weekBar is one day: how many payments started the machine, and how many did not.
type weekBar struct {
	Started, Failed int
	X, Y, Height    int // of what started, in the picture
	FailedHeight    int
}

const (
	barHeight = 20 // of the highest bar
	barWidth  = 6
)

// barsOf counts a machine's payments by day. today is the beginning of the last day.
func barsOf(l lang, starts []ledger.Start, today time.Time, zone *time.Location) (b weekBars) {
	for _, s := range starts {
		day := midnight(s.At, zone)
		for i := range b.Days {
			if day.Equal(today.AddDate(0, 0, i+1-barDays)) {
				if b.Total++; s.Failed {
					b.Days[i].Failed++
				} else {
					b.Days[i].Started++
				}
			}
		}
	}
	most := 1
	for _, d := range b.Days {
		most = max(most, d.Started+d.Failed)
	}
	var words []string
	for i := range b.Days {
		d := &b.Days[i]
		d.X = i * (barWidth + 2)
		d.Height, d.FailedHeight = scaled(d.Started, most), scaled(d.Failed, most)
		d.Y = barHeight - d.Height
		text := l.T(today.AddDate(0, 0, i+1-barDays).Weekday().String()) + " " + strconv.Itoa(d.Started)
		if d.Failed > 0 {
			text = l.T("{starts} and {n} failed", "starts", text, "n", strconv.Itoa(d.Failed))
		}
		words = append(words, text)
	}
	b.Label = l.T("Starts by day: {days}", "days", strings.Join(words, ", "))
	b.None = l.T("no starts")
	return b
}

// scaled returns the height of a part of a bar. What is not zero can be seen.
func scaled(n, most int) int {
	if n == 0 {
		return 0
	}
	return max(n*barHeight/most, 2)
}

// Picture returns the bars as an image.
func (b weekBars) Picture() template.HTML {
	if b.Total == 0 {
		return template.HTML(`<span class="quiet">` + html.EscapeString(b.None) + `</span>`) // safe: escaped
	}
	var s strings.Builder
	fmt.Fprintf(&s, `<svg class="bars" viewBox="0 0 %d %d" role="img" aria-label="%s">`,
		barDays*(barWidth+2)-2, barHeight+1, html.EscapeString(b.Label))
	for _, d := range b.Days {
		fmt.Fprintf(&s, `<rect class="base" x="%d" y="%d" width="%d" height="1"/>`, d.X, barHeight, barWidth)
		if d.Height > 0 {
			fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%d" height="%d"/>`, d.X, d.Y, barWidth, d.Height)
		}
		if d.FailedHeight > 0 {
			fmt.Fprintf(&s, `<rect class="bad" x="%d" y="%d" width="%d" height="%d"/>`,
				d.X, max(d.Y-d.FailedHeight, 0), barWidth, d.FailedHeight)
		}
	}
	s.WriteString("</svg>")
	return template.HTML(s.String()) // safe: numbers, and escaped texts
}
