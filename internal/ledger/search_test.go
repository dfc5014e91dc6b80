package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

// found returns the names of the payments that a filter selects, page by page.
func found(t *testing.T, l *Ledger, s Filter) (names []string) {
	t.Helper()
	if s.Limit == 0 {
		s.Limit = 3
	}
	for pages := 0; ; pages++ {
		list, next, err := l.Payments(t.Context(), s)
		if err != nil || len(list) > s.Limit || pages > 20 {
			t.Fatalf("%+v: %d payments, %v, page %d; want pages of at most %d and an end",
				s, len(list), err, pages, s.Limit)
		}
		for _, p := range list {
			names = append(names, p.SessionID[len("cs_"):])
		}
		if s.Cursor = next; next == "" {
			return names
		}
	}
}

func testFilterConditions(t *testing.T, database string) {
	l := open(t, database)
	for i, change := range []func(*payment.Payment){
		func(p *payment.Payment) { p.CardLast4 = "4242" },
		func(p *payment.Payment) { p.DeviceUID, p.DeviceName = "dev:2", "Trockner 100% Süd" },
		func(p *payment.Payment) { p.Delivery, p.Reason, p.ReviewReason = payment.Failed, "refused", "refused" },
		func(p *payment.Payment) { p.Funds, p.RefundedAmount = payment.Refunded, 350 },
		func(p *payment.Payment) { p.Amount, p.Currency = 1200, "usd" },
		func(p *payment.Payment) { p.Delivery, p.MaybeAccepted, p.SentAt = payment.Sent, true, noon() },
		func(p *payment.Payment) { p.CardLast4, p.CreatedAt = "4242", noon().Add(24*time.Hour) },
	} {
		p := testPayment(fmt.Sprint(i))
		p.HoldsDevice, p.CreatedAt = false, noon().Add(time.Duration(i)*time.Minute)
		if change(&p); p.Delivery == payment.Failed || p.Delivery == payment.Sent {
			p = idle(p)
		}
		insert(t, l, p)
	}
	amount := int64(1200)
	for name, c := range map[string]struct {
		search Filter
		want   string // names, newest first
	}{
		"all":                       {Filter{}, "6 5 4 3 2 1 0"},
		"a device":                  {Filter{Devices: []string{"dev:2"}}, "1"},
		"several devices":           {Filter{Devices: []string{"dev:1", "dev:2"}}, "6 5 4 3 2 1 0"},
		"no such device":            {Filter{Devices: []string{"dev:3", "dev:4"}}, ""},
		"a part of a name":          {Filter{Name: "TROCKNER"}, "1"},
		"a name with a wildcard":    {Filter{Name: "100%"}, "1"},
		"a wildcard is a character": {Filter{Name: "Washer%3"}, ""},
		"a card":                    {Filter{Card: "4242"}, "6 0"},
		"a card of a day":           {Filter{Card: "4242", From: noon(), To: noon().Add(time.Hour)}, "0"},
		"a day":                     {Filter{From: noon().Add(time.Minute), To: noon().Add(3 * time.Minute)}, "2 1"},
		"an amount":                 {Filter{Amount: &amount}, "4"},
		"an amount of a currency":   {Filter{Amount: &amount, Currency: "eur"}, ""},
		"a day and an amount":       {Filter{Amount: &amount, From: noon(), To: noon().Add(4 * time.Minute)}, ""},
		"those that need attention": {Filter{Attention: new(true)}, "2"},
		"money back":                {Filter{Funds: funds(payment.Refunded, payment.Canceled)}, "3"},
		"either of two fund states": {Filter{
			Funds:    funds(payment.Paid, payment.Refunded),
			Delivery: delivery(payment.Queued),
		}, "6 4 3 1 0"},
		"failed": {Filter{Delivery: delivery(payment.Failed)}, "2"},
		"queued at a device": {Filter{
			Delivery: delivery(payment.Queued),
			Devices:  []string{"dev:1"},
		}, "6 4 3 0"},
		"sent or fetched": {Filter{Delivery: delivery(payment.Sent, payment.Fetched)}, "5"},
	} {
		if got := strings.Join(found(t, l, c.search), " "); got != c.want {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
	if _, _, err := l.Payments(t.Context(), Filter{Limit: 1, Cursor: "x"}); !errors.Is(err, ErrCursor) {
		t.Errorf("a cursor that was not given: %v; want %v", err, ErrCursor)
	}
}

// A filter without an index examines MaxScan payments per call. The result does not depend on where
// a call ends.
func testMaxScan(t *testing.T, database string) {
	l := open(t, database)
	const share, many = 100, 205
	mustUpdate(t, l, func(tx *Tx) error {
		for i := range many {
			p := idle(testPayment(fmt.Sprint(i)))
			p.Delivery, p.MaybeAccepted, p.SentAt = payment.Sent, true, noon()
			p.CreatedAt = noon().Add(time.Duration(i/3) * time.Millisecond)
			if i == 0 || i == many-1 {
				p.Amount = 999
			}
			if _, err := tx.InsertPayment(p); err != nil {
				return err
			}
		}
		return nil
	})
	amount := int64(999)
	var counts, got []string
	for cursor, more := "", true; more && len(counts) < 10; more = cursor != "" {
		list, next, err := l.Payments(t.Context(), Filter{Amount: &amount, Limit: 10, Cursor: cursor, MaxScan: share})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			got = append(got, p.SessionID)
		}
		counts, cursor = append(counts, fmt.Sprint(len(list))), next
	}
	if !slices.Equal(counts, []string{"1", "0", "1"}) ||
		!slices.Equal(got, []string{fmt.Sprint("cs_", many-1), "cs_0"}) {
		t.Errorf("shares of %q: %q; want both, one in the first and one in the last", counts, got)
	}
}

func testRevenue(t *testing.T, database string) {
	l := open(t, database)
	for i, p := range []payment.Payment{
		{Funds: payment.Paid, Amount: 350, Currency: "eur"},
		{Funds: payment.Paid, Amount: 350, Currency: "eur", RefundedAmount: 50},
		{Funds: payment.Refunded, Amount: 200, Currency: "eur", RefundedAmount: 200},
		{Funds: payment.Canceled, Amount: 350, Currency: "eur"},
		{Funds: payment.Authorized, Amount: 350, Currency: "eur"},
		{Funds: payment.DisputeLost, Amount: 100, Currency: "eur", RefundedAmount: 30},
		{Funds: payment.Disputed, Amount: 300, Currency: "jpy"},
		{Funds: payment.Paid, Currency: ""}, // free start
		{Funds: payment.Paid, Amount: 9999, Currency: "eur", CreatedAt: noon().Add(24 * time.Hour)},
	} {
		name := fmt.Sprint(i)
		p.ID, p.SessionID, p.Token, p.Delivery, p.PaidAt = payment.CreditID(name), name, name, payment.Queued, noon()
		if p.CreatedAt.IsZero() {
			p.CreatedAt = noon()
		}
		insert(t, l, p)
	}
	got, err := l.Revenue(t.Context(), noon(), noon().Add(24*time.Hour))
	want := []Revenue{{"eur", 6, 1000, 350}, {"jpy", 1, 300, 0}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("takings %+v, %v; want %+v", got, err, want)
	}
	list, _, err := l.Payments(t.Context(), Filter{To: noon().Add(24 * time.Hour), Limit: 50})
	sum := map[string]Revenue{}
	for _, p := range list {
		if p.Amount > 0 {
			s := sum[p.Currency]
			sum[p.Currency] = Revenue{p.Currency, s.Payments + 1, s.Captured + p.Captured(), s.Refunded + p.Refunded()}
		}
	}
	if err != nil || sum["eur"] != want[0] || sum["jpy"] != want[1] {
		t.Errorf("summed up one by one %+v, %v; want the same, %+v", sum, err, want)
	}
	if got, err := l.Revenue(t.Context(), noon().Add(-time.Hour), noon()); err != nil || len(got) != 0 {
		t.Errorf("before: %+v, %v; want nothing", got, err)
	}
}

func testHistory(t *testing.T, database string) {
	l := open(t, database)
	old, recent, other := idle(testPayment("old")), testPayment("recent"), testPayment("other")
	old.Delivery, old.MaybeAccepted, old.SentAt = payment.Done, true, noon()
	old.StartedAt, old.ConfirmBy = noon().Add(time.Second), noon().Add(time.Minute)
	recent.CreatedAt, other.DeviceUID = noon().Add(time.Hour), "dev:2"
	insert(t, l, old, recent, other)
	got, err := l.History(t.Context(), "dev:1", 5)
	want := []Credit{
		{Machine: payment.Queued},
		{Machine: payment.Done, Confirms: true, SentAt: noon(), StartedAt: noon().Add(time.Second)},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("history %+v, %v; want %+v", got, err, want)
	}
	if got, err := l.History(t.Context(), "dev:1", 1); err != nil || len(got) != 1 {
		t.Errorf("the last: %+v, %v; want one", got, err)
	}
}

func testCardLearnedLater(t *testing.T, database string) {
	l := open(t, database)
	p := testPayment("a")
	insert(t, l, p)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(tx.SetCharge(p.ID, "4242", "https://pay.stripe.com/receipts/1"), tx.SavePayment(p))
	})
	if got, err := l.Payment(t.Context(), p.ID); err != nil || got.CardLast4 != "4242" ||
		got.ReceiptURL != "https://pay.stripe.com/receipts/1" {
		t.Errorf("card %q, receipt %q, %v; want what was told of the charge", got.CardLast4, got.ReceiptURL, err)
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
		event("evt_2", "payment_intent.succeeded", "pi_a", "", time.Second),
		event("evt_3", "checkout.session.completed", "cs_b", "", 0),
		event("evt_4", "charge.refunded", "ch_a", "pi_a", 48*time.Hour),
		event("evt_5", "charge.refunded", "ch_b", "pi_b", time.Second),
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
	if err != nil || one != all[3] {
		t.Errorf("event %+v, %v; want %+v", one, err, all[3])
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
	later := noon().Add(72 * time.Hour)
	want("since a time", ids(l.EventsSince(t.Context(), noon().Add(time.Second), "", later, 10)),
		"evt_2", "evt_5", "evt_4")
	want("behind an event", ids(l.EventsSince(t.Context(), later, "evt_2", later, 10)), "evt_5", "evt_4")
	want("up to a time", ids(l.EventsSince(t.Context(), later, "evt_2", noon().Add(time.Minute), 10)), "evt_5")
	want("behind an unknown one", ids(l.EventsSince(t.Context(), noon().Add(time.Hour), "evt_9", later, 10)), "evt_4")
}

func testLateLookups(t *testing.T, database string) {
	l := open(t, database)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddLookup(Lookup{ID: "cs_old", PaidAt: noon(), DueAt: noon()}),
			tx.AddLookup(Lookup{ID: "cs_new", PaidAt: noon().Add(time.Hour), DueAt: noon()}),
		)
	})
	got, err := l.LateLookups(t.Context(), noon().Add(time.Minute), 10)
	if err != nil || len(got) != 1 || got[0].ID != "cs_old" {
		t.Errorf("%+v, %v; want cs_old", got, err)
	}
}

