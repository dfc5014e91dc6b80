package stripeapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/checkout"
	"notepay/internal/fixture"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// testStripe is a simulated Stripe with the client under test.
type testStripe struct {
	*sandbox.Stripe
	client *Client
}

// testConfig returns the settings of a client without retries, whose calls transport carries. A nil
// transport is the network.
func testConfig(base string, transport http.RoundTripper) Config {
	if transport == nil {
		transport = upstream.NewTransport(4 << 20)
	}
	return Config{
		Key: fixture.TestKey,
		Backend: stripe.BackendConfig{
			URL:               stripe.String(base),
			MaxNetworkRetries: stripe.Int64(0),
			EnableTelemetry:   stripe.Bool(false),
			LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
		},
		Transport: transport,
		Timeout:   payment.CallTimeout,
		Project:   fixture.Project,
	}
}

// newStripeTest returns a simulated Stripe without a socket, for tests in fake time.
func newStripeTest(t *testing.T) *testStripe {
	t.Helper()
	s := &testStripe{
		Stripe: sandbox.NewStripe(
			sandbox.StripeConfig{Key: fixture.TestKey, Report: t, CheckoutURL: "https://buy.test"},
		),
	}
	s.client = New(testConfig("http://stripe.test", sandbox.InProcess(s)))
	s.AddPrice(sandbox.Price{ID: fixture.Warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true})
	return s
}

func (s *testStripe) plan() error {
	_, err := s.client.Offer(context.Background(), fixture.Warm)
	return err
}

// create creates a link for the washer and the warm wash.
func (s *testStripe) create(key string) (ledger.Link, error) {
	return s.client.CreateLink(context.Background(), fleet.NewLink{
		Device:         ledger.Device{UID: fixture.Washer, Name: "Washer 3"},
		Plan:           payment.Offer{PriceID: fixture.Warm, Name: "Warm wash"},
		SignedBy:       "process",
		IdempotencyKey: key,
	})
}

// stripeCalls returns the calls whose replies decide about money or sales.
func (s *testStripe) stripeCalls() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"session":   func(ctx context.Context) error { _, err := s.client.Session(ctx, "cs_test_1"); return err },
		"by intent": func(ctx context.Context) error { _, err := s.client.Session(ctx, "pi_1"); return err },
		"events": func(ctx context.Context) error {
			_, _, _, err := s.client.Events(ctx, time.Now(), "")
			return err
		},
		"refunds": func(ctx context.Context) error { _, err := s.client.Refunds(ctx, "pi_1"); return err },
		"links":   func(ctx context.Context) error { _, err := s.client.Links(ctx); return err },
		"plan":    func(ctx context.Context) error { _, err := s.client.Offer(ctx, fixture.Warm); return err },
		"open":    func(ctx context.Context) error { _, err := s.client.SessionIsOpen(ctx, "cs_test_1"); return err },
		"expire":  func(ctx context.Context) error { return s.client.ExpireSession(ctx, "cs_test_1") },
		"capture": func(ctx context.Context) error { return s.client.Capture(ctx, "pi_1", "key") },
		"release": func(ctx context.Context) error { return s.client.Release(ctx, "pi_1", "key") },
		"refund": func(ctx context.Context) error {
			_, err := s.client.Refund(ctx, payment.RefundOrder{Intent: "pi_1", Amount: 350, Credit: "cr_1", Number: 1})
			return err
		},
		"update link": func(ctx context.Context) error {
			return s.update(ctx, ledger.Link{ID: "plink_1"}, "")
		},
		"sign link":   func(ctx context.Context) error { return s.client.SignLink(ctx, "plink_1", "process") },
		"create link": func(context.Context) error { _, err := s.create("key"); return err },
	}
}

