package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestMethodsThatARouteDoesNotHave(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for _, row := range []struct{ method, path, allow string }{
			{"POST", "/pay?device=" + fixture.Washer, "GET, HEAD"},
			{"PUT", "/pay/" + fixture.Washer, "GET, HEAD"},
			{"POST", "/use/" + fixture.Washer, "GET, HEAD"},
			{"POST", "/session/0123/events", "GET, HEAD"},
			{"POST", "/payment/success?session_id=x", "GET, HEAD"},
			{"DELETE", "/payment/cancel", "GET, HEAD"},
			{"POST", "/session/0123", "GET, HEAD"},
			{"POST", "/", "GET, HEAD"},
			{"GET", "/webhook/stripe", "POST"},
			{"PUT", "/webhook/stripe", "POST"},
			{"DELETE", "/refresh-devices", "GET, HEAD, POST"},
			{"POST", "/health", "GET, HEAD"},
			{"POST", "/metrics", "GET, HEAD"},
		} {
			w := f.Do(row.method, row.path, "")
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != row.allow {
				f.Errorf(
					"%s %s: %d, Allow %q; want 405, %q",
					row.method,
					row.path,
					w.Code,
					w.Header().Get("Allow"),
					row.allow,
				)
			}
		}
		for _, path := range []string{"/nothing", "/session/", "/webhook", "/.env", "/static/none.css"} {
			f.Answers(path, f.Get(path), http.StatusNotFound, "")
		}
	})
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		for path, status := range map[string]int{
			"/": 200, "/pay": 400, "/pay?device=" + fixture.Washer: 307, "/pay?device=dev:1": 404, "/payment/success?session_id=" + session.ID: 303, "/payment/success": 404, "/payment/cancel": 200,
			"/session/x": 404, "/session/x/events": 404, "/use/" + fixture.Washer: 200, "/use/dev:1": 404, "/static/live.js": 200, "/static/brand.css": 200, "/static/style.css": 200, "/health": 200, "/metrics": 200, "/webhook/stripe": 405, "/refresh-devices": 401, "/api/payments": 401, "/nothing": 404,
		} {
			w := f.Get(path, "Accept", "text/html")
			if w.Code != status {
				f.Errorf("%s: %d; want %d", path, w.Code, status)
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
				if got := w.Header().Get(name); got != want {
					f.Errorf("%s: %s is %q; want %q", path, name, got, want)
				}
			}
			policy := w.Header().Get("Content-Security-Policy")
			for _, part := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
				if !strings.Contains(policy, part) {
					f.Errorf("%s: the content policy %q lacks %q", path, policy, part)
				}
			}
			if strings.Contains(policy, "unsafe") || strings.Contains(policy, "form-action") {
				f.Errorf(
					"%s: the content policy %q allows too much, or keeps forms from leading to Stripe",
					path,
					policy,
				)
			}
		}
	})
}

func TestAPanicIsA500AndALineInTheLog(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	s := app.WithLog(slog.New(slog.NewTextHandler(&logs, nil)))
	w := httptest.NewRecorder()
	s.WithHeaders(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret of the inside") })).
		ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "inside") {
		t.Errorf("%d %s; want 500 and no word of the panic", w.Code, w.Body)
	}
	if w.Header().Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v; want the security headers here, too", w.Header())
	}
	if !strings.Contains(logs.String(), "level=ERROR msg=panic") ||
		!strings.Contains(logs.String(), "secret of the inside") ||
		!strings.Contains(logs.String(), "app_test.go") {
		t.Errorf("log %s; want the panic with its stack", &logs)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("panic %v; want http.ErrAbortHandler to reach the server", p)
		}
	}()
	s.WithHeaders(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).
		ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
}

func TestAnErrorIsTheLogsAndNotTheCallers(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		failing := f.Server.Handle(
			func(http.ResponseWriter, *http.Request) error { return errors.New("disk of the inside") },
		)
		for _, row := range []struct{ path, accept, want string }{
			{"/pay", "text/html", "<h1>Something went wrong on our side</h1>"},
			{"/pay", "", "Something went wrong on our side\n"},
			{"/api/payments", "", `{"error":{"code":"internal","message":`},
		} {
			r := httptest.NewRequest("GET", row.path, nil)
			r.Header.Set("Accept", row.accept)
			w := httptest.NewRecorder()
			failing.ServeHTTP(w, r)
			f.Answers(row.path, w, http.StatusInternalServerError, row.want)
			if strings.Contains(w.Body.String(), "disk") {
				f.Errorf("%s tells the cause: %s", row.path, w.Body)
			}
		}
		if !strings.Contains(f.Logs.String(), "disk of the inside") {
			f.Errorf("log %s; want the cause", f.Logs)
		}
	})
}

