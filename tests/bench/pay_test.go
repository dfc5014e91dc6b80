//go:build linux

package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
	"notepay/internal/web/customer"
)

// idle returns a server on a ledger without any workers. It calls no vendor and claims no payment.
func idle(t *testing.T, database string) *app.App {
	t.Helper()
	l, err := ledger.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &config.Settings{
		StripeSecretKey:     fixture.TestKey,
		StripePriceID:       fixture.Warm,
		StripeWebhookSecret: fixture.TestSecret,
		NotehubToken:        fixture.HubToken,
		NotehubProjectUID:   fixture.Project,
		OperatorToken:       apptest.OperatorToken,
		CreditLifetime:      10 * time.Minute,
		RefreshInterval:     time.Hour,
		PollInterval:        time.Hour,
		PublicURL:           "https://pay.example.com",
	}
	unreachable := sandbox.InProcess(http.NotFoundHandler())
	service, err := app.New(t.Context(), app.Config{
		Settings: s,
		Ledger:   l,
		Notehub:  apptest.HubOf(s, unreachable),
		Stripe:   apptest.StripeOf(s, unreachable),
		Log:      slog.New(slog.DiscardHandler),
		Version:  fixture.TestVersion,
	})
	if err != nil {
		t.Fatal(err)
	}
	return service
}

// listen serves a handler with the limits of the program and returns its address.
func listen(t *testing.T, h http.Handler) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, listener, h)
	return listener.Addr().String()
}

func serveOn(t *testing.T, listener net.Listener, h http.Handler) {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: app.ReadHeaderTimeout,
		ReadTimeout:       app.ReadTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
	go func() { _ = server.Serve(listener) }() // always returns an error, which is that of Close
	t.Cleanup(func() { _ = server.Close() })
}

// sameAnswer returns a bare handler that writes the reply of /pay, header for header.
func sameAnswer(given *http.Response) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, values := range given.Header {
			h[name] = values
		}
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
}

func scan(device int) *http.Request {
	r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/pay?device=dev:%d", device), nil)
	r.Header.Set("User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) "+
		"AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1")
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	return r
}

