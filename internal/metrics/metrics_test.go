package metrics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

func testMetrics() *Metrics {
	return NewMetrics("v1", func(context.Context) (ledger.Stats, error) { return ledger.Stats{}, nil },
		func() (int, int, time.Time) { return 0, 0, time.Time{} })
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func wantSeries(t *testing.T, m *Metrics, lines ...string) {
	t.Helper()
	text := scrape(t, m)
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// change counts the changes of one payment, from state to state.
func change(m *Metrics, of ...payment.Payment) {
	before := payment.Payment{}
	for _, p := range of {
		p.ID = "cr_1"
		m.Payment(before, p)
		m.Payment(p, p) // counts nothing
		before = p
	}
}

func TestPaymentCountsOutcomes(t *testing.T) {
	t.Parallel()
	m := testMetrics()
	confirms := time.Now()
	change(
		m,
		payment.Payment{Funds: payment.Paid, Delivery: payment.Queued},
		payment.Payment{Funds: payment.Paid, Delivery: payment.Sent},
		payment.Payment{Funds: payment.Paid, Delivery: payment.Fetched},
	) // a machine that does not confirm
	change(
		m,
		payment.Payment{Funds: payment.Authorized, Delivery: payment.Queued, ConfirmBy: confirms},
		payment.Payment{Funds: payment.Authorized, Delivery: payment.Fetched, ConfirmBy: confirms},
		payment.Payment{
			Funds:     payment.Capturing,
			Delivery:  payment.Started,
			ConfirmBy: confirms,
		},
		payment.Payment{Funds: payment.Paid, Delivery: payment.Done, ConfirmBy: confirms},
		payment.Payment{Funds: payment.Disputed, Delivery: payment.Done, ConfirmBy: confirms},
	)
	change(m, payment.Payment{Funds: payment.Paid, Delivery: payment.Fetched, ConfirmBy: confirms},
		payment.Payment{Funds: payment.Refunding, Delivery: payment.Failed, Reason: "unconfirmed"},
		payment.Payment{Funds: payment.Refunded, Delivery: payment.Failed, Reason: "unconfirmed"})
	change(m, payment.Payment{Funds: payment.Canceling, Delivery: payment.Failed, Reason: "busy"},
		payment.Payment{Funds: payment.Canceled, Delivery: payment.Failed, Reason: "busy"})
	wantSeries(
		t,
		m,
		`notepay_payments_total{outcome="recorded"} 4`,
		`notepay_payments_total{outcome="delivered"} 2`,
		`notepay_payments_total{outcome="money_back"} 2`,
		`notepay_payments_total{outcome="disputed"} 1`,
		`notepay_payments_total{outcome="capture_failed"} 0`,
		`notepay_money_back_total{reason="unconfirmed"} 1`,
		`notepay_money_back_total{reason="busy"} 1`,
		`notepay_deliveries_total{outcome="sent"} 1`,
		`notepay_deliveries_total{outcome="fetched"} 3`,
		`notepay_deliveries_total{outcome="started"} 1`,
		`notepay_deliveries_total{outcome="done"} 1`,
		`notepay_deliveries_total{outcome="failed"} 2`,
	)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCallsByVendorAndStatusClass(t *testing.T) {
	t.Parallel()
	m := testMetrics()
	for _, status := range []int{200, 204, 429, 503, 0} {
		_, _ = m.Calls("notehub", roundTrip(func(*http.Request) (*http.Response, error) {
			if status == 0 {
				return nil, errors.New("cut")
			}
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(""))}, nil
		})).RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil))
	}
	m.LinkMade(nil)
	m.LinkMade(&upstream.Error{Outcome: upstream.Misconfigured})
	m.LivePages = func() int { return 3 }
	wantSeries(
		t,
		m,
		`notepay_vendor_calls_total{status="2xx",vendor="notehub"} 2`,
		`notepay_vendor_calls_total{status="4xx",vendor="notehub"} 1`,
		`notepay_vendor_calls_total{status="5xx",vendor="notehub"} 1`,
		`notepay_vendor_calls_total{status="none",vendor="notehub"} 1`,
		`notepay_link_creations_total{outcome="done"} 1`,
		`notepay_link_creations_total{outcome="trouble"} 1`,
		"notepay_live_pages 3",
	)
}

// unread is an answer whose client reads nothing until a channel is closed.
type unread struct {
	*httptest.ResponseRecorder
	until <-chan struct{}
}

func (u unread) Write(b []byte) (int, error) {
	<-u.until
	return u.ResponseRecorder.Write(b)
}

func TestHandlerBoundsUnreadScrapes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		handler := testMetrics().Handler()
		read := make(chan struct{})
		answered := make(chan int, 2*maxScrapes)
		for range 2 * maxScrapes {
			go func() {
				w := unread{httptest.NewRecorder(), read}
				handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
				answered <- w.Code
			}()
		}
		synctest.Wait()
		close(read)
		synctest.Wait()
		codes := map[int]int{}
		for range 2 * maxScrapes {
			codes[<-answered]++
		}
		if codes[http.StatusOK] != maxScrapes || codes[http.StatusServiceUnavailable] != maxScrapes {
			t.Errorf("answers %v; want %d of each", codes, maxScrapes)
		}
	})
}

// Each metric has one head, with its series behind it, and values are escaped as the format wants it.
func TestScrapeIsPrometheusText(t *testing.T) {
	t.Parallel()
	m := testMetrics()
	m.Attempt(payment.StepPostNote, "done", time.Second/4)
	m.Attempt(payment.StepPostNote, "done", 20*time.Second)
	m.Event("quote\" slash\\ line\n")
	wantSeries(
		t,
		m,
		`notepay_stripe_events_total{outcome="quote\" slash\\ line\n"} 1`,
		`notepay_attempt_seconds_bucket{action="note",outcome="done",le="0.1"} 0`,
		`notepay_attempt_seconds_bucket{action="note",outcome="done",le="0.25"} 1`,
		`notepay_attempt_seconds_bucket{action="note",outcome="done",le="+Inf"} 2`,
		`notepay_attempt_seconds_sum{action="note",outcome="done"} 20.25`,
		`notepay_attempt_seconds_count{action="note",outcome="done"} 2`,
		`notepay_build_info{version="v1"} 1`,
	)
	heads, current := map[string]bool{}, ""
	for line := range strings.Lines(scrape(t, m)) {
		name, head := strings.CutPrefix(line, "# TYPE ")
		name, _, _ = strings.Cut(name, " ")
		switch {
		case head && heads[name]:
			t.Errorf("%s has two heads", name)
		case head:
			heads[name], current = true, name
		case strings.HasPrefix(line, "notepay_") && !strings.HasPrefix(line, current):
			t.Errorf("%q stands behind the head of %s", line, current)
		}
	}
	if len(heads) < 20 {
		t.Errorf("%d metrics; want more", len(heads))
	}
}

// While the ledger does not answer, its figures are missing, and all others are there.
func TestScrapeWithoutTheLedger(t *testing.T) {
	t.Parallel()
	m := NewMetrics("v1", func(context.Context) (ledger.Stats, error) { return ledger.Stats{}, errors.New("down") },
		func() (int, int, time.Time) { return 2, 1, time.Time{} })
	wantSeries(t, m, "notepay_devices 2", "notepay_links 1", `notepay_problem{code="ledger"} 0`)
	if text := scrape(t, m); strings.Contains(text, "notepay_credits_queued") {
		t.Error("the queue's length is shown, although it is unknown")
	}
}