func TestClientClassifiesErrors(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		answer sandbox.Outcome
		want   upstream.Outcome
		wait   time.Duration
	}{
		{"401", sandbox.Outcome{Status: 401}, upstream.Misconfigured, 0},
		{"403", sandbox.Outcome{Status: 403}, upstream.Misconfigured, 0},
		{"400", sandbox.Outcome{Status: 400}, upstream.Rejected, 0},
		{"402", sandbox.Outcome{Status: 402}, upstream.Rejected, 0},
		{
			"404 of an object",
			sandbox.Outcome{
				Status: 404,
				Body: `{"error":{"type":"invalid_request_error","code":"resource_missing","message":"No such ` +
					`price"}}`,
			},
			upstream.Rejected,
			0,
		},
		{
			"404 of an address",
			sandbox.Outcome{
				Status: 404,
				Body:   `{"error":{"type":"invalid_request_error","message":"Unrecognized request URL"}}`,
			},
			upstream.Misconfigured,
			0,
		},
		{"404 of a proxy", sandbox.Outcome{Status: 404, Body: fixture.ProxyPage}, upstream.Unknown, 0},
		{"409", sandbox.Outcome{Status: 409}, upstream.Retryable, 0},
		{"429 that does not say how long", sandbox.Outcome{Status: 429}, upstream.RateLimited, 0},
		{
			"429 that does",
			sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {"3"}}},
			upstream.RateLimited,
			3 * time.Second,
		},
		{"500", sandbox.Outcome{Status: 500}, upstream.Unknown, 0},
		{"500 after the effect", sandbox.Outcome{Applied: true, Status: 500}, upstream.Unknown, 0},
		{"502 of a proxy", sandbox.Outcome{Status: 502, Body: fixture.ProxyPage}, upstream.Unknown, 0},
		{"503 without an error", sandbox.Outcome{Status: 503, Body: `{}`}, upstream.Unknown, 0},
		{"a proxy's page as a yes", sandbox.Outcome{Status: 200, Body: fixture.ProxyPage}, upstream.Unknown, 0},
		{"cut", sandbox.Outcome{}, upstream.Unknown, 0},
		{"cut after the effect", sandbox.Outcome{Applied: true}, upstream.Unknown, 0},
		{"too slow", sandbox.Outcome{Applied: true, Status: 200, Delay: time.Hour}, upstream.Unknown, 0},
	}
	calls := map[string]func(*testStripe) error{
		fixture.ReadPrice:  (*testStripe).plan,
		fixture.CreateLink: func(s *testStripe) error { _, err := s.create("key"); return err },
		fixture.ListLinks:  func(s *testStripe) error { _, err := s.client.Links(context.Background()); return err },
		"POST /v1/payment_links/{id}": func(s *testStripe) error {
			return s.update(context.Background(), ledger.Link{ID: "plink_1"}, "")
		},
		fixture.ReadSession: func(s *testStripe) error {
			_, err := s.client.Session(context.Background(), "cs_test_1")
			return err
		},
		fixture.CaptureIntent: func(s *testStripe) error {
			return s.client.Capture(context.Background(), "pi_1", "capture:cr_1")
		},
		fixture.CancelIntent: func(s *testStripe) error {
			return s.client.Release(context.Background(), "pi_1", "release:cr_1")
		},
		fixture.CreateRefund: func(s *testStripe) error {
			_, err := s.client.Refund(
				context.Background(),
				payment.RefundOrder{Intent: "pi_1", Amount: 350, Credit: "cr_1", Number: 1},
			)
			return err
		},
		fixture.ListRefunds: func(s *testStripe) error {
			_, err := s.client.Refunds(context.Background(), "pi_1")
			return err
		},
		fixture.ListEvents: func(s *testStripe) error {
			_, _, _, err := s.client.Events(context.Background(), time.Now(), "")
			return err
		},
		"GET /v1/checkout/sessions": func(s *testStripe) error {
			_, err := s.client.Session(context.Background(), "pi_1")
			return err
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for pattern, call := range calls {
				synctest.Test(t, func(t *testing.T) {
					s := newStripeTest(t)
					s.Next(pattern, row.answer)
					began := time.Now()
					err := call(s)
					fixture.Meant(t, pattern, err, row.want)
					if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter != row.wait {
						t.Errorf("%s: to wait %v; want %v", pattern, e.RetryAfter, row.wait)
					}
					if d := s.client.Limiter.Delay(time.Now()); (d > 0) != (row.want == upstream.RateLimited) {
						t.Errorf("%s: all calls are held for %v", pattern, d)
					}
					if took := time.Since(began); took > payment.CallTimeout {
						t.Errorf("%s: took %v; want at most %v", pattern, took, payment.CallTimeout)
					}
					if n := s.Count(pattern); n != 1 {
						t.Errorf("%s: %d attempts; want one", pattern, n)
					}
					if err != nil && strings.Contains(err.Error(), fixture.TestKey) {
						t.Errorf("%s: the error tells the key: %v", pattern, err)
					}
				})
			}
		})
	}
}

