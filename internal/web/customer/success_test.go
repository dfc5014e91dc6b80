package customer_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestSuccessRedirectsToTheLivePage(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		session := f.Order(sandbox.PayOptions{})
		w := f.Get("/payment/success?session_id=" + session.ID)
		live := w.Header().Get("Location")
		if w.Code != http.StatusSeeOther || !strings.HasPrefix(live, "/session/") ||
			len(live) != len("/session/")+payment.TokenLength ||
			w.Header().Get("Cache-Control") != "no-store" {
			f.Fatalf("%d to %q; want 303 to the live page", w.Code, live)
		}
		f.Shows(live, http.StatusOK, "Payment received", "")
		if n := f.Stripe.Count(fixture.ReadSession); n != 0 {
			f.Errorf("%d reads of Stripe for a payment that is known; want none", n)
		}
		for _, path := range []string{
			"/session/", "/session/x", "/session/" + strings.Repeat("0", 32),
			"/session/" + strings.ToUpper(live[len("/session/"):]), live + "0", live + "/more",
		} {
			f.Answers(path, f.Get(path, "Accept", apptest.Browser), http.StatusNotFound, "")
		}
		f.Shows("/session/"+strings.Repeat("0", 32), http.StatusNotFound, "Payment not found", "")

		f.Pass(29 * time.Minute)
		if w := f.Get("/payment/success?session_id=" + session.ID); w.Code != http.StatusSeeOther {
			f.Errorf("after 29 minutes %d; want 303", w.Code)
		}
		f.Pass(time.Minute)
		path := "/payment/success?session_id=" + session.ID
		f.Shows(path, http.StatusOK, "Payment received", "")
		f.Answers("the receipt", f.Get(path), http.StatusOK, payment.CreditID(session.ID))
		if strings.Contains(f.Get(path, "Accept", apptest.Browser).Body.String(), live[len("/session/"):]) {
			f.Errorf("the receipt tells the token of the live page")
		}
	})
}

func TestSuccessRejectsBadSessionIDs(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		for _, id := range []string{
			"", "x", "{CHECKOUT_SESSION_ID}", "cs_test_", "cs_test_short", "cs_test_a1/../b", "cs_demo_a1234567890",
			"pi_1234567890", "cs_test_" + strings.Repeat("a", 201), "cs_test_a1234567890%0A",
		} {
			f.Shows("/payment/success?session_id="+id, http.StatusNotFound, "Payment not found", "")
		}
		f.Shows("/payment/success", http.StatusNotFound, "Payment not found", "")
		f.Shows("/payment/cancel", http.StatusOK, "Nothing was charged", "")
		f.Shows("/", http.StatusOK, "Pay for a machine", "")
		if n := f.Stripe.Count("{any} /{rest...}"); n != 0 {
			f.Errorf("%d calls to Stripe; want none", n)
		}
	})
}

func TestSuccessAsksStripeBeforeTheWebhook(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		session := f.Order(sandbox.PayOptions{NoWebhook: true})
		f.Stripe.Next(fixture.ReadSession, sandbox.Outcome{Applied: true, Status: 200, Delay: time.Second})
		var asked sync.WaitGroup
		for range 20 {
			asked.Go(func() {
				if w := f.Get("/payment/success?session_id=" + session.ID); w.Code != http.StatusSeeOther {
					f.Errorf("%d %s; want 303", w.Code, w.Body)
				}
			})
		}
		asked.Wait()
		if n := f.Stripe.Count(fixture.ReadSession); n != 1 {
			f.Errorf("20 who asked together caused %d reads; want one", n)
		}
		f.Answers("the payment", f.AsOperator("/api/payments/"+session.ID), http.StatusOK, `"machine":"queued"`)
	})
}

func TestReceiptLinksToStripes(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		page := func(o sandbox.PayOptions) string {
			return f.Get(f.LivePage(f.Order(o)), "Accept", apptest.Browser).Body.String()
		}
		// the receipt is at https://buy.test, which is not Stripe's
		if strings.Contains(page(sandbox.PayOptions{NoWebhook: true}), "/receipts/") {
			f.Errorf("the page leads to a receipt that is not Stripe's")
		}
		f.Stripe.SetBaseURL(f.Settings.StripeAPIURL)
		if strings.Contains(page(sandbox.PayOptions{}), "/receipts/") {
			f.Errorf("the page leads to a receipt before Stripe was asked for the charge")
		}
		_, link, found := strings.Cut(page(sandbox.PayOptions{NoWebhook: true}), `<dd><a href="http://stripe.test`)
		path, rest, _ := strings.Cut(link, `"`)
		if !found || !strings.HasPrefix(rest, ` target="_blank" rel="noreferrer">`) {
			f.Fatalf("the page does not lead to the receipt: %s", link)
		}
		w := httptest.NewRecorder()
		f.Stripe.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		f.Answers("the receipt", w, http.StatusOK, "Receipt.")
	})
}

