package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func testRepeatedEvents(t *testing.T, database string) {
	l := open(t, database)
	repeat := func(id string) bool {
		t.Helper()
		read := inTx(l, func(tx *Tx) (bool, error) { return tx.RepeatOfEvent(id) })
		if read.err != nil {
			t.Fatal(read.err)
		}
		return read.got
	}
	if repeat("evt_1") {
		t.Error("an event that is not stored was a repeat")
	}
	mustUpdate(t, l, func(tx *Tx) error {
		_, err := tx.AddEvent(StripeEvent{ID: "evt_1", Created: noon(), Received: noon(), Outcome: "ignored"})
		return err
	})
	for n := range 2 {
		if !repeat("evt_1") {
			t.Errorf("repeat %d of the stored event was none", n+1)
		}
	}
	if repeat("evt_2") {
		t.Error("another event was a repeat")
	}
	if list, err := l.Events(t.Context(), 10); err != nil || len(list) != 1 || list[0].Repeats != 2 {
		t.Errorf("%+v, %v; want one event with two repeats", list, err)
	}
}

func testUnstorableText(t *testing.T, database string) {
	l := open(t, database)
	odd := testPayment("odd")
	odd.DeviceUID, odd.DeviceName = "dev:1\x00", "Washer \xff"
	mustUpdate(t, l, func(tx *Tx) error {
		for _, e := range []StripeEvent{
			{ID: "evt_1", Type: "checkout.session.completed", ObjectID: "cs_odd\x00", Created: noon(), Received: noon(),
				Outcome: "payment_recorded", Body: "{\"id\":\"evt_1\",\"name\":\"\xff\"}"},
			{ID: "evt_2", Type: "charge.refunded", Created: noon(), Received: noon(), Outcome: "ignored", Body: "{}"},
		} {
			if _, err := tx.AddEvent(e); err != nil {
				return err
			}
		}
		if _, err := tx.InsertPayment(odd); err != nil {
			return err
		}
		return tx.AddAudit(Audit{Who: "operator", What: "refund", Subject: odd.ID, Why: "too\x00slow"})
	})
	for id, want := range map[string]string{"evt_1": "payment_recorded", "evt_2": "ignored"} {
		if outcome, err := l.EventOutcome(t.Context(), id); err != nil || outcome != want {
			t.Errorf("%s: %q, %v; want it stored", id, outcome, err)
		}
	}
	if p, err := l.Payment(t.Context(), odd.ID); err != nil || !strings.HasPrefix(p.DeviceUID, "dev:1") {
		t.Errorf("payment %+v, %v; want it stored", p, err)
	}
}

func testEvents(t *testing.T, database string) {
	l := open(t, database)
	first := StripeEvent{
		ID:       "evt_1",
		Type:     "checkout.session.completed",
		ObjectID: "cs_1",
		Livemode: true,
		Created:  noon().Add(-time.Minute),
		Received: noon(),
		Outcome:  "payment_recorded",
		Body:     `{"id":"evt_1"}`,
	}
	newer := StripeEvent{ID: "evt_0", Created: noon(), Received: noon().Add(time.Second), Outcome: "ignored"}
	repeat := first
	repeat.Outcome, repeat.Body = "duplicate_payment_ignored", "{}"
	var isNew []bool
	mustUpdate(t, l, func(tx *Tx) error {
		isNew = nil
		for _, e := range []StripeEvent{first, newer, repeat, repeat} {
			added, err := tx.AddEvent(e)
			if err != nil {
				return err
			}
			isNew = append(isNew, added)
		}
		return nil
	})
	if want := []bool{true, true, false, false}; !slices.Equal(isNew, want) {
		t.Errorf("AddEvent said new %v; want %v", isNew, want)
	}
	first.Repeats = 2
	for limit, want := range map[int][]StripeEvent{10: {newer, first}, 1: {newer}} {
		if got, err := l.Events(t.Context(), limit); err != nil || !slices.Equal(got, want) {
			t.Errorf("Events(%d): got %+v, %v; want %+v", limit, got, err, want)
		}
	}
}

