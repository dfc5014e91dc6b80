package metrics

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	vm "github.com/VictoriaMetrics/metrics"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Metrics holds a fixed set of series. It is safe for concurrent use.
type Metrics struct {
	families   []*family
	events     *family
	answers    *family
	attempts   *family
	payments   *family
	deliveries *family
	moneyBack  *family
	links      *family
	sessions   *family
	calls      *family
	requests   *family
	oddRecords *vm.Counter
	Redirects  *vm.Counter // scans that were redirected to Stripe
	Rejected   *vm.Counter // webhooks without a valid signature
	scrapes    chan struct{}
	stats      func(context.Context) (ledger.Stats, error)

	// These functions are set before the first scrape.
	Problems  func() []problem.Problem // returns the current problems; nil: there are none
	LivePages func() int               // returns the number of open live pages; nil: there are none
	Leads     func() bool              // reports whether this instance leads; nil: it does
	Now       func() time.Time         // returns the ledger's time; nil: the host's
}

// NewMetrics returns metrics that are all zero. It calls stats and counts at each scrape.
func NewMetrics(
	version string,
	stats func(context.Context) (ledger.Stats, error),
	counts func() (devices, links int, refreshed time.Time),
) *Metrics {
	m := &Metrics{scrapes: make(chan struct{}, maxScrapes), stats: stats}
	m.events = m.family("notepay_stripe_events_total", "counter", "Verified Stripe events by outcome.", "outcome")
	m.answers = m.family("notepay_confirmations_total", "counter", "Answers of machines by outcome.", "outcome")
	m.attempts = m.family("notepay_attempt_seconds", "histogram", "Calls made for payments, by action and outcome.",
		"action", "outcome")
	m.payments = m.family("notepay_payments_total", "counter",
		"Payments by outcome. One payment can be recorded, delivered and still be returned.", "outcome")
	m.deliveries = m.family("notepay_deliveries_total", "counter", "Credits by how far they got.", "outcome")
	m.moneyBack = m.family("notepay_money_back_total", "counter", "Payments whose money went back, by reason.",
		"reason")
	m.links = m.family("notepay_link_creations_total", "counter", "Attempts to create a Payment Link, by outcome.",
		"outcome")
	m.sessions = m.family("notepay_session_creations_total", "counter",
		"Attempts to create a Checkout Session, by outcome. None with CHECKOUT=link.", "outcome")
	m.calls = m.family("notepay_vendor_calls_total", "counter",
		"Calls to Stripe and Notehub by status class. none: no reply.", "status", "vendor")
	m.requests = m.family("notepay_http_requests_total", "counter",
		"Answers other than redirects of scans, by route and status class.", "route", "status")
	m.Redirects = m.family("notepay_redirects_total", "counter", "Scans redirected to Stripe.").counter()
	m.Rejected = m.family("notepay_webhooks_rejected_total", "counter",
		"Webhooks rejected because of signature, size or form.").counter()
	m.oddRecords = m.family("notepay_odd_records_total", "counter",
		"Unreadable records in lists of Stripe and Notehub, each counted once.").counter()
	m.family("notepay_build_info", "gauge", "Always 1.", "version").gauge(func() float64 { return 1 }, version)
	m.createSeries()
	m.family("notepay_leader", "gauge", "1 if this instance makes the calls that only one has to make, else 0.").
		gauge(func() float64 {
			if m.Leads == nil || m.Leads() {
				return 1
			}
			return 0
		})
	m.family("notepay_live_pages", "gauge", "Live pages that are open.").gauge(func() float64 {
		if m.LivePages == nil {
			return 0
		}
		return float64(m.LivePages())
	})
	m.family("notepay_devices", "gauge", "Devices known.").gauge(func() float64 {
		devices, _, _ := counts()
		return float64(devices)
	})
	m.family("notepay_links", "gauge", "Active Payment Links.").gauge(func() float64 {
		_, links, _ := counts()
		return float64(links)
	})
	return m
}

// createSeries creates the series that alerts use, because a counter that appears with its first event
// shows no increase.
func (m *Metrics) createSeries() {
	for family, values := range map[*family][]string{
		m.payments: {
			recorded, delivered, moneyBack, string(payment.Disputed), string(payment.DisputeLost),
			string(payment.CaptureFailed), string(payment.RefundFailed),
		},
		m.deliveries: {
			string(payment.Sent), string(payment.Fetched), string(payment.Started), string(payment.Done),
			string(payment.Failed),
		},
		m.links: callOutcomes(),
	} {
		for _, value := range values {
			family.counter(value)
		}
	}
}

// Event counts a Stripe event by its outcome.
func (m *Metrics) Event(outcome string) { m.events.counter(outcome).Inc() }

// Confirmation counts a machine's answer by its outcome.
func (m *Metrics) Confirmation(outcome string) { m.answers.counter(outcome).Inc() }

// OddRecord counts an unreadable record in a vendor's list.
func (m *Metrics) OddRecord() { m.oddRecords.Inc() }

// Attempt counts a call for a payment, with its duration.
func (m *Metrics) Attempt(action payment.Step, outcome string, took time.Duration) {
	buckets := []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 15} // upper bounds in seconds
	series := m.attempts.series(string(action), outcome)
	m.attempts.set.GetOrCreatePrometheusHistogramExt(series, buckets).Update(took.Seconds())
}

// Outcomes of payments, besides the failure states of their funds.
const (
	recorded  = "recorded"
	delivered = "delivered"
	moneyBack = "money_back"
)

