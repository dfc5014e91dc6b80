package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/sandbox"
)

const updateLink = "POST /v1/payment_links/{id}"

// tellsOfTwins wants the problem in the health of both installations, or in none.
func (f *front) tellsOfTwins(when string, other *twin, want bool) {
	f.Helper()
	if health := f.get("/health").Body.String(); strings.Contains(health, twinsText) != want {
		f.Errorf("%s the health is %s; want it to tell of another installation: %v", when, health, want)
	}
	if other == nil {
		return
	}
	if health := other.health(); strings.Contains(health, twinsText) != want {
		f.Errorf("%s the twin's health is %s; want it to tell of another installation: %v", when, health, want)
	}
}

// signs signs a link as another process does.
func (f *front) signs(link, process string) {
	f.Helper()
	s := f.settings
	api := stripeOf(&s, sandbox.InProcess(f.stripe))
	if err := api.SignLink(f.Context(), link, process); err != nil {
		f.Fatal(err)
	}
}

// Both installations know of each other before anybody pays.
func TestInstallationsThatSignTheSameLinkAreTold(t *testing.T) {
	t.Parallel()
	lost := sandbox.Outcome{Applied: true}
	for name, c := range map[string]struct {
		change func(*config.Settings)
		begin  func(*front) *twin
		within time.Duration
	}{
		"started together": {nil, func(f *front) *twin { other := f.twin(); f.run(); return other }, 17 * time.Minute},
		"started together, with many machines": {nil, func(f *front) *twin {
			for n := range 20 {
				f.notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:m%02d", n)})
			}
			other := f.twin()
			f.run()
			return other
		}, 17 * time.Minute},
		"one an hour later": {nil, func(f *front) *twin { f.run(); f.pass(time.Hour); return f.twin() }, time.Minute},
		"replies are lost": {nil, func(f *front) *twin {
			f.run()
			f.pass(time.Hour)
			f.stripe.Next(updateLink, lost, sandbox.Outcome{Status: 500}, lost)
			return f.twin()
		}, 47 * time.Minute},
		"without webhooks": {off(without), func(f *front) *twin { f.run(); f.pass(time.Hour); return f.twin() }, 32 * time.Minute},
		"a newcomer to those that know": {nil, func(f *front) *twin {
			f.run()
			first := f.twin()
			f.pass(time.Minute)
			first.stop()
			return f.twin()
		}, 47 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, c.change, func(f *front) {
				if f.settings.StripeWebhookSecret == config.WebhooksOff {
					f.stripe.SetEndpoint("", "")
				}
				other := c.begin(f)
				f.pass(c.within)
				f.tellsOfTwins("in time", other, true)
				updates := f.stripe.Count(updateLink)
				f.pass(time.Hour)
				f.tellsOfTwins("an hour later", other, true)
				if n := f.stripe.Count(updateLink) - updates; n > 16 {
					f.Errorf("%d changes of links in an hour; want two a refresh", n)
				}
			})
		})
	}
}

