package app

import (
	"context"
	"errors"
	"net/http"
	"time"

	"notepay/internal/metrics"
	"notepay/internal/web/api"
	"notepay/internal/web/console"
)

// vitals is how the service is, for the console.
func (s *App) vitals(ctx context.Context) console.Vitals {
	v := console.Vitals{
		Stripe:      s.paces["stripe"].Unreachable(),
		Notehub:     s.paces["notehub"].Unreachable(),
		WebhooksOff: s.webhooksOff,
		Store:       s.recording.Check(ctx),
	}
	if at := s.lastWebhook.Load(); at != 0 {
		v.Webhook = time.UnixMilli(at)
	}
	return v
}

type HealthAnswer struct {
	Status         string     `json:"status"`
	Devices        int        `json:"devices"`
	Links          int        `json:"links"`
	Queued         int        `json:"queued"`
	OldestQueued   int64      `json:"oldest_queued_seconds"`
	NeedsAttention int        `json:"needs_attention"`
	LastRefresh    *time.Time `json:"last_refresh"`
	Version        string     `json:"version"`
	Problems       []string   `json:"problems,omitempty"` // readable reasons for a status that is not "ok"
}

// healthTimeout bounds what the health report waits for: load balancers do not wait long.
const healthTimeout = 4 * time.Second

func (s *App) healthReport(w http.ResponseWriter, r *http.Request) error {
	answer := HealthAnswer{Status: "ok", Version: s.version}
	var refreshed time.Time
	answer.Devices, answer.Links, refreshed = s.Fleet.Counts()
	if !refreshed.IsZero() {
		refreshed = refreshed.UTC()
		answer.LastRefresh = &refreshed
	}
	for _, p := range s.wrong.List() {
		answer.Status = "degraded"
		answer.Problems = append(answer.Problems, p.Text)
	}
	status := http.StatusOK
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	stats, err := s.Ledger.Stats(ctx)
	if err = errors.Join(err, s.recording.Check(ctx), s.Ledger.Trouble()); err != nil {
		s.Log.Error("payments not recorded", "err", err)
		answer.Status, status = "unavailable", http.StatusServiceUnavailable
	}
	answer.Queued, answer.NeedsAttention, answer.OldestQueued = stats.Queued, stats.NeedsAttention, int64(
		metrics.Age(stats.OldestQueued, s.Ledger.Now()),
	)
	return api.WriteJSON(w, status, answer)
}
