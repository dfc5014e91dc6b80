package stripeapi

import (
	"fmt"
	"strings"
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

// Operators type the keys in Stripe's Dashboard.
func TestOfferReadsKeysAsOperatorsTypeThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		metadata map[string]string
		want     payment.Offer // duration, delay and code
		why      string        // part of why the price is not sold
	}{
		{map[string]string{"Duration": "45m"}, payment.Offer{Duration: 45 * time.Minute}, ""},
		{map[string]string{"DURATION": "45m"}, payment.Offer{Duration: 45 * time.Minute}, ""},
		{map[string]string{" duration\u00a0": "45m"}, payment.Offer{Duration: 45 * time.Minute}, ""},
		{map[string]string{"duration:": "45m"}, payment.Offer{Duration: 45 * time.Minute}, ""},
		{map[string]string{"Access_Code": "true"}, payment.Offer{AccessCode: true}, ""},
		{map[string]string{"access code": "yes"}, payment.Offer{AccessCode: true}, ""},
		{map[string]string{"accessCode": "yes"}, payment.Offer{AccessCode: true}, ""},
		{map[string]string{"Delayed-Start": "5m"}, payment.Offer{DelayedStart: 5 * time.Minute}, ""},
		{map[string]string{"PULSES": "3", "Output": "2"}, payment.Offer{Pulses: 3, Output: 2}, ""},
		{map[string]string{"Duration": "45m", "duration": " 45m"}, payment.Offer{Duration: 45 * time.Minute}, ""},
		{map[string]string{"Duration": "45m", "duration": " "}, payment.Offer{Duration: 45 * time.Minute}, ""},
		{map[string]string{"Duration": "", "duration": ""}, payment.Offer{}, ""},
		{map[string]string{"max_duration": "45m", "app": "notepay"}, payment.Offer{}, ""},
		{
			map[string]string{"Duration": "45m", "duration": "30m"},
			payment.Offer{}, `has metadata Duration="45m" and duration="30m", which differ`,
		},
		{
			map[string]string{"access_code": "true", "Access Code": "false"},
			payment.Offer{}, `has metadata Access Code="false" and access_code="true", which differ`,
		},
		{map[string]string{"Duration": "long"}, payment.Offer{}, `has metadata Duration="long"`},
		{map[string]string{"Access_Code": "perhaps"}, payment.Offer{}, `has metadata Access_Code="perhaps"`},
		{map[string]string{"PULSES": "0"}, payment.Offer{}, `has metadata PULSES="0"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.AddPrice(sandbox.Price{
				ID: "price_1", Name: "Warm wash", Currency: "eur", Amount: 350, Active: true, Metadata: c.metadata,
			})
			got, err := s.client.Offer(t.Context(), "price_1")
			if c.why != "" {
				if fixture.Meant(t, c.why, err, upstream.Rejected); !strings.Contains(fmt.Sprint(err), c.why) {
					t.Errorf("%v: %v; want %q", c.metadata, err, c.why)
				}
				return
			}
			fixture.Meant(t, fmt.Sprint(c.metadata), err, upstream.OK)
			got = payment.Offer{
				Duration: got.Duration, DelayedStart: got.DelayedStart, AccessCode: got.AccessCode,
				Pulses: got.Pulses, Output: got.Output,
			}
			if got != c.want {
				t.Errorf("%v: %+v; want %+v", c.metadata, got, c.want)
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
