package revenue

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/payment"
)

// shop makes random payments and changes, and adds them up in the simplest way.
type shop struct {
	*testing.T
	random   *rand.Rand
	ledger   *ledger.Ledger
	roller   *Roller
	payments []payment.Payment
	moved    []movedMoney
}

type movedMoney struct {
	at             time.Time
	device, plan   string
	currency, kind string
	reason         string
	amount         int64
}

func openShop(t *testing.T, zone *time.Location, seed uint64) *shop {
	l, err := ledger.Open(t.Context(), ledgertest.Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &shop{
		T:      t,
		random: rand.New(rand.NewPCG(seed, 1)),
		ledger: l,
		roller: &Roller{Ledger: l, Zone: zone, Log: slog.New(slog.DiscardHandler)},
	}
}

func (s *shop) update(f func(*ledger.Tx) error) {
	s.Helper()
	if err := s.ledger.Update(s.Context(), f); err != nil {
		s.Fatal(err)
	}
}

func (s *shop) note(p payment.Payment, kind, reason string, amount int64) {
	s.moved = append(s.moved, movedMoney{s.ledger.Now(), p.DeviceUID, p.Plan, p.Currency, kind, reason, amount})
}

// buy records a payment, or a free start.
func (s *shop) buy() {
	name := fmt.Sprintf("cs_%d", len(s.payments))
	n := s.random.IntN(4)
	p := payment.Payment{
		ID: payment.CreditID(name), SessionID: name, PaymentIntent: "pi_" + name, Token: name,
		DeviceUID: fmt.Sprintf("dev:%d", n), DeviceName: "Washer",
		Plan:     []string{"Warm", "Cold: 30", ""}[s.random.IntN(3)],
		Duration: time.Hour, Amount: int64(s.random.IntN(900)), Currency: []string{"eur", "jpy"}[n/3],
		Funds: payment.Paid, Delivery: payment.Queued, PaidAt: s.ledger.Now(), CreatedAt: s.ledger.Now(),
	}
	switch s.random.IntN(8) {
	case 0:
		p.Amount, p.Currency, p.PaymentIntent = 0, "", ""
	case 1:
		p.Funds = payment.Authorized
	}
	s.update(func(tx *ledger.Tx) error { _, err := tx.InsertPayment(p); return err })
	if s.payments = append(s.payments, p); p.Captured() > 0 {
		s.note(p, "captured", "", p.Amount)
	}
}

// change changes a payment, of today or of long ago.
func (s *shop) change() {
	if len(s.payments) == 0 {
		return
	}
	n := s.random.IntN(len(s.payments))
	if s.random.IntN(2) == 0 {
		n = max(0, len(s.payments)-1-s.random.IntN(5))
	}
	before := s.payments[n]
	p := before
	switch s.random.IntN(6) {
	case 0:
		p.Delivery, p.Reason = payment.Failed, payment.ReasonExpired
	case 1:
		p.Delivery, p.Reason = payment.Done, ""
		p.MaybeAccepted, p.SentAt, p.StartedAt = true, s.ledger.Now(), s.ledger.Now()
		p.EndsAt = p.StartedAt.Add(time.Duration(s.random.IntN(3600)) * time.Second)
	case 2:
		if p.Funds == payment.Authorized {
			p.Funds = payment.Paid
			s.note(p, "captured", "", p.Amount)
		}
	case 3:
		if left := p.Captured() - p.RefundedAmount; left > 0 && p.Funds == payment.Paid {
			amount := 1 + s.random.Int64N(left)
			p.RefundedAmount += amount
			s.note(p, "refund", payment.RefundReason(p), -amount)
		}
	case 4:
		if p.Funds == payment.Paid && p.RefundedAmount > 0 {
			s.note(p, "refund", payment.RefundReason(p), p.RefundedAmount)
			p.RefundedAmount = 0
		}
	case 5:
		if left := p.Captured() - p.RefundedAmount; left > 0 && p.Funds == payment.Paid && s.random.IntN(4) == 0 {
			p.Funds, p.LostAmount = payment.DisputeLost, left
			s.note(p, "lost", "", -left)
		}
	}
	s.update(func(tx *ledger.Tx) error { return tx.SavePayment(p) })
	s.payments[n] = p
}

// fee stores what Stripe took for a payment, some hours later.
func (s *shop) fee() {
	p := s.payments[s.random.IntN(len(s.payments))]
	f := ledger.Fee{
		ID: fmt.Sprintf("txn_%d", len(s.moved)), Intent: p.PaymentIntent, Category: "charge", At: p.CreatedAt,
		Amount: 30, Net: p.Amount - 30, Currency: "eur",
	}
	s.update(func(tx *ledger.Tx) error {
		added, err := tx.AddFee(f)
		if added {
			s.moved = append(s.moved, movedMoney{f.At, p.DeviceUID, p.Plan, "eur", "fee", "", -30})
		}
		return err
	})
}

// plain adds up one currency of some days in the simplest way.
func (s *shop) plain(from, to time.Time, currency string, wanted func(device, plan string) bool) (
	sums ledger.Sums, reasons Reasons,
) {
	in := func(t time.Time) bool { return !t.Before(from) && t.Before(to) }
	reasons = Reasons{}
	for _, p := range s.payments {
		if p.Currency != currency || !in(p.CreatedAt) || !wanted(p.DeviceUID, p.Plan) {
			continue
		}
		sums.Credits++
		sums.Used += int64(payment.Use(p) / time.Second)
		if p.Delivery == payment.Failed {
			sums.Failed++
		}
	}
	for _, m := range s.moved {
		if m.currency != currency || !in(m.at) || m.amount == 0 || !wanted(m.device, m.plan) {
			continue
		}
		switch m.kind {
		case "captured":
			sums.Payments++
			sums.Captured += m.amount
		case "refund":
			sums.Refunded -= m.amount
			n := int64(1)
			if m.amount > 0 {
				n = -1
			}
			reasons[m.reason] = Count{reasons[m.reason].N + n, reasons[m.reason].Amount - m.amount}
		case "lost":
			sums.Lost -= m.amount
		case "fee":
			sums.Fees -= m.amount
		}
	}
	maps.DeleteFunc(reasons, func(_ string, c Count) bool { return c == Count{} })
	return sums, reasons
}

// agrees checks a report against the plain sums.
func (s *shop) agrees(name string, q Query) {
	s.Helper()
	q.Zone = s.roller.Zone
	r, err := Read(s.Context(), s.ledger, q)
	if err != nil || r.Building {
		s.Fatalf("%s: building %t, %v", name, r.Building, err)
	}
	of := func(device, _ string) bool { return len(q.Devices) == 0 || slices.Contains(q.Devices, device) }
	same := func(what string, g Group, from, to time.Time, wanted func(string, string) bool) ledger.Sums {
		s.Helper()
		want, _ := s.plain(from, to, g.Currency, wanted)
		want.Net = g.Net // plain does not know it
		if g.Sums != want {
			s.Errorf("%s, %s %s: %+v; want %+v", name, what, g.Currency, g.Sums, want)
		}
		return want
	}
	end := nextDay(q.To)
	for _, g := range r.Totals {
		want := same("in all", g, q.From, end, of)
		var found int64
		for _, count := range r.Hours[g.Currency] {
			found += count.Amount
		}
		if found != want.Captured {
			s.Errorf("%s: %d by the hours of the week in %s; want %d", name, found, g.Currency, want.Captured)
		}
		_, reasons := s.plain(q.From, end, g.Currency, of)
		got := maps.Clone(r.Reasons[g.Currency])
		maps.DeleteFunc(got, func(_ string, c Count) bool { return c == Count{} })
		if !maps.Equal(got, reasons) {
			s.Errorf("%s: refunds in %s %v; want %v", name, g.Currency, got, reasons)
		}
	}
	for _, g := range r.Plans {
		same("plan "+g.Name, g, q.From, end,
			func(device, plan string) bool { return of(device, plan) && plan == g.Name })
	}
	for _, g := range r.Machines {
		same("machine "+g.Name, g, q.From, end, func(device, _ string) bool { return device == g.Name })
	}
	for _, g := range r.Periods {
		from, to := g.Start, q.By.Next(g.Start)
		if from.Before(q.From) {
			from = q.From
		}
		if to.After(end) {
			to = end
		}
		same("from "+g.Start.Format(dayLayout), g, from, to, of)
	}
	if len(r.Totals) == 0 {
		s.Errorf("%s: no figures", name)
	}
}

// TestSumsAgreeWithPayments checks that after random payments, changes, crashes and passes, each report
// is what the payments and movements add up to.
func TestSumsAgreeWithPayments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		offset time.Duration
	}{{"UTC", 0}, {"a zone with quarters of an hour", 5*time.Hour + 45*time.Minute}} {
		for seed := range uint64(1) {
			t.Run(fmt.Sprint(c.name, " ", seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					randomShop(t, time.FixedZone(c.name, int(c.offset.Seconds())), seed)
				})
			})
		}
	}
}

