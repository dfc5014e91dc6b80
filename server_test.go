package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

const operatorToken = "operator-token-1234"

// front is the service without a socket, within a bubble of time: the handler with all that is behind it, and the sandbox.
type front struct {
	*testing.T
	settings config.Settings
	unknown  sandbox.StripeUnknown
	path     string // of the ledger
	stop     func() // ends what run began
	server   *app.App
	handler  http.Handler
	ledger   *ledger.Ledger
	fleet    *fleet.Fleet
	stripe   *sandbox.Stripe
	notehub  *sandbox.Notehub
	machines []*sandbox.Machine // those that are held against the ledger in the end
	logs     *quietBuffer
	closed   bool       // the ledger is
	host     *hostClock // nil: the service takes the bubble's time for Stripe's
}

// quietBuffer is a log that may be written to from everywhere.
type quietBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (q *quietBuffer) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.Write(p)
}

func (q *quietBuffer) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.String()
}

// inFront runs a test in a bubble, with one device and one price. Nothing works until run. change may be nil.
func inFront(t *testing.T, change func(*config.Settings), test func(*front)) {
	t.Helper()
	inFrontOf(t, sandbox.StripeUnknown{}, change, test)
}

// inFrontOf does the same with a Stripe that does something else where it is not known what it does.
func inFrontOf(t *testing.T, unknown sandbox.StripeUnknown, change func(*config.Settings), test func(*front)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &front{T: t, unknown: unknown, stop: func() {}, logs: &quietBuffer{}, settings: config.Settings{StripeSecretKey: testKey, StripePriceID: warm, StripeWebhookSecret: testSecret,
			NotehubClientID: "client", NotehubClientSecret: hubSecret, NotehubProjectUID: project, NotehubAPIURL: "http://notehub.test",
			NotehubAuthURL: "http://notehub.test/oauth2/token", StripeAPIURL: "http://stripe.test", OperatorToken: operatorToken,
			CreditLifetime: 10 * time.Minute, RefreshInterval: 15 * time.Minute, PollInterval: 5 * time.Minute, PublicURL: "https://pay.example.com"}}
		if change != nil {
			change(&f.settings)
		}
		f.build()
		f.stripe.AddPrice(sandbox.Price{ID: warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true})
		f.notehub.AddDevice(sandbox.Device{UID: washer, Name: "Washer 3"})
		test(f)
	})
}

func (f *front) build() {
	client := &http.Client{Transport: sandbox.InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.handler.ServeHTTP(w, r) }))}
	f.stripe = sandbox.NewStripe(sandbox.StripeConfig{Key: testKey, Report: f, CheckoutURL: "https://buy.test", RetryDelays: []time.Duration{}, Client: client, Unknown: f.unknown})
	f.stripe.SetEndpoint("http://pay.test/webhook/stripe", testSecret)
	f.notehub = sandbox.NewNotehub(sandbox.NotehubConfig{Project: project, Token: hubToken, ClientID: "client", ClientSecret: hubSecret, Report: f, Client: client,
		PerMinute: int(f.settings.NotehubPerMinute)})
	f.path = filepath.Join(f.TempDir(), "notepay.db")
	f.open()
	f.Cleanup(f.end)
}