// wire returns the bytes of a request.
func wire(t *testing.T, r *http.Request) []byte {
	t.Helper()
	var text []byte
	text = fmt.Appendf(text, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.URL.RequestURI(), r.Host)
	for name, values := range r.Header {
		text = fmt.Appendf(text, "%s: %s\r\n", name, values[0])
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 0 {
		text = fmt.Appendf(text, "Content-Length: %d\r\n", len(body))
	}
	return append(append(text, "\r\n"...), body...)
}

// benchPay compares /pay with a bare handler.
func benchPay(t *testing.T, r *report) {
	const devices, rounds, scans, connections = 100_000, 15, 20_000, 16
	database := filepath.Join(t.TempDir(), "notepay.db")
	w := &apptest.World{T: t, Env: map[string]string{"DATABASE_URL": database}}
	w.Remember(devices)
	handler := idle(t, database).Handler()
	probe := httptest.NewRecorder()
	handler.ServeHTTP(probe, scan(7777))
	to := probe.Header().Get("Location")
	if probe.Code != http.StatusTemporaryRedirect || to != "https://buy.example.com/7777" {
		t.Fatalf("/pay answers %d to %q", probe.Code, to)
	}
	bare := sameAnswer(probe.Result())

	requests := make([][]byte, scans)
	for i := range requests {
		requests[i] = wire(t, scan(rand.IntN(devices)))
	}
	pay, base, ratio := inTurns(t, handler, bare, rounds, connections, requests, http.StatusTemporaryRedirect)
	r.add(t, figure{
		name:     "`/pay`, 100,000 devices, over loopback",
		got:      inSeconds(pay),
		baseline: "bare `net/http` handler, same answer: " + inSeconds(base),
		ratio:    fmt.Sprintf("%.2f", ratio),
		target:   "≥ 0.95",
		missed:   ratio < 0.95,
	})

	a, b := inProcess(t, handler, devices), inProcess(t, bare, devices)
	r.add(t, figure{
		name:     "`/pay`, 100,000 devices, handler alone",
		got:      short(a),
		baseline: "bare handler alone: " + short(b),
		ratio:    fmt.Sprintf("%.1f", float64(a)/float64(b)),
	})
}

// inTurns sends the same requests to two handlers in turns, so that both meet the same load of the
// machine. It returns the requests per second of each and their ratio. All three are medians.
func inTurns(
	t *testing.T,
	ours, theirs http.Handler,
	rounds, connections int,
	requests [][]byte,
	want int,
) (our, their, ratio float64) {
	t.Helper()
	a, b := listen(t, ours), listen(t, theirs)
	var as, bs, ratios []float64
	for n := range rounds + 1 {
		_, tookA := callAll(t, a, connections, requests, want)
		_, tookB := callAll(t, b, connections, requests, want)
		if n > 0 { // the first round warms up
			as = append(as, float64(len(requests))/tookA.Seconds())
			bs = append(bs, float64(len(requests))/tookB.Seconds())
			ratios = append(ratios, tookB.Seconds()/tookA.Seconds())
		}
	}
	return median(as), median(bs), median(ratios)
}

// benchPlans compares the plan page with its own template, executed with prepared texts.
func benchPlans(t *testing.T, r *report) {
	const devices, rounds, views, connections = 100_000, 9, 4_000, 16
	database := filepath.Join(t.TempDir(), "notepay.db")
	w := &apptest.World{T: t, Env: map[string]string{"DATABASE_URL": database}}
	w.Remember(devices)
	handler := idle(t, database).Handler()
	view := func(device int) *http.Request {
		r := scan(device)
		r.URL.Path, r.URL.RawQuery = fmt.Sprintf("/use/dev:%d", device), ""
		r.Header.Set("Accept-Language", "en-US,en;q=0.9")
		return r
	}
	ours, theirs := httptest.NewRecorder(), httptest.NewRecorder()
	handler.ServeHTTP(ours, view(7777))
	bare := bareTemplate(t, ours.Result().Header)
	bare.ServeHTTP(theirs, view(7777))
	if ours.Code != http.StatusOK || ours.Body.String() != theirs.Body.String() {
		t.Fatalf("the plan page answers %d with\n%s\nand the bare template with\n%s", ours.Code, ours.Body, theirs.Body)
	}
	requests := make([][]byte, views)
	for i := range requests {
		requests[i] = wire(t, view(rand.IntN(devices)))
	}
	pages, base, ratio := inTurns(t, handler, bare, rounds, connections, requests, http.StatusOK)
	r.add(t, figure{
		name:     "plan page, 100,000 devices, over loopback",
		got:      inSeconds(pages),
		baseline: "bare template, same texts: " + inSeconds(base),
		ratio:    fmt.Sprintf("%.2f", ratio),
	})
}

// bareTemplate returns a handler that executes the template of a plan page with prepared texts.
func bareTemplate(t *testing.T, header http.Header) http.Handler {
	t.Helper()
	pages := template.Must(
		template.ParseFiles(apptest.InModule(t, "internal", "web", "customer", "pages", "frame.html")),
	)
	raw, err := os.ReadFile(apptest.InModule(t, "internal", "web", "customer", "catalogs", "en.json"))
	if err != nil {
		t.Fatal(err)
	}
	words := barePage{Tag: "en", Machine: "Washer 7777", Test: true}
	if err := json.Unmarshal(raw, &words.texts); err != nil {
		t.Fatal(err)
	}
	words.Title, words.Data.Terms = words.T("plans.one"), words.T("terms.open")
	words.Data.Plans = []barePlan{
		{
			Name:  "Warm wash",
			Price: "€3.50",
			Pay:   strings.ReplaceAll(words.T("plans.pay"), "{price}", "€3.50"),
			URL:   "https://buy.example.com/7777",
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var inner, whole bytes.Buffer
		page := words
		err := pages.ExecuteTemplate(&inner, "plans", page)
		page.Body = template.HTML(inner.String())
		if err = errors.Join(err, pages.ExecuteTemplate(&whole, "frame", page)); err != nil {
			t.Error(err)
		}
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write(whole.Bytes())
	})
}

// barePage is the prepared data of the template.
type barePage struct {
	Tag, Title, Machine, Events, Seller string
	Seconds                             int
	Test                                bool
	Brand                               customer.Brand
	Page                                struct{ Template string }
	Body                                template.HTML
	Data                                struct {
		Plans         []barePlan
		Action, Terms string
	}
	texts map[string]string
}

type barePlan struct{ Name, Description, Price, Pay, Lasts, Delayed, Image, URL, PriceID string }

func (b barePage) T(key string) string    { return b.texts[key] }
func (b barePage) Say(text string) string { return text }

// inProcess returns the median time of one scan in the handler, without the network.
func inProcess(t *testing.T, h http.Handler, devices int) time.Duration {
	t.Helper()
	requests := make([]*http.Request, 4096)
	for i := range requests {
		requests[i] = scan(rand.IntN(devices))
	}
	took := make([]time.Duration, 0, 20)
	for range cap(took) {
		began := time.Now()
		for _, r := range requests {
			w := answer{header: http.Header{}}
			h.ServeHTTP(&w, r)
			if w.status != http.StatusTemporaryRedirect {
				t.Fatalf("%s: status %d; want %d", r.URL, w.status, http.StatusTemporaryRedirect)
			}
		}
		took = append(took, time.Since(began)/time.Duration(len(requests)))
	}
	return median(took)
}

// answer is a ResponseWriter that costs almost nothing.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