func testEventsOfAPayment(t *testing.T, database string) {
	l := open(t, database)
	p := testPayment("a")
	event := func(id, eventType, object, intent string, after time.Duration) StripeEvent {
		return StripeEvent{
			ID:            id,
			Type:          eventType,
			ObjectID:      object,
			PaymentIntent: intent,
			Created:       noon(),
			Received:      noon().Add(after),
			Outcome:       "x",
			Body:          "{}",
		}
	}
	all := []StripeEvent{
		event("evt_1", "checkout.session.completed", "cs_a", "", 0),
		event("evt_3", "checkout.session.completed", "cs_b", "", 0),
		event("evt_2", "payment_intent.succeeded", "pi_a", "", time.Second),
		event("evt_5", "charge.refunded", "ch_b", "pi_b", time.Second),
		event("evt_4", "charge.refunded", "ch_a", "pi_a", 48*time.Hour),
	}
	insert(t, l, p)
	mustUpdate(t, l, func(tx *Tx) error {
		for _, e := range all {
			if _, err := tx.AddEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
	ids := func(list []StripeEvent, err error) (ids []string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		return ids
	}
	want := func(name string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q; want %q", name, got, want)
		}
	}
	want("of the payment", ids(l.EventsOf(t.Context(), p)), "evt_1", "evt_2", "evt_4")
	one, err := l.Event(t.Context(), "evt_4")
	if err != nil || one != all[4] {
		t.Errorf("event %+v, %v; want %+v", one, err, all[4])
	}
	page, next, err := l.EventPage(t.Context(), "", 3, "")
	want("the first page", ids(page, err), "evt_4", "evt_5", "evt_2")
	page, next, err = l.EventPage(t.Context(), "", 3, next)
	want("the last page", ids(page, err), "evt_3", "evt_1")
	if next != "" {
		t.Errorf("cursor %q after the last; want none", next)
	}
	page, _, err = l.EventPage(t.Context(), "charge.refunded", 3, "")
	want("of one type", ids(page, err), "evt_4", "evt_5")
	want("after one", ids(l.EventsAfter(t.Context(), all[2], 10)), "evt_5", "evt_4")
	want("the first two", ids(l.EventsAfter(t.Context(), StripeEvent{}, 2)), "evt_1", "evt_3")
}

// A transaction that waited for its turn has an earlier time than those that were committed meanwhile.
func testEventsAfterAnother(t *testing.T, database string) {
	l := open(t, database)
	var last StripeEvent
	for _, c := range []struct {
		id       string
		received time.Duration
		stored   time.Duration
	}{
		{"evt_2", 2 * time.Second, 2 * time.Second},
		{"evt_3", time.Second, 2*time.Second + time.Millisecond},
		{"evt_1", 2*time.Second + time.Millisecond, 2*time.Second + 2*time.Millisecond}, // of the same millisecond
		{"evt_4", 3 * time.Second, 3 * time.Second},
	} {
		mustUpdate(t, l, func(tx *Tx) error {
			e := StripeEvent{ID: c.id, Created: noon(), Received: noon().Add(c.received), Outcome: "x"}
			return second(tx.AddEvent(e)).err
		})
		list, err := l.EventsAfter(t.Context(), last, 10)
		if err != nil || len(list) != 1 || list[0].ID != c.id || !list[0].Received.Equal(noon().Add(c.stored)) {
			t.Fatalf("after %q: %+v, %v; want %s, received after %v", last.ID, list, err, c.id, c.stored)
		}
		last = list[0]
	}
	// A clock that was wrong does not make all later times wrong.
	for id, received := range map[string]time.Duration{"evt_6": 24 * time.Hour, "evt_5": 4 * time.Second} {
		mustUpdate(t, l, func(tx *Tx) error {
			e := StripeEvent{ID: id, Created: noon(), Received: noon().Add(received), Outcome: "x"}
			return second(tx.AddEvent(e)).err
		})
		if e, err := l.Event(t.Context(), id); err != nil || !e.Received.Equal(noon().Add(received)) {
			t.Errorf("%+v, %v; want it received after %v", e, err, received)
		}
	}
}
