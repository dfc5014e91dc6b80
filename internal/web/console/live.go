package console

import (
	"net/http"
	"time"

	"notepay/internal/sse"
)

const (
	// mostPages bounds how many live pages are open at once: each asks the ledger every second.
	mostPages = 32
	// tellEvery is how often a page is told at most that something has changed.
	tellEvery = time.Second
	// tellAnyway is when it is told in any case, for what nobody tells of: lights, pauses, and how
	// long ago things were.
	tellAnyway = 30 * time.Second
)

// live tells a page that something has changed, as server-sent events: a payment, or that an event
// of Stripe came. What it is the page asks for itself. A reader that was cut off is told at once.
func (c *Console) live(w http.ResponseWriter, r *http.Request) error {
	if c.pages.Add(1) > mostPages {
		c.pages.Add(-1)
		w.WriteHeader(http.StatusTooManyRequests)
		return nil
	}
	defer c.pages.Add(-1)
	ctx, cancel := c.Live.UntilEnd(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	news, leave := c.Live.Watch()
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
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for told := time.Now(); ; {
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
		case <-news:
		default:
			if latest == before && time.Since(told) < tellAnyway {
				continue
			}
		}
		if told = time.Now(); out.Send(changed) != nil {
			return nil
		}
	}
}

// latestEvent is the id of the event that was received last; "" for none.
func (c *Console) latestEvent(r *http.Request) (string, error) {
	list, _, err := c.Ledger.EventPage(r.Context(), "", 1, "")
	if err != nil || len(list) == 0 {
		return "", err
	}
	return list[0].ID, nil
}