// Nothing that a single installation or its operator does looks like another installation.
func TestASingleInstallationIsNotTakenForTwo(t *testing.T) {
	t.Parallel()
	seen := sandbox.Outcome{Applied: true, Status: http.StatusOK}
	link := func(f *front) string { return f.stripe.Links()[0].ID }
	for name, happens := range map[string]func(*front){
		"it restarts": func(f *front) {
			for range 4 {
				f.restarted(nil)
				f.pass(20 * time.Second)
			}
		},
		"its ledger is lost": func(f *front) {
			for n := range 3 {
				f.stop()
				f.closeLedger()
				f.path = filepath.Join(f.TempDir(), fmt.Sprintf("new%d.db", n))
				f.open()
				f.run()
				f.pass(16 * time.Minute)
			}
		},
		"its ledger comes back from a copy": func(f *front) {
			restore := f.copied()
			f.notehub.AddDevice(sandbox.Device{UID: "dev:new"})
			f.asOperator("/refresh-devices")
			f.pass(16 * time.Minute)
			restore()
		},
		"the last call of an ended process is applied late": func(f *front) {
			f.restarted(nil)
			f.pass(5 * time.Second)
			f.signs(link(f), "the process before")
		},
		"that, and its own signatures get no reply": func(f *front) {
			f.restarted(nil)
			f.pass(time.Minute)
			f.stripe.Next(updateLink, seen, sandbox.Outcome{Applied: true}, sandbox.Outcome{Status: 500}, sandbox.Outcome{Status: 429}, sandbox.Outcome{})
			f.signs(link(f), "the process before")
			f.pass(time.Minute)
			f.asOperator("/refresh-devices")
		},
		"that, and it cannot sign again": func(f *front) {
			f.restarted(nil)
			f.pass(time.Minute)
			f.stripe.Next(updateLink, seen, sandbox.Outcome{Status: 500}, sandbox.Outcome{Status: 500}, sandbox.Outcome{Status: 500})
			f.signs(link(f), "the process before")
			for range 4 {
				f.pass(time.Minute)
				f.asOperator("/refresh-devices")
			}
		},
		"the reply to a creation is lost": func(f *front) {
			f.stripe.Next(createLink, sandbox.Outcome{Applied: true}, sandbox.Outcome{Status: 500})
			f.notehub.AddDevice(sandbox.Device{UID: "dev:new"})
			f.asOperator("/refresh-devices")
		},
		"links are closed and opened in the Dashboard": func(f *front) {
			for range 3 {
				f.stripe.SetLink(link(f), false, 0)
				f.pass(time.Minute)
				f.answers("devices", f.asOperator("/api/devices"), http.StatusOK, `"state":"link_closed"`)
				f.stripe.SetLink(link(f), true, 5)
				f.pass(time.Minute)
			}
		},
		"a link is copied in the Dashboard": func(f *front) {
			copied := f.stripe.Links()[0]
			copied.ID, copied.URL = "plink_0", ""
			f.stripe.AddLink(copied)
			f.asOperator("/refresh-devices")
		},
		"signatures are removed in the Dashboard": func(f *front) {
			for range 3 {
				f.signs(link(f), "")
				f.pass(16 * time.Minute)
			}
		},
		"a machine is paused and resumed": func(f *front) {
			for range 3 {
				f.asks("pause", "/api/devices/"+washer+"/pause", `{"reason":"it leaks"}`, http.StatusOK, "")
				f.pass(time.Minute)
				f.asks("resume", "/api/devices/"+washer+"/resume", ``, http.StatusOK, "")
				f.pass(time.Minute)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, nil, func(f *front) {
				f.run()
				f.pass(20 * time.Minute)
				happens(f)
				for range 3 {
					f.pass(16 * time.Minute)
					f.tellsOfTwins("afterwards", nil, false)
				}
			})
		})
	}
}

// What the other installation deactivates was not deactivated in the Dashboard.
func TestALinkThatAnotherInstallationDeactivates(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		other := f.twin()
		f.pass(20 * time.Minute)
		link := f.stripe.Links()[0]
		r := httptest.NewRequestWithContext(context.Background(), "POST", "/api/devices/"+washer+"/pause", strings.NewReader(`{"reason":"it leaks"}`))
		r.Header.Set("Authorization", "Bearer "+operatorToken)
		w := httptest.NewRecorder()
		other.routes.ServeHTTP(w, r)
		f.answers("the twin's pause", w, http.StatusOK, "")
		f.pass(10 * time.Second)
		if got := f.active(washer); len(got) != 0 {
			f.Fatalf("active links %v; want none after the twin's pause", got)
		}
		updates := f.stripe.Count(updateLink)
		for range 8 {
			if devices := f.asOperator("/api/devices").Body.String(); strings.Contains(devices, "link_closed") {
				f.Errorf("the devices are %s; want no link that was closed in the Dashboard", devices)
			}
			f.pass(7 * time.Minute)
		}
		if n := f.stripe.Count(updateLink) - updates; n > 16 {
			f.Errorf("%d changes of links in an hour; want a few a refresh", n)
		}
		other.stop()
		f.pass(16 * time.Minute)
		f.leads("/pay?device="+washer, link.URL)
		f.stripe.SetLink(link.ID, false, 0)
		f.pass(time.Minute)
		f.answers("devices", f.asOperator("/api/devices"), http.StatusOK, `"state":"link_closed"`)
		f.pass(16 * time.Minute)
		f.answers("devices after a refresh", f.asOperator("/api/devices"), http.StatusOK, `"state":"link_closed"`)
	})
}