func randomShop(t *testing.T, zone *time.Location, seed uint64) {
	s := openShop(t, zone, seed)
	first := dayOf(s.ledger.Now(), zone)
	for range 300 {
		time.Sleep(time.Duration(s.random.Int64N(int64(9 * time.Hour))))
		for range s.random.IntN(4) {
			s.buy()
		}
		for range s.random.IntN(5) {
			s.change()
		}
		if len(s.payments) > 0 && s.random.IntN(3) == 0 {
			s.fee()
		}
		switch s.random.IntN(6) {
		case 0, 1:
			if err := s.roller.Pass(t.Context()); err != nil {
				t.Fatal(err)
			}
		case 2: // a pass that is stopped somewhere
			ctx, stop := context.WithTimeout(t.Context(), time.Duration(s.random.IntN(3))*time.Nanosecond)
			_ = s.roller.Pass(ctx)
			stop()
		}
	}
	if err := s.roller.Audit(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if err := s.roller.Pass(t.Context()); err != nil {
			t.Fatal(when, err)
		}
		today := dayOf(s.ledger.Now(), zone)
		for _, by := range []By{ByDay, ByWeek, ByMonth} {
			s.agrees(when+", all", Query{From: first, To: today, By: by})
			s.agrees(when+", a part", Query{From: first.AddDate(0, 0, 10), To: today.AddDate(0, 0, -10), By: by})
			s.agrees(when+", two machines", Query{From: first, To: today, By: by, Devices: []string{"dev:1", "dev:3"}})
		}
	}
	check("after the last pass")
	s.buy()
	s.buy()
	s.agrees("a payment of this minute", Query{From: first, To: dayOf(s.ledger.Now(), zone), By: ByDay})
	s.roller.Zone = time.FixedZone("another zone", -7*3600)
	zone = s.roller.Zone
	first = dayOf(first, zone)
	time.Sleep(ledger.SumDelay)
	check("made again for another time zone")
	if testing.Verbose() {
		t.Logf("%d payments, %d movements", len(s.payments), len(s.moved))
	}
}

