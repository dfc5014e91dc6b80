package apptest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

// Twin is a second installation on the same Stripe account and Notehub project, with its own
// ledger.
type Twin struct {
	ledger *ledger.Ledger
	server *app.App
	Routes http.Handler
	Stop   func()
}

// Twin starts a second installation with its own webhook endpoint. It runs until the test ends, or
// until Stop.
func (f *Front) Twin() *Twin {
	f.Helper()
	l, err := ledger.Open(f.Context(), ledgertest.Fresh(f))
	if err != nil {
		f.Fatal(err)
	}
	s := f.Settings
	library := StripeOf(&s, sandbox.InProcess(f.Stripe)).Library()
	endpoint, err := library.V1WebhookEndpoints.Create(f.Context(), &stripe.WebhookEndpointCreateParams{
		URL:           stripe.String("http://twin.test/webhook/stripe"),
		EnabledEvents: stripe.StringSlice(stripeapi.EventTypes()),
	})
	if err != nil {
		f.Fatal(err)
	}
	s.StripeWebhookSecret = config.Secret(endpoint.Secret)
	t := &Twin{ledger: l}
	t.server, err = app.New(f.Context(), app.Config{
		Settings: &s,
		Ledger:   l,
		Notehub:  HubOf(&s, sandbox.InProcess(f.Notehub)),
		Stripe:   StripeOf(&s, sandbox.InProcess(f.Stripe)),
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

// Payment returns the twin's payment of a session.
func (t *Twin) Payment(f *Front, session string) payment.Payment {
	f.Helper()
	p, err := t.ledger.Payment(f.Context(), session)
	if err != nil {
		f.Fatalf("the twin's payment of %s: %v", session, err)
	}
	return p
}

// Health returns the body of the twin's /health.
func (t *Twin) Health() string {
	w := httptest.NewRecorder()
	t.Routes.ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
	return w.Body.String()
}

// TwinsText is in the health of an installation that has found another.
const TwinsText = "Another installation works on the same Notehub project and Stripe account"

// TellsOfTwins checks whether the health of both installations shows the problem. other may be nil.
func (f *Front) TellsOfTwins(when string, other *Twin, want bool) {
	f.Helper()
	if health := f.Get("/health").Body.String(); strings.Contains(health, TwinsText) != want {
		f.Errorf("%s the health is %s; want it to tell of another installation: %v", when, health, want)
	}
	if other == nil {
		return
	}
	if health := other.Health(); strings.Contains(health, TwinsText) != want {
		f.Errorf("%s the twin's health is %s; want it to tell of another installation: %v", when, health, want)
	}
}
