package apptest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

// Twin is a second installation on the same Stripe account and Notehub project, with a ledger of
// its own.
type Twin struct {
	ledger *ledger.Ledger
	server *app.App
	Routes http.Handler
	Stop   func()
}

// Twin starts one, with an endpoint of its own at Stripe. It runs until the test ends, or stop.
func (f *Front) Twin() *Twin {
	f.Helper()
	l, err := ledger.Open(f.Context(), filepath.Join(f.TempDir(), "twin.db"))
	if err != nil {
		f.Fatal(err)
	}
	s := f.Settings
	hub, api := HubOf(&s, sandbox.InProcess(f.Notehub)), StripeOf(&s, sandbox.InProcess(f.Stripe))
	endpoint, err := api.Client.V1WebhookEndpoints.Create(f.Context(), &stripe.WebhookEndpointCreateParams{
		URL: stripe.String(
			"http://twin.test/webhook/stripe",
		), EnabledEvents: stripe.StringSlice(stripeapi.EventTypes())})
	if err != nil {
		f.Fatal(err)
	}
	s.StripeWebhookSecret = config.Secret(endpoint.Secret)
	t := &Twin{ledger: l}
	t.server, err = app.New(f.Context(), app.Config{
		Settings: &s,
		Ledger:   l,
		Notehub:  hub,
		Stripe:   api,
		Log:      slog.New(slog.NewTextHandler(f.Output(), nil)),
		Version:  fixture.TestVersion,
	})
	if err != nil {
		f.Fatal(err)
	}
	t.Routes = t.server.Handler()
	ours := f.Handler
	f.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "twin.test" {
			t.Routes.ServeHTTP(w, r)
			return
		}
		ours.ServeHTTP(w, r)
	})
	ctx, stop := context.WithCancel(f.Context())
	var loops sync.WaitGroup
	loops.Go(func() { t.server.Run(ctx, context.WithoutCancel(ctx)) })
	t.Stop = sync.OnceFunc(func() { stop(); loops.Wait() })
	f.Cleanup(func() {
		t.Stop()
		if err := l.Close(); err != nil {
			f.Error(err)
		}
	})
	return t
}

func (t *Twin) Payment(f *Front, session string) payment.Payment {
	f.Helper()
	p, err := t.ledger.Payment(f.Context(), session)
	if err != nil {
		f.Fatalf("the twin's payment of %s: %v", session, err)
	}
	return p
}

func (t *Twin) Health() string {
	w := httptest.NewRecorder()
	t.Routes.ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
	return w.Body.String()
}

const TwinsText = "Another installation works on the same Notehub project and Stripe account"
