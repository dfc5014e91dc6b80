package apptest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/dsn"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// World is the sandbox around a service: Stripe, Notehub, and the service's settings.
type World struct {
	*testing.T
	Stripe  *sandbox.Stripe
	Notehub *sandbox.Notehub
	Env     map[string]string
	Dir     string

	Inspected bool // the invariants are also checked on PostgreSQL, which runs when the test ends
	Forgetful bool // the vendors forget payments during the test, so nothing tells whether the invariants hold

	Machines []*sandbox.Machine // those that are held against the ledger in the end
	Rewinds  []*Rewind          // restores of the ledger from older copies

	mu     sync.Mutex
	moved  chan struct{} // closed and replaced whenever anything happened
	errors []string      // what Errorf reported
}

// NewWorld returns a world with one device and one price. The ledger's invariants are checked when
// the test ends.
func NewWorld(t *testing.T) *World {
	t.Helper()
	w := &World{T: t, Dir: t.TempDir(), moved: make(chan struct{})}
	w.Stripe = sandbox.NewStripe(
		sandbox.StripeConfig{
			Key:         fixture.TestKey,
			Report:      w,
			RetryDelays: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, time.Second},
		},
	)
	w.Notehub = sandbox.NewNotehub(
		sandbox.NotehubConfig{
			ClientID:     "client",
			ClientSecret: "secret-of-client",
			Project:      fixture.Project,
			Report:       w,
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
		"STRIPE_SECRET_KEY":     fixture.TestKey,
		"STRIPE_PRICE_ID":       fixture.Warm,
		"STRIPE_WEBHOOK_SECRET": fixture.TestSecret,
		"STRIPE_API_URL":        stripeServer.URL,
		"NOTEHUB_CLIENT_ID":     "client",
		"NOTEHUB_CLIENT_SECRET": "secret-of-client",
		"NOTEHUB_PROJECT_UID":   fixture.Project,
		"NOTEHUB_API_URL":       hubServer.URL,
		"NOTEHUB_AUTH_URL":      hubServer.URL + "/oauth2/token",
		"LISTEN_ADDR":           "127.0.0.1:0",
		"PUBLIC_URL":            "https://pay.example.com",
		"DATABASE_URL":          filepath.Join(w.Dir, "notepay.db"),
		"OPERATOR_TOKEN":        OperatorToken,
		"LOG_LEVEL":             "debug",
	}
	t.Cleanup(w.checkLedger) // runs after the service has stopped and before the servers close
	return w
}

// Errorf reports an error, like testing.T, and keeps it for Errors.
func (w *World) Errorf(format string, args ...any) {
	w.Helper()
	w.mu.Lock()
	w.errors = append(w.errors, fmt.Sprintf(format, args...))
	w.mu.Unlock()
	w.T.Errorf(format, args...)
}

// Errors returns what Errorf reported.
func (w *World) Errors() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.errors)
}

// Set changes settings, given as names and values, for the services that start later.
func (w *World) Set(pairs ...string) *World {
	for i := 0; i < len(pairs); i += 2 {
		w.Env[pairs[i]] = pairs[i+1]
	}
	return w
}

// Stir makes Until check its condition again.
func (w *World) Stir() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.moved != nil { // nil in a World that was not made by NewWorld
		close(w.moved)
	}
	w.moved = make(chan struct{})
}

