package app

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"notepay/internal/people"
	"notepay/internal/web/api"
)

// refreshGate limits /refresh-devices if there is no operator token. It is safe for concurrent use.
type refreshGate struct {
	mu   sync.Mutex
	last time.Time
}

// minRefreshInterval is the time between two refreshes without a token.
const minRefreshInterval = time.Minute

// enter returns how long the caller has to wait, or 0 if it may refresh now.
func (g *refreshGate) enter(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.last.Add(minRefreshInterval).Sub(now); !g.last.IsZero() && wait > 0 {
		return wait
	}
	g.last = now
	return 0
}

// refreshDevices serves /refresh-devices. Without an operator token anyone may refresh the devices,
// but only once a minute and while no credit is queued.
func (a *App) refreshDevices(w http.ResponseWriter, r *http.Request) error {
	if a.operator.Token != "" {
		rule, _ := people.RuleOf("POST /refresh-devices")
		if _, err := a.operator.Admit(r, rule); err != nil {
			return err
		}
	} else {
		stats, err := a.Ledger.Stats(r.Context())
		if err != nil {
			return err
		}
		wait := time.Minute // queued credits need Notehub's requests
		if stats.Queued == 0 {
			wait = a.refreshes.enter(time.Now())
		}
		if wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			return &api.Error{
				Status:  http.StatusTooManyRequests,
				Code:    "too_many_requests",
				Message: "the devices were refreshed recently, or credits are waiting to be sent; try again later",
			}
		}
	}
	result, err := a.Fleet.Refresh(r.Context())
	if err != nil {
		a.log.Warn("requested refresh failed", "err", err)
		return &api.Error{
			Status:  http.StatusBadGateway,
			Code:    "refresh_failed",
			Message: "Notehub or Stripe did not answer; sales go on as before",
		}
	}
	return api.WriteJSON(w, http.StatusOK, result)
}
