package console

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/people"
	"notepay/internal/uid"
	"notepay/internal/web/api"
)

const (
	devicesPerPage = 25
	// historyLength is the number of last credits in a success rate.
	historyLength = 50
)

type deviceRow struct {
	fleet.Listed
	StateIs word
	History record
	Rate    string // the share of credits that started, in words
}

type devicesPage struct {
	Rows     []deviceRow
	Query    string
	Total    int
	Previous int // page number, 0 for none
	Next     int
}

// devices lists the devices, by name.
func (c *Console) devices(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	page := devicesPage{Query: strings.TrimSpace(q.Get("q"))}
	all := c.named(page.Query)
	page.Total = len(all)
	number, _ := strconv.Atoi(q.Get("page")) // no number: the first page
	number = min(max(number, 1), (len(all)+devicesPerPage-1)/devicesPerPage+1)
	from := min((number-1)*devicesPerPage, len(all))
	to := min(from+devicesPerPage, len(all))
	if page.Previous = number - 1; to < len(all) {
		page.Next = number + 1
	}
	for _, d := range c.Fleet.Listed(c.devicesOf(all[from:to])...) {
		credits, err := c.Ledger.History(r.Context(), d.UID, historyLength)
		if err != nil {
			return err
		}
		history := recordOf(credits)
		page.Rows = append(page.Rows, deviceRow{d, stateWords(d.State), history, history.rate(c.langOf(r))})
	}
	return c.write(w, r, "devices", view{Title: "Machines", Nav: "devices", Data: page})
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
	by := by(r)
	if by.Reason == "" && done != "resume" {
		return c.problem(w, r, http.StatusBadRequest,
			"Please enter a reason. It is kept in the audit log. Nothing was changed.")
	}
	err := f(uid.Of(r.PathValue("uid")), by)
	if errors.Is(err, ledger.ErrNotFound) {
		return c.problem(w, r, http.StatusNotFound,
			"This machine does not exist, or no longer exists. Nothing was changed.")
	}
	if err != nil {
		return err
	}
	return goBack(w, r, done)
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

func (c *Console) start(w http.ResponseWriter, r *http.Request) error {
	return c.onDevice(w, r, "start", func(uid string, by bridge.Actor) error {
		_, err := c.Bridge.GrantCredit(r.Context(), uid, by, consumeFormToken(r))
		return err
	})
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
