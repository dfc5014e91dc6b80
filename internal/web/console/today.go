package console

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
)

const (
	// maxRows bounds each list on the first page.
	maxRows = 20
	// maxTogether bounds the machines that one form of the first page names, because a form of a page
	// has at most 16 KiB.
	maxTogether = 200
	// LateLookup is the age at which a pending look-up is shown. The ledger's figures use the same.
	LateLookup = 15 * time.Minute
)

// indicator is a traffic light that also names its state.
type indicator struct {
	Name string
	word
	Detail string
}

type todayPage struct {
	Lights    []indicator
	Attention []attentionGroup
	Paused    []pauseGroup
	Problems  []fleet.Problem
	Alarms    []problem.Problem // of the whole service
	Lookups   []ledger.Lookup
	Reports   []ledger.Report // of customers, not seen yet
	Takings   []ledger.Revenue
	Running   []payment.Payment
	Runs      int // running machines in total
	States    []stateCount
	Quiet     bool   // nothing needs attention
	Balance   string // address of the balance in Stripe's Dashboard
}

type stateCount struct {
	word
	State   fleet.State
	Devices int
}

// today serves the first page: what needs attention, and the state of the service.
func (c *Console) today(w http.ResponseWriter, r *http.Request) error {
	ctx, now := r.Context(), c.Ledger.Now()
	var page todayPage
	stats, err := c.Ledger.Stats(ctx)
	if err != nil {
		return err
	}
	if page.Attention, err = c.attentionGroups(ctx); err != nil {
		return err
	}
	if page.Lookups, err = c.Ledger.LateLookups(ctx, now.Add(-LateLookup), maxRows); err != nil {
		return err
	}
	if page.Reports, err = c.Ledger.OpenReports(ctx, maxRows); err != nil {
		return err
	}
	if page.Takings, err = c.Ledger.Revenue(ctx, midnight(now, c.Zone), now.Add(time.Minute)); err != nil {
		return err
	}
	running, err := c.Ledger.Occupants(ctx)
	if err != nil {
		return err
	}
	running = slices.DeleteFunc(running,
		func(p payment.Payment) bool { return p.Delivery != payment.Started && p.Delivery != payment.Fetched })
	slices.SortFunc(running, func(a, b payment.Payment) int { return a.EndsAt.Compare(b.EndsAt) })
	page.Runs, page.Running = len(running), running[:min(len(running), maxRows)]
	page.States = inWords(c.Fleet.States())
	page.Paused = pauseGroups(c.Fleet.All())
	devices, _, _ := c.Fleet.Counts()
	problems := c.Fleet.Problems()
	page.Problems = problems[:min(len(problems), maxRows)]
	page.Lights = indicators(c.langOf(r), c.Vitals(ctx), stats, devices, now)
	if c.Config.Problems != nil {
		page.Alarms = c.Config.Problems()
	}
	page.Balance = dashboardPath(!c.Test, "balance/overview")
	page.Quiet = len(page.Alarms)+len(page.Attention)+len(page.Reports)+len(page.Paused)+len(page.Problems)+
		len(page.Lookups) == 0
	return c.write(w, r, "today", view{Title: "Today", Nav: "today", Live: true, Data: page})
}

// pauseGroup holds machines that one person paused for one reason.
type pauseGroup struct {
	ledger.Pause         // of the machine that was paused first
	Machines     []entry // by name, at most maxTogether

	devices []*fleet.Device
}

// Shown returns the machines that are named.
func (g pauseGroup) Shown() []entry { return g.Machines[:min(len(g.Machines), maxRows)] }

// More returns how many machines are not named.
func (g pauseGroup) More() int { return len(g.Machines) - len(g.Shown()) }

// pauseGroups returns the paused machines, the newest pauses first.
func pauseGroups(devices []*fleet.Device) (groups []pauseGroup) {
	paused := slices.DeleteFunc(devices, func(d *fleet.Device) bool { return d.Pause == nil })
	slices.SortFunc(paused, func(a, b *fleet.Device) int { return a.Pause.At.Compare(b.Pause.At) })
	for _, d := range paused {
		i := slices.IndexFunc(groups, func(g pauseGroup) bool {
			return g.Reason == d.Pause.Reason && g.By == d.Pause.By && g.Automatic == d.Pause.Automatic &&
				len(g.devices) < maxTogether
		})
		if i < 0 {
			i = len(groups)
			groups = append(groups, pauseGroup{Pause: *d.Pause})
		}
		groups[i].devices = append(groups[i].devices, d)
	}
	slices.Reverse(groups)
	groups = groups[:min(len(groups), maxRows)]
	for i, g := range groups {
		groups[i].Machines = byName(g.devices)
	}
	return groups
}

// midnight returns the start of a day.
func midnight(t time.Time, zone *time.Location) time.Time {
	year, month, day := t.In(zone).Date()
	return time.Date(year, month, day, 0, 0, 0, 0, zone)
}

// inWords returns the states of all devices with their counts, the most frequent first.
func inWords(count map[fleet.State]int) (list []stateCount) {
	for state, n := range count {
		list = append(list, stateCount{stateWords(state), state, n})
	}
	slices.SortFunc(list, func(a, b stateCount) int {
		return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Text, b.Text))
	})
	return list
}

// indicators returns the state of the service, one indicator for each part.
func indicators(l lang, v Vitals, stats ledger.Stats, devices int, now time.Time) []indicator {
	vendor := func(name, unreachable string) indicator {
		if unreachable != "" {
			return indicator{name, word{"not reachable", "bad"}, unreachable}
		}
		return indicator{name, word{"OK", "good"}, ""}
	}
	webhooks := indicator{"Webhooks", word{"OK", "good"}, l.T("last one {ago}", "ago", l.ago(now.Sub(v.Webhook)))}
	switch {
	case v.WebhooksOff:
		webhooks = indicator{"Webhooks", word{"off", "wait"}, "notepay asks Stripe regularly instead"}
	case v.Webhook.IsZero():
		webhooks = indicator{"Webhooks", word{"none yet", "wait"}, "none since notepay was started"}
	}
	queue := indicator{"Queue", word{"empty", "good"}, ""}
	if stats.Queued > 0 {
		queue = indicator{
			"Queue",
			word{l.N(stats.Queued, "{n} credit waiting", "{n} credits waiting"), "good"},
			l.T("oldest waiting for {time}", "time", l.roughDuration(now.Sub(stats.OldestQueued))),
		}
		if now.Sub(stats.OldestQueued) > time.Minute {
			queue.Class = "wait"
		}
		if now.Sub(stats.OldestQueued) > 5*time.Minute {
			queue.Class = "bad"
		}
	}
	store := indicator{"Records", word{"OK", "good"}, ""}
	if v.Store != nil {
		store = indicator{
			"Records",
			word{"cannot be written", "bad"},
			"no payment can be taken; check the disk and the log",
		}
	}
	known := indicator{"Machines", word{l.N(devices, "{n} machine", "{n} machines"), "good"}, ""}
	if devices == 0 {
		known = indicator{"Machines", word{"none", "wait"}, "no device in the Notehub project yet"}
	}
	return []indicator{vendor("Stripe", v.Stripe), webhooks, vendor("Notehub", v.Notehub), queue, store, known}
}
