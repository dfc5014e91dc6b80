package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"notepay/internal/payment"
)

// moved reads all movements but the captures that write no row.
func moved(t *testing.T, l *Ledger) (list []string) {
	t.Helper()
	page := MovementPage{From: noon().AddDate(-1, 0, 0), Until: time.Now().Add(time.Hour)}
	for done := false; !done; {
		var some []Movement
		var err error
		if some, page, done, err = l.Movements(t.Context(), page, 2); err != nil {
			t.Fatal(err)
		}
		for _, m := range some {
			list = append(list, fmt.Sprint(m.Payment.SessionID, " ", m.Kind, " ", m.Reason, " ", m.Amount, m.Currency))
		}
	}
	return list
}

func testMovements(t *testing.T, database string) {
	l := open(t, database)
	earlier := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	paid, held := testPayment("paid"), testPayment("held")
	held.DeviceUID, held.Funds = "dev:2", payment.Authorized
	paid.CreatedAt, held.CreatedAt = earlier, earlier.Add(time.Second)
	insert(t, l, paid, held)
	change := func(p payment.Payment, change func(*payment.Payment)) payment.Payment {
		t.Helper()
		mustUpdate(t, l, func(tx *Tx) error {
			before, err := tx.Payment(p.ID)
			if err != nil {
				return err
			}
			after := before
			change(&after)
			return tx.ChangePayment(before, after)
		})
		return p
	}
	change(held, func(p *payment.Payment) { p.Funds = payment.Paid })
	change(paid, func(p *payment.Payment) { p.RefundedAmount, p.RefundSeq = 100, 1 })
	change(paid, func(p *payment.Payment) { p.Plan = "renamed" })
	change(paid, func(p *payment.Payment) { p.RefundedAmount = 0 })
	want := []string{
		"cs_paid captured  350eur", "cs_held captured  350eur", "cs_paid refund operator -100eur",
		"cs_paid refund operator 100eur",
	}
	if got := moved(t, l); !slices.Equal(got, want) {
		t.Errorf("movements %q; want %q", got, want)
	}
	fee := Fee{
		ID: "txn_1", Intent: paid.PaymentIntent, Category: "charge", At: earlier, Amount: 30, Net: 320, Currency: "eur",
	}
	for _, first := range []bool{true, false} {
		mustUpdate(t, l, func(tx *Tx) error {
			added, err := tx.AddFee(fee)
			if err == nil && added != first {
				err = fmt.Errorf("the fee was added: %t; want once", added)
			}
			return err
		})
	}
	fee.ID, fee.Intent = "txn_2", "pi_of_another_shop"
	mustUpdate(t, l, func(tx *Tx) error { return errOnly(tx.AddFee(fee)) })
	if got := moved(t, l); len(got) != 5 || !slices.Contains(got, "cs_paid fee charge -30eur") {
		t.Errorf("movements %q; want one fee", got)
	}
	hours, err := l.StaleHours(t.Context(), 10)
	if err != nil || len(hours) != 1 || !hours[0].Start().Equal(earlier.Truncate(time.Hour)) {
		t.Errorf("marked hours %v, %v; want that of the payments", hours, err)
	}
}

// An earlier version wrote no movements. They are restored from the payments, once.
func testRestoreMovements(t *testing.T, database string) {
	l := open(t, database)
	for i, p := range []payment.Payment{
		{Funds: payment.Paid},
		{Funds: payment.Refunded, RefundedAmount: 350},
		{Funds: payment.Paid, RefundedAmount: 50},
		{Funds: payment.Canceled},
		{Funds: payment.DisputeLost, RefundedAmount: 30, LostAmount: 100},
		{Funds: payment.Paid, LostAmount: 40},
	} {
		whole := testPayment(fmt.Sprint(i))
		whole.CreatedAt = time.Now().Add(-time.Hour)
		whole.Funds, whole.RefundedAmount, whole.LostAmount = p.Funds, p.RefundedAmount, p.LostAmount
		insert(t, l, whole)
	}
	before := moved(t, l)
	mustUpdate(t, l, func(tx *Tx) error { return errOnly(tx.exec(`DELETE FROM movements WHERE amount <> -50`)) })
	for range 2 {
		if next, err := l.RestoreMovements(t.Context(), 1); err != nil || next != 0 {
			t.Fatalf("next %d, %v; want 0", next, err)
		}
	}
	after := moved(t, l)
	slices.Sort(before)
	slices.Sort(after)
	if !slices.Equal(before, after) || len(after) < 9 {
		t.Errorf("restored %q; want %q", after, before)
	}
}

