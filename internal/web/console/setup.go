package console

import (
	"iter"
	"net/http"
	"slices"
	"sync"
	"time"

	"notepay/internal/message"
)

// Finding is the result of one configuration check.
type Finding struct {
	Name   string          // the subject of the check
	State  string          // "ok", "failed", "warned" or "skipped"
	Detail message.Message // what the check saw
	Remedy message.Message // how to fix it; none if nothing is wrong
}

// Word returns the state for people.
func (f Finding) Word() word {
	switch f.State {
	case "ok":
		return word{"ok", "good"}
	case "failed":
		return word{"failed", "bad"}
	case "warned":
		return word{"warning", "wait"}
	}
	return word{"skipped", ""}
}

// checkInterval is the minimum time between two runs of the checks, because each calls the vendors.
const checkInterval = 10 * time.Second

// checks allows one run of the checks at a time, and remembers the last.
type checks struct {
	mu    sync.Mutex
	last  lastRun
	ended time.Time
}

// lastRun is a run of the checks with its results so far.
type lastRun struct {
	At      time.Time // start of the run; zero if there was none
	Running bool
	Broken  bool // interrupted, because the browser left
	Found   []Finding
}

// begin reports whether a run may begin now. If so, the caller must call end.
func (c *checks) begin(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.Running || now.Sub(c.ended) < checkInterval {
		return false
	}
	c.last = lastRun{At: now, Running: true}
	return true
}

func (c *checks) add(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last.Found = append(c.last.Found, f)
}

func (c *checks) end(broken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last.Running, c.last.Broken, c.ended = false, broken, time.Now()
}

func (c *checks) snapshot() lastRun {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last // its list only grows
}

type setupPage struct {
	lastRun
	Soon   bool // the last run was less than checkInterval ago
	Found  iter.Seq[Finding]
	Alerts alertsPage
	c      *checks
	lang   lang
}

// Summary returns the line below the list, which may have grown while the page was written.
func (p *setupPage) Summary() string {
	last, failed := p.c.snapshot(), 0
	for _, f := range last.Found {
		if f.State == "failed" {
			failed++
		}
	}
	made := p.lang.N(len(last.Found), "{n} check", "{n} checks")
	switch {
	case p.Running:
		return p.lang.T("{checks} so far.", "checks", made)
	case last.Broken:
		return p.lang.T("{checks}, then the run was interrupted.", "checks", made)
	case failed > 0:
		return made + ", " + p.lang.N(failed, "{n} problem.", "{n} problems.")
	}
	return p.lang.T("{checks}, no problems.", "checks", made)
}

// setup shows the results of the last run.
func (c *Console) setup(w http.ResponseWriter, r *http.Request) error {
	return c.showSetup(w, r, false, false)
}

// showSetup shows the page. soon and testedSoon say that checks or a test alert ran a moment ago.
func (c *Console) showSetup(w http.ResponseWriter, r *http.Request, soon, testedSoon bool) error {
	last := c.checks.snapshot()
	return c.write(w, r, "setup", view{
		Title: "Setup",
		Nav:   "setup",
		Data: &setupPage{
			lastRun: last,
			Soon:    soon,
			Found:   slices.Values(last.Found),
			Alerts:  c.alertsPage(testedSoon),
			c:       &c.checks,
			lang:    c.langOf(r),
		},
	})
}

// runChecks runs the checks, and sends each result as soon as it is known. If a run may not begin
// now, it shows the last results.
func (c *Console) runChecks(w http.ResponseWriter, r *http.Request) error {
	if !c.checks.begin(time.Now()) {
		return c.showSetup(w, r, true, false)
	}
	ctx, cancel := c.Live.UntilEnd(r.Context())
	defer cancel()
	defer func() { c.checks.end(ctx.Err() != nil) }()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the limit for reading a request would end the answer
	page := &setupPage{lastRun: lastRun{At: time.Now()}, Alerts: c.alertsPage(false), c: &c.checks, lang: c.langOf(r)}
	page.Found = func(yield func(Finding) bool) {
		_ = control.Flush()
		c.Check(ctx, func(f Finding) {
			c.checks.add(f)
			if ctx.Err() != nil || !yield(f) {
				cancel() // the browser has left
				return
			}
			_ = control.Flush()
		})
	}
	w.Header().Set("X-Accel-Buffering", "no") // nginx would buffer the results
	return c.writePieces(w, r, "setup", view{Title: "Setup", Nav: "setup", Data: page})
}