func TestClientIsRetryableWithoutAConnection(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	s := New(testConfig(gone.URL, nil))
	_, err := s.Offer(t.Context(), fixture.Warm)
	fixture.Meant(t, "price", err, upstream.Retryable)
	_, err = s.CreateLink(t.Context(), fleet.NewLink{
		Device:         ledger.Device{UID: fixture.Washer},
		Plan:           payment.Offer{PriceID: fixture.Warm},
		SignedBy:       "process",
		IdempotencyKey: "key",
	})
	fixture.Meant(t, "link", err, upstream.Retryable)
}

func TestClientDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s was followed", r.Method, r.URL)
	}))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		lead := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		t.Cleanup(lead.Close)
		s := &testStripe{client: New(testConfig(lead.URL, nil))}
		for name, call := range s.stripeCalls() {
			fixture.Meant(t, fmt.Sprintf("%s after %d", name, status), call(t.Context()), upstream.Unknown)
		}
	}
}

func TestClientIsUnknownAfterACutReply(t *testing.T) {
	t.Parallel()
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"object":"list","data":[],"has_more":false}`))
	}))
	t.Cleanup(half.Close)
	s := &testStripe{client: New(testConfig(half.URL, nil))}
	for name, call := range s.stripeCalls() {
		fixture.Meant(t, name, call(t.Context()), upstream.Unknown)
	}
}

// With an empty or malformed id, the call would be another call.
func TestClientRejectsImpossibleIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		ctx := t.Context()
		for _, id := range []string{
			"", " ", "pi_", "cs_", "x", "pi_1/../../refunds", "cs_1?expand[]=a", "plink_1#", "price_ 1", "pi_1\n",
			"pi_" + strings.Repeat("1", 300),
		} {
			calls := map[string]func() error{
				"session": func() error { _, err := s.client.Session(ctx, id); return err },
				"is open": func() error { _, err := s.client.SessionIsOpen(ctx, id); return err },
				"expire":  func() error { return s.client.ExpireSession(ctx, id) },
				"capture": func() error { return s.client.Capture(ctx, id, "key") },
				"release": func() error { return s.client.Release(ctx, id, "key") },
				"refund": func() error {
					_, err := s.client.Refund(
						ctx,
						payment.RefundOrder{Intent: id, Amount: 1, Credit: "cr_1", Number: 1},
					)
					return err
				},
				"refunds": func() error { _, err := s.client.Refunds(ctx, id); return err },
				"price":   func() error { _, err := s.client.Offer(ctx, id); return err },
				"link":    func() error { return s.update(ctx, ledger.Link{ID: id}, "") },
				"sign":    func() error { return s.client.SignLink(ctx, id, "process") },
				"make a link": func() error {
					_, err := s.client.CreateLink(ctx, fleet.NewLink{
						Device:         ledger.Device{UID: fixture.Washer},
						Plan:           payment.Offer{PriceID: id},
						SignedBy:       "process",
						IdempotencyKey: "key",
					})
					return err
				},
				"make a sale": func() error {
					_, _, err := s.client.CreateSession(ctx, checkout.NewSession{
						Device:         ledger.Device{UID: fixture.Washer},
						Plan:           payment.Offer{PriceID: id},
						PublicURL:      "https://pay.example.com",
						Ends:           time.Now().Add(time.Hour),
						IdempotencyKey: "key",
					})
					return err
				},
			}
			for name, call := range calls {
				fixture.Meant(t, name+" "+id, call(), upstream.Rejected)
			}
		}
		if n := s.Count("{any} /{rest...}"); n != 0 {
			t.Errorf("%d calls were made; want none", n)
		}
	})
}

func TestMoneyCallsDoNotWaitForASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		s.client.Limiter = upstream.NewLimiter(1, 1)
		s.client.Limiter.Use(time.Now())
		began := time.Now()
		sold := s.hold(t)
		fixture.Meant(t, "capture", s.client.Capture(t.Context(), sold.PaymentIntent, "key"), upstream.OK)
		_, err := s.refund(t, sold.PaymentIntent, 350, 1)
		fixture.Meant(t, "refund", err, upstream.OK)
		_, err = s.client.Refunds(t.Context(), sold.PaymentIntent)
		fixture.Meant(t, "refunds", err, upstream.OK)
		fixture.Meant(t, "release", s.client.Release(t.Context(), s.hold(t).PaymentIntent, "key-2"), upstream.OK)
		if took := time.Since(began); took != 0 {
			t.Errorf("they waited %v; want none to wait", took)
		}
		_, _, _, err = s.client.Events(t.Context(), began, "")
		fixture.Meant(t, "events", err, upstream.OK)
		if took := time.Since(began); took < time.Minute {
			t.Errorf("the list of events waited %v; want it to wait for its slot", took)
		}
	})
}
