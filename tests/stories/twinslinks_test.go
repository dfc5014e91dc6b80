package stories

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

const (
	listLinks  = "GET /v1/payment_links"
	updateLink = "POST /v1/payment_links/{id}"
)

// anHourLater starts another installation after this one has run for an hour.
func anHourLater(f *apptest.Front) *apptest.Twin {
	f.Run()
	f.Pass(time.Hour)
	return f.Twin()
}

// Both installations know of each other before the first payment.
func TestTwinSignaturesAreReported(t *testing.T) {
	t.Parallel()
	lost := sandbox.Outcome{Applied: true}
	late := sandbox.Outcome{Applied: true, Status: http.StatusOK, Delay: 5 * time.Second}
	for name, c := range map[string]struct {
		change func(*config.Settings)
		begin  func(*apptest.Front) *apptest.Twin
		within time.Duration
	}{
		"started together": {nil, func(f *apptest.Front) *apptest.Twin {
			other := f.Twin()
			f.Run()
			return other
		}, 17 * time.Minute},
		"started together, with many machines": {nil, func(f *apptest.Front) *apptest.Twin {
			for n := range 20 {
				f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:m%02d", n)})
			}
			other := f.Twin()
			f.Run()
			return other
		}, 17 * time.Minute},
		"started together, and a list of links is old": {nil, func(f *apptest.Front) *apptest.Twin {
			for n := range 20 {
				f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:m%02d", n)})
			}
			other := f.Twin()
			f.Run()
			f.Pass(14 * time.Minute)
			f.Stripe.Next(listLinks, late)
			return other
		}, 3 * time.Minute},
		"one an hour later": {nil, anHourLater, time.Minute},
		"replies are lost": {nil, func(f *apptest.Front) *apptest.Twin {
			f.Run()
			f.Pass(time.Hour)
			f.Stripe.Next(updateLink, lost, sandbox.Outcome{Status: 500}, lost)
			return f.Twin()
		}, 47 * time.Minute},
		"without webhooks": {off(without), anHourLater, 32 * time.Minute},
		"a third installation": {nil, func(f *apptest.Front) *apptest.Twin {
			f.Run()
			first := f.Twin()
			f.Pass(time.Minute)
			first.Stop()
			return f.Twin()
		}, 47 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, c.change, func(f *apptest.Front) {
				if f.Settings.StripeWebhookSecret == config.WebhooksOff {
					f.Stripe.SetEndpoint("", "")
				}
				other := c.begin(f)
				f.Pass(c.within)
				f.TellsOfTwins("in time", other, true)
				updates := f.Stripe.Count(updateLink)
				f.Pass(time.Hour)
				f.TellsOfTwins("an hour later", other, true)
				if n := f.Stripe.Count(updateLink) - updates; n > 16 {
					f.Errorf("%d changes of links in an hour; want two a refresh", n)
				}
			})
		})
	}
}

