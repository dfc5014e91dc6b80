package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/problem"
	"notepay/internal/sandbox"
)

// hasProblem wants a problem in /health, on the console's first page and in the metrics; or wants it not to be there.
func (f *front) hasProblem(code, says string, there bool) {
	f.Helper()
	var health struct {
		Status   string
		Problems []string
	}
	w := f.get("/health")
	if err := json.Unmarshal(w.Body.Bytes(), &health); err != nil {
		f.Fatal(err)
	}
	told := slices.ContainsFunc(health.Problems, func(text string) bool { return strings.Contains(text, says) })
	if told != there || (there && health.Status != "degraded") {
		f.Errorf("/health says %s; want %q in its problems: %v", w.Body, says, there)
	}
	if page := f.browser().shows("/operator"); strings.Contains(page, says) != there {
		f.Errorf("the console's first page tells %q: %v; want %v", says, !there, there)
	}
	line := "\nnotepay_problem{code=\"" + code + "\"} " + map[bool]string{true: "1", false: "0"}[there] + "\n"
	if metrics := f.get("/metrics").Body.String(); !strings.Contains(metrics, line) {
		f.Errorf("the metrics lack %s", line)
	}
}

func TestProblemsAreSaidWhileNothingIsSold(t *testing.T) {
	t.Parallel()
	const events = "GET /v1/events"
	for name, c := range map[string]struct {
		code, says string
		begin, end func(f *front)
		before     func(f *front) // the service runs; nil: nothing
		within     time.Duration
	}{
		"the devices were never listed": {problem.NotListed, "never read the complete list",
			func(f *front) { f.notehub.Always(hubList, sandbox.Outcome{Status: 500}) }, func(f *front) { f.notehub.Clear(hubList) }, nil, 10 * time.Second},
		"two listings failed": {problem.ListingFailed, "attempts to list the devices failed",
			func(f *front) { f.notehub.Always(hubList, sandbox.Outcome{Status: 200, Body: `{"devices":7}`}) }, func(f *front) { f.notehub.Clear(hubList) },
			func(f *front) {}, 17 * time.Minute},
		"the list is outdated": {problem.ListOutdated, "last read the complete list",
			func(f *front) { f.notehub.Always(hubList, sandbox.Outcome{Status: 500}) }, func(f *front) { f.notehub.Clear(hubList) },
			func(f *front) {}, time.Hour},
		"no device can be paid for": {problem.NothingPayable, "No machine can be paid for: 1 nothing_to_sell",
			func(f *front) { f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Active = false }) },
			func(f *front) { f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Active = true }) }, func(f *front) {}, 2 * time.Minute},
		"no device is there": {problem.NothingPayable, "knows no device",
			func(f *front) { f.notehub.RemoveDevice(washer) }, func(f *front) { f.notehub.AddDevice(sandbox.Device{UID: washer}) }, nil, 2 * time.Minute},
		"Stripe's events cannot be read": {problem.EventsStuck, "misses payments whose webhook is lost",
			func(f *front) { f.stripe.Always(events, sandbox.Outcome{Status: 400}) }, func(f *front) { f.stripe.Clear(events) }, func(f *front) {}, 10 * time.Minute},
		"Notehub does not answer": {problem.NotehubDown, "Notehub does not answer",
			func(f *front) { f.notehub.Always("{any} /{rest...}", sandbox.Outcome{}) }, func(f *front) { f.notehub.Clear("{any} /{rest...}") }, func(f *front) {}, 20 * time.Minute},
		"Stripe does not answer": {problem.StripeDown, "Stripe does not answer",
			func(f *front) { f.stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{}) }, func(f *front) { f.stripe.Clear("{any} /v1/{rest...}") }, func(f *front) {}, 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, nil, func(f *front) {
				if c.before != nil {
					f.run()
					f.pass(2 * time.Minute)
					f.hasProblem(c.code, c.says, false)
				}
				c.begin(f)
				if c.before == nil {
					f.run()
				}
				f.pass(c.within)
				f.hasProblem(c.code, c.says, true)
				c.end(f)
				f.pass(17 * time.Minute)
				f.hasProblem(c.code, c.says, false)
				f.answers("in the end", f.get("/health"), http.StatusOK, `"status":"ok"`)
			})
		})
	}
}

func TestEachProblemOfTheBoardIsShown(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		metrics := f.get("/metrics").Body.String()
		for _, code := range problem.Codes() {
			if !strings.Contains(metrics, "\nnotepay_problem{code=\""+code+"\"} 0\n") {
				f.Errorf("the metrics do not show %s from the start", code)
			}
		}
		for _, code := range []string{problem.Clock, problem.DiskFull, problem.Twins} {
			f.server.Problems.Raise(problem.Problem{Code: code, Text: "This is wrong with <" + code + ">.",
				Detail: "it says so at 192.0.2.7", StopsSales: code == problem.Clock})
		}
		page := f.browser().shows("/operator", "it says so at 192.0.2.7", "This is wrong with &lt;clock&gt;.", "Sales are stopped until this is fixed.", "Since", "&lt;twins&gt;")
		if strings.Contains(page, "Nothing needs your attention") {
			f.Error("the page says that nothing needs attention")
		}
		f.answers("/health", f.get("/health"), http.StatusOK, "This is wrong with ")
		if report := f.get("/health").Body.String(); strings.Contains(report, "192.0.2.7") {
			f.Errorf("/health tells everyone the cause: %s", report)
		}
		if n := strings.Count(f.get("/metrics").Body.String(), "\nnotepay_problem{"); n != len(problem.Codes()) {
			f.Errorf("%d series; want one for each of %d codes", n, len(problem.Codes()))
		}
		if w := f.get("/pay?device=" + washer); w.Code != http.StatusServiceUnavailable {
			f.Errorf("a scan is answered %d; want 503", w.Code)
		}
	})
}
