package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/sse"
)

// stripeEvent is one of Stripe's events as it was received.
type stripeEvent struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	ObjectID      string          `json:"object_id"`
	PaymentIntent string          `json:"payment_intent"` // of events that follow a payment later
	Livemode      bool            `json:"livemode"`
	CreatedAt     time.Time       `json:"created_at"`
	ReceivedAt    time.Time       `json:"received_at"`
	Outcome       string          `json:"outcome"`
	Repeats       int             `json:"repeats"`
	Body          json.RawMessage `json:"body"` // without what tells who paid
}

func shownEvent(e ledger.StripeEvent) stripeEvent {
	body := json.RawMessage(e.Body)
	if !json.Valid(body) {
		body = nil
	}
	return stripeEvent{
		e.ID,
		e.Type,
		e.ObjectID,
		e.PaymentIntent,
		e.Livemode,
		e.Created,
		e.Received,
		e.Outcome,
		e.Repeats,
		body,
	}
}

// StripeEvents lists Stripe's events, the last received first: one by its id, those of a payment by
// any of its three ids, or those of a type.
func (h *Handler) StripeEvents(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	id, eventType := q.Get("id"), q.Get("type")
	list, next, err := []ledger.StripeEvent(nil), "", error(nil)
	if id != "" {
		list, err = h.eventsOf(r, id)
	} else {
		list, next, err = h.Ledger.EventPage(r.Context(), eventType, usualPage, q.Get("cursor"))
	}
	if errors.Is(err, ledger.ErrCursor) {
		return NewError(http.StatusBadRequest, "bad_cursor", "unknown cursor; use next_cursor of a list")
	}
	if err != nil {
		return err
	}
	out := struct {
		Events []stripeEvent `json:"events"`
		Next   string        `json:"next_cursor"`
	}{[]stripeEvent{}, next}
	for _, e := range list {
		if eventType == "" || e.Type == eventType {
			out.Events = append(out.Events, shownEvent(e))
		}
	}
	return WriteJSON(w, http.StatusOK, out)
}

// eventsOf are the event with an id, or those of the payment that it belongs to; none for an
// unknown id.
func (h *Handler) eventsOf(r *http.Request, id string) ([]ledger.StripeEvent, error) {
	e, err := h.Ledger.Event(r.Context(), id)
	if known, err := ledger.Found(err); err != nil || known {
		return []ledger.StripeEvent{e}, err
	}
	p, err := h.Ledger.Payment(r.Context(), id)
	if known, err := ledger.Found(err); err != nil || !known {
		return nil, err
	}
	return h.Ledger.EventsOf(r.Context(), p)
}

const (
	// mostStreams bounds how many streams are open at once: each asks the ledger every second.
	mostStreams = 16
	streamEvery = time.Second
	// streamLag is how long an event is kept back: one that was received before it may still be on
	// its way to the disk.
	streamLag = time.Second
)

// EventStream sends Stripe's events as they are received, as server-sent events. type and id choose
// as they do for StripeEvents; id also means an event's object. A reader that was cut off goes on
// behind the event that it names as Last-Event-ID.
func (h *Handler) EventStream(w http.ResponseWriter, r *http.Request) error {
	if h.streams.Add(1) > mostStreams {
		h.streams.Add(-1)
		return NewError(http.StatusTooManyRequests, "too_many_streams",
			"at most "+strconv.Itoa(mostStreams)+" streams can be open at once; close one")
	}
	defer h.streams.Add(-1)
	q, since, after := r.URL.Query(), h.Ledger.Now(), r.Header.Get("Last-Event-ID")
	id, eventType := q.Get("id"), q.Get("type")
	ids := []string{id}
	if p, err := h.Ledger.Payment(r.Context(), id); err == nil {
		ids = append(ids, p.SessionID, p.PaymentIntent)
	}
	wanted := func(e ledger.StripeEvent) bool {
		about := func(id string) bool { return id != "" && slices.Contains(ids, id) }
		return (eventType == "" || e.Type == eventType) &&
			(id == "" || about(e.ID) || about(e.ObjectID) || about(e.PaymentIntent))
	}
	out := sse.NewStream(w)
	if out.Send(sse.Comment("Stripe's events")) != nil {
		return nil
	}
	tick, beat := time.NewTicker(streamEvery), time.NewTicker(sse.HeartbeatInterval)
	defer tick.Stop()
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-h.Live.Ended:
			return nil
		case <-beat.C:
			if out.Send(sse.Comment("")) != nil {
				return nil
			}
		case <-tick.C:
		}
		list, err := h.Ledger.EventsSince(r.Context(), since, after, h.Ledger.Now().Add(-streamLag), usualPage)
		if r.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range list {
			after = e.ID
			if !wanted(e) {
				continue
			}
			text, err := json.Marshal(shownEvent(e))
			if err != nil {
				return err
			}
			if out.Send(sse.Event{ID: e.ID, Data: text}.Bytes()) != nil {
				return nil
			}
		}
	}
}
