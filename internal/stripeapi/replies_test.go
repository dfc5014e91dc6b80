package stripeapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// stripeCalls are the calls to Stripe whose replies decide about money or about what is sold.
func (s *testStripe) stripeCalls() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"session":   func(ctx context.Context) error { _, err := s.client.Session(ctx, "cs_test_1"); return err },
		"by intent": func(ctx context.Context) error { _, err := s.client.Session(ctx, "pi_1"); return err },
		"events":    func(ctx context.Context) error { _, _, _, err := s.client.Events(ctx, time.Now(), ""); return err },
		"refunds":   func(ctx context.Context) error { _, err := s.client.Refunds(ctx, "pi_1"); return err },
		"links":     func(ctx context.Context) error { _, err := s.client.Links(ctx); return err },
		"plan":      func(ctx context.Context) error { _, err := s.client.Offer(ctx, fixture.Warm); return err },
		"open":      func(ctx context.Context) error { _, err := s.client.SessionIsOpen(ctx, "cs_test_1"); return err },
		"expire":    func(ctx context.Context) error { return s.client.ExpireSession(ctx, "cs_test_1") },
		"capture":   func(ctx context.Context) error { return s.client.Capture(ctx, "pi_1", "key") },
		"release":   func(ctx context.Context) error { return s.client.Release(ctx, "pi_1", "key") },
		"refund": func(ctx context.Context) error {
			_, err := s.client.Refund(ctx, payment.RefundOrder{Intent: "pi_1", Amount: 350, Credit: "cr_1", Number: 1})
			return err
		},
		"update link": func(ctx context.Context) error { return s.client.UpdateLink(ctx, ledger.Link{ID: "plink_1"}) },
		"sign link":   func(ctx context.Context) error { return s.client.SignLink(ctx, "plink_1", "process") },
		"create link": func(context.Context) error { _, err := s.create("key"); return err },
	}
}

func TestStripeRepliesHaveToBeStripesObjects(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `null`, `[]`, ``, fixture.ProxyPage, `{"object":7}`, `{"object":"list"}`, `{"object":"list","data":null}`, `{"object":"list","data":{}}`, `{"error":{}}`} {
		s := newStripeTest(t)
		s.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 200, Body: body})
		if body == `` {
			s.client.http.Transport = upstream.CheckReplies(
				sandbox.InProcess(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})),
				checkObject,
			)
		}
		for name, call := range s.stripeCalls() {
			fixture.Meant(t, fmt.Sprintf("%s by %q", name, body), call(t.Context()), upstream.Unknown)
		}
	}
}

// Another object of Stripe's is no refund that was made, and no session that was not paid.
func TestStripeRepliesHaveToBeTheObjectThatWasAskedFor(t *testing.T) {
	t.Parallel()
	list := func(record string) string { return `{"object":"list","data":[` + record + `],"has_more":false}` }
	order := payment.RefundOrder{Intent: "pi_1", Amount: 350, Credit: "cr_1", Number: 2}
	ours := `"object":"refund","id":"re_1","amount":350,"status":"succeeded","metadata":{"app":"notepay","credit":"cr_1","number":`
	order2 := `"metadata":{"app":"notepay","credit":"cr_1","number":"2"}}`
	for body, want := range map[string]upstream.Outcome{
		`{` + ours + `"2"}}`:   upstream.OK,
		`{` + ours + `"1"}}`:   upstream.Unknown, // another order
		`{` + ours + `"2.0"}}`: upstream.Unknown,
		`{"object":"refund","id":"re_1","amount":350,"status":"succeeded"}`:                                                         upstream.Unknown,
		`{"object":"refund","id":"re_1","amount":350,"status":"succeeded","metadata":{"app":"other","credit":"cr_1","number":"2"}}`: upstream.Unknown,
		`{"object":"charge","id":"ch_1","amount":350,"status":"succeeded",` + order2:                                                upstream.Unknown,
		`{"object":"refund","id":"","amount":350,"status":"succeeded",` + order2:                                                    upstream.Unknown,
		`{"object":"refund","id":"re_1","amount":"350","status":"succeeded",` + order2:                                              upstream.Unknown,
		// which waits
		`{"object":"refund","id":"re_1","amount":350,"status":"in_review",` + order2: upstream.OK,
		`{"object":"refund","id":"re_1","amount":350,` + order2:                      upstream.OK,
	} {
		s := newStripeTest(t)
		s.Next("POST /v1/refunds", sandbox.Outcome{Status: 200, Body: body})
		_, err := s.client.Refund(t.Context(), order)
		fixture.Meant(t, "an order by "+body, err, want)
	}
	for body, want := range map[string]upstream.Outcome{
		list(``):                   upstream.OK,
		list(`{` + ours + `"1"}}`): upstream.OK,
		list(`{}`):                 upstream.Misconfigured,
		list(`{"object":"charge","id":"ch_1","amount":350,"status":"succeeded"}`): upstream.Misconfigured,
		list(`{"object":"refund","id":"re_1","amount":"350","status":"failed"}`):  upstream.Misconfigured,
	} {
		s := newStripeTest(t)
		s.Next("GET /v1/refunds", sandbox.Outcome{Status: 200, Body: body})
		_, err := s.client.Refunds(t.Context(), "pi_1")
		fixture.Meant(t, "refunds by "+body, err, want)
	}
	for _, body := range []string{`{"object":"customer","id":"cus_1"}`, `{"object":"checkout.session"}`, `{"object":"checkout.session","id":"cs_test_2","status":"expired"}`} {
		s := newStripeTest(t)
		s.Next("GET /v1/checkout/sessions/{id}", sandbox.Outcome{Status: 200, Body: body})
		_, err := s.client.Session(t.Context(), "cs_test_1")
		fixture.Meant(t, "session by "+body, err, upstream.Misconfigured)
	}
}

func TestStripeClientDoesNotFollowRedirects(t *testing.T) {
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

func TestStripeRepliesThatAreCutAreUnclear(t *testing.T) {
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
