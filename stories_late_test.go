package main

import (
	"net/http"
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

const (
	wholeHub  = "{any} /v1/{rest...}"
	deadNotes = "{any} /v1/projects/{project}/devices/dev:dead/notes/{rest...}"
)

// scanned holds the answer to a scan against the status and the text.
func (f *front) scanned(when, device string, status int, text string) {
	f.Helper()
	w := f.get("/pay?device=" + device)
	f.answers(when, w, status, text)
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "60" {
		f.Errorf("%s: Retry-After is %q; want 60", when, w.Header().Get("Retry-After"))
	}
}

// While Notehub accepts no notes nothing is sold, also when the credit that waited has expired, and until it takes them again.
func TestLateLastsAsLongAsTheOutage(t *testing.T) {
	const closed = "Machines cannot be reached right now"
	for name, outage := range map[string]struct {
		pattern string
		answer  sandbox.Outcome
	}{
		"notes alone":     {postNote, sandbox.Outcome{Status: 503}},
		"a portal":        {postNote, sandbox.Outcome{Status: 200, Body: proxyPage}},
		"everything cut":  {wholeHub, sandbox.Outcome{}},
		"everything slow": {wholeHub, sandbox.Outcome{Delay: time.Hour}},
		"everything 500":  {wholeHub, sandbox.Outcome{Status: 500}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, nil, func(f *front) {
				f.run()
				f.notehub.Always(outage.pattern, outage.answer)
				session := f.buy(sandbox.PayOptions{})
				f.pass(4 * time.Minute)
				f.scanned("after four minutes", washer, http.StatusTemporaryRedirect, "")
				for range 8 {
					f.pass(2 * time.Minute)
					f.scanned("during the outage", washer, http.StatusServiceUnavailable, closed)
				}
				if p := f.paid(session.ID); name == "notes alone" && p.Delivery != payment.Failed {
					f.Errorf("the credit is %s; want it failed, for its time is over", p.Delivery)
				}
				f.answers("health", f.get("/health"), 200, "Notehub accepts no notes")
				f.asks("a link", "/api/create-payment-link", `{"id":"`+washer+`"}`, http.StatusConflict, `"code":"late"`)
				f.notehub.Clear(outage.pattern)
				f.pass(time.Minute)
				f.scanned("when it is over", washer, http.StatusTemporaryRedirect, "")
				f.pass(time.Minute)
				f.answers("health when it is over", f.get("/health"), 200, `"status":"ok"`)
			})
		})
	}
}

// The posts of one machine fail, whatever it is, and Notehub takes those of all others.
func TestLateForOneMachineStopsItsOwnSalesOnly(t *testing.T) {
	for name, answer := range map[string]sandbox.Outcome{
		"500": {Status: 500}, "cut": {}, "slow": {Delay: time.Hour}, "a full queue": saying(400, "a maximum of 100 notes may be pending for device (currently 100)"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, nil, func(f *front) {
				f.notehub.AddDevice(sandbox.Device{UID: "dev:dead"})
				f.run()
				f.notehub.Always(deadNotes, answer)
				for _, l := range f.stripe.Links() {
					if l.DeviceUID == "dev:dead" {
						if _, err := f.stripe.Pay(l.ID, sandbox.PayOptions{}); err != nil {
							f.Fatal(err)
						}
					}
				}
				for range 8 {
					f.pass(time.Minute)
					f.scanned("the other machine", washer, http.StatusTemporaryRedirect, "")
				}
				f.scanned("the dead machine", "dev:dead", http.StatusServiceUnavailable, "This machine cannot be reached right now")
				f.asks("its link", "/api/create-payment-link", `{"id":"dev:dead"}`, http.StatusConflict, `"code":"late"`)
				f.answers("health", f.get("/health"), 200, `"status":`)
				if f.server.Bridge.Late() || f.server.Problems.StopsSales() {
					f.Error("one dead machine stops all sales")
				}
				f.notehub.Clear(deadNotes)
				f.pass(20 * time.Minute)
				f.scanned("the machine when it is mended", "dev:dead", http.StatusTemporaryRedirect, "")
			})
		})
	}
}

// After a restart the queue shows that the outage lasts.
func TestLateIsKnownAgainAfterARestart(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		f.notehub.Always(postNote, sandbox.Outcome{Status: 503})
		f.buy(sandbox.PayOptions{})
		f.pass(6 * time.Minute)
		f.restarted(nil)
		f.pass(time.Minute)
		f.scanned("after the restart", washer, http.StatusServiceUnavailable, "Machines cannot be reached right now")
		f.notehub.Clear(postNote)
	})
}