// searches returns the console's queries, for their plans.
func searches(ctx context.Context, l *Ledger) []asked {
	search := func(s Filter) func() error {
		s.Limit = 10
		return func() error {
			_, _, err := l.Payments(ctx, s)
			return err
		}
	}
	amount := int64(1)
	return []asked{
		{"looking for nothing in particular", search(Filter{}), "payments_newest"},
		{"going on from there", search(Filter{Cursor: "1-cr_x"}), "payments_newest"},
		{"looking for a day", search(Filter{From: noon(), To: noon()}), "payments_newest"},
		{"going on with a day", search(Filter{From: noon(), To: noon(), Cursor: "1-cr_x"}), "payments_newest"},
		{"looking for a device", search(Filter{Devices: []string{"dev:1"}}), "payments_of_device"},
		{
			"looking for a device's day",
			search(Filter{Devices: []string{"dev:1"}, From: noon(), To: noon()}),
			"payments_of_device",
		},
		{"looking for several devices", search(Filter{Devices: []string{"dev:1", "dev:2"}}), "payments_newest"},
		{"looking for a card", search(Filter{Card: "4242"}), "payments_of_card"},
		{"looking for what needs attention", search(Filter{Attention: new(true)}), "payments_attention"},
		{
			"looking for money that moved",
			search(Filter{Funds: funds(payment.Refunded)}),
			"payments_money_moved",
		},
		{
			"looking for what failed",
			search(Filter{Delivery: delivery(payment.Failed)}),
			"payments_failed",
		},
		{
			"looking for what is queued",
			search(Filter{Delivery: delivery(payment.Queued)}),
			"payments_newest",
		},
		{"looking for an amount", search(Filter{Amount: &amount}), "payments_newest"},
		{"looking for a name", search(Filter{Name: "x"}), "payments_newest"},
		{"the takings", func() error { return second(l.Revenue(ctx, noon(), noon())).err }, "payments_newest"},
		{
			"the history of a device",
			func() error { return second(l.History(ctx, "dev:1", 50)).err },
			"payments_of_device",
		},
		{"an event", func() error { return second(l.Event(ctx, "evt_1")).err }, ""},
		{"the events of a payment", func() error { return second(l.EventsOf(ctx, testPayment("a"))).err }, ""},
		{"the first events of a type", func() error {
			_, _, err := l.EventPage(ctx, "x", 10, "")
			return err
		}, "stripe_events_newest"},
		{"the first events", func() error {
			_, _, err := l.EventPage(ctx, "", 10, "")
			return err
		}, "stripe_events_newest"},
		{"a page of events", func() error {
			_, _, err := l.EventPage(ctx, "x", 10, "1-evt_x")
			return err
		}, "stripe_events_newest"},
		{"the events since then", func() error { return second(l.EventsSince(ctx, noon(), "", noon(), 10)).err }, ""},
		{"the late look-ups", func() error { return second(l.LateLookups(ctx, noon(), 10)).err }, "lookups_late"},
		{"the audit", func() error {
			_, _, err := l.Audits(ctx, "", 10, "")
			return err
		}, ""},
	}
}