func testSums(t *testing.T, database string) {
	l := open(t, database)
	row := func(dim Dimension, start, device, plan string, captured int64) SumRow {
		return SumRow{
			Start: start, SumKey: SumKey{Dim: dim, Device: device, Plan: plan, Currency: "eur"},
			Sums: Sums{Payments: 1, Captured: captured}, Hours: "9:1:" + fmt.Sprint(captured),
		}
	}
	take := func(from SumState, step SumStep) SumState {
		t.Helper()
		step.From = from
		if taken, err := l.TakeSumStep(t.Context(), step); err != nil || !taken {
			t.Fatalf("taken %t, %v", taken, err)
		}
		if taken, err := l.TakeSumStep(t.Context(), step); err != nil || taken {
			t.Fatalf("the same step again: %t, %v; want that it is refused", taken, err)
		}
		s, err := l.SumState(t.Context())
		if err != nil || !s.Through.Equal(step.To.Through) || s.Zone != step.To.Zone {
			t.Fatalf("state %+v, %v; want %+v", s, err, step.To)
		}
		return s
	}
	zero, err := l.SumState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.MarkHour(noon()) })
	hours, err := l.StaleHours(t.Context(), 10)
	if err != nil || len(hours) != 1 {
		t.Fatal(hours, err)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.MarkHour(noon()) })
	s := take(zero, SumStep{To: SumState{Zone: "z", Through: noon()}})
	var many []SumRow
	for i := range 130 {
		many = append(many, row(SumMachine, "", fmt.Sprintf("dev:%d", i), "A", 10))
	}
	for _, day := range []string{"2026-10-31", "2026-11-01"} {
		s = take(s, SumStep{
			To:        s,
			Day:       day,
			DayRows:   append([]SumRow{row(SumAll, "", "", "", 1300)}, many...),
			Month:     "2026-10",
			MonthRows: []SumRow{row(SumAll, "", "", "", 7)},
			Stale:     hours,
		})
	}
	if hours, err := l.StaleHours(t.Context(), 10); err != nil || len(hours) != 1 || hours[0].Marks != 2 {
		t.Errorf("marks %v, %v; want the later one to stay", hours, err)
	}
	days := []SumSpan{{From: "2026-10-30", To: "2026-11-30"}}
	for name, c := range map[string]struct {
		q    SumQuery
		by   SumsBy
		rows int
		sum  int64
	}{
		"by day":          {SumQuery{Spans: days}, ByStart, 2, 2600},
		"by machine":      {SumQuery{Spans: days}, ByMachine, 130, 2600},
		"of two machines": {SumQuery{Spans: days, Devices: []string{"dev:1", "dev:2"}}, ByStart, 2, 40},
		"of a month":      {SumQuery{Spans: []SumSpan{{Months: true, From: "2026-10", To: "2026-10"}}}, ByTotal, 1, 7},
		"in live mode":    {SumQuery{Spans: days, Livemode: true}, ByTotal, 0, 0},
	} {
		list, err := l.Sums(t.Context(), c.q, c.by)
		sum := int64(0)
		for _, r := range list {
			sum += r.Captured
		}
		if err != nil || len(list) != c.rows || sum != c.sum {
			t.Errorf("%s: %d rows with %d, %v; want %d with %d", name, len(list), sum, err, c.rows, c.sum)
		}
	}
	texts, err := l.SumTexts(t.Context(), SumQuery{Spans: days})
	if err != nil || len(texts) != 2 || texts[0].Hours != "9:1:1300" {
		t.Errorf("texts %v, %v; want two", texts, err)
	}
	if rows, err := l.DaySums(t.Context(), "2026-10"); err != nil || len(rows) != 131 {
		t.Errorf("%d sums of days in October, %v; want 131", len(rows), err)
	}
}

func testBalance(t *testing.T, database string) {
	l := open(t, database)
	if s, err := l.BalanceState(t.Context(), false); err != nil || s != (BalanceState{}) {
		t.Errorf("at first %+v, %v; want nothing", s, err)
	}
	want := BalanceState{Through: noon(), Fees: "not allowed"}
	p := Payout{ID: "po_1", At: noon(), ArrivalAt: noon(), Amount: 5, Currency: "eur", Status: "pending"}
	mustUpdate(t, l, func(tx *Tx) error {
		return tx.SetBalanceState(false, BalanceState{Through: noon(), Fees: "not\nallowed"})
	})
	for _, p.Status = range []string{"pending", "paid"} {
		mustUpdate(t, l, func(tx *Tx) error { return tx.SavePayout(p) })
	}
	if s, err := l.BalanceState(t.Context(), false); err != nil || s != want {
		t.Errorf("%+v, %v; want %+v", s, err, want)
	}
	if list, err := l.Payouts(t.Context(), false, 5); err != nil || !slices.Equal(list, []Payout{p}) {
		t.Errorf("payouts %+v, %v; want %+v", list, err, p)
	}
	if list, err := l.Payouts(t.Context(), true, 5); err != nil || len(list) != 0 {
		t.Errorf("live payouts %+v, %v; want none", list, err)
	}
}