// open puts the service together over its ledger.
func (f *front) open() {
	var err error
	if f.ledger, err = ledger.OpenBy(f.Context(), f.path, f.host.clock()); err != nil {
		f.Fatal(err)
	}
	f.closed = false
	s := &f.settings
	f.server, err = app.New(f.Context(), app.Config{
		Settings: s,
		Ledger:   f.ledger,
		Notehub:  hubOf(s, sandbox.InProcess(f.notehub)),
		Stripe:   stripeOf(s, sandbox.InProcess(f.stripe)),
		Log:      slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Version:  testVersion,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.fleet = f.server.Fleet
	f.handler = f.server.Handler()
}

// run sets everything to work, until the test ends.
func (f *front) run() *front {
	ctx, stop := context.WithCancel(f.Context())
	var loops sync.WaitGroup
	loops.Go(func() { f.server.Run(ctx, context.WithoutCancel(ctx)) })
	f.stop = sync.OnceFunc(func() { stop(); loops.Wait() })
	f.Cleanup(func() { f.stop() })
	f.pass(time.Second)
	return f
}

// pass lets time pass, and then all come to rest.
func (f *front) pass(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

// end holds the ledger against the vendors, and looks for secrets in the log.
func (f *front) end() {
	f.stripe.Close()
	f.notehub.Close()
	if !f.closed {
		for _, problem := range checkInvariants(context.WithoutCancel(f.Context()), f.ledger, f.stripe, f.notehub, f.machines...) {
			f.Errorf("invariant broken: %s", problem)
		}
		f.closeLedger()
	}
	for _, secret := range []string{testKey, testSecret, hubSecret, operatorToken} {
		if strings.Contains(f.logs.String(), secret) {
			f.Errorf("the log tells a secret:\n%s", f.logs)
		}
	}
}

func (f *front) closeLedger() {
	f.closed = true
	if err := f.ledger.Close(); err != nil {
		f.Errorf("close the ledger: %v", err)
	}
}

func (f *front) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

func (f *front) get(path string, header ...string) *httptest.ResponseRecorder {
	return f.do(http.MethodGet, path, "", header...)
}

// asOperator gets a page with the operator's token.
func (f *front) asOperator(path string) *httptest.ResponseRecorder {
	return f.get(path, "Authorization", "Bearer "+operatorToken)
}

// answers holds an answer against status and text.
func (f *front) answers(name string, w *httptest.ResponseRecorder, status int, text string) {
	f.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		f.Errorf("%s: %d %s; want %d with %q", name, w.Code, w.Body, status, text)
	}
}

// buy pays at the washer's link and lets everybody come to rest.
func (f *front) buy(o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	session, err := f.stripe.Pay(f.stripe.Links()[0].ID, o)
	if err != nil {
		f.Fatal(err)
	}
	synctest.Wait()
	return session
}

// order has a payment recorded by a signed webhook, without the vendors' and the loops' doing.
func (f *front) order(o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	f.stripe.AddLink(sandbox.Link{Active: true, PriceID: warm, DeviceUID: washer})
	return f.buy(o)
}

func TestMethodsThatARouteDoesNotHave(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		for _, row := range []struct{ method, path, allow string }{
			{"POST", "/pay?device=" + washer, "GET, HEAD"},
			{"PUT", "/pay/" + washer, "GET, HEAD"},
			{"POST", "/use/" + washer, "GET, HEAD"},
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
			w := f.do(row.method, row.path, "")
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != row.allow {
				f.Errorf("%s %s: %d, Allow %q; want 405, %q", row.method, row.path, w.Code, w.Header().Get("Allow"), row.allow)
			}
		}
		for _, path := range []string{"/nothing", "/session/", "/webhook", "/.env", "/static/none.css"} {
			f.answers(path, f.get(path), http.StatusNotFound, "")
		}
	})
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		for path, status := range map[string]int{
			"/": 200, "/pay": 400, "/pay?device=" + washer: 307, "/pay?device=dev:1": 404, "/payment/success?session_id=" + session.ID: 303, "/payment/success": 404, "/payment/cancel": 200,
			"/session/x": 404, "/session/x/events": 404, "/use/" + washer: 200, "/use/dev:1": 404, "/static/live.js": 200, "/static/brand.css": 200, "/static/style.css": 200, "/health": 200, "/metrics": 200, "/webhook/stripe": 405, "/refresh-devices": 401, "/api/payments": 401, "/nothing": 404,
		} {
			w := f.get(path, "Accept", "text/html")
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
				f.Errorf("%s: the content policy %q allows too much, or keeps forms from leading to Stripe", path, policy)
			}
		}
	})
}

func TestAPanicIsA500AndALineInTheLog(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	s := &app.App{Log: slog.New(slog.NewTextHandler(&logs, nil))}
	w := httptest.NewRecorder()
	s.WithHeaders(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret of the inside") })).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "inside") {
		t.Errorf("%d %s; want 500 and no word of the panic", w.Code, w.Body)
	}
	if w.Header().Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v; want the security headers here, too", w.Header())
	}
	if !strings.Contains(logs.String(), "level=ERROR msg=panic") || !strings.Contains(logs.String(), "secret of the inside") || !strings.Contains(logs.String(), "server_test.go") {
		t.Errorf("log %s; want the panic with its stack", &logs)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("panic %v; want http.ErrAbortHandler to reach the server", p)
		}
	}()
	s.WithHeaders(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
}

