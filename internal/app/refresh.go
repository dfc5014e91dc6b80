package app

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"notepay/internal/web/api"
)

// refreshGate is for /refresh-devices while it is open to everyone: one a minute.
type refreshGate struct {
	mu   sync.Mutex
	last time.Time
}

const openRefreshes = time.Minute

// enter says how long a caller has to wait, 0 if it may go.
func (g *refreshGate) enter(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.last.Add(openRefreshes).Sub(now); !g.last.IsZero() && wait > 0 {
		return wait
	}
	g.last = now
	return 0
}

func (s *App) refreshDevices(w http.ResponseWriter, r *http.Request) error {
	if s.Operator.Token != "" {
		if err := s.Operator.Authorized(r); err != nil {
			return err
		}
	} else {
		stats, err := s.Ledger.Stats(r.Context())
		if err != nil {
			return err
		}
		wait := time.Minute // while credits are queued, Notehub's requests are for them
		if stats.Queued == 0 {
			wait = s.refreshes.enter(time.Now())
		}
		if wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			return &api.Error{Status: http.StatusTooManyRequests, Code: "too_many_requests", Message: "the devices were refreshed recently, or credits are waiting to be sent; try again later"}
		}
	}
	result, err := s.Fleet.Refresh(r.Context())
	if err != nil {
		s.Log.Warn("requested refresh failed", "err", err)
		return &api.Error{
			Status:  http.StatusBadGateway,
			Code:    "refresh_failed",
			Message: "Notehub or Stripe did not answer; sales go on as before",
		}
	}
	return api.WriteJSON(w, http.StatusOK, result)
}
