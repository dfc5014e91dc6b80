package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/people"
	"notepay/internal/sse"
)

// stripeEvent is a received Stripe event in an answer.
type stripeEvent struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	ObjectID      string          `json:"object_id"`
	PaymentIntent string          `json:"payment_intent"` // of refunds, disputes and captures
	Livemode      bool            `json:"livemode"`
	CreatedAt     time.Time       `json:"created_at"`
	ReceivedAt    time.Time       `json:"received_at"`
	Outcome       string          `json:"outcome"`
	Repeats       int             `json:"repeats"`
	Body          json.RawMessage `json:"body"` // without personal data
}

// shownEvent returns the event of an answer.
func shownEvent(e ledger.StripeEvent) stripeEvent {
	body := json.RawMessage(e.Body)
	if !json.Valid(body) {
		body = nil
	}
	return stripeEvent{
		ID:            e.ID,
		Type:          e.Type,
		ObjectID:      e.ObjectID,
		PaymentIntent: e.PaymentIntent,
		Livemode:      e.Livemode,
		CreatedAt:     e.Created,
		ReceivedAt:    e.Received,
		Outcome:       e.Outcome,
		Repeats:       e.Repeats,
		Body:          body,
	}
}

// StripeEvents answers with a page of Stripe events, the last received first. The parameter id
// chooses one event, or the events of a payment by any of its three ids. type chooses by type.
func (h *Handler) StripeEvents(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	id, eventType := q.Get("id"), q.Get("type")
	list, next, err := []ledger.StripeEvent(nil), "", error(nil)
	if id != "" {
		list, err = h.eventsOf(r, id)
	} else {
		list, next, err = h.Ledger.EventPage(r.Context(), eventType, defaultPageSize, q.Get("cursor"))
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

// eventsOf returns the event with an id, or the events of the payment with that id. It returns none
// for an unknown id.
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
	// maxStreams bounds the open streams, because each reads the ledger every second.
	maxStreams     = 16
	streamInterval = time.Second
)

// EventStream answers with a stream of server-sent events, one for each Stripe event that is
// received. type and id choose as in StripeEvents, and id also matches an event's object. A reader
// that reconnects with Last-Event-ID continues behind that event.
func (h *Handler) EventStream(w http.ResponseWriter, r *http.Request) error {
	if h.streams.Add(1) > maxStreams {
		h.streams.Add(-1)
		return NewError(http.StatusTooManyRequests, "too_many_streams",
			"at most "+strconv.Itoa(maxStreams)+" streams can be open at once; close one")
	}
	defer h.streams.Add(-1)
	q := r.URL.Query()
	id, eventType := q.Get("id"), q.Get("type")
	last, err := h.lastEvent(r)
	if err != nil {
		return err
	}
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
	tick, beat := time.NewTicker(streamInterval), time.NewTicker(sse.HeartbeatInterval)
	defer tick.Stop()
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-h.Live.Ended:
			return nil
		case <-beat.C:
			// A token that was revoked meanwhile ends its streams.
			if _, err := h.Admit(r, people.Rule{Least: people.View}); err != nil {
				return nil
			}
			if out.Send(sse.Comment("")) != nil {
				return nil
			}
		case <-tick.C:
		}
		list, err := h.Ledger.EventsAfter(r.Context(), last, defaultPageSize)
		if r.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range list {
			last = e
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

// lastEvent returns the event behind which a stream begins: the one that the reader names, or the
// newest.
func (h *Handler) lastEvent(r *http.Request) (ledger.StripeEvent, error) {
	last, err := h.Ledger.Event(r.Context(), r.Header.Get("Last-Event-ID"))
	if known, err := ledger.Found(err); known || err != nil {
		return last, err
	}
	newest, err := h.Ledger.Events(r.Context(), 1)
	if err != nil || len(newest) == 0 {
		return ledger.StripeEvent{}, err
	}
	return newest[0], nil
}