func TestAnErrorIsTheLogsAndNotTheCallers(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		failing := f.server.Handle(func(http.ResponseWriter, *http.Request) error { return errors.New("disk of the inside") })
		for _, row := range []struct{ path, accept, want string }{
			{"/pay", "text/html", "<h1>Something went wrong on our side</h1>"},
			{"/pay", "", "Something went wrong on our side\n"},
			{"/api/payments", "", `{"error":{"code":"internal","message":`},
		} {
			r := httptest.NewRequest("GET", row.path, nil)
			r.Header.Set("Accept", row.accept)
			w := httptest.NewRecorder()
			failing.ServeHTTP(w, r)
			f.answers(row.path, w, http.StatusInternalServerError, row.want)
			if strings.Contains(w.Body.String(), "disk") {
				f.Errorf("%s tells the cause: %s", row.path, w.Body)
			}
		}
		if !strings.Contains(f.logs.String(), "disk of the inside") {
			f.Errorf("log %s; want the cause", f.logs)
		}
	})
}

func TestRefreshDevices(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		f.notehub.AddDevice(sandbox.Device{UID: "dev:2"})
		f.answers("without the token", f.get("/refresh-devices"), 401, `"code":"unauthorized"`)
		f.answers("with another", f.get("/refresh-devices", "Authorization", "Bearer another-token-1234"), 401, `"code":"unauthorized"`)
		f.answers("with it", f.asOperator("/refresh-devices"), 200, `{"devices":2,"added":1,"removed":0,"links_created":1}`)
		f.notehub.RemoveDevice("dev:2")
		f.answers("by POST", f.do("POST", "/refresh-devices", "", "Authorization", "Bearer "+operatorToken), 200, `{"devices":1,"added":0,"removed":1,"links_created":0}`)
		before := f.notehub.Count(hubList)
		f.notehub.Next(hubList, sandbox.Outcome{Applied: true, Status: 200, Delay: time.Second})
		var asked sync.WaitGroup
		for range 5 {
			asked.Go(func() { f.answers("together", f.asOperator("/refresh-devices"), 200, `"devices":1`) })
		}
		asked.Wait()
		if n := f.notehub.Count(hubList) - before; n != 1 {
			f.Errorf("5 who asked together caused %d listings; want 1", n)
		}
		f.notehub.Next(hubList, sandbox.Outcome{Status: 500})
		f.answers("while Notehub is down", f.asOperator("/refresh-devices"), 502, `"code":"refresh_failed"`)
		f.answers("a scan then", f.get("/pay?device="+washer), 307, "")
	})
}

