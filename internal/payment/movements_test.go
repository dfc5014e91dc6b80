package payment

import (
	"slices"
	"testing"
	"time"
)

func TestMovements(t *testing.T) {
	t.Parallel()
	paid := Payment{Amount: 500, Funds: Paid, Delivery: Started}
	with := func(change func(*Payment)) Payment {
		p := paid
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		before, after Payment
		want          []Movement
	}{
		"a new payment":    {Payment{}, paid, []Movement{{MovedCapture, "", 500}}},
		"nothing moved":    {paid, with(func(p *Payment) { p.Delivery = Done }), nil},
		"an authorization": {Payment{}, with(func(p *Payment) { p.Funds = Authorized }), nil},
		"a capture": {
			with(func(p *Payment) { p.Funds = Capturing }), paid, []Movement{{MovedCapture, "", 500}},
		},
		"a partial refund": {
			paid, with(func(p *Payment) { p.RefundedAmount = 120 }), []Movement{{MovedRefund, RefundElsewhere, -120}},
		},
		"by the operator": {
			paid,
			with(func(p *Payment) { p.RefundedAmount, p.RefundSeq = 120, 1 }),
			[]Movement{{MovedRefund, RefundByOperator, -120}},
		},
		"a failed credit": {
			paid,
			with(func(p *Payment) { p.RefundedAmount, p.Delivery, p.Reason = 500, Failed, ReasonExpired }),
			[]Movement{{MovedRefund, ReasonExpired, -500}},
		},
		"a returned refund": {
			with(func(p *Payment) { p.RefundedAmount = 120 }), paid, []Movement{{MovedRefund, RefundElsewhere, 120}},
		},
		"a lost dispute": {
			with(func(p *Payment) { p.RefundedAmount, p.Funds = 100, Disputed }),
			with(func(p *Payment) { p.RefundedAmount, p.Funds, p.LostAmount = 100, DisputeLost, 300 }),
			[]Movement{{MovedLost, "", -400}},
		},
		"a part is lost": {paid, with(func(p *Payment) { p.LostAmount = 300 }), []Movement{{MovedLost, "", -300}}},
		"a dispute that is won after all": {
			with(func(p *Payment) { p.Funds, p.LostAmount = DisputeLost, 500 }), paid, []Movement{{MovedLost, "", 500}},
		},
	} {
		if got := Movements(c.before, c.after); !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v; want %+v", name, got, c.want)
		}
	}
}

func TestUse(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ran := func(end time.Duration) Payment {
		return Payment{Duration: time.Hour, Delivery: Done, StartedAt: start, EndsAt: start.Add(end)}
	}
	for name, c := range map[string]struct {
		p    Payment
		want time.Duration
	}{
		"waiting":             {Payment{Duration: time.Hour, Delivery: Sent}, 0},
		"failed":              {Payment{Duration: time.Hour, Delivery: Failed}, 0},
		"fetched":             {Payment{Duration: time.Hour, Delivery: Fetched}, time.Hour},
		"ended early":         {ran(time.Minute), time.Minute},
		"without a duration":  {Payment{Delivery: Done}, 0},
		"an end that is odd":  {ran(0), time.Hour},
		"longer than is sold": {ran(2 * time.Hour), time.Hour},
	} {
		if got := Use(c.p); got != c.want {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
}