func TestRefreshDevices(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:2"})
		f.Answers("without the token", f.Get("/refresh-devices"), 401, `"code":"unauthorized"`)
		f.Answers(
			"with another",
			f.Get("/refresh-devices", "Authorization", "Bearer another-token-1234"),
			401,
			`"code":"unauthorized"`,
		)
		f.Answers(
			"with it",
			f.AsOperator("/refresh-devices"),
			200,
			`{"devices":2,"added":1,"removed":0,"links_created":1}`,
		)
		f.Notehub.RemoveDevice("dev:2")
		f.Answers(
			"by POST",
			f.Do("POST", "/refresh-devices", "", "Authorization", "Bearer "+apptest.OperatorToken),
			200,
			`{"devices":1,"added":0,"removed":1,"links_created":0}`,
		)
		before := f.Notehub.Count(fixture.HubList)
		f.Notehub.Next(fixture.HubList, sandbox.Outcome{Applied: true, Status: 200, Delay: time.Second})
		var asked sync.WaitGroup
		for range 5 {
			asked.Go(func() { f.Answers("together", f.AsOperator("/refresh-devices"), 200, `"devices":1`) })
		}
		asked.Wait()
		if n := f.Notehub.Count(fixture.HubList) - before; n != 1 {
			f.Errorf("5 who asked together caused %d listings; want 1", n)
		}
		f.Notehub.Next(fixture.HubList, sandbox.Outcome{Status: 500})
		f.Answers("while Notehub is down", f.AsOperator("/refresh-devices"), 502, `"code":"refresh_failed"`)
		f.Answers("a scan then", f.Get("/pay?device="+fixture.Washer), 307, "")
	})
}

func TestRefreshDevicesIsOpenWhereThereIsNoOperatorToken(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *apptest.Front) {
		f.Run()
		f.Answers("first", f.Get("/refresh-devices"), 200, `{"devices":1,"added":0,"removed":0,"links_created":0}`)
		f.Pass(20 * time.Second)
		before := f.Notehub.Count(fixture.HubList)
		w := f.Get("/refresh-devices")
		f.Answers("second", w, 429, `"code":"too_many_requests"`)
		if after := w.Header().Get("Retry-After"); after != "41" && after != "40" {
			f.Errorf("Retry-After %q; want the rest of the minute", after)
		}
		f.Pass(41 * time.Second)
		f.Answers("a minute later", f.Do("POST", "/refresh-devices", ""), 200, `"devices":1`)
		if n := f.Notehub.Count(fixture.HubList) - before; n != 1 {
			f.Errorf("%d listings; want only the one that was allowed", n)
		}

		f.Pass(2 * time.Minute)
		f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"30"}}})
		f.Buy(sandbox.PayOptions{})
		w = f.Get("/refresh-devices")
		f.Answers("while a credit is queued", w, 429, `"code":"too_many_requests"`)
		if w.Header().Get("Retry-After") == "" {
			f.Errorf("no Retry-After while a credit is queued")
		}
		f.Notehub.Clear(fixture.PostNote)
		f.Pass(31 * time.Second)
		f.Answers("when it is sent", f.Get("/refresh-devices"), 200, `"devices":1`)
	})
}

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
		if got, want := strings.Join(names, " "), "devices last_refresh links needs_attention oldest_queued_seconds queued status version"; got != want {
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

func TestMetricsNameNoDeviceAndNoPayment(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Get("/pay?device=" + fixture.Washer)
		f.Get("/pay/dev:unknown")
		f.Do("POST", "/webhook/stripe", "{}")
		text := f.Get("/metrics").Body.String()
		for _, line := range []string{
			"notepay_redirects_total 1", "notepay_webhooks_rejected_total 1", `notepay_stripe_events_total{outcome="payment_recorded"} 1`,
			`notepay_attempt_seconds_count{action="note",outcome="done"} 1`, `notepay_http_requests_total{route="GET /pay/{uid}",status="4xx"} 1`,
			"notepay_credits_queued 0", "notepay_oldest_queued_seconds 0", "notepay_needs_attention 0", "notepay_devices 1", "notepay_links 1",
			`notepay_build_info{version="` + fixture.TestVersion + `"} 1`, "go_goroutines ", "notepay_live_pages 0",
			`notepay_payments_total{outcome="recorded"} 1`, `notepay_payments_total{outcome="disputed"} 0`, `notepay_deliveries_total{outcome="sent"} 1`,
			`notepay_link_creations_total{outcome="done"} 1`, `notepay_vendor_calls_total{status="2xx",vendor="stripe"} `, `notepay_vendor_calls_total{status="2xx",vendor="notehub"} `,
			`notepay_http_requests_total{route="POST /webhook/stripe",status="4xx"} 1`, `notepay_http_requests_total{route="POST /webhook/notehub",status="5xx"} 0`,
		} {
			if !strings.Contains(text, "\n"+line) {
				f.Errorf("the metrics lack %s", line)
			}
		}
		for _, name := range []string{fixture.Washer, "dev:unknown", session.ID, session.PaymentIntent, payment.CreditID(session.ID), fixture.Project} {
			if strings.Contains(text, name) {
				f.Errorf("the metrics name %s", name)
			}
		}
	})
}

// An alert on a series that does not exist never fires, and nobody sees that.
func TestAlertsNameSeriesThatExist(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(apptest.InModule(t, "docs", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`notepay_[a-z_]+`).FindAllString(string(rules), -1)
	if len(named) < 10 {
		t.Fatalf("the rules name %d series; want more", len(named))
	}
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Buy(sandbox.PayOptions{})
		f.Server.ExpectSessions()
		text := f.Get("/metrics").Body.String()
		for _, name := range named {
			// there with the first money back
			if name != "notepay_money_back_total" && !strings.Contains(text, "\n# TYPE "+name+" ") {
				f.Errorf("the rules name %s, which is not there", name)
			}
		}
	})
}
