package console

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/people"
	"notepay/internal/uid"
	"notepay/internal/web"
	"notepay/internal/web/api"
)

// historyLength is the number of last credits in a success rate.
const historyLength = 50

type devicePage struct {
	machineRow
	History  record
	Rate     string // the share of credits that started, in words
	Hours    string // the time zone of its opening hours, "" if it has none
	Zone     string
	From, To string // of the form for maintenance
	Sessions bool   // a Checkout Session is created for each purchase, so there are no links
}

// LinkWords says why a program has no Payment Link, or "" if it needs none.
func (p devicePage) LinkWords(o fleet.Offer) string {
	switch {
	case p.Sessions:
		return ""
	case o.Closed != "":
		return "Payment Link closed in Stripe’s Dashboard"
	case p.Out != nil:
		return "no payments meanwhile"
	}
	switch p.State {
	case fleet.Paused, fleet.Disabled, fleet.PaymentsOff, fleet.Unscannable:
		return "no payments meanwhile"
	}
	return "Payment Link not ready yet"
}

// devicePath returns the page of a machine.
func devicePath(uid string) string { return "/operator/devices/" + url.PathEscape(uid) }

// device serves the page of one machine.
func (c *Console) device(w http.ResponseWriter, r *http.Request) error {
	d := c.Fleet.Device(uid.Of(r.PathValue("uid")))
	if d == nil {
		return c.problem(w, r, http.StatusNotFound, "This machine does not exist, or no longer exists.")
	}
	row, err := c.machineRow(r, c.Fleet.Listed(d)[0])
	if err != nil {
		return err
	}
	credits, err := c.Ledger.History(r.Context(), d.UID, historyLength)
	if err != nil {
		return err
	}
	now := c.Ledger.Now()
	history := recordOf(credits)
	page := devicePage{machineRow: row, History: history, Rate: history.rate(c.langOf(r)), Zone: zoneName(c.Zone, now)}
	page.Sessions = c.Fleet.Sessions
	page.From, page.To = maintenanceDefaults(now, c.Zone)
	if h := d.Hours(); h != nil {
		page.Hours = h.String()
	}
	return c.write(w, r, "device", view{Title: web.MachineName(d.Name, d.UID), Nav: "devices", Data: page})
}

// record summarizes the last credits of a device.
type record struct {
	Started, Failed int
	Last            ledger.Credit // the last that reached the machine
	Found           bool          // Last is set
}

// recordOf counts the credits that say something about the machine: those that it started, or
// fetched without having to confirm, and those that it failed to start.
func recordOf(credits []ledger.Credit) (r record) {
	for _, c := range credits {
		switch {
		case c.Machine == payment.Started, c.Machine == payment.Done, c.Machine == payment.Fetched && !c.Confirms:
			r.Started++
			if !r.Found {
				r.Last, r.Found = c, true
			}
		case c.Machine == payment.Failed && isMachineFault(c.Reason):
			r.Failed++
		}
	}
	return r
}

// isMachineFault reports whether a credit failed because of the machine or its connection.
func isMachineFault(reason string) bool {
	switch reason {
	case payment.ReasonExpired,
		payment.ReasonRefused,
		payment.ReasonFailed,
		payment.ReasonRecalled,
		payment.ReasonRecallUnclear,
		payment.ReasonUnclear,
		payment.ReasonUnconfirmed:
		return true
	}
	return false
}

// rate returns the share of credits that started, in words.
func (r record) rate(l lang) string {
	all := r.Started + r.Failed
	if all == 0 {
		return l.T("no starts yet")
	}
	return l.T("{percent}% of the last {n}", "percent", strconv.Itoa(100*r.Started/all), "n", strconv.Itoa(all))
}

// onDevice runs the action of a device's button, and redirects back.
func (c *Console) onDevice(
	w http.ResponseWriter,
	r *http.Request,
	done string,
	f func(uid string, by bridge.Actor) error,
) error {
	return c.changeDevice(w, r, done, func(uid string, by bridge.Actor) (string, error) {
		return r.PostFormValue("back"), f(uid, by)
	})
}

// changeDevice runs the action of a device's button, and redirects to the page that the action returns.
func (c *Console) changeDevice(
	w http.ResponseWriter,
	r *http.Request,
	done string,
	f func(uid string, by bridge.Actor) (page string, err error),
) error {
	by := by(r)
	if by.Reason == "" && done != "resume" && done != "maintenance_end" {
		return c.problem(w, r, http.StatusBadRequest,
			"Please enter a reason. It is kept in the audit log. Nothing was changed.")
	}
	page, err := f(uid.Of(r.PathValue("uid")), by)
	if text, status := refusedWords(err); text != "" {
		return c.problem(w, r, status, text)
	}
	if err != nil {
		return err
	}
	return goTo(w, r, page, done)
}

func (c *Console) pause(w http.ResponseWriter, r *http.Request) error {
	return c.onDevice(w, r, "pause", func(uid string, by bridge.Actor) error {
		return c.Bridge.Pause(r.Context(), uid, by, consumeFormToken(r))
	})
}