func TestRefreshDevicesIsOpenWhereThereIsNoOperatorToken(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *front) {
		f.run()
		f.answers("first", f.get("/refresh-devices"), 200, `{"devices":1,"added":0,"removed":0,"links_created":0}`)
		f.pass(20 * time.Second)
		before := f.notehub.Count(hubList)
		w := f.get("/refresh-devices")
		f.answers("second", w, 429, `"code":"too_many_requests"`)
		if after := w.Header().Get("Retry-After"); after != "41" && after != "40" {
			f.Errorf("Retry-After %q; want the rest of the minute", after)
		}
		f.pass(41 * time.Second)
		f.answers("a minute later", f.do("POST", "/refresh-devices", ""), 200, `"devices":1`)
		if n := f.notehub.Count(hubList) - before; n != 1 {
			f.Errorf("%d listings; want only the one that was allowed", n)
		}

		f.pass(2 * time.Minute)
		f.notehub.Always(postNote, sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"30"}}})
		f.buy(sandbox.PayOptions{})
		w = f.get("/refresh-devices")
		f.answers("while a credit is queued", w, 429, `"code":"too_many_requests"`)
		if w.Header().Get("Retry-After") == "" {
			f.Errorf("no Retry-After while a credit is queued")
		}
		f.notehub.Clear(postNote)
		f.pass(31 * time.Second)
		f.answers("when it is sent", f.get("/refresh-devices"), 200, `"devices":1`)
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		report := func(name string, status int, want map[string]any) {
			f.Helper()
			w := f.get("/health")
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
		report("before the first load", 200, map[string]any{"status": "ok", "devices": 0, "links": 0, "last_refresh": nil})
		f.run()
		var all map[string]any
		if err := json.Unmarshal(f.get("/health").Body.Bytes(), &all); err != nil {
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
		report("all is well", 200, map[string]any{"status": "ok", "devices": 1, "links": 1, "queued": 0, "needs_attention": 0, "version": testVersion})

		f.notehub.Always(postNote, sandbox.Outcome{Status: 401})
		f.buy(sandbox.PayOptions{})
		f.pass(20 * time.Second)
		report("Notehub refuses us", 200, map[string]any{"status": "degraded", "queued": 1, "oldest_queued_seconds": 20})
		f.notehub.Clear(postNote)
		f.pass(time.Minute)
		report("Notehub is back", 200, map[string]any{"status": "ok", "queued": 0, "oldest_queued_seconds": 0})

		f.stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 403})
		f.pass(20 * time.Minute)
		report("Stripe refuses us", 200, map[string]any{"status": "degraded"})
	})
	inFront(t, nil, func(f *front) {
		f.closeLedger()
		w := f.get("/health")
		f.answers("payments cannot be recorded", w, 503, `"status":"unavailable"`)
		if strings.Contains(w.Body.String(), "closed") {
			f.Errorf("%s; want the cause in the log alone", w.Body)
		}
	})
}

func TestMetricsNameNoDeviceAndNoPayment(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.get("/pay?device=" + washer)
		f.get("/pay/dev:unknown")
		f.do("POST", "/webhook/stripe", "{}")
		text := f.get("/metrics").Body.String()
		for _, line := range []string{
			"notepay_redirects_total 1", "notepay_webhooks_rejected_total 1", `notepay_stripe_events_total{outcome="payment_recorded"} 1`,
			`notepay_attempt_seconds_count{action="note",outcome="done"} 1`, `notepay_http_requests_total{route="GET /pay/{uid}",status="4xx"} 1`,
			"notepay_credits_queued 0", "notepay_oldest_queued_seconds 0", "notepay_needs_attention 0", "notepay_devices 1", "notepay_links 1",
			`notepay_build_info{version="` + testVersion + `"} 1`, "go_goroutines ", "notepay_live_pages 0",
			`notepay_payments_total{outcome="recorded"} 1`, `notepay_payments_total{outcome="disputed"} 0`, `notepay_deliveries_total{outcome="sent"} 1`,
			`notepay_link_creations_total{outcome="done"} 1`, `notepay_vendor_calls_total{status="2xx",vendor="stripe"} `, `notepay_vendor_calls_total{status="2xx",vendor="notehub"} `,
			`notepay_http_requests_total{route="POST /webhook/stripe",status="4xx"} 1`, `notepay_http_requests_total{route="POST /webhook/notehub",status="5xx"} 0`,
		} {
			if !strings.Contains(text, "\n"+line) {
				f.Errorf("the metrics lack %s", line)
			}
		}
		for _, name := range []string{washer, "dev:unknown", session.ID, session.PaymentIntent, payment.CreditID(session.ID), project} {
			if strings.Contains(text, name) {
				f.Errorf("the metrics name %s", name)
			}
		}
	})
}

// An alert on a series that does not exist never fires, and nobody sees that.
func TestAlertsNameSeriesThatExist(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(inModule(t, "docs", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`notepay_[a-z_]+`).FindAllString(string(rules), -1)
	if len(named) < 10 {
		t.Fatalf("the rules name %d series; want more", len(named))
	}
	inFront(t, nil, func(f *front) {
		f.run()
		f.buy(sandbox.PayOptions{})
		f.server.Metrics.ExpectSessions() // as where they are made
		text := f.get("/metrics").Body.String()
		for _, name := range named {
			if name != "notepay_money_back_total" && !strings.Contains(text, "\n# TYPE "+name+" ") { // there with the first money back
				f.Errorf("the rules name %s, which is not there", name)
			}
		}
	})
}
