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

// Metrics holds a fixed set of series. It is safe for concurrent use.
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
	Redirects  prometheus.Counter // scans that were redirected to Stripe
	Rejected   prometheus.Counter // webhooks without a valid signature
	oddRecords prometheus.Counter
	Requests   *prometheus.CounterVec

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
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_stripe_events_total",
			Help: "Verified Stripe events by outcome."}, []string{"outcome"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_confirmations_total",
			Help: "Answers of machines by outcome."}, []string{"outcome"}),
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "notepay_attempt_seconds",
			Help:    "Calls made for payments, by action and outcome.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 15}}, []string{"action", "outcome"}),
		payments: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_payments_total",
			Help: "Payments by outcome. One payment can be recorded, delivered and still be returned."},
			[]string{"outcome"}),
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
	// Create the series that alerts use, because a counter that appears with its first event shows no
	// increase.
	for vec, values := range map[*prometheus.CounterVec][]string{
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
	leader := prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{
			Name: "notepay_leader",
			Help: "1 if this instance makes the calls that only one has to make, else 0.",
		},
		func() float64 {
			if m.Leads == nil || m.Leads() {
				return 1
			}
			return 0
		},
	)
	m.registry.MustRegister(leader, live, m.events, m.answers, m.attempts, m.payments, m.deliveries, m.moneyBack,
		m.links, m.sessions, m.calls, m.Redirects, m.Rejected, m.oddRecords, m.Requests, build,
		&queue{stats, counts, m}, problems{m},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Event counts a Stripe event by its outcome.
func (m *Metrics) Event(outcome string) { m.events.WithLabelValues(outcome).Inc() }

// Confirmation counts a machine's answer by its outcome.
func (m *Metrics) Confirmation(outcome string) { m.answers.WithLabelValues(outcome).Inc() }

// OddRecord counts an unreadable record in a vendor's list.
func (m *Metrics) OddRecord() { m.oddRecords.Inc() }

// Attempt counts a call for a payment, with its duration.
func (m *Metrics) Attempt(action payment.Step, outcome string, took time.Duration) {
	m.attempts.WithLabelValues(string(action), outcome).Observe(took.Seconds())
}

// Outcomes of payments, besides the failure states of their funds.
const (
	recorded  = "recorded"
	delivered = "delivered"
	moneyBack = "money_back"
)

// Payment counts the outcomes of a change. before is the zero payment if after is new.
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

// isDelivered reports whether the machine reported a start. If it does not confirm, fetching its
// credit counts.
func isDelivered(p payment.Payment) bool {
	return p.Delivery == payment.Started || p.Delivery == payment.Done ||
		p.Delivery == payment.Fetched && p.ConfirmBy.IsZero()
}

// LinkMade counts an attempt to create a Payment Link. err is its result.
func (m *Metrics) LinkMade(err error) {
	m.links.WithLabelValues(upstream.OutcomeOf(err).String()).Inc()
}

// ExpectSessions creates the series of Checkout Sessions. Their presence shows that notepay creates
// a session for each purchase.
func (m *Metrics) ExpectSessions() {
	for _, outcome := range callOutcomes() {
		m.sessions.WithLabelValues(outcome)
	}
}

// SessionMade counts an attempt to create a Checkout Session. err is its result.
func (m *Metrics) SessionMade(err error) {
	m.sessions.WithLabelValues(upstream.OutcomeOf(err).String()).Inc()
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
	return countingTransport{m.calls.MustCurryWith(prometheus.Labels{"vendor": vendor}), next}
}

type countingTransport struct {
	calls *prometheus.CounterVec
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	status := "none"
	if err == nil {
		status = strconv.Itoa(resp.StatusCode/100) + "xx"
	}
	c.calls.WithLabelValues(status).Inc()
	return resp, err
}

// Expect creates the series of a route's successes and failures.
func (m *Metrics) Expect(route string) {
	for _, status := range []string{"2xx", "5xx"} {
		m.Requests.WithLabelValues(route, status)
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
	series := promhttp.HandlerFor(m.registry,
		promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(scrapeTimeout)) // recorders in tests have no deadlines
		series.ServeHTTP(w, r)
		_ = control.SetWriteDeadline(time.Time{})
	})
}

// queue collects figures from ledger and fleet at each scrape, so that they are right after a
// restart.
type queue struct {
	stats  func(context.Context) (ledger.Stats, error)
	counts func() (int, int, time.Time)
	m      *Metrics
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
	if q.m.Now != nil {
		now = q.m.Now
	}
	gauge(oldestDesc, Age(s.OldestQueued, now()))
}

// problems collects one gauge for each problem code, 1 while the problem lasts.
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

// Age returns the seconds from t to now, 0 for the zero time.
func Age(t, now time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(now.Sub(t).Seconds(), 0)
}