func (c *Console) resume(w http.ResponseWriter, r *http.Request) error {
	return c.onDevice(w, r, "resume", func(uid string, by bridge.Actor) error {
		return c.Bridge.Resume(r.Context(), uid, by, consumeFormToken(r))
	})
}

// maintain plans the maintenance of a machine.
func (c *Console) maintain(w http.ResponseWriter, r *http.Request) error {
	from, to, problem := c.maintenanceOf(r)
	if problem != "" {
		return c.problem(w, r, http.StatusBadRequest, problem)
	}
	return c.onDevice(w, r, "maintenance", func(uid string, by bridge.Actor) error {
		return c.Bridge.PlanMaintenance(r.Context(), uid, from, to, by, consumeFormToken(r))
	})
}

// cancelMaintenance cancels the maintenance of a machine.
func (c *Console) cancelMaintenance(w http.ResponseWriter, r *http.Request) error {
	return c.onDevice(w, r, "maintenance_end", func(uid string, by bridge.Actor) error {
		return c.Bridge.CancelMaintenance(r.Context(), uid, by, consumeFormToken(r))
	})
}

// localLayout is that of a browser's field for a day and a time.
const localLayout = "2006-01-02T15:04"

// maxMaintenance is the longest maintenance. A machine that is closed for longer is paused.
const maxMaintenance = 90 * 24 * time.Hour

// maintenanceDefaults returns what the form for maintenance begins with: the next full hour and two
// hours later.
func maintenanceDefaults(now time.Time, zone *time.Location) (from, to string) {
	next := now.In(zone).Truncate(time.Hour).Add(time.Hour)
	return next.Format(localLayout), next.Add(2 * time.Hour).Format(localLayout)
}

// maintenanceOf reads the times of a form. problem says what is wrong with them.
func (c *Console) maintenanceOf(r *http.Request) (from, to time.Time, problem string) {
	from, err := time.ParseInLocation(localLayout, strings.TrimSpace(r.PostFormValue("from")), c.Zone)
	if err == nil {
		to, err = time.ParseInLocation(localLayout, strings.TrimSpace(r.PostFormValue("to")), c.Zone)
	}
	switch {
	case err != nil:
		problem = "Enter both times as in 2026-11-21T14:00. Nothing was changed."
	case !from.Before(to) || !c.Ledger.Now().Before(to):
		problem = "The maintenance has to end after it begins, and in the future. Nothing was changed."
	case to.Sub(from) > maxMaintenance:
		problem = "Plan at most 90 days, or pause the machine. Nothing was changed."
	}
	return from, to, problem
}

// start starts a machine for free, and leads to the free start, whose page has the access code.
func (c *Console) start(w http.ResponseWriter, r *http.Request) error {
	return c.changeDevice(w, r, "start", func(device string, by bridge.Actor) (string, error) {
		price := strings.TrimSpace(r.PostFormValue("price"))
		p, err := c.Bridge.GrantCredit(r.Context(), device, price, by, consumeFormToken(r))
		return "/operator/payments/" + url.PathEscape(p.ID), err
	})
}

// refusedWords says why a machine was not changed, or returns "" for other errors.
func refusedWords(err error) (text string, status int) {
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return "This machine does not exist, or no longer exists. Nothing was changed.", http.StatusNotFound
	case errors.Is(err, payment.ErrState):
		return "The machine is in use, or a start is on its way. End that session or cancel that start first. " +
			"Nothing was changed.", http.StatusConflict
	case errors.Is(err, bridge.ErrNoPrice):
		return "The machine does not sell this program any more. Nothing was changed.", http.StatusConflict
	case errors.Is(err, bridge.ErrNotRead):
		return "notepay is reading what this machine sells. Try again in a moment. Nothing was changed.",
			http.StatusServiceUnavailable
	case errors.Is(err, bridge.ErrTimeUnknown):
		return "Stripe has not answered yet, so notepay does not know the time. Try again in a moment. " +
			"Nothing was changed.", http.StatusServiceUnavailable
	}
	return "", 0
}

// refresh reads the devices and prices again.
func (c *Console) refresh(w http.ResponseWriter, r *http.Request) error {
	if _, err := c.Fleet.Refresh(r.Context()); err != nil {
		c.Log.Warn("requested refresh failed", "err", err)
		return c.problem(w, r, http.StatusBadGateway,
			"Notehub or Stripe did not answer. Sales go on as before. Please try again in a moment.")
	}
	return goBack(w, r, "refresh")
}

// by returns the actor of a request, with the reason from its form.
func by(r *http.Request) bridge.Actor {
	reason := strings.ToValidUTF8(strings.TrimSpace(r.PostFormValue("reason")), "")
	return bridge.Actor{Name: people.From(r.Context()).Name, Reason: shortened(reason, api.MaxReason)}
}

// shortened cuts a text to at most maxLen bytes, in whole characters.
func shortened(text string, maxLen int) string {
	if len(text) <= maxLen {
		return text
	}
	return strings.ToValidUTF8(text[:maxLen], "")
}