// Payment counts the outcomes of a change. before is the zero payment if after is new.
func (m *Metrics) Payment(before, after payment.Payment) {
	count := func(outcome string) { m.payments.counter(outcome).Inc() }
	if before.ID == "" {
		count(recorded)
	}
	if isDelivered(after) && !isDelivered(before) {
		count(delivered)
	}
	if after.Delivery != before.Delivery && after.Delivery != payment.Queued {
		m.deliveries.counter(string(after.Delivery)).Inc()
	}
	if after.Funds == before.Funds {
		return
	}
	switch after.Funds {
	case payment.Refunded, payment.Canceled:
		count(moneyBack)
		m.moneyBack.counter(cmp.Or(after.Reason, "other")).Inc()
	case payment.Disputed, payment.DisputeLost, payment.CaptureFailed, payment.RefundFailed:
		count(string(after.Funds))
	}
}

// isDelivered reports whether the machine reported a start. If it does not confirm, fetching its
// credit counts.
func isDelivered(p payment.Payment) bool {
	return p.Delivery == payment.Started || p.Delivery == payment.Done ||
		p.Delivery == payment.Fetched && p.ConfirmBy.IsZero()
}

// LinkMade counts an attempt to create a Payment Link. err is its result.
func (m *Metrics) LinkMade(err error) {
	m.links.counter(upstream.OutcomeOf(err).String()).Inc()
}

// ExpectSessions creates the series of Checkout Sessions. Their presence shows that notepay creates
// a session for each purchase.
func (m *Metrics) ExpectSessions() {
	for _, outcome := range callOutcomes() {
		m.sessions.counter(outcome)
	}
}

// SessionMade counts an attempt to create a Checkout Session. err is its result.
func (m *Metrics) SessionMade(err error) {
	m.sessions.counter(upstream.OutcomeOf(err).String()).Inc()
}

// callOutcomes returns the outcomes of a call to a vendor.
func callOutcomes() (outcomes []string) {
	for _, o := range []upstream.Outcome{
		upstream.OK, upstream.Rejected, upstream.Misconfigured, upstream.RateLimited, upstream.Retryable,
		upstream.Unknown,
	} {
		outcomes = append(outcomes, o.String())
	}
	return outcomes
}

// Calls returns a transport that counts the calls to a vendor.
func (m *Metrics) Calls(vendor string, next http.RoundTripper) http.RoundTripper {
	return countingTransport{m.calls, vendor, next}
}

type countingTransport struct {
	calls  *family
	vendor string
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	status := "none"
	if err == nil {
		status = strconv.Itoa(resp.StatusCode/100) + "xx"
	}
	c.calls.counter(status, c.vendor).Inc()
	return resp, err
}

// Request counts a reply other than a scan's redirect, by the class of its status, such as "2xx".
func (m *Metrics) Request(route, class string) { m.requests.counter(route, class).Inc() }

// Expect creates the series of a route's successes and failures.
func (m *Metrics) Expect(route string) {
	for _, status := range []string{"2xx", "5xx"} {
		m.requests.counter(route, status)
	}
}

const (
	// maxScrapes bounds the concurrent scrapes, because any client can scrape, and each holds all
	// series in memory until it is read.
	maxScrapes = 32
	// scrapeTimeout bounds a scrape, including the ledger's figures.
	scrapeTimeout = 15 * time.Second
)

// Handler returns the handler for scrapes.
func (m *Metrics) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case m.scrapes <- struct{}{}:
			defer func() { <-m.scrapes }()
		default:
			http.Error(w, "Too many scrapes at once.", http.StatusServiceUnavailable)
			return
		}
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(scrapeTimeout)) // recorders in tests have no deadlines
		defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		var text bytes.Buffer
		m.write(r.Context(), &text)
		_, _ = text.WriteTo(w) // who does not read its scrape gets the next one
	})
}

// write writes all series in the text format.
func (m *Metrics) write(ctx context.Context, w *bytes.Buffer) {
	for _, f := range m.families {
		f.write(w)
	}
	m.writeQueue(ctx, w)
	raised := map[string]float64{}
	if m.Problems != nil {
		for _, one := range m.Problems() {
			raised[one.Code] = 1
		}
	}
	problems := &family{"notepay_problem", "gauge",
		"1 while the problem with this code lasts. See /health and the console.", []string{"code"}, vm.NewSet()}
	for _, code := range problem.Codes() {
		problems.gauge(func() float64 { return raised[code] }, code)
	}
	problems.write(w)
	vm.WriteGoMetrics(w)
	vm.WriteProcMetrics(w)
}

// writeQueue writes the ledger's figures, so that they are right after a restart. It leaves them out
// if the ledger does not answer within five seconds.
func (m *Metrics) writeQueue(ctx context.Context, w *bytes.Buffer) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := m.stats(ctx)
	if err != nil {
		return
	}
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	for _, g := range []struct {
		name, help string
		value      float64
	}{
		{"notepay_credits_queued", "Credits that Notehub has not accepted yet.", float64(s.Queued)},
		{"notepay_needs_attention", "Payments that need attention.", float64(s.NeedsAttention)},
		{
			"notepay_oldest_queued_seconds", "Age of the oldest queued credit, 0 if there is none.",
			Age(s.OldestQueued, now()),
		},
	} {
		f := &family{g.name, "gauge", g.help, nil, vm.NewSet()}
		f.gauge(func() float64 { return g.value })
		f.write(w)
	}
}

// Age returns the seconds from t to now, 0 for the zero time.
func Age(t, now time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(now.Sub(t).Seconds(), 0)
}
