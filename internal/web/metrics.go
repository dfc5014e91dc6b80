package web

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"notepay/internal/ledger"
)

// Metrics answers an operator's questions with a fixed set of series: no device, payment or path is ever a label.
type Metrics struct {
	registry  *prometheus.Registry
	events    *prometheus.CounterVec
	answers   *prometheus.CounterVec
	attempts  *prometheus.HistogramVec
	Redirects prometheus.Counter // scans that were led to Stripe
	Rejected  prometheus.Counter // webhooks without a valid signature
	Requests  *prometheus.CounterVec
}

// NewMetrics makes the series. stats is asked at each scrape.
func NewMetrics(version string, stats func(context.Context) (ledger.Stats, error), counts func() (devices, links int, refreshed time.Time)) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_stripe_events_total",
			Help: "Verified Stripe events by what came of them."}, []string{"outcome"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_confirmations_total",
			Help: "What machines answered, by what came of it."}, []string{"outcome"}),
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "notepay_attempt_seconds",
			Help: "Calls made for payments, by action and outcome.", Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 15}}, []string{"action", "outcome"}),
		Redirects: prometheus.NewCounter(prometheus.CounterOpts{Name: "notepay_redirects_total", Help: "Scans that were led to Stripe."}),
		Rejected:  prometheus.NewCounter(prometheus.CounterOpts{Name: "notepay_webhooks_rejected_total", Help: "Webhooks that were not accepted: signature, size or form."}),
		Requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "notepay_http_requests_total",
			Help: "Answers other than redirects of scans, by route and status class."}, []string{"route", "status"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "notepay_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(m.events, m.answers, m.attempts, m.Redirects, m.Rejected, m.Requests, build, &queue{stats, counts},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Event counts a Stripe event.
func (m *Metrics) Event(outcome string) { m.events.WithLabelValues(outcome).Inc() }

// Confirmation counts an answer of a machine.
func (m *Metrics) Confirmation(outcome string) { m.answers.WithLabelValues(outcome).Inc() }

// Attempt counts a call made for a payment.
func (m *Metrics) Attempt(action ledger.Step, outcome string, took time.Duration) {
	m.attempts.WithLabelValues(string(action), outcome).Observe(took.Seconds())
}

// Handler serves the series.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// queue reads its figures from the ledger when it is asked, so that they are right after a restart, too.
type queue struct {
	stats  func(context.Context) (ledger.Stats, error)
	counts func() (int, int, time.Time)
}

var (
	queuedDesc    = prometheus.NewDesc("notepay_credits_queued", "Credits that Notehub has not accepted yet.", nil, nil)
	oldestDesc    = prometheus.NewDesc("notepay_oldest_queued_seconds", "Age of the oldest of them, 0 if there is none.", nil, nil)
	attentionDesc = prometheus.NewDesc("notepay_needs_attention", "Payments that a person must look at.", nil, nil)
	devicesDesc   = prometheus.NewDesc("notepay_devices", "Devices known.", nil, nil)
	linksDesc     = prometheus.NewDesc("notepay_links", "Payment Links that can be paid through.", nil, nil)
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
	gauge(oldestDesc, Age(s.OldestQueued))
}

// Age is how many seconds ago a time was, 0 for the zero time.
func Age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(time.Since(t).Seconds(), 0)
}
