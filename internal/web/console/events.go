package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"notepay/internal/ledger"
)

const eventsPerPage = 50

type eventRow struct {
	ledger.StripeEvent
	Words string
}

type eventsPage struct {
	Type string
	Rows []eventRow
	Next string
}

// events lists Stripe's events, the last received first.
func (c *Console) events(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	page := eventsPage{Type: q.Get("type")}
	list, next, err := c.Ledger.EventPage(r.Context(), page.Type, eventsPerPage, q.Get("cursor"))
	if errors.Is(err, ledger.ErrCursor) {
		return c.problem(w, r, http.StatusBadRequest, "This page of the list does not exist.")
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		page.Rows = append(page.Rows, eventRow{e, outcomeWords(e.Outcome)})
	}
	if next != "" {
		page.Next = "/operator/events?" + with(q, "cursor", next)
	}
	return c.write(w, r, "events", view{Title: "Stripe events", Nav: "events", Live: !q.Has("cursor"), Data: page})
}

type eventPage struct {
	eventRow
	Pretty  string
	Payment string // credit id of its payment, "" if unknown
}

// event shows one of Stripe's events with its body.
func (c *Console) event(w http.ResponseWriter, r *http.Request) error {
	e, err := c.Ledger.Event(r.Context(), r.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return c.problem(w, r, http.StatusNotFound, "No event with this ID was received.")
	}
	if err != nil {
		return err
	}
	page := eventPage{eventRow: eventRow{e, outcomeWords(e.Outcome)}, Pretty: e.Body}
	var pretty bytes.Buffer
	if json.Indent(&pretty, []byte(e.Body), "", "  ") == nil {
		page.Pretty = pretty.String()
	}
	for _, key := range []string{e.ObjectID, e.PaymentIntent} {
		p, err := c.Ledger.Payment(r.Context(), key)
		known, err := ledger.Found(err)
		if err != nil {
			return err
		}
		if known && key != "" {
			page.Payment = p.ID
		}
	}
	return c.write(w, r, "event", view{Title: c.langOf(r).T("Event {id}", "id", e.ID), Nav: "events", Data: page})
}
