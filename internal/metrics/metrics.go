package metrics

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Metrics answers an operator's questions with a fixed set of series: no device, payment or path is
// ever a label.
type Metrics struct {
	registry   *prometheus.Registry
	events     *prometheus.CounterVec
	answers    *prometheus.CounterVec
	attempts   *prometheus.HistogramVec
	payments   *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	moneyBack  *prometheus.CounterVec
	links      *prometheus.CounterVec
	sessions   *prometheus.CounterVec
	calls      *prometheus.CounterVec
	Redirects  prometheus.Counter // scans that were led to Stripe
	Rejected   prometheus.Counter // webhooks without a valid signature
	oddRecords prometheus.Counter
	Requests   *prometheus.CounterVec
	Problems   func() []problem.Problem // what is wrong now; nil: nothing ever is. It is set before the first scrape
	// how many customers look at a live page now; nil: there are none. It is set before the first
	// scrape
	LivePages func() int
	Now       func() time.Time // the ledger's time; nil: the host's. It is set before the first scrape
}

// NewMetrics makes the series. stats is asked at each scrape.
func NewMetrics(
	version string,
	stats func(context.Context) (ledger.Stats, error),
	counts func() (devices, links int, refreshed time.Time),
) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_stripe_events_total",
			Help: "Verified Stripe events by outcome."}, []string{"outcome"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_confirmations_total",
			Help: "Answers of machines by outcome."}, []string{"outcome"}),
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "notepay_attempt_seconds",
			Help: "Calls made for payments, by action and outcome.", Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 15}}, []string{"action", "outcome"}),
		payments: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_payments_total",
			Help: "Payments by outcome. One payment can be recorded, delivered and still be returned."}, []string{"outcome"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_deliveries_total",
			Help: "Credits by how far they got."}, []string{"outcome"}),
		moneyBack: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_money_back_total",
			Help: "Payments whose money went back, by reason."}, []string{"reason"}),
		links: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_link_creations_total",
			Help: "Attempts to create a Payment Link, by outcome."}, []string{"outcome"}),
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_session_creations_total",
			Help: "Attempts to create a Checkout Session, by outcome. None with CHECKOUT=link."}, []string{"outcome"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_vendor_calls_total",
			Help: "Calls to Stripe and Notehub by status class. none: no reply."}, []string{"vendor", "status"}),
		Redirects: prometheus.NewCounter(
			prometheus.CounterOpts{Name: "notepay_redirects_total", Help: "Scans redirected to Stripe."},
		),
		Rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "notepay_webhooks_rejected_total",
			Help: "Webhooks rejected because of signature, size or form.",
		}),
		oddRecords: prometheus.NewCounter(prometheus.CounterOpts{Name: "notepay_odd_records_total",
			Help: "Unreadable records in lists of Stripe and Notehub, each counted once."}),
		Requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_http_requests_total",
			Help: "Answers other than redirects of scans, by route and status class."}, []string{"route", "status"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "notepay_build_info",
		Help:        "Always 1.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	// What alerts count from is there from the beginning: a counter that appears with its first
	// event shows no increase.
	for vec, values := range map[*prometheus.CounterVec][]string{
		m.payments:   {recorded, delivered, moneyBack, string(payment.Disputed), string(payment.DisputeLost), string(payment.CaptureFailed), string(payment.RefundFailed)},
		m.deliveries: {string(payment.Sent), string(payment.Fetched), string(payment.Started), string(payment.Done), string(payment.Failed)},
		m.links:      callOutcomes(),
	} {
		for _, value := range values {
			vec.WithLabelValues(value)
		}
	}
	live := prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "notepay_live_pages", Help: "Live pages that are open."},
		func() float64 {
			if m.LivePages == nil {
				return 0
			}
			return float64(m.LivePages())
		},
	)
	m.registry.MustRegister(m.events, m.answers, m.attempts, m.payments, m.deliveries, m.moneyBack, m.links, m.sessions,
		m.calls, live, m.Redirects, m.Rejected, m.oddRecords, m.Requests, build, &queue{stats, counts, m}, problems{m},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Event counts a Stripe event.
func (m *Metrics) Event(outcome string) { m.events.WithLabelValues(outcome).Inc() }

// Confirmation counts an answer of a machine.
func (m *Metrics) Confirmation(outcome string) { m.answers.WithLabelValues(outcome).Inc() }

// OddRecord counts a record that cannot be read.
func (m *Metrics) OddRecord() { m.oddRecords.Inc() }

// Attempt counts a call made for a payment.
func (m *Metrics) Attempt(action payment.Step, outcome string, took time.Duration) {
	m.attempts.WithLabelValues(string(action), outcome).Observe(took.Seconds())
}

// What became of a payment, beside the states of its money that nobody wishes for.
const (
	recorded  = "recorded"
	delivered = "delivered"
	moneyBack = "money_back"
)

// Payment counts what a change of a payment means; before is zero for a new one.
func (m *Metrics) Payment(before, after payment.Payment) {
	count := func(outcome string) { m.payments.WithLabelValues(outcome).Inc() }
	if before.ID == "" {
		count(recorded)
	}
	if isDelivered(after) && !isDelivered(before) {
		count(delivered)
	}
	if after.Delivery != before.Delivery && after.Delivery != payment.Queued {
		m.deliveries.WithLabelValues(string(after.Delivery)).Inc()
	}
	if after.Funds == before.Funds {
		return
	}
	switch after.Funds {
	case payment.Refunded, payment.Canceled:
		count(moneyBack)
		m.moneyBack.WithLabelValues(cmp.Or(after.Reason, "other")).Inc()
	case payment.Disputed, payment.DisputeLost, payment.CaptureFailed, payment.RefundFailed:
		count(string(after.Funds))
	}
}

// isDelivered: the machine says that it started, or one that says nothing has fetched its credit.
func isDelivered(p payment.Payment) bool {
	return p.Delivery == payment.Started || p.Delivery == payment.Done ||
		p.Delivery == payment.Fetched && p.ConfirmBy.IsZero()
}

// LinkMade counts a link that was to be made.
func (m *Metrics) LinkMade(err error) {
	m.links.WithLabelValues(upstream.OutcomeOf(err).String()).Inc()
}

// ExpectSessions lets the sessions that are made for purchases be counted from 0 on, and tells by
// their being there that there will be some.
func (m *Metrics) ExpectSessions() {
	for _, outcome := range callOutcomes() {
		m.sessions.WithLabelValues(outcome)
	}
}

// SessionMade counts a session that was to be made.
func (m *Metrics) SessionMade(err error) {
	m.sessions.WithLabelValues(upstream.OutcomeOf(err).String()).Inc()
}

// callOutcomes are what a call to a vendor may come to.
func callOutcomes() (outcomes []string) {
	for _, o := range []upstream.Outcome{upstream.OK, upstream.Rejected, upstream.Misconfigured, upstream.RateLimited, upstream.Retryable, upstream.Unknown} {
		outcomes = append(outcomes, o.String())
	}
	return outcomes
}

// Calls counts the calls that go to a vendor through a transport.
func (m *Metrics) Calls(vendor string, next http.RoundTripper) http.RoundTripper {
	return countedCalls{m.calls.MustCurryWith(prometheus.Labels{"vendor": vendor}), next}
}

type countedCalls struct {
	calls *prometheus.CounterVec
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c countedCalls) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	status := "none"
	if err == nil {
		status = strconv.Itoa(resp.StatusCode/100) + "xx"
	}
	c.calls.WithLabelValues(status).Inc()
	return resp, err
}

