package app

import (
	"context"
	"errors"
	"net/http"
	"time"

	"notepay/internal/clientaddr"
	"notepay/internal/metrics"
	"notepay/internal/web/api"
	"notepay/internal/web/console"
)

// vitals returns the state of the service for the console.
func (a *App) vitals(ctx context.Context) console.Vitals {
	v := console.Vitals{
		Stripe:      a.limiters["stripe"].Unreachable(),
		Notehub:     a.limiters["notehub"].Unreachable(),
		WebhooksOff: len(a.webhookSecrets) == 0,
		Store:       a.recording.Check(ctx),
	}
	if at := a.lastWebhook.Load(); at != 0 {
		v.Webhook = time.UnixMilli(at)
	}
	return v
}

// Health is the answer of /health.
type Health struct {
	Status         string     `json:"status"`
	Devices        int        `json:"devices"`
	Links          int        `json:"links"`
	Queued         int        `json:"queued"`
	OldestQueued   int64      `json:"oldest_queued_seconds"`
	NeedsAttention int        `json:"needs_attention"`
	LastRefresh    *time.Time `json:"last_refresh"`
	Version        string     `json:"version"`
	Problems       []string   `json:"problems,omitempty"` // readable reasons for a status that is not "ok"
	// Forwarded tells a client behind a proxy what became of its forwarded address. notepay check
	// reads it.
	Forwarded clientaddr.Origin `json:"forwarded_address,omitempty"`
}

// healthTimeout limits how long /health waits for the ledger, because load balancers do not wait
// long.
const healthTimeout = 4 * time.Second

// healthReport serves /health. Its status is 503 if payments cannot be recorded.
func (a *App) healthReport(w http.ResponseWriter, r *http.Request) error {
	answer := Health{Status: "ok", Version: a.version}
	if o := clientaddr.OriginOf(r); o != clientaddr.Direct {
		answer.Forwarded = o
	}
	var refreshed time.Time
	answer.Devices, answer.Links, refreshed = a.Fleet.Counts()
	if !refreshed.IsZero() {
		refreshed = refreshed.UTC()
		answer.LastRefresh = &refreshed
	}
	for _, p := range a.problemList.List() {
		answer.Status = "degraded"
		answer.Problems = append(answer.Problems, p.Text.String())
	}
	status := http.StatusOK
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	stats, err := a.Ledger.Stats(ctx)
	if err = errors.Join(err, a.recording.Check(ctx), a.Ledger.Trouble()); err != nil {
		a.log.Error("payments not recorded", "err", err)
		answer.Status, status = "unavailable", http.StatusServiceUnavailable
	}
	answer.Queued, answer.NeedsAttention = stats.Queued, stats.NeedsAttention
	answer.OldestQueued = int64(metrics.Age(stats.OldestQueued, a.Ledger.Now()))
	return api.WriteJSON(w, status, answer)
}
