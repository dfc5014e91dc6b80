package stories

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

const (
	wholeHub  = "{any} /v1/{rest...}"
	deadNotes = "{any} /v1/projects/{project}/devices/dev:dead/notes/{rest...}"
)

// While Notehub accepts no notes, sales stay stopped until it accepts one, even after the queued
// credit has expired.
func TestLateLastsAsLongAsTheOutage(t *testing.T) {
	const closed = "Machines cannot be reached right now"
	for name, outage := range map[string]struct {
		pattern string
		answer  sandbox.Outcome
	}{
		"notes alone":     {fixture.PostNote, sandbox.Outcome{Status: 503}},
		"a portal":        {fixture.PostNote, sandbox.Outcome{Status: 200, Body: fixture.ProxyPage}},
		"everything cut":  {wholeHub, sandbox.Outcome{}},
		"everything slow": {wholeHub, sandbox.Outcome{Delay: time.Hour}},
		"everything 500":  {wholeHub, sandbox.Outcome{Status: 500}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Run()
				f.Notehub.Always(outage.pattern, outage.answer)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(4 * time.Minute)
				f.Scanned("after four minutes", fixture.Washer, http.StatusTemporaryRedirect, "")
				for range 8 {
					f.Pass(2 * time.Minute)
					f.Scanned("during the outage", fixture.Washer, http.StatusServiceUnavailable, closed)
				}
				if p := f.Paid(session.ID); name == "notes alone" && p.Delivery != payment.Failed {
					f.Errorf("the credit is %s; want it failed, for its time is over", p.Delivery)
				}
				f.Answers("health", f.Get("/health"), 200, "Notehub accepts no notes")
				f.Asks(
					"a link",
					"/api/create-payment-link",
					`{"id":"`+fixture.Washer+`"}`,
					http.StatusConflict,
					`"code":"late"`,
				)
				f.Notehub.Clear(outage.pattern)
				f.Pass(time.Minute)
				f.Scanned("when it is over", fixture.Washer, http.StatusTemporaryRedirect, "")
				f.Pass(time.Minute)
				f.Answers("health when it is over", f.Get("/health"), 200, `"status":"ok"`)
			})
		})
	}
}

// The posts to one machine fail for any reason, and Notehub accepts those to all others.
func TestLateForOneMachineStopsItsOwnSalesOnly(t *testing.T) {
	for name, answer := range map[string]sandbox.Outcome{
		"500":          {Status: 500},
		"cut":          {},
		"slow":         {Delay: time.Hour},
		"a full queue": fixture.Saying(400, "a maximum of 100 notes may be pending for device (currently 100)"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Notehub.AddDevice(sandbox.Device{UID: "dev:dead"})
				f.Run()
				f.Notehub.Always(deadNotes, answer)
				for _, l := range f.Stripe.Links() {
					if l.DeviceUID == "dev:dead" {
						if _, err := f.Stripe.Pay(l.ID, sandbox.PayOptions{}); err != nil {
							f.Fatal(err)
						}
					}
				}
				for range 8 {
					f.Pass(time.Minute)
					f.Scanned("the other machine", fixture.Washer, http.StatusTemporaryRedirect, "")
				}
				f.Scanned(
					"the dead machine",
					"dev:dead",
					http.StatusServiceUnavailable,
					"This machine cannot be reached right now",
				)
				f.Asks(
					"its link",
					"/api/create-payment-link",
					`{"id":"dev:dead"}`,
					http.StatusConflict,
					`"code":"late"`,
				)
				f.Answers("health", f.Get("/health"), 200, `"status":`)
				if f.Server.Bridge.Late() || f.Server.Problems.StopsSales() {
					f.Error("one dead machine stops all sales")
				}
				f.Notehub.Clear(deadNotes)
				f.Pass(20 * time.Minute)
				f.Scanned("the machine when it is repaired", "dev:dead", http.StatusTemporaryRedirect, "")
			})
		})
	}
}

// After a restart, the queue shows that the outage continues.
func TestLateIsKnownAgainAfterARestart(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 503})
		f.Buy(sandbox.PayOptions{})
		f.Pass(6 * time.Minute)
		f.Restarted(nil)
		f.Pass(time.Minute)
		f.Scanned(
			"after the restart",
			fixture.Washer,
			http.StatusServiceUnavailable,
			"Machines cannot be reached right now",
		)
		f.Notehub.Clear(fixture.PostNote)
	})
}
