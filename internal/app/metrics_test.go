package app_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

func TestMetricsNameNoDeviceAndNoPayment(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		session := f.Buy(sandbox.PayOptions{})
		f.Get("/pay?device=" + fixture.Washer)
		f.Get("/pay/dev:unknown")
		f.Do("POST", "/webhook/stripe", "{}")
		text := f.Get("/metrics").Body.String()
		for _, line := range []string{
			"notepay_redirects_total 1", "notepay_webhooks_rejected_total 1",
			`notepay_stripe_events_total{outcome="payment_recorded"} 1`,
			`notepay_attempt_seconds_count{action="note",outcome="done"} 1`,
			`notepay_http_requests_total{route="GET /pay/{uid}",status="4xx"} 1`,
			"notepay_credits_queued 0", "notepay_oldest_queued_seconds 0", "notepay_needs_attention 0",
			"notepay_devices 1", "notepay_links 1",
			`notepay_build_info{version="` + fixture.TestVersion + `"} 1`, "go_goroutines ", "notepay_live_pages 0",
			`notepay_payments_total{outcome="recorded"} 1`, `notepay_payments_total{outcome="disputed"} 0`,
			`notepay_deliveries_total{outcome="sent"} 1`,
			`notepay_link_creations_total{outcome="done"} 1`,
			`notepay_vendor_calls_total{status="2xx",vendor="stripe"} `,
			`notepay_vendor_calls_total{status="2xx",vendor="notehub"} `,
			`notepay_http_requests_total{route="POST /webhook/stripe",status="4xx"} 1`,
			`notepay_http_requests_total{route="POST /webhook/notehub",status="5xx"} 0`,
		} {
			if !strings.Contains(text, "\n"+line) {
				f.Errorf("the metrics lack %s", line)
			}
		}
		for _, name := range []string{
			fixture.Washer, "dev:unknown", session.ID, session.PaymentIntent, payment.CreditID(session.ID),
			fixture.Project,
		} {
			if strings.Contains(text, name) {
				f.Errorf("the metrics name %s", name)
			}
		}
	})
}

// An alert on a series that does not exist never fires, without a sign.
func TestAlertsNameSeriesThatExist(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(apptest.InModule(t, "docs", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`notepay_[a-z_]+`).FindAllString(string(rules), -1)
	if len(named) < 10 {
		t.Fatalf("the rules name %d series; want more", len(named))
	}
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Buy(sandbox.PayOptions{})
		f.Server.ExpectSessions()
		text := f.Get("/metrics").Body.String()
		for _, name := range named {
			// it appears with the first refund
			if name != "notepay_money_back_total" && !strings.Contains(text, "\n# TYPE "+name+" ") {
				f.Errorf("the rules name %s, which is not there", name)
			}
		}
	})
}