// Until waits up to 60 s for a condition. It checks the condition whenever a vendor was called or
// the service has logged something.
func (w *World) Until(what string, condition func() bool) {
	w.Helper()
	deadline := time.After(60 * time.Second)
	unannounced := time.NewTicker(200 * time.Millisecond) // the end of a delivery by Stripe does not stir
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

// Machine adds the host of a device.
func (w *World) Machine(c sandbox.MachineConfig) *sandbox.Machine {
	m := sandbox.NewMachine(w.Notehub, c)
	w.Machines = append(w.Machines, m)
	return m
}

// Remember stores n devices with their links in the ledger, as an earlier run would have.
func (w *World) Remember(n int) {
	w.Helper()
	l, err := ledger.Open(w.Context(), w.Env["DATABASE_URL"])
	if err != nil {
		w.Fatal(err)
	}
	err = l.Update(w.Context(), func(tx *ledger.Tx) error {
		for i := range n {
			uid := fmt.Sprintf("dev:%d", i)
			err := errors.Join(
				tx.SaveVariables(ledger.Variables{Owner: uid, ReadAt: tx.Now}),
				tx.SaveDevice(ledger.Device{UID: uid, Name: fmt.Sprintf("Washer %d", i)}),
				tx.SaveLink(
					ledger.Link{
						ID:        fmt.Sprintf("plink_%d", i),
						DeviceUID: uid,
						URL:       fmt.Sprintf("https://buy.example.com/%d", i),
						Active:    true,
						Plan: payment.Offer{
							PriceID:  fixture.Warm,
							Name:     "Warm wash",
							Amount:   350,
							Currency: "eur",
						},
					},
				),
			)
			if err != nil {
				return err
			}
		}
		return errors.Join(
			tx.SaveVariables(ledger.Variables{Owner: "project", ReadAt: tx.Now}),
			tx.SetMeta("fleet_loaded", tx.Now),
		)
	})
	if err := errors.Join(err, l.Close()); err != nil {
		w.Fatal(err)
	}
}

// Start runs the service and waits until it listens. It stops with the test, or when Stop is
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

// Stopped stops a service, which must exit with 0.
func (w *World) Stopped(s *Service) {
	w.Helper()
	if err := s.Stop(); err != nil {
		w.Errorf("stop: %v", err)
	}
}

// All runs f n times at once and waits for all.
func (w *World) All(n int, f func(int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f(i) })
	}
	wait.Wait()
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

// PaidMeanwhile pays while nothing can be recorded, and then calls recover. Stripe repeats the
// webhook until it is recorded.
func (w *World) PaidMeanwhile(s *Service, link string, recover func()) {
	w.Helper()
	session := w.Pay(link, sandbox.PayOptions{NoWebhook: true})
	event := ""
	for _, e := range w.Stripe.Events() {
		if e.ObjectID == session.ID {
			event = e.ID
		}
	}
	if status, err := w.Stripe.Send(event); err != nil || status != http.StatusServiceUnavailable {
		w.Errorf("the webhook is answered %d, %v; want 503", status, err)
	}
	recover()
	s.Selling(fixture.Washer)
	if status, err := w.Stripe.Send(event); err != nil || status != http.StatusOK {
		w.Errorf("the repeated webhook is answered %d, %v; want 200", status, err)
	}
	s.Payment(session.ID, "sent", Has(`"machine":"sent"`))
}

// Resend sends the events of a type about an object again, until the service answers 200.
func (w *World) Resend(object, kind string) {
	for _, e := range w.Stripe.Events() {
		if e.ObjectID == object && e.Type == kind {
			// a service that has just started may answer 503
			w.Until("the repeated event is accepted", func() bool {
				status, err := w.Stripe.Send(e.ID)
				return err == nil && status == http.StatusOK
			})
		}
	}
}

// Sent waits until a device has n notes, and returns them.
func (w *World) Sent(device string, n int) []sandbox.Note {
	w.Helper()
	w.Until(fmt.Sprintf("%d notes at %s", n, device), func() bool { return len(w.Notehub.Notes(device)) >= n })
	return w.Notehub.Notes(device)
}

// Clocks sets both vendors' clocks ahead of the host's.
func (w *World) Clocks(ahead time.Duration) {
	w.Stripe.SetClock(ahead)
	w.Notehub.SetClock(ahead)
}

// ActiveLinks compares Stripe's active links with the wanted ones, a price by device.
func (w *World) ActiveLinks(want map[string]string) {
	w.Helper()
	got := map[string]string{}
	for _, l := range w.Stripe.Links() {
		if l.Active {
			if _, twice := got[l.DeviceUID]; twice {
				w.Errorf("%s has two active links", l.DeviceUID)
			}
			got[l.DeviceUID] = l.PriceID
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("active links %v; want %v", got, want)
	}
}

// checkLedger checks the invariants after the service has stopped, whatever the test did.
func (w *World) checkLedger() {
	if w.Forgetful || dsn.IsPostgres(w.Env["DATABASE_URL"]) && !w.Inspected {
		return
	}
	ctx := context.Background()
	l, err := ledger.Open(ctx, w.Env["DATABASE_URL"])
	if err != nil {
		w.Errorf("invariants: %v", err)
		return
	}
	defer l.Close()
	rewinds := append([]*Rewind{}, w.Rewinds...) // not nil
	for _, problem := range checkInvariantsAfter(ctx, rewinds, l, w.Stripe, w.Notehub, w.Machines...) {
		w.Errorf("invariant broken: %s", problem)
	}
}

// Has returns a condition for Payment: the text contains part.
func Has(part string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, part) }
}
