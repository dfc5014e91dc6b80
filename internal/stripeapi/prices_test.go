package stripeapi

import (
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestOffer(t *testing.T) {
	t.Parallel()
	metadata := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	good := sandbox.Price{ID: "price_1", Name: "Warm wash", Currency: "eur", Amount: 350, Active: true}
	with := func(change func(*sandbox.Price)) sandbox.Price {
		p := good
		change(&p)
		return p
	}
	plan := payment.Offer{PriceID: "price_1", Name: "Warm wash", Amount: 350, Currency: "eur"}
	timed := func(duration, delayed time.Duration) payment.Offer {
		p := plan
		p.Duration, p.DelayedStart = duration, delayed
		return p
	}
	rows := []struct {
		name  string
		price sandbox.Price
		want  payment.Offer // the zero plan: rejected
	}{
		{"a one-time price", good, plan},
		{
			"of no money",
			with(func(p *sandbox.Price) { p.Amount = 0 }),
			payment.Offer{PriceID: "price_1", Name: "Warm wash", Currency: "eur"},
		},
		{
			"with a duration",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", " 1h30m ", "delayed_start", "5m") }),
			timed(90*time.Minute, 5*time.Minute),
		},
		{
			"with empty durations",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", " ", "delayed_start", "") }),
			plan,
		},
		{
			"with parts of seconds, which are rounded",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "1500ms") }),
			timed(2*time.Second, 0),
		},
		{
			"with the longest duration",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "720h") }),
			timed(720*time.Hour, 0),
		},
		{
			"with a longer one",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "720h1s") }),
			payment.Offer{},
		},
		{
			"with a bare number",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "30") }),
			payment.Offer{},
		},
		{
			"with words",
			with(func(p *sandbox.Price) { p.Metadata = metadata("duration", "half an hour") }),
			payment.Offer{},
		},
		{
			"with less than nothing",
			with(func(p *sandbox.Price) { p.Metadata = metadata("delayed_start", "-5m") }),
			payment.Offer{},
		},
		{"inactive", with(func(p *sandbox.Price) { p.Active = false }), payment.Offer{}},
		{"recurring", with(func(p *sandbox.Price) { p.Recurring = true }), payment.Offer{}},
		{"missing", with(func(p *sandbox.Price) { p.ID = "price_2" }), payment.Offer{}},
	}
	for _, row := range rows {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.AddPrice(row.price)
			got, err := s.client.Offer(t.Context(), "price_1")
			if row.want == (payment.Offer{}) {
				fixture.Meant(t, row.name, err, upstream.Rejected)
			} else {
				fixture.Meant(t, row.name, err, upstream.OK)
			}
			if got != row.want {
				t.Errorf("%s: %+v; want %+v", row.name, got, row.want)
			}
		})
	}
}

func TestOfferRejectsAPriceWithoutFixedAmount(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"tiered":                `"billing_scheme":"tiered"`,
		"the customer's choice": `"billing_scheme":"per_unit","custom_unit_amount":{"minimum":100}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.Next(
				fixture.ReadPrice,
				sandbox.Outcome{
					Status: 200,
					Body:   `{"id":"price_1","object":"price","active":true,"currency":"eur",` + body + `}`,
				},
			)
			fixture.Meant(t, name, s.plan(), upstream.Rejected)
		})
	}
}
