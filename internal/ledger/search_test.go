package ledger

import (
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
