package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testPages(t *testing.T, database string) {
	l := open(t, database)
	var want []string // credit ids, newest first and then by id
	for _, second := range []time.Duration{3, 2, 1} {
		var together []string
		for _, name := range []string{"a", "b", "c", "d"} {
			p := testPayment(name + second.String())
			p.CreatedAt = noon().Add(second * time.Second)
			insert(t, l, p)
			together = append(together, p.ID)
		}
		slices.Sort(together)
		slices.Reverse(together)
		want = append(want, together...)
	}
	for _, limit := range []int{1, 3, 4, 11, 12, 13} {
		var got []string
		cursor := ""
		for more := true; more; more = cursor != "" {
			page, next, err := l.Payments(t.Context(), Filter{Limit: limit, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 || len(page) > limit {
				t.Fatalf("a page of %d payments; want 1 to %d", len(page), limit)
			}
			for _, p := range page {
				got = append(got, p.ID)
			}
			cursor = next
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %q; want %q", limit, got, want)
		}
	}

	page, cursor, err := l.Payments(t.Context(), Filter{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	newest := testPayment("newest")
	newest.CreatedAt = noon().Add(time.Hour)
	insert(t, l, newest)
	next, _, err := l.Payments(t.Context(), Filter{Limit: 1, Cursor: cursor})
	if err != nil || len(next) != 1 || next[0].ID != want[2] {
		t.Errorf("after %s, while another was recorded: got %+v, %v; want %s", page[1].ID, next, err, want[2])
	}
}

// funds and delivery return their arguments, to keep the tables of filters short.
func funds(list ...payment.FundsStatus) []payment.FundsStatus { return list }

func delivery(list ...payment.DeliveryStatus) []payment.DeliveryStatus { return list }

func testFilters(t *testing.T, database string) {
	l := open(t, database)
	row := func(name string, minute int, change func(p *payment.Payment)) payment.Payment {
		p := testPayment(name)
		p.CreatedAt = noon2020(minute)
		change(&p)
		return p
	}
	insert(t, l,
		row("plain", 1, func(*payment.Payment) {}),
		row("elsewhere", 2, func(p *payment.Payment) { p.DeviceUID = "dev:2" }),
		row("refunded", 3, func(p *payment.Payment) { p.Funds = payment.Refunded }),
		row("failed", 4, func(p *payment.Payment) {
			p.Delivery, p.Reason, p.ReviewReason = payment.Failed, "refused", "money_kept"
		}),
		row("failed_elsewhere", 5, func(p *payment.Payment) {
			p.DeviceUID, p.Delivery, p.Reason = "dev:2", payment.Failed, "expired"
		}),
	)
	for name, c := range map[string]struct {
		filter Filter
		want   string // names, newest first
	}{
		"all":                  {Filter{}, "failed_elsewhere failed refunded elsewhere plain"},
		"of a device":          {Filter{Devices: []string{"dev:2"}}, "failed_elsewhere elsewhere"},
		"of an unknown device": {Filter{Devices: []string{"dev:9"}}, ""},
		"by money":             {Filter{Funds: funds(payment.Refunded)}, "refunded"},
		"by machine":           {Filter{Delivery: delivery(payment.Failed)}, "failed_elsewhere failed"},
		"that need attention":  {Filter{Attention: new(true)}, "failed"},
		"that need none":       {Filter{Attention: new(false)}, "failed_elsewhere refunded elsewhere plain"},
		"by all of it": {Filter{
			Devices:   []string{"dev:2"},
			Funds:     funds(payment.Paid),
			Delivery:  delivery(payment.Failed),
			Attention: new(false),
		}, "failed_elsewhere"},
		"by what none is at once": {Filter{Devices: []string{"dev:2"}, Funds: funds(payment.Refunded)}, ""},
		"with a cursor and others": {Filter{
			Delivery:  delivery(payment.Failed),
			Attention: new(true),
			Cursor:    "1577880300000-" + payment.CreditID("cs_failed_elsewhere"),
		}, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			c.filter.Limit = 10
			list, next, err := l.Payments(t.Context(), c.filter)
			var got []string
			for _, p := range list {
				got = append(got, strings.TrimPrefix(p.SessionID, "cs_"))
			}
			if err != nil || next != "" || strings.Join(got, " ") != c.want {
				t.Errorf("got %q, %q, %v; want %q", got, next, err, c.want)
			}
		})
	}
}

func testBadCursors(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"))
	for _, cursor := range []string{
		"x", "-", "12", "cr_x-12", "1.5-cr_x", "99999999999999999999-cr_x", "12 -cr_x", "' OR 1=1 --",
	} {
		if list, next, err := l.Payments(t.Context(), Filter{Limit: 1, Cursor: cursor}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: got %+v, %q, %v; want %v", cursor, list, next, err, ErrCursor)
		}
	}
}

// Anybody can send these in a URL.
func testImpossibleKeys(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"))
	for _, key := range []string{"\x00", "cs_one\x00", "\xff\xfe", "%", "_", "' OR ''='", strings.Repeat("x", 1<<20)} {
		what := key[:min(len(key), 20)]
		if _, err := l.Payment(t.Context(), key); !errors.Is(err, ErrNotFound) {
			t.Errorf("Payment(%q): got error %v; want %v", what, err, ErrNotFound)
		}
		if _, err := l.PaymentOfToken(t.Context(), key); !errors.Is(err, ErrNotFound) {
			t.Errorf("PaymentOfToken(%q): got error %v; want %v", what, err, ErrNotFound)
		}
		list, _, err := l.Payments(t.Context(), Filter{Devices: []string{key}, Limit: 1})
		if err != nil || len(list) != 0 {
			t.Errorf("Payments of device %q: got %+v, %v; want none", what, list, err)
		}
	}
}

func testStats(t *testing.T, database string) {
	l := open(t, database)
	wantStats := func(when string, want Stats) {
		t.Helper()
		if got, err := l.Stats(t.Context()); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", when, got, err, want)
		}
	}
	wantStats("of an empty ledger", Stats{})

	started := idle(testPayment("started"))
	started.Delivery, started.ReviewReason, started.MaybeAccepted = payment.Started, "refund_failed", true
	started.CreatedAt, started.SentAt = noon2020(0), noon2020(0)
	waitsForNothing := idle(testPayment("waits_for_nothing"))
	waitsForNothing.CreatedAt = noon2020(0)
	insert(t, l, started, waitsForNothing)
	wantStats("of one that a person must look at and one without a next step", Stats{NeedsAttention: 1})

	soon := time.Now().Add(time.Hour)
	queued, older, ranOut := testPayment("queued"), testPayment("older"), testPayment("ran_out")
	queued.CreatedAt, queued.DueAt, queued.ExpiresAt = noon2020(2), noon2020(7), soon
	older.CreatedAt, older.DueAt, older.ExpiresAt, older.Failures = noon2020(1), noon2020(6), time.Time{}, 2
	ranOut.CreatedAt, ranOut.DueAt, ranOut.ExpiresAt = noon2020(0), soon, noon2020(5)
	insert(t, l, queued, older, ranOut)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddLookup(Lookup{ID: "cs_2", PaidAt: tx.Now, DueAt: noon2020(9)}),
			tx.AddLookup(Lookup{ID: "cs_1", PaidAt: tx.Now, DueAt: noon2020(8)}),
		)
	})
	want := Stats{
		Queued:         3,
		OldestQueued:   noon2020(0),
		NeedsAttention: 1,
		NextNotehub:    noon2020(6),
		NextLookup:     noon2020(8),
	}
	wantStats("with the failed one due first", want)
	if oldest, err := l.OldestUntried(t.Context()); err != nil || !oldest.Equal(noon2020(2)) {
		t.Errorf("the oldest that has not run out and was not tried is of %v (%v); want %v", oldest, err, noon2020(2))
	}

	older.DueAt = noon2020(8)
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.SavePayment(older),
			tx.AddLookup(Lookup{ID: "cs_3", PaidAt: tx.Now.Add(-16 * time.Minute), DueAt: soon}),
		)
	})
	want.NextNotehub, want.NeedsAttention = noon2020(7), 2
	wantStats("with the fresh one due first and a look-up that is late", want)
}
