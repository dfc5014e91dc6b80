package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

const (
	testKey    = "sk_test_0123456789"
	testSecret = "whsec_0123456789"
	project    = "app:11111111-2222-3333-4444-555555555555"
	washer     = "dev:864475044215258"
	warm       = "price_warm"
	postNote   = "POST /v1/projects/{project}/devices/{device}/notes/{file}"
)

// world is the sandbox around a service: Stripe, Notehub and what the service is told of them.
type world struct {
	*testing.T
	stripe  *sandbox.Stripe
	notehub *sandbox.Notehub
	env     map[string]string
	dir     string

	machines []*sandbox.Machine // those that are held against the ledger in the end
	rewinds  []*rewind          // restores of the ledger from older copies

	mu    sync.Mutex
	moved chan struct{} // closed and replaced whenever anything happened
}

// newWorld has one device and one price. The ledger's invariants are checked when the test ends.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir(), moved: make(chan struct{})}
	w.stripe = sandbox.NewStripe(sandbox.StripeConfig{Key: testKey, Report: t, RetryDelays: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second}})
	w.notehub = sandbox.NewNotehub(sandbox.NotehubConfig{ClientID: "client", ClientSecret: "secret-of-client", Project: project, Report: t})
	w.stripe.Watch(func(sandbox.Exchange) { w.stir() })
	w.notehub.Watch(func(sandbox.Exchange) { w.stir() })
	stripeServer, hubServer := httptest.NewServer(w.stripe), httptest.NewServer(w.notehub)
	w.stripe.SetBaseURL(stripeServer.URL)
	t.Cleanup(func() {
		w.stripe.Close()
		stripeServer.Close()
		hubServer.Close()
	})
	w.stripe.AddPrice(sandbox.Price{ID: warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true})
	w.notehub.AddDevice(sandbox.Device{UID: washer, Name: "Washer 3", LastActivity: time.Now()})
	w.env = map[string]string{
		"STRIPE_SECRET_KEY": testKey, "STRIPE_PRICE_ID": warm, "STRIPE_WEBHOOK_SECRET": testSecret, "NOTEHUB_CLIENT_ID": "client",
		"NOTEHUB_CLIENT_SECRET": "secret-of-client", "NOTEHUB_PROJECT_UID": project, "LISTEN_ADDR": "127.0.0.1:0", "PUBLIC_URL": "https://pay.example.com",
		"DATABASE_URL": filepath.Join(w.dir, "notepay.db"), "OPERATOR_TOKEN": "operator-token-1234", "LOG_LEVEL": "debug", "STRIPE_API_URL": stripeServer.URL,
		"NOTEHUB_API_URL": hubServer.URL, "NOTEHUB_AUTH_URL": hubServer.URL + "/oauth2/token",
	}
	t.Cleanup(w.checkLedger) // runs before the servers close and after the service has stopped
	return w
}

// set changes settings for the services started from now on.
func (w *world) set(pairs ...string) *world {
	for i := 0; i < len(pairs); i += 2 {
		w.env[pairs[i]] = pairs[i+1]
	}
	return w
}

func (w *world) stir() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.moved)
	w.moved = make(chan struct{})
}

// until waits for a condition, looking whenever a vendor was asked or the service has logged something.
func (w *world) until(what string, condition func() bool) {
	w.Helper()
	deadline := time.After(60 * time.Second)
	unannounced := time.NewTicker(200 * time.Millisecond) // Stripe's deliveries end without a word
	defer unannounced.Stop()
	for {
		w.mu.Lock()
		moved := w.moved
		w.mu.Unlock()
		if condition() {
			return
		}
		select {
		case <-moved:
		case <-unannounced.C:
		case <-deadline:
			w.Fatalf("waited 60 s in vain for: %s", what)
		}
	}
}

// service is a running notepay.
type service struct {
	w    *world
	url  string
	logs *lockedBuffer
	stop func() error // SIGTERM, and what is wrong with its end
}

type lockedBuffer struct {
	mu  sync.Mutex
	b   bytes.Buffer
	w   *world
	out io.Writer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.b.Write(p)
	l.mu.Unlock()
	l.w.stir()
	return l.out.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// machine adds the host of a device.
func (w *world) machine(c sandbox.MachineConfig) *sandbox.Machine {
	m := sandbox.NewMachine(w.notehub, c)
	w.machines = append(w.machines, m)
	return m
}

// start runs the service and waits until it listens. It stops with the test, or when stop is called.
func (w *world) start() *service {
	w.Helper()
	s := &service{w: w, logs: &lockedBuffer{w: w, out: w.Output()}}
	p := w.launch(invoked(w.T, w.dir, w.env), s.logs)
	s.url = p.url
	s.stop = sync.OnceValue(p.stop)
	w.Cleanup(func() {
		if err := s.stop(); err != nil {
			w.Errorf("the service ended with %v; want a clean stop", err)
		}
	})
	w.stripe.SetEndpoint(s.url+"/webhook/stripe", testSecret)
	return s
}

// selling waits until the device's link is known to the service, and returns it.
func (s *service) selling(device string) (link string) {
	s.w.Helper()
	s.w.until(device+" sells", func() bool {
		status, header, _ := s.get("/pay?device=" + device)
		link = header.Get("Location")
		return status == http.StatusTemporaryRedirect
	})
	return link
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (s *service) get(path string, header ...string) (int, http.Header, string) {
	s.w.Helper()
	return s.do(http.MethodGet, path, "", header...)
}

func (s *service) do(method, path, body string, header ...string) (int, http.Header, string) {
	s.w.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.w.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := noRedirects.Do(req)
	if err != nil {
		s.w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.w.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// pay buys at a link.
func (w *world) pay(link string, o sandbox.PayOptions) sandbox.Session {
	w.Helper()
	session, err := w.stripe.Pay(link, o)
	if err != nil {
		w.Fatal(err)
	}
	return session
}

// sent waits for n notes at a device and for their being written down.
func (w *world) sent(device string, n int) []sandbox.Note {
	w.Helper()
	w.until(fmt.Sprintf("%d notes at %s", n, device), func() bool { return len(w.notehub.Notes(device)) >= n })
	return w.notehub.Notes(device)
}

// payment reads a session's payment by the operator's API, when it satisfies a condition.
func (s *service) payment(session, what string, condition func(string) bool) string {
	s.w.Helper()
	var text string
	s.w.until("payment of "+session+": "+what, func() bool {
		var status int
		status, _, text = s.get("/api/payments/"+session, "Authorization", "Bearer operator-token-1234")
		return status == http.StatusOK && condition(text)
	})
	return text
}

func has(part string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, part) }
}

// checkLedger holds the ledger against the vendors, after the service has stopped: whatever the test did, this is true.
func (w *world) checkLedger() {
	if ledger.IsPostgres(w.env["DATABASE_URL"]) {
		return
	}
	ctx := context.Background()
	l, err := ledger.Open(ctx, w.env["DATABASE_URL"])
	if err != nil {
		w.Errorf("invariants: %v", err)
		return
	}
	defer l.Close()
	for _, problem := range checkInvariantsAfter(ctx, w.rewinds, l, w.stripe, w.notehub, w.machines...) {
		w.Errorf("invariant broken: %s", problem)
	}
}
