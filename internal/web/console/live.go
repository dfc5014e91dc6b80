package console

import (
	"net/http"
	"time"
)

const (
	// mostPages bounds how many live pages are open at once: each asks the ledger every second.
	mostPages = 32
	// tellEvery is how often a page is told at most that something has changed.
	tellEvery = time.Second
	// tellAnyway is when it is told in any case, for what nobody tells of: lights, pauses, and how
	// long ago things were.
	tellAnyway = 30 * time.Second
	// writeLimit is how long a reader may take for what it is told.
	writeLimit = 5 * time.Second
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
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(
		time.Time{},
	) // the limit for reading a request would end the stream; not every writer has one
	send := func(text string) error {
		_ = control.SetWriteDeadline(time.Now().Add(writeLimit))
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return control.Flush()
	}
	const changed = "event: changed\nid: 1\ndata:\n\n"
	first := "id: 1\nretry: 2000\n\n"
	if r.Header.Get("Last-Event-ID") != "" {
		first += changed
	}
	if send(first) != nil {
		return nil // nobody listens any more
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
		if told = time.Now(); send(changed) != nil {
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
