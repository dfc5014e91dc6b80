package console

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"notepay/internal/alert"
	"notepay/internal/fleet"
)

// Alerts is the part of the alerts that the console shows.
type Alerts interface {
	// Status returns how the last alert to each recipient ended.
	Status() []alert.Status
	// Test sends a test alert to each recipient, and returns their errors.
	Test(ctx context.Context) []error
}

// AttentionWords returns in one line why a payment needs attention.
func AttentionWords(reason string) string { return attentionWords(reason).Why }

// ReportWords returns what a customer reported.
func ReportWords(reason string) string { return reportWords(reason) }

// MachineWords counts machines by their state: "38 ready, 2 paused".
func MachineWords(count map[fleet.State]int) string {
	var words []string
	for _, s := range inWords(count) {
		words = append(words, fmt.Sprintf("%d %s", s.Devices, s.Text))
	}
	return strings.Join(words, ", ")
}

// alertTests allows one test alert at a time, and remembers the last.
type alertTests struct {
	mu      sync.Mutex
	running bool
	ended   time.Time
	last    []error // by recipient; nil if there was none
}

func (t *alertTests) begin(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running || now.Sub(t.ended) < checkInterval {
		return false
	}
	t.running = true
	return true
}

func (t *alertTests) end(errs []error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.ended, t.last = false, time.Now(), errs
}

// alertRow is a recipient of alerts on the page Setup.
type alertRow struct {
	alert.Status
	Tested bool
	Test   error // of the last test alert
}

// alertsPage is the part of the page Setup about alerts.
type alertsPage struct {
	Rows     []alertRow
	TestedAt time.Time
	Soon     bool // the last test alert was less than checkInterval ago
}

func (c *Console) alertsPage(soon bool) (page alertsPage) {
	if c.Alerts == nil {
		return page
	}
	c.tests.mu.Lock()
	defer c.tests.mu.Unlock()
	page.Soon, page.TestedAt = soon, c.tests.ended
	for n, s := range c.Alerts.Status() {
		row := alertRow{Status: s}
		if n < len(c.tests.last) {
			row.Tested, row.Test = true, c.tests.last[n]
		}
		page.Rows = append(page.Rows, row)
	}
	return page
}

// testAlert sends a test alert, and shows how it ended.
func (c *Console) testAlert(w http.ResponseWriter, r *http.Request) error {
	if c.Alerts == nil {
		return c.problem(w, r, http.StatusNotFound, "ALERT_URLS is not set.")
	}
	soon := !c.tests.begin(time.Now())
	if !soon {
		ctx, cancel := c.Live.UntilEnd(r.Context())
		defer cancel()
		c.tests.end(c.Alerts.Test(ctx))
	}
	return c.showSetup(w, r, false, soon)
}
