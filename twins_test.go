package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/app"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

// twin is a second installation on the same Stripe account and Notehub project, with a ledger of its own.
type twin struct {
	ledger *ledger.Ledger
	server *app.App
	routes http.Handler
	stop   func()
}

// twin starts one, with an endpoint of its own at Stripe. It runs until the test ends, or stop.
func (f *front) twin() *twin {
	f.Helper()
	l, err := ledger.Open(f.Context(), filepath.Join(f.TempDir(), "twin.db"))
	if err != nil {
		f.Fatal(err)
	}
	s := f.settings
	hub, api := hubOf(&s, sandbox.InProcess(f.notehub)), stripeOf(&s, sandbox.InProcess(f.stripe))
	endpoint, err := api.Client.V1WebhookEndpoints.Create(f.Context(), &stripe.WebhookEndpointCreateParams{
		URL: stripe.String("http://twin.test/webhook/stripe"), EnabledEvents: stripe.StringSlice(stripeapi.EventTypes())})
	if err != nil {
		f.Fatal(err)
	}
	s.StripeWebhookSecret = config.Secret(endpoint.Secret)
	t := &twin{ledger: l}
	t.server, err = app.New(f.Context(), app.Config{
		Settings: &s,
		Ledger:   l,
		Notehub:  hub,
		Stripe:   api,
		Log:      slog.New(slog.NewTextHandler(f.Output(), nil)),
		Version:  testVersion,
	})
	if err != nil {
		f.Fatal(err)
	}
	t.routes = t.server.Handler()
	ours := f.handler
	f.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "twin.test" {
			t.routes.ServeHTTP(w, r)
			return
		}
		ours.ServeHTTP(w, r)
	})
	ctx, stop := context.WithCancel(f.Context())
	var loops sync.WaitGroup
	loops.Go(func() { t.server.Run(ctx, context.WithoutCancel(ctx)) })
	t.stop = sync.OnceFunc(func() { stop(); loops.Wait() })
	f.Cleanup(func() {
		t.stop()
		if err := l.Close(); err != nil {
			f.Error(err)
		}
	})
	return t
}

func (t *twin) payment(f *front, session string) payment.Payment {
	f.Helper()
	p, err := t.ledger.Payment(f.Context(), session)
	if err != nil {
		f.Fatalf("the twin's payment of %s: %v", session, err)
	}
	return p
}

func (t *twin) health() string {
	w := httptest.NewRecorder()
	t.routes.ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
	return w.Body.String()
}

const twinsText = "Another installation works on the same Notehub project and Stripe account"

// Two installations take back each other's notes. Both say so, and the customer has the money back once.
func TestTwoInstallationsOnOneProjectAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*config.Settings)
		machine sandbox.MachineConfig
	}{"without confirmations": {without, threeKeys}, "with confirmations": {confirming, confirms}, "with money that is held": {holding, confirms}} {
		t.Run(name, func(t *testing.T) {
			story(t, c.change, c.machine, func(f *front, m *sandbox.Machine) {
				other := f.twin()
				f.run()
				f.pass(time.Minute)
				m.SetOnline(false)
				sold := f.buy(sandbox.PayOptions{})
				f.pass(time.Second)
				if notes := f.notehub.Notes(washer); len(notes) != 2 {
					f.Fatalf("%d notes; want one from each", len(notes))
				}
				f.pass(10 * time.Minute)
				m.SetOnline(true)
				f.pass(10 * time.Minute)
				f.started(m, 0)
				charged, held, back, _ := f.stripe.Money(sold.ID)
				if held != 0 || charged != back {
					f.Errorf("%d charged, %d held, %d back; want all of it back", charged, held, back)
				}
				f.answers("health", f.get("/health"), http.StatusOK, twinsText)
				if health := other.health(); !strings.Contains(health, twinsText) {
					f.Errorf("the twin's health %s; want it to tell of the other installation", health)
				}
				// Both take the notes back at the same time, and one may find its own alone: then the other marks the payment.
				if p, others := f.paid(sold.ID), other.payment(f, sold.ID); p.ReviewReason == "" && others.ReviewReason == "" {
					f.Errorf("%s, %s %s: nobody is told", p.Funds, p.Delivery, p.Reason)
				}
			})
		})
	}
}

// One installation does not sell on the machine and refunds, the other sends the credit.
func TestACreditThatAnotherInstallationSentIsTold(t *testing.T) {
	story(t, confirming, confirms, func(f *front, m *sandbox.Machine) {
		other := f.twin()
		f.run()
		f.pass(time.Minute)
		open := f.opened()
		f.asks("pause", "/api/devices/"+washer+"/pause", `{"reason":"it leaks"}`, http.StatusOK, "")
		f.stripe.Next("POST /v1/refunds", sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"30"}}})
		sold := f.pay(open)
		f.started(m, 1)
		f.pass(10 * time.Minute)
		if p := f.paid(sold.ID); p.ReviewReason != payment.ReasonStartedAfter || p.Funds != payment.Refunded {
			f.Errorf("%s, attention %q; want the money back, and that the machine started", p.Funds, p.ReviewReason)
		}
		f.answers("health", f.get("/health"), http.StatusOK, twinsText)
		if health := other.health(); !strings.Contains(health, twinsText) {
			f.Errorf("the twin's health %s; want it to tell of a refund that it did not order", health)
		}
		f.stop()
		f.closeLedger() // the invariants know of one installation alone
	})
}
