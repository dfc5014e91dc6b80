// Package revenue sums up payments and movements by day, machine and plan, keeps the sums up to date,
// and reads them for a page. Amounts of different currencies are never added together.
//
// The days and months are those of the operator's time zone. A sum of whole hours in UTC would serve
// all zones, but 200 machines sell in more hours of a year than a million payments have, so such sums
// would be no fewer rows than the payments themselves.
package revenue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// Count is a number of payments or refunds with their amount in minor currency units.
type Count struct{ N, Amount int64 }

// Hours is what was captured by hour of the week. Hour 0 begins on Monday at midnight.
type Hours map[int]Count

// Reasons is what was refunded by reason.
type Reasons map[string]Count

// sum is one row of the sums.
type sum struct {
	ledger.Sums
	hours   Hours
	reasons Reasons
}

// table holds the sums of a day or a month.
type table map[ledger.SumKey]*sum

// of returns the sums that a payment counts in: of all payments, of its plan, and of its machine.
func (t table) of(p payment.Payment, currency string, add func(*sum)) {
	for _, key := range []ledger.SumKey{
		{Dim: ledger.SumAll, Livemode: p.Livemode, Currency: currency},
		{Dim: ledger.SumPlan, Livemode: p.Livemode, Currency: currency, Plan: p.Plan},
		{Dim: ledger.SumMachine, Livemode: p.Livemode, Currency: currency, Plan: p.Plan, Device: p.DeviceUID},
	} {
		if t[key] == nil {
			t[key] = &sum{hours: Hours{}, reasons: Reasons{}}
		}
		add(t[key])
	}
}

// credit adds a payment or free start, and its capture unless that is a movement of its own.
func (t table) credit(p payment.Payment, zone *time.Location) {
	t.of(p, p.Currency, func(s *sum) {
		s.Credits++
		s.Used += int64(payment.Use(p) / time.Second)
		if p.Delivery == payment.Failed {
			s.Failed++
		}
		if captured := p.Captured(); captured > 0 {
			s.capture(captured, p.CreatedAt.In(zone))
		}
	})
}

func (s *sum) capture(amount int64, at time.Time) {
	one := int64(1)
	if amount < 0 {
		one = -1
	}
	s.Payments += one
	s.Captured += amount
	hour := hourOfWeek(at)
	s.hours[hour] = Count{s.hours[hour].N + one, s.hours[hour].Amount + amount}
}

// movement adds a movement.
func (t table) movement(m ledger.Movement, zone *time.Location) {
	t.of(m.Payment, m.Currency, func(s *sum) {
		switch m.Kind {
		case payment.MovedCapture:
			s.capture(m.Amount, m.At.In(zone))
		case payment.MovedRefund:
			one := int64(1)
			if m.Amount > 0 { // the bank returned a refund
				one = -1
			}
			s.Refunded -= m.Amount
			s.reasons[m.Reason] = Count{s.reasons[m.Reason].N + one, s.reasons[m.Reason].Amount - m.Amount}
		case payment.MovedLost:
			s.Lost -= m.Amount
		case payment.MovedFee:
			s.Fees -= m.Amount
			s.Net += m.Net
		}
	})
}

// add adds a stored row.
func (t table) add(r ledger.SumRow) {
	if t[r.SumKey] == nil {
		t[r.SumKey] = &sum{hours: Hours{}, reasons: Reasons{}}
	}
	s := t[r.SumKey]
	s.Add(r.Sums)
	s.hours.Add(r.Hours)
	s.reasons.Add(r.Reasons)
}

// rows returns the rows to store, in the order of their keys.
func (t table) rows() (list []ledger.SumRow) {
	for key, s := range t {
		row := ledger.SumRow{SumKey: key, Sums: s.Sums, Hours: s.hours.String(), Reasons: s.reasons.String()}
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b ledger.SumRow) int {
		return cmp.Or(cmp.Compare(a.Dim, b.Dim), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Plan, b.Plan),
			cmp.Compare(a.Currency, b.Currency))
	})
	return list
}

// hourOfWeek returns the hour of the week of a time, 0 for the first hour of Monday.
func hourOfWeek(t time.Time) int { return (int(t.Weekday())+6)%7*24 + t.Hour() }

// String writes hours as they are stored: "hour:payments:amount", separated by spaces.
func (h Hours) String() string {
	var list []string
	for _, hour := range slices.Sorted(maps.Keys(h)) {
		if c := h[hour]; c != (Count{}) {
			list = append(list, fmt.Sprintf("%d:%d:%d", hour, c.N, c.Amount))
		}
	}
	return strings.Join(list, " ")
}

// Add adds stored hours. What cannot be read is left out.
func (h Hours) Add(text string) {
	eachCount(text, func(name string, c Count) {
		if hour, err := strconv.Atoi(name); err == nil && hour >= 0 && hour < 7*24 {
			h[hour] = Count{h[hour].N + c.N, h[hour].Amount + c.Amount}
		}
	})
}

// String writes reasons as they are stored: "reason:refunds:amount", separated by spaces.
func (r Reasons) String() string {
	var list []string
	for _, reason := range slices.Sorted(maps.Keys(r)) {
		if c := r[reason]; c != (Count{}) {
			list = append(list, fmt.Sprintf("%s:%d:%d", reason, c.N, c.Amount))
		}
	}
	return strings.Join(list, " ")
}

// Add adds stored reasons. What cannot be read is left out.
func (r Reasons) Add(text string) {
	eachCount(text, func(name string, c Count) { r[name] = Count{r[name].N + c.N, r[name].Amount + c.Amount} })
}

// eachCount calls f with each part of a stored text.
func eachCount(text string, f func(name string, c Count)) {
	for part := range strings.SplitSeq(text, " ") {
		name, rest, _ := strings.Cut(part, ":")
		n, amount, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		c := Count{}
		var err error
		if c.N, err = strconv.ParseInt(n, 10, 64); err != nil {
			continue
		}
		if c.Amount, err = strconv.ParseInt(amount, 10, 64); err != nil {
			continue
		}
		f(name, c)
	}
}