// TestPassRemembersMarks checks that a change during a pass is not lost.
func TestPassRemembersMarks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, time.UTC, 1)
		s.buy()
		time.Sleep(time.Hour)
		if err := s.roller.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		stale, err := s.ledger.StaleHours(t.Context(), 9)
		if err != nil || len(stale) != 0 {
			t.Fatalf("%v, %v; want no marks", stale, err)
		}
		p := s.payments[0]
		p.Delivery, p.Reason = payment.Failed, payment.ReasonExpired
		s.update(func(tx *ledger.Tx) error { return tx.SavePayment(p) })
		s.payments[0] = p
		if err := s.roller.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		today := dayOf(s.ledger.Now(), time.UTC)
		s.agrees("a late failure", Query{From: today, To: today, By: ByDay})
	})
}

func TestSpans(t *testing.T) {
	t.Parallel()
	day := func(text string) time.Time { return readStart(text, time.UTC) }
	for name, c := range map[string]struct{ from, to, through, want string }{
		"some days":         {"2026-11-03", "2026-11-30", "2026-12-05", "2026-11-03..2026-11-30"},
		"a month":           {"2026-11-01", "2026-11-30", "2026-12-05", "2026-11..2026-11"},
		"a month that runs": {"2026-11-01", "2026-11-30", "2026-11-29", "2026-11-01..2026-11-30"},
		"months and days": {
			"2026-08-20", "2026-11-05", "2026-11-05",
			"2026-08-20..2026-08-31 2026-09..2026-10 2026-11-01..2026-11-05",
		},
		"over a new year":    {"2025-12-31", "2026-01-01", "2026-11-05", "2025-12-31..2026-01-01"},
		"a day":              {"2026-11-05", "2026-11-05", "2026-11-05", "2026-11-05..2026-11-05"},
		"a year of months":   {"2025-12-01", "2026-11-30", "2026-11-30", "2025-12..2026-10 2026-11-01..2026-11-30"},
		"before the records": {"2020-01-01", "2020-02-29", "2026-11-30", "2020-01..2020-02"},
	} {
		q := Query{From: day(c.from), To: day(c.to), Zone: time.UTC}
		var list []string
		for _, s := range q.spans(day(c.through)) {
			list = append(list, s.From+".."+s.To)
		}
		if got := strings.Join(list, " "); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
	}
}

func TestHoursAndReasons(t *testing.T) {
	t.Parallel()
	h := Hours{}
	h.Add("9:1:350 167:2:700 168:1:1 x:1:1 9:1 9:y:1")
	h.Add("9:1:50")
	if got := h.String(); got != "9:2:400 167:2:700" {
		t.Errorf("hours %q", got)
	}
	monday := time.Date(2026, 11, 30, 0, 59, 0, 0, time.UTC)
	if hourOfWeek(monday) != 0 || hourOfWeek(monday.Add(-time.Hour)) != 167 {
		t.Errorf("hours of the week %d, %d; want 0 and 167", hourOfWeek(monday), hourOfWeek(monday.Add(-time.Hour)))
	}
	r := Reasons{}
	r.Add("expired:1:350 operator:2:-7")
	if got := r.String(); got != "expired:1:350 operator:2:-7" {
		t.Errorf("reasons %q", got)
	}
}