// Expect lets the answers of a route be counted from 0 on, the good ones and the failures.
func (m *Metrics) Expect(route string) {
	for _, status := range []string{"2xx", "5xx"} {
		m.Requests.WithLabelValues(route, status)
	}
}

// maxScrapes is how many readings of the series are answered at once, and scrapeLimit how long one
// may take, the ledger's figures included. Anybody may ask, and each holds all series until it is
// read.
const maxScrapes, scrapeLimit = 32, 15 * time.Second

// Handler serves the series.
func (m *Metrics) Handler() http.Handler {
	series := promhttp.HandlerFor(m.registry,
		promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(scrapeLimit)) // not every writer can
		series.ServeHTTP(w, r)
		_ = control.SetWriteDeadline(time.Time{})
	})
}

// queue reads its figures from the ledger when it is asked, so that they are right after a restart,
// too.
type queue struct {
	stats  func(context.Context) (ledger.Stats, error)
	counts func() (int, int, time.Time)
	of     *Metrics
}

var (
	queuedDesc = prometheus.NewDesc("notepay_credits_queued", "Credits that Notehub has not accepted yet.", nil, nil)
	oldestDesc = prometheus.NewDesc("notepay_oldest_queued_seconds",
		"Age of the oldest queued credit, 0 if there is none.", nil, nil)
	attentionDesc = prometheus.NewDesc("notepay_needs_attention", "Payments that need attention.", nil, nil)
	devicesDesc   = prometheus.NewDesc("notepay_devices", "Devices known.", nil, nil)
	linksDesc     = prometheus.NewDesc("notepay_links", "Active Payment Links.", nil, nil)
)

func (q *queue) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queuedDesc, oldestDesc, attentionDesc, devicesDesc, linksDesc} {
		c <- d
	}
}

func (q *queue) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64) { c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	devices, links, _ := q.counts()
	gauge(devicesDesc, float64(devices))
	gauge(linksDesc, float64(links))
	s, err := q.stats(ctx)
	if err != nil {
		c <- prometheus.NewInvalidMetric(queuedDesc, err)
		return
	}
	gauge(queuedDesc, float64(s.Queued))
	gauge(attentionDesc, float64(s.NeedsAttention))
	now := time.Now
	if q.of.Now != nil {
		now = q.of.Now
	}
	gauge(oldestDesc, Age(s.OldestQueued, now()))
}

// problems shows each code from the start, 1 while there is a problem with it.
type problems struct{ m *Metrics }

var problemDesc = prometheus.NewDesc(
	"notepay_problem",
	"1 while the problem with this code lasts. See /health and the console.",
	[]string{"code"},
	nil,
)

func (p problems) Describe(c chan<- *prometheus.Desc) { c <- problemDesc }

func (p problems) Collect(c chan<- prometheus.Metric) {
	raised := map[string]float64{}
	if p.m.Problems != nil {
		for _, one := range p.m.Problems() {
			raised[one.Code] = 1
		}
	}
	for _, code := range problem.Codes() {
		c <- prometheus.MustNewConstMetric(problemDesc, prometheus.GaugeValue, raised[code], code)
	}
}

// Age returns how many seconds before now a time was, 0 for the zero time.
func Age(t, now time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(now.Sub(t).Seconds(), 0)
}
