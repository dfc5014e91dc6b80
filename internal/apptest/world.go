package apptest

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

	"notepay/internal/dsn"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

// World is the sandbox around a service: Stripe, Notehub and what the service is told of them.
type World struct {
	*testing.T
	Stripe  *sandbox.Stripe
	Notehub *sandbox.Notehub
	Env     map[string]string
	Dir     string

	Machines []*sandbox.Machine // those that are held against the ledger in the end
	Rewinds  []*Rewind          // restores of the ledger from older copies

	mu    sync.Mutex
	moved chan struct{} // closed and replaced whenever anything happened
}

// NewWorld has one device and one price. The ledger's invariants are checked when the test ends.
func NewWorld(t *testing.T) *World {
	t.Helper()
	w := &World{T: t, Dir: t.TempDir(), moved: make(chan struct{})}
	w.Stripe = sandbox.NewStripe(
		sandbox.StripeConfig{
			Key:         fixture.TestKey,
			Report:      t,
			RetryDelays: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second},
		},
	)
	w.Notehub = sandbox.NewNotehub(
		sandbox.NotehubConfig{
			ClientID:     "client",
			ClientSecret: "secret-of-client",
			Project:      fixture.Project,
			Report:       t,
		},
	)
	w.Stripe.Watch(func(sandbox.Exchange) { w.Stir() })
	w.Notehub.Watch(func(sandbox.Exchange) { w.Stir() })
	stripeServer, hubServer := httptest.NewServer(w.Stripe), httptest.NewServer(w.Notehub)
	w.Stripe.SetBaseURL(stripeServer.URL)
	t.Cleanup(func() {
		w.Stripe.Close()
		stripeServer.Close()
		hubServer.Close()
	})
	w.Stripe.AddPrice(sandbox.Price{ID: fixture.Warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true})
	w.Notehub.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3", LastActivity: time.Now()})
	w.Env = map[string]string{
		"STRIPE_SECRET_KEY": fixture.TestKey, "STRIPE_PRICE_ID": fixture.Warm, "STRIPE_WEBHOOK_SECRET": fixture.TestSecret, "NOTEHUB_CLIENT_ID": "client",
		"NOTEHUB_CLIENT_SECRET": "secret-of-client", "NOTEHUB_PROJECT_UID": fixture.Project, "LISTEN_ADDR": "127.0.0.1:0", "PUBLIC_URL": "https://pay.example.com",
		"DATABASE_URL": filepath.Join(
			w.Dir,
			"notepay.db",
		), "OPERATOR_TOKEN": "operator-token-1234", "LOG_LEVEL": "debug", "STRIPE_API_URL": stripeServer.URL,
		"NOTEHUB_API_URL": hubServer.URL, "NOTEHUB_AUTH_URL": hubServer.URL + "/oauth2/token",
	}
	t.Cleanup(w.checkLedger) // runs before the servers close and after the service has stopped
	return w
}

// Set changes settings for the services started from now on.
func (w *World) Set(pairs ...string) *World {
	for i := 0; i < len(pairs); i += 2 {
		w.Env[pairs[i]] = pairs[i+1]
	}
	return w
}

func (w *World) Stir() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.moved)
	w.moved = make(chan struct{})
}

// Until waits for a condition, looking whenever a vendor was asked or the service has logged
// something.
func (w *World) Until(what string, condition func() bool) {
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

// Service is a running notepay.
type Service struct {
	W    *World
	Url  string
	Logs *LockedBuffer
	Stop func() error // SIGTERM, and what is wrong with its end
}

type LockedBuffer struct {
	mu  sync.Mutex
	b   bytes.Buffer
	W   *World
	Out io.Writer
}

func (l *LockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.b.Write(p)
	l.mu.Unlock()
	l.W.Stir()
	return l.Out.Write(p)
}

func (l *LockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Machine adds the host of a device.
func (w *World) Machine(c sandbox.MachineConfig) *sandbox.Machine {
	m := sandbox.NewMachine(w.Notehub, c)
	w.Machines = append(w.Machines, m)
	return m
}

// Start runs the service and waits until it listens. It stops with the test, or when stop is
// called.
func (w *World) Start() *Service {
	w.Helper()
	s := &Service{W: w, Logs: &LockedBuffer{W: w, Out: w.Output()}}
	p := w.Launch(Invoked(w.T, w.Dir, w.Env), s.Logs)
	s.Url = p.Url
	s.Stop = sync.OnceValue(p.Stop)
	w.Cleanup(func() {
		if err := s.Stop(); err != nil {
			w.Errorf("the service ended with %v; want a clean stop", err)
		}
	})
	w.Stripe.SetEndpoint(s.Url+"/webhook/stripe", fixture.TestSecret)
	return s
}

// Selling waits until the device's link is known to the service, and returns it.
func (s *Service) Selling(device string) (link string) {
	s.W.Helper()
	s.W.Until(device+" sells", func() bool {
		status, header, _ := s.Get("/pay?device=" + device)
		link = header.Get("Location")
		return status == http.StatusTemporaryRedirect
	})
	return link
}

var NoRedirects = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s *Service) Get(path string, header ...string) (int, http.Header, string) {
	s.W.Helper()
	return s.Do(http.MethodGet, path, "", header...)
}

func (s *Service) Do(method, path, body string, header ...string) (int, http.Header, string) {
	s.W.Helper()
	req, err := http.NewRequest(method, s.Url+path, strings.NewReader(body))
	if err != nil {
		s.W.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := NoRedirects.Do(req)
	if err != nil {
		s.W.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.W.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// Pay buys at a link.
func (w *World) Pay(link string, o sandbox.PayOptions) sandbox.Session {
	w.Helper()
	session, err := w.Stripe.Pay(link, o)
	if err != nil {
		w.Fatal(err)
	}
	return session
}

// Sent waits for n notes at a device and for their being written down.
func (w *World) Sent(device string, n int) []sandbox.Note {
	w.Helper()
	w.Until(fmt.Sprintf("%d notes at %s", n, device), func() bool { return len(w.Notehub.Notes(device)) >= n })
	return w.Notehub.Notes(device)
}

// Payment reads a session's payment by the operator's API, when it satisfies a condition.
func (s *Service) Payment(session, what string, condition func(string) bool) string {
	s.W.Helper()
	var text string
	s.W.Until("payment of "+session+": "+what, func() bool {
		var status int
		status, _, text = s.Get("/api/payments/"+session, "Authorization", "Bearer operator-token-1234")
		return status == http.StatusOK && condition(text)
	})
	return text
}

func Has(part string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, part) }
}

// checkLedger holds the ledger against the vendors, after the service has stopped: whatever the
// test did, this is true.
func (w *World) checkLedger() {
	if dsn.IsPostgres(w.Env["DATABASE_URL"]) {
		return
	}
	ctx := context.Background()
	l, err := ledger.Open(ctx, w.Env["DATABASE_URL"])
	if err != nil {
		w.Errorf("invariants: %v", err)
		return
	}
	defer l.Close()
	for _, problem := range checkInvariantsAfter(ctx, w.Rewinds, l, w.Stripe, w.Notehub, w.Machines...) {
		w.Errorf("invariant broken: %s", problem)
	}
}