// No action of a single installation or its operator looks like another installation.
func TestTwinsAreNotSeenInOneInstallation(t *testing.T) {
	t.Parallel()
	seen := sandbox.Outcome{Applied: true, Status: http.StatusOK}
	link := func(f *apptest.Front) string { return f.Stripe.Links()[0].ID }
	for name, happens := range map[string]func(*apptest.Front){
		"it restarts": func(f *apptest.Front) {
			for range 4 {
				f.Restarted(nil)
				f.Pass(20 * time.Second)
			}
		},
		"its ledger is lost": func(f *apptest.Front) {
			for n := range 3 {
				f.Stop()
				f.CloseLedger()
				f.Path = filepath.Join(f.TempDir(), fmt.Sprintf("new%d.db", n))
				f.Open()
				f.Run()
				f.Pass(16 * time.Minute)
			}
		},
		"its ledger comes back from a copy": func(f *apptest.Front) {
			restore := f.Copied()
			f.Notehub.AddDevice(sandbox.Device{UID: "dev:new"})
			f.AsOperator("/refresh-devices")
			f.Pass(16 * time.Minute)
			restore()
		},
		"the last call of an ended process is applied late": func(f *apptest.Front) {
			f.Restarted(nil)
			f.Pass(5 * time.Second)
			f.Signs(link(f), "the process before")
		},
		"that, and its own signatures get no reply": func(f *apptest.Front) {
			f.Restarted(nil)
			f.Pass(time.Minute)
			f.Stripe.Next(updateLink, seen, sandbox.Outcome{Applied: true}, sandbox.Outcome{Status: 500},
				sandbox.Outcome{Status: 429}, sandbox.Outcome{})
			f.Signs(link(f), "the process before")
			f.Pass(time.Minute)
			f.AsOperator("/refresh-devices")
		},
		"that, and it cannot sign again": func(f *apptest.Front) {
			f.Restarted(nil)
			f.Pass(time.Minute)
			f.Stripe.Next(updateLink, seen, sandbox.Outcome{Status: 500}, sandbox.Outcome{Status: 500},
				sandbox.Outcome{Status: 500})
			f.Signs(link(f), "the process before")
			for range 4 {
				f.Pass(time.Minute)
				f.AsOperator("/refresh-devices")
			}
		},
		"the reply to a creation is lost": func(f *apptest.Front) {
			f.Stripe.Next(fixture.CreateLink, sandbox.Outcome{Applied: true}, sandbox.Outcome{Status: 500})
			f.Notehub.AddDevice(sandbox.Device{UID: "dev:new"})
			f.AsOperator("/refresh-devices")
		},
		"links are closed and opened in the Dashboard": func(f *apptest.Front) {
			for range 3 {
				f.Stripe.SetLink(link(f), false, 0)
				f.Pass(time.Minute)
				f.Answers("devices", f.AsOperator("/api/devices"), http.StatusOK, `"state":"link_closed"`)
				f.Stripe.SetLink(link(f), true, 5)
				f.Pass(time.Minute)
			}
		},
		"a link is copied in the Dashboard": func(f *apptest.Front) {
			copied := f.Stripe.Links()[0]
			copied.ID, copied.URL = "plink_0", ""
			f.Stripe.AddLink(copied)
			f.AsOperator("/refresh-devices")
		},
		"signatures are removed in the Dashboard": func(f *apptest.Front) {
			for range 3 {
				f.Signs(link(f), "")
				f.Pass(16 * time.Minute)
			}
		},
		"a machine is paused and resumed": func(f *apptest.Front) {
			for range 3 {
				f.Asks("pause", "/api/devices/"+fixture.Washer+"/pause", `{"reason":"it leaks"}`, http.StatusOK, "")
				f.Pass(time.Minute)
				f.Asks("resume", "/api/devices/"+fixture.Washer+"/resume", ``, http.StatusOK, "")
				f.Pass(time.Minute)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Run()
				f.Pass(20 * time.Minute)
				happens(f)
				for range 3 {
					f.Pass(16 * time.Minute)
					f.TellsOfTwins("afterwards", nil, false)
				}
			})
		})
	}
}

// A link that the other installation deactivates does not count as deactivated in the Dashboard.
func TestTwinDeactivatesALink(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		other := f.Twin()
		f.Pass(20 * time.Minute)
		link := f.Stripe.Links()[0]
		r := httptest.NewRequestWithContext(
			context.Background(),
			"POST",
			"/api/devices/"+fixture.Washer+"/pause",
			strings.NewReader(`{"reason":"it leaks"}`),
		)
		r.Header.Set("Authorization", "Bearer "+apptest.OperatorToken)
		w := httptest.NewRecorder()
		other.Routes.ServeHTTP(w, r)
		f.Answers("the twin's pause", w, http.StatusOK, "")
		f.Pass(10 * time.Second)
		if got := f.Active(fixture.Washer); len(got) != 0 {
			f.Fatalf("active links %v; want none after the twin's pause", got)
		}
		updates := f.Stripe.Count(updateLink)
		for range 8 {
			if devices := f.AsOperator("/api/devices").Body.String(); strings.Contains(devices, "link_closed") {
				f.Errorf("the devices are %s; want no link that was closed in the Dashboard", devices)
			}
			f.Pass(7 * time.Minute)
		}
		if n := f.Stripe.Count(updateLink) - updates; n > 16 {
			f.Errorf("%d changes of links in an hour; want a few a refresh", n)
		}
		other.Stop()
		f.Pass(16 * time.Minute)
		f.Leads("/pay?device="+fixture.Washer, link.URL)
		f.Stripe.SetLink(link.ID, false, 0)
		f.Pass(time.Minute)
		f.Answers("devices", f.AsOperator("/api/devices"), http.StatusOK, `"state":"link_closed"`)
		f.Pass(16 * time.Minute)
		f.Answers("devices after a refresh", f.AsOperator("/api/devices"), http.StatusOK, `"state":"link_closed"`)
	})
}
