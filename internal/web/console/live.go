package console

import (
	"net/http"
	"time"

	"notepay/internal/sse"
)

const (
	// maxPages bounds the open streams, because each reads the ledger every second.
	maxPages = 32
	// notifyInterval is the minimum time between two events.
	notifyInterval = time.Second
	// maxNotifyInterval is the maximum time between two events, for changes that are not published:
	// indicators, pauses, and relative times.
	maxNotifyInterval = 30 * time.Second
)

// live sends a server-sent event when a payment has changed or a Stripe event has arrived. The
// page's script then reloads the page. A reader that reconnects receives an event at once.
func (c *Console) live(w http.ResponseWriter, r *http.Request) error {
	if c.pages.Add(1) > maxPages {
		c.pages.Add(-1)
		w.WriteHeader(http.StatusTooManyRequests)
		return nil
	}
	defer c.pages.Add(-1)
	ctx, cancel := c.Live.UntilEnd(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	changes, leave := c.Live.Watch()
	defer leave()
	latest, err := c.latestEvent(r)
	if err != nil {
		return err
	}
	private(w)
	w.Header().Set("X-Accel-Buffering", "no") // nginx would buffer events
	out := sse.NewStream(w)
	changed := sse.Event{Name: "changed", ID: "1", Data: []byte{}}.Bytes()
	first := [][]byte{sse.Event{ID: "1", Retry: sse.ReconnectDelay}.Bytes()}
	if r.Header.Get("Last-Event-ID") != "" {
		first = append(first, changed)
	}
	if out.Send(first...) != nil {
		return nil
	}
	tick := time.NewTicker(notifyInterval)
	defer tick.Stop()
	for notified := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		before := latest
		if latest, err = c.latestEvent(r); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		select {
		case <-changes:
		default:
			if latest == before && time.Since(notified) < maxNotifyInterval {
				continue
			}
		}
		if notified = time.Now(); out.Send(changed) != nil {
			return nil
		}
	}
}

// latestEvent returns the id of the last received Stripe event, "" if there is none.
func (c *Console) latestEvent(r *http.Request) (string, error) {
	list, _, err := c.Ledger.EventPage(r.Context(), "", 1, "")
	if err != nil || len(list) == 0 {
		return "", err
	}
	return list[0].ID, nil
}
