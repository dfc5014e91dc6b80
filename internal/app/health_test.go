package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		report := func(name string, status int, want map[string]any) {
			f.Helper()
			w := f.Get("/health")
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != status {
				f.Errorf("%s: %d %s (%v); want %d", name, w.Code, w.Body, err, status)
			}
			for key, value := range want {
				if fmt.Sprint(got[key]) != fmt.Sprint(value) {
					f.Errorf("%s: %s is %v; want %v", name, key, got[key], value)
				}
			}
		}
		report(
			"before the first load",
			200,
			map[string]any{"status": "ok", "devices": 0, "links": 0, "last_refresh": nil},
		)
		f.Run()
		var all map[string]any
		if err := json.Unmarshal(f.Get("/health").Body.Bytes(), &all); err != nil {
			f.Fatal(err)
		}
		var names []string
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		if got, want := strings.Join(names, " "), "devices last_refresh links needs_attention "+
			"oldest_queued_seconds queued status version"; got != want {
			f.Errorf("fields %s; want %s", got, want)
		}
		report(
			"all is well",
			200,
			map[string]any{
				"status":          "ok",
				"devices":         1,
				"links":           1,
				"queued":          0,
				"needs_attention": 0,
				"version":         fixture.TestVersion,
			},
		)

		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 401})
		f.Buy(sandbox.PayOptions{})
		f.Pass(20 * time.Second)
		report(
			"Notehub refuses us",
			200,
			map[string]any{"status": "degraded", "queued": 1, "oldest_queued_seconds": 20},
		)
		f.Notehub.Clear(fixture.PostNote)
		f.Pass(time.Minute)
		report("Notehub is back", 200, map[string]any{"status": "ok", "queued": 0, "oldest_queued_seconds": 0})

		f.Stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 403})
		f.Pass(20 * time.Minute)
		report("Stripe refuses us", 200, map[string]any{"status": "degraded"})
	})
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.CloseLedger()
		w := f.Get("/health")
		f.Answers("payments cannot be recorded", w, 503, `"status":"unavailable"`)
		if strings.Contains(w.Body.String(), "closed") {
			f.Errorf("%s; want the cause in the log alone", w.Body)
		}
	})
}
