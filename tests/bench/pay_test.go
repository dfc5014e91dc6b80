//go:build linux

package bench

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
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

// scansOf returns the bytes of a round of scans of random devices.
func scansOf(t *testing.T, devices int) [][]byte {
	t.Helper()
	requests := make([][]byte, scans)
	for i := range requests {
		requests[i] = wire(t, scan(rand.IntN(devices)))
	}
	return requests
}

// scanRound sends scans to the running binary and to the plain redirect, in turns.
func (s *subject) scanRound(plain *subject, requests [][]byte) sample {
	s.Helper()
	const want = http.StatusTemporaryRedirect
	var took, cpu [2]time.Duration
	for i, one := range []*subject{s, plain} {
		before := one.cpu()
		_, took[i] = callAll(s.T, one.addr(), scanners, requests, want)
		cpu[i] = one.cpu() - before
	}
	n := float64(len(requests))
	return sample{
		"scans":             n / took[0].Seconds(),
		"plain_scans":       n / took[1].Seconds(),
		"scans_of_plain":    took[1].Seconds() / took[0].Seconds(),
		"scan_cpu_us":       micros(cpu[0]) / n,
		"plain_cpu_us":      micros(cpu[1]) / n,
		"scan_cpu_of_plain": float64(cpu[0]) / float64(cpu[1]),
	}
}

// remembering starts a binary on a ledger with devices, while both vendors are down.
func remembering(t *testing.T, binary string, devices int) *subject {
	t.Helper()
	s := &subject{World: apptest.NewWorld(t).Set("LOG_LEVEL", "info")}
	s.Stripe.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 503})
	s.Notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: 503})
	s.Remember(devices)
	s.start(binary)
	return s
}

// benchPay compares /pay with a bare handler.
func benchPay(t *testing.T, r *report) {
	const fewDevices, devices, rounds = 10, 100_000, 15
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

	requests := scansOf(t, devices)
	pay, base, ratio := inTurns(t, handler, bare, rounds, scanners, requests, http.StatusTemporaryRedirect)
	r.add(t, figure{
		name:     "`/pay`, 100,000 devices, over loopback",
		got:      inSeconds(pay),
		baseline: "bare `net/http` handler, same answer: " + inSeconds(base),
		ratio:    fmt.Sprintf("%.2f", ratio),
		target:   "≥ 0.95",
		missed:   ratio < 0.95,
	})

	built, plain := binary(t), baselineAt(t, buildBaseline(t), "redirect")
	for _, devices := range []int{fewDevices, devices} {
		requests := scansOf(t, devices)
		started, got := remembering(t, built, devices), series{}
		for n := range rounds + 1 {
			if one := started.scanRound(plain, requests); n > 0 {
				got.add(one)
			}
		}
		name := fmt.Sprintf("`/pay`, %s devices, the built binary", thousands(devices))
		r.add(t, figure{
			name:     name,
			got:      inSeconds(got.of("scans")),
			baseline: "a plain `http.Redirect`: " + inSeconds(got.of("plain_scans")),
			ratio:    fmt.Sprintf("%.2f", got.of("scans_of_plain")),
			target:   "≥ 0.90",
			missed:   got.of("scans_of_plain") < 0.9,
		})
		r.add(t, figure{
			name:     name + ": processor of a scan",
			got:      got.time("scan_cpu_us"),
			baseline: "a plain `http.Redirect`: " + got.time("plain_cpu_us"),
			ratio:    fmt.Sprintf("%.2f", got.of("scan_cpu_of_plain")),
		})
	}

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

// benchPlans compares the plan page with a handler that writes the same bytes from memory.
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
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, view(7777))
	if answer.Code != http.StatusOK {
		t.Fatalf("the plan page answers %d: %s", answer.Code, answer.Body)
	}
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), answer.Header())
		_, _ = w.Write(answer.Body.Bytes())
	})
	requests := make([][]byte, views)
	for i := range requests {
		requests[i] = wire(t, view(rand.IntN(devices)))
	}
	pages, base, ratio := inTurns(t, handler, bare, rounds, connections, requests, http.StatusOK)
	r.add(t, figure{
		name:     "plan page, 100,000 devices, over loopback",
		got:      inSeconds(pages),
		baseline: "the same bytes from memory: " + inSeconds(base),
		ratio:    fmt.Sprintf("%.2f", ratio),
	})
}

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
