package console

import (
	"iter"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Finding is what one check of the settings came to.
type Finding struct {
	Name   string // the problem that was looked for
	State  string // "ok", "failed", "warned" or "skipped"
	Detail string // what was seen
	Remedy string // what mends it; "" where nothing has to be
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

// betweenChecks is how long after the end of one run of the checks the next may begin: each calls
// the vendors.
const betweenChecks = 10 * time.Second

// checks are the runs of the checks: one at a time, and the last one is remembered.
type checks struct {
	mu    sync.Mutex
	last  lastRun
	ended time.Time
}

// lastRun is one run of the checks, and what it has found so far.
type lastRun struct {
	At      time.Time // when it began; zero: there was none since the start
	Running bool
	Broken  bool // off, for nobody waited for it
	Found   []Finding
}

// begin says whether a run may begin now. Whoever is told so calls end.
func (c *checks) begin(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.Running || now.Sub(c.ended) < betweenChecks {
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

func (c *checks) look() lastRun {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last // whose list only grows behind what was looked at
}

type setupPage struct {
	lastRun
	Soon  bool // the checks were asked for again too soon
	Found iter.Seq[Finding]
	c     *checks
}

// Summary is what there is to say below the list, which may have grown since the page was begun.
func (p *setupPage) Summary() string {
	last, failed := p.c.look(), 0
	for _, f := range last.Found {
		if f.State == "failed" {
			failed++
		}
	}
	made := plural(len(last.Found), "check")
	switch {
	case p.Running:
		return made + " so far."
	case last.Broken:
		return made + ", then the run was interrupted."
	case failed > 0:
		return made + ", " + plural(failed, "problem") + "."
	}
	return made + ", no problems."
}

// setup shows what the checks found last.
func (c *Console) setup(w http.ResponseWriter, r *http.Request) error {
	return c.showSetup(w, r, false)
}

func (c *Console) showSetup(w http.ResponseWriter, r *http.Request, soon bool) error {
	last := c.checks.look()
	return c.write(w, r, "setup", view{
		Title: "Setup",
		Nav:   "setup",
		Data:  &setupPage{lastRun: last, Soon: soon, Found: slices.Values(last.Found), c: &c.checks},
	})
}

// runChecks makes the checks, and shows each as it is known: the page comes in pieces. Where they
// may not be made now it shows the last ones.
func (c *Console) runChecks(w http.ResponseWriter, r *http.Request) error {
	if !c.checks.begin(time.Now()) {
		return c.showSetup(w, r, true)
	}
	ctx, cancel := c.Live.UntilEnd(r.Context())
	defer cancel()
	defer func() { c.checks.end(ctx.Err() != nil) }()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(
		time.Time{},
	) // the limit for reading a request would end the answer; not every writer has one
	page := &setupPage{lastRun: lastRun{At: time.Now()}, c: &c.checks}
	page.Found = func(yield func(Finding) bool) {
		_ = control.Flush()
		c.Check(ctx, func(f Finding) {
			c.checks.add(f)
			if ctx.Err() != nil || !yield(f) {
				cancel() // nobody reads it
				return
			}
			_ = control.Flush()
		})
	}
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep the pieces back
	return c.writePieces(w, r, "setup", view{Title: "Setup", Nav: "setup", Data: page})
}
