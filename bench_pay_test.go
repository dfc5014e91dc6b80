//go:build linux

package main

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/stripeevent"
	"notepay/internal/upstream"
	"notepay/internal/web"
)

// idle is a server on a ledger with nothing at work behind it: no vendor is asked and no payment is claimed.
func idle(t *testing.T, database string) *Server {
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
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	devices, err := fleet.New(t.Context(), fleet.Config{Ledger: l, Log: log, PriceIDs: []string{warm}, Interval: time.Hour, LinkPace: upstream.NewPace(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	metrics := web.NewMetrics(version(), l.Stats, devices.Counts)
	return &Server{ledger: l, fleet: devices, webhooks: stripeevent.Secrets{testSecret}, customer: &web.Customer{Ledger: l, Live: web.NewLive(l, log), Log: log, Test: true},
		bridge:   bridge.New(bridge.Config{Ledger: l, Fleet: devices, NotehubPace: upstream.NewPace(0, 0), StripePace: upstream.NewPace(0, 0), PollInterval: time.Hour, Log: log, Project: project, Lifetime: 10 * time.Minute, Observe: metrics}),
		operator: &web.Operator{Ledger: l}, metrics: metrics, log: log}
}

// listen serves a handler as main.go does, and returns its address.
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
	front := &http.Server{Handler: h, ReadHeaderTimeout: readHeaderLimit, ReadTimeout: readLimit, IdleTimeout: idleLimit, MaxHeaderBytes: 32 << 10}
	go func() { _ = front.Serve(listener) }() // always an error, and that of Close
	t.Cleanup(func() { _ = front.Close() })
}

// sameAnswer is a bare handler that writes the answer that /pay gives, header for header.
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
	r.Header.Set("User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1")
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	return r
}

// wire is a request as it goes over the wire.
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

// benchPay holds /pay against a bare handler, in turns, so that both meet the same machine.
func benchPay(t *testing.T, r *report) {
	const devices, rounds, scans, connections = 100_000, 15, 20_000, 16
	database := filepath.Join(t.TempDir(), "notepay.db")
	w := &world{T: t, env: map[string]string{"DATABASE_URL": database}}
	w.remember(devices)
	handler := idle(t, database).routes()
	probe := httptest.NewRecorder()
	handler.ServeHTTP(probe, scan(7777))
	if probe.Code != http.StatusTemporaryRedirect || probe.Header().Get("Location") != "https://buy.example.com/7777" {
		t.Fatalf("/pay answers %d to %q", probe.Code, probe.Header().Get("Location"))
	}
	bare := sameAnswer(probe.Result())

	requests := make([][]byte, scans)
	for i := range requests {
		requests[i] = wire(t, scan(rand.IntN(devices)))
	}
	ours, theirs := listen(t, handler), listen(t, bare)
	var pay, base, ratios []float64
	for n := range rounds + 1 {
		_, a := callAll(t, ours, connections, requests, http.StatusTemporaryRedirect)
		_, b := callAll(t, theirs, connections, requests, http.StatusTemporaryRedirect)
		if n > 0 { // the first warms up
			pay, base, ratios = append(pay, scans/a.Seconds()), append(base, scans/b.Seconds()), append(ratios, b.Seconds()/a.Seconds())
		}
	}
	ratio := median(ratios)
	r.add(t, figure{name: "`/pay`, 100,000 devices, over loopback", got: inSeconds(median(pay)), baseline: "bare `net/http` handler, same answer: " + inSeconds(median(base)),
		ratio: fmt.Sprintf("%.2f", ratio), wanted: "≥ 0.95", short: ratio < 0.95})

	a, b := inProcess(t, handler, devices), inProcess(t, bare, devices)
	r.add(t, figure{name: "`/pay`, 100,000 devices, handler alone", got: short(a), baseline: "bare handler alone: " + short(b),
		ratio: fmt.Sprintf("%.1f", float64(a)/float64(b))})
}

// inProcess is what one scan costs in the handler, without the network.
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

// answer is a ResponseWriter that costs next to nothing.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