func TestSuccessLimitsItsCallsToStripe(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		id := func(n int) string { return fmt.Sprintf("/payment/success?session_id=cs_test_unknown%08d", n) }
		f.Answers("first", f.Get(id(1)), http.StatusNotFound, "Payment not found")
		f.Answers("second", f.Get(id(2)), http.StatusNotFound, "Payment not found")
		f.Shows(id(3), http.StatusServiceUnavailable, "Just a moment", "2")
		if n := f.Stripe.Count(fixture.ReadSession); n != 2 {
			f.Errorf("%d reads; want two", n)
		}
		f.Pass(500 * time.Millisecond)
		f.Answers("half a second later", f.Get(id(3)), http.StatusNotFound, "Payment not found")
		f.Answers("and at once again", f.Get(id(4)), http.StatusServiceUnavailable, "Just a moment")
		if n := f.Stripe.Count(fixture.ReadSession); n != 3 {
			f.Errorf("%d reads; want three", n)
		}
	})
}

func TestSuccessWhileStripeIsDown(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		session := f.Order(sandbox.PayOptions{NoWebhook: true})
		for _, o := range []sandbox.Outcome{
			{Status: 500}, {}, {Status: 429}, {Status: 403}, {Status: 404, Body: fixture.ProxyPage}, {Delay: time.Hour},
		} {
			f.Stripe.Always(fixture.ReadSession, o)
			f.Shows("/payment/success?session_id="+session.ID, http.StatusServiceUnavailable, "Just a moment", "2")
			f.Stripe.Clear(fixture.ReadSession)
			f.Pass(time.Minute)
		}
		if !strings.Contains(f.Logs.String(), `msg="request failed" route="GET /payment/success"`) {
			f.Errorf("log %s; want the failure", f.Logs)
		}
		if w := f.Get("/payment/success?session_id=" + session.ID); w.Code != http.StatusSeeOther {
			f.Errorf("when Stripe is back %d; want 303", w.Code)
		}
	})
}

func TestSuccessRejectsForeignAndUnpaidSessions(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		unpaid := f.Order(sandbox.PayOptions{Unpaid: true, NoWebhook: true})
		open, err := f.Stripe.Open(f.Stripe.Links()[0].ID)
		if err != nil {
			f.Fatal(err)
		}
		foreign := f.Stripe.PaySession(map[string]string{"shop": "1"}, 500, "eur", sandbox.PayOptions{NoWebhook: true})
		for name, id := range map[string]string{"unpaid": unpaid.ID, "open": open.ID, "foreign": foreign.ID} {
			f.Answers(name, f.Get("/payment/success?session_id="+id), http.StatusNotFound, "Payment not found")
			f.Pass(time.Second)
		}
		f.Answers("payments", f.AsOperator("/api/payments"), http.StatusOK, `{"payments":[],"next_cursor":""}`)
	})
}

func TestLivePageUsesTheCustomersLanguage(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		page := f.LivePage(f.Order(sandbox.PayOptions{}))
		f.Answers("German", f.Get(page, "Accept", apptest.Browser, "Accept-Language", "de-AT,de;q=0.9,en;q=0.5"),
			http.StatusOK, "<h1>Zahlung erhalten</h1>")
		f.Answers("neither", f.Get(page, "Accept", apptest.Browser, "Accept-Language", "ja"), http.StatusOK,
			"<h1>Payment received</h1>")
		html := f.Get(page, "Accept", apptest.Browser).Body.String()
		for _, part := range []string{
			`data-events="` + page + `/events"`, `<noscript><meta http-equiv="refresh" content="2"></noscript>`,
			`role="status"`, `src="/static/live.js"`,
		} {
			if !strings.Contains(html, part) {
				f.Errorf("the live page lacks %s:\n%s", part, html)
			}
		}
	})
}
