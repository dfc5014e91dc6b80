package stories

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/message"
	"notepay/internal/problem"
	"notepay/internal/sandbox"
)

func TestProblemsAreReportedWhileSalesAreStopped(t *testing.T) {
	t.Parallel()
	const events = "GET /v1/events"
	for name, c := range map[string]struct {
		code, says string
		begin, end func(f *apptest.Front)
		before     func(f *apptest.Front) // called while the service runs, if not nil
		within     time.Duration
	}{
		"the devices were never listed": {problem.NotListed, "never read the complete list",
			func(f *apptest.Front) { f.Notehub.Always(fixture.HubList, sandbox.Outcome{Status: 500}) },
			func(f *apptest.Front) { f.Notehub.Clear(fixture.HubList) },
			nil, 10 * time.Second},
		"two listings failed": {problem.ListingFailed, "attempts to list the devices failed",
			func(f *apptest.Front) {
				f.Notehub.Always(fixture.HubList, sandbox.Outcome{Status: 200, Body: `{"devices":7}`})
			}, func(f *apptest.Front) { f.Notehub.Clear(fixture.HubList) },
			func(f *apptest.Front) {}, 17 * time.Minute},
		"the list is outdated": {problem.ListOutdated, "last read the complete list",
			func(f *apptest.Front) { f.Notehub.Always(fixture.HubList, sandbox.Outcome{Status: 500}) },
			func(f *apptest.Front) { f.Notehub.Clear(fixture.HubList) },
			func(f *apptest.Front) {}, time.Hour},
		"no device can be paid for": {problem.NothingPayable, "No machine can be paid for: 1 nothing_to_sell",
			func(f *apptest.Front) { f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Active = false }) },
			func(f *apptest.Front) { f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Active = true }) },
			func(f *apptest.Front) {}, 2 * time.Minute},
		"there is no device": {problem.NothingPayable, "knows no device",
			func(f *apptest.Front) { f.Notehub.RemoveDevice(fixture.Washer) },
			func(f *apptest.Front) { f.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer}) },
			nil, 2 * time.Minute},
		"Stripe's events cannot be read": {problem.EventsStuck, "misses payments whose webhook is lost",
			func(f *apptest.Front) { f.Stripe.Always(events, sandbox.Outcome{Status: 400}) },
			func(f *apptest.Front) { f.Stripe.Clear(events) },
			func(f *apptest.Front) {}, 10 * time.Minute},
		"Notehub does not answer": {problem.NotehubDown, "Notehub does not answer",
			func(f *apptest.Front) { f.Notehub.Always("{any} /{rest...}", sandbox.Outcome{}) },
			func(f *apptest.Front) { f.Notehub.Clear("{any} /{rest...}") },
			func(f *apptest.Front) {}, 20 * time.Minute},
		"Stripe does not answer": {problem.StripeDown, "Stripe does not answer",
			func(f *apptest.Front) { f.Stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{}) },
			func(f *apptest.Front) { f.Stripe.Clear("{any} /v1/{rest...}") },
			func(f *apptest.Front) {}, 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				if c.before != nil {
					f.Run()
					f.Pass(2 * time.Minute)
					f.HasProblem(c.code, c.says, false)
				}
				c.begin(f)
				if c.before == nil {
					f.Run()
				}
				f.Pass(c.within)
				f.HasProblem(c.code, c.says, true)
				c.end(f)
				f.Pass(17 * time.Minute)
				f.HasProblem(c.code, c.says, false)
				f.Answers("in the end", f.Get("/health"), http.StatusOK, `"status":"ok"`)
			})
		})
	}
}

func TestProblemsAreAllShown(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		metrics := f.Get("/metrics").Body.String()
		for _, code := range problem.Codes() {
			if !strings.Contains(metrics, "\nnotepay_problem{code=\""+code+"\"} 0\n") {
				f.Errorf("the metrics do not show %s from the start", code)
			}
		}
		for _, code := range []string{problem.Clock, problem.DiskFull, problem.Twins} {
			f.Server.Problems.Raise(problem.Problem{Code: code, Text: message.New("This is wrong with <" + code + ">."),
				Detail: "it says so at 192.0.2.7", StopsSales: code == problem.Clock})
		}
		page := f.Browser().
			Shows("/operator", "it says so at 192.0.2.7", "This is wrong with &lt;clock&gt;.",
				"Sales are stopped until this is fixed.", "Since", "&lt;twins&gt;")
		if strings.Contains(page, "Nothing needs your attention") {
			f.Error("the page says that nothing needs attention")
		}
		f.Answers("/health", f.Get("/health"), http.StatusOK, "This is wrong with ")
		if report := f.Get("/health").Body.String(); strings.Contains(report, "192.0.2.7") {
			f.Errorf("/health tells everyone the cause: %s", report)
		}
		if n := strings.Count(f.Get("/metrics").Body.String(), "\nnotepay_problem{"); n != len(problem.Codes()) {
			f.Errorf("%d series; want one for each of %d codes", n, len(problem.Codes()))
		}
		if w := f.Get("/pay?device=" + fixture.Washer); w.Code != http.StatusServiceUnavailable {
			f.Errorf("a scan is answered %d; want 503", w.Code)
		}
	})
}
