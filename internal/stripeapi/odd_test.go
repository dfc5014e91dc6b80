package stripeapi

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// paidSession is a paid session of a machine, without the end of its object.
const paidSession = `{"id":"cs_test_1","object":"checkout.session","mode":"payment","status":"complete",` +
	`"payment_status":"paid","amount_total":350,"currency":"eur","payment_intent":"pi_1",` +
	`"metadata":{"device_uid":"dev:1","price_id":"price_1"}`

func TestSessionIsReadDespiteFieldsThatAreNotNeeded(t *testing.T) {
	t.Parallel()
	for _, odd := range []string{
		`"currency_conversion":"none"`, `"currency_conversion":[]`, `"currency_conversion":{"amount_total":"350"}`,
		`"currency_conversion":{"amount_total":350.5,"source_currency":"eur"}`,
		`"currency_conversion":{"amount_total":350,"source_currency":7}`,
		`"presentment_details":[]`, `"presentment_details":"usd"`, `"presentment_details":{"presentment_currency":7}`,
		`"amount_subtotal":"350"`, `"amount_subtotal":{}`, `"amount_subtotal":1e400`,
		`"created":"2026-11-21T12:00:00Z"`, `"created":1795910000.5`, `"created":-1`, `"created":99999999999999999999`,
	} {
		s, complete, err := decodeSession([]byte(paidSession + `,` + odd + `}`))
		if err != nil || !complete || s.Amount != 350 || s.PriceCurrency != "" || s.ShownCurrency != "" ||
			s.Subtotal != 0 || s.Created.Unix() != 0 {
			t.Errorf("%s: %+v, %v; want the session without it", odd, s, err)
		}
	}
	charge := fixture.With(paidSession, `"pi_1"`, `{"id":"pi_1","status":"succeeded","latest_charge":{"id":"ch_1",`+
		`"created":"now","amount_refunded":100,"disputed":true}}`)
	s, _, err := decodeSession([]byte(charge + `}`))
	if err != nil || !s.PaidAt.IsZero() || s.Refunded != 100 || !s.Disputed {
		t.Errorf("a charge without a time: %+v, %v; want its money all the same", s, err)
	}
}

func TestSessionNeedsTheAmountOfMoneyThatWasTaken(t *testing.T) {
	t.Parallel()
	held := fixture.With(paidSession, `"pi_1"`, `{"id":"pi_1","status":"requires_capture"}`)
	held = fixture.With(held, `"payment_status":"paid"`, `"payment_status":"unpaid"`)
	linked := fixture.With(paidSession, `"amount_total":350,`, `"payment_link":"plink_1",`)
	linked = fixture.With(linked, `{"device_uid":"dev:1","price_id":"price_1"}`, `{}`)
	for name, text := range map[string]string{
		"no amount through a link":      linked, // of which the ledger may know the machine
		"no amount":                     fixture.With(paidSession, `"amount_total":350,`, ``),
		"an amount below zero":          fixture.With(paidSession, `350`, `-350`),
		"no amount of a hold":           fixture.With(held, `"amount_total":350,`, ``),
		"no currency of a hold":         fixture.With(held, `"eur"`, `null`),
		"an amount in quotes":           fixture.With(paidSession, `350`, `"350"`),
		"an amount with a point":        fixture.With(paidSession, `350`, `350.0`),
		"an amount above twelve digits": fixture.With(paidSession, `350`, `1000000000000`),
		"an amount that is large":       fixture.With(paidSession, `350`, `9223372036854775808`),
	} {
		s, _, err := decodeSession([]byte(text + `}`))
		if odd, ok := errors.AsType[*oddRecord](err); !ok || odd.field != "amount_total" {
			t.Errorf("%s: %+v, %v; want the field named", name, s, err)
		}
	}
}

// A free session has no charge, and 1970 would be before the birth of any ledger.
func TestReadSessionNeedsATime(t *testing.T) {
	t.Parallel()
	free := fixture.With(paidSession, `"payment_status":"paid"`, `"payment_status":"no_payment_required"`)
	for created, known := range map[string]bool{``: false, `,"created":"now"`: false, `,"created":5`: true} {
		s, err := (&Client{}).decodeReadSession([]byte(free + created + `}`))
		if known != (err == nil) {
			t.Errorf("created%s: %+v, %v; want it read: %v", created, s, err, known)
		}
	}
}

func TestMetadataKeepsTheOthersBesideAnOddValue(t *testing.T) {
	t.Parallel()
	text := fixture.With(paidSession, `"price_1"`, `"price_1","n":5,"yes":true,"none":null,"deep":{"a":["b"]}`)
	s, _, err := decodeSession([]byte(text + `}`))
	if want := map[string]string{
		"device_uid": "dev:1", "price_id": "price_1", "n": "5", "yes": "true", "none": "", "deep": `{"a":["b"]}`,
	}; err != nil || !maps.Equal(s.Metadata, want) {
		t.Errorf("%q, %v; want %q", s.Metadata, err, want)
	}
	for _, odd := range []string{`[]`, `"x"`, `7`} {
		text := fixture.With(paidSession, `{"device_uid":"dev:1","price_id":"price_1"}`, odd)
		if s, _, err := decodeSession([]byte(text + `}`)); err == nil {
			t.Errorf("metadata %s: %+v; want an error", odd, s)
		}
	}
}

// The sum of a few impossible amounts would overflow, and then no total could be shown.
func TestImpossibleAmountsAreOdd(t *testing.T) {
	t.Parallel()
	for _, amount := range []string{`,"amount":1000000000000`, `,"amount":-1`, `,"amount":null`, ``} {
		if r, _, err := decodeRefund([]byte(`{"id":"re_1"` + amount + `}`)); err == nil {
			t.Errorf("a refund with %q is read as %+v", amount, r)
		}
	}
	for _, field := range []string{"fee", "net"} {
		text := `{"id":"txn_1","currency":"eur","created":5,"` + field + `":-1000000000000}`
		if f, err := decodeBalanceTransaction([]byte(text)); err == nil {
			t.Errorf("%+v; want an error", f)
		}
	}
	for _, discount := range []string{`1000000000000`, `9223372036854775807`} {
		s, _, err := decodeSession([]byte(paidSession + `,"total_details":{"amount_discount":` + discount + `}}`))
		if err != nil || s.Discount != 0 {
			t.Errorf("discount %d, %v; want none", s.Discount, err)
		}
	}
	for _, amount := range []string{`-350`, `1000000000000`} {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.Next(fixture.ReadPrice, sandbox.Outcome{Status: 200, Body: `{"id":"price_1","object":"price",` +
				`"active":true,"currency":"eur","unit_amount":` + amount + `}`})
			fixture.Meant(t, amount, s.plan(), upstream.Rejected)
		})
	}
}

func TestCurrenciesAreInLowerCase(t *testing.T) {
	t.Parallel()
	s, _, err := decodeSession([]byte(fixture.With(paidSession, `"eur"`, `"JPY"`) + `}`))
	if err != nil || s.Currency != "jpy" {
		t.Errorf("session in %q, %v; want jpy", s.Currency, err)
	}
	d, err := decodeDispute([]byte(`{"id":"dp_1","currency":"EUR","is_charge_refundable":"no"}`))
	if err != nil || d.Currency != "eur" || d.Refundable {
		t.Errorf("dispute %+v, %v; want it in eur", d, err)
	}
	p, err := decodePrice([]byte(`{"id":"price_1","currency":"EUR","currency_options":[]}`))
	if err != nil || p.Currency != "eur" || p.options() != "" {
		t.Errorf("price %+v, %v; want it in eur without other currencies", p, err)
	}
}

// A time that JSON cannot hold would break every answer that lists the payment.
func TestEventKeepsItsObjectDespiteAnOddTimeOrMode(t *testing.T) {
	t.Parallel()
	for _, created := range []string{`"soon"`, `null`, `{}`, `1795910000000`, `1795910000.5`, `-1`, `true`} {
		body := `{"id":"evt_1","object":"event","livemode":false,"created":` + created +
			`,"type":"checkout.session.completed","data":{"object":` + paidSession + `}}}`
		e, err := decodeEvent([]byte(body), false)
		if !errors.Is(err, ErrMalformed) || e.ID != "evt_1" || e.ObjectID != "cs_test_1" || e.Intent != "pi_1" ||
			!e.Created.IsZero() {
			t.Errorf("created %s: %+v, %v; want the session to ask Stripe about", created, e, err)
		}
	}
	live := strings.ReplaceAll(paidSession, "cs_test_1", "cs_live_1")
	for _, row := range []struct {
		mode, kind, object string
		live               bool
	}{
		{`true`, "checkout.session.completed", live + `}`, true},
		{`false`, "checkout.session.completed", paidSession + `}`, false},
		{`"true"`, "checkout.session.completed", live + `}`, true},
		{`null`, "checkout.session.completed", live + `}`, true},
		{`1`, "checkout.session.completed", paidSession + `}`, false},
		{`"false"`, "charge.refunded", `{"id":"ch_1","livemode":true,"payment_intent":"pi_1"}`, true},
		{`{}`, "payment_link.updated", `{"id":"plink_1","livemode":false}`, false},
	} {
		body := `{"id":"evt_1","object":"event","created":1795910000,"livemode":` + row.mode + `,"type":"` + row.kind +
			`","data":{"object":` + row.object + `}}`
		if e, err := decodeEvent([]byte(body), false); err != nil || e.Livemode != row.live {
			t.Errorf("livemode %s of %s: %v, %v; want %v", row.mode, row.kind, e.Livemode, err, row.live)
		}
	}
	ofContext := `{"id":"evt_1","object":"event","livemode":false,"created":1795910000,"context":"acct_1",` +
		`"type":"checkout.session.completed","data":{"object":` + paidSession + `}}}`
	if e, err := decodeEvent([]byte(ofContext), false); err != nil || e.Session != nil || !e.Foreign {
		t.Errorf("%+v, %v; want nothing of another context", e, err)
	}
	if e := decodeListedEvent([]byte(ofContext)); e.Odd != "" || e.Session == nil || e.Foreign {
		t.Errorf("%+v; want the session, because our own key lists only our own events", e)
	}
	foreign := `{"id":"evt_1","object":"event","livemode":false,"created":"soon","account":"acct_1",` +
		`"type":"checkout.session.completed","data":{"object":` + paidSession + `}}}`
	if e, err := decodeEvent([]byte(foreign), false); !errors.Is(err, ErrMalformed) || e.ObjectID != "" || !e.Foreign {
		t.Errorf("%+v, %v; want nothing to ask about of another account", e, err)
	}
}

func TestOfferOfADividedQuantity(t *testing.T) {
	t.Parallel()
	for transform, want := range map[string]upstream.Outcome{
		`{"divide_by":10,"round":"down"}`: upstream.Rejected, // one unit would be none, and free
		`{"divide_by":10,"round":"up"}`:   upstream.OK,
		`{"divide_by":1,"round":"down"}`:  upstream.OK,
		`null`:                            upstream.OK,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.Next(fixture.ReadPrice, sandbox.Outcome{
				Status: 200,
				Body: `{"id":"price_1","object":"price","active":true,"currency":"eur","unit_amount":350,` +
					`"transform_quantity":` + transform + `}`,
			})
			fixture.Meant(t, transform, s.plan(), want)
		})
	}
}

func TestFeesAndPayoutsOfImpossibleTimes(t *testing.T) {
	t.Parallel()
	text := `{"id":"txn_1","fee":1,"net":-1,"currency":"eur","created":1795910000000}`
	if f, err := decodeBalanceTransaction([]byte(text)); err == nil {
		t.Errorf("%+v; want an error for a time in milliseconds", f)
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		var odd []string
		s.client.Odd = func(_ string, records []string) { odd = records }
		s.Next("GET /v1/payouts", listOf(
			`{"id":"po_1","amount":100,"currency":"eur","created":5,"arrival_date":"soon"}`,
			`{"id":"po_2","amount":100,"currency":"eur","created":"now","arrival_date":6}`,
		))
		list, err := s.client.Payouts(t.Context())
		fixture.Meant(t, "payouts", err, upstream.OK)
		if len(list) != 1 || list[0].ID != "po_1" || strings.Join(odd, ", ") != "payout po_2 (created)" {
			t.Errorf("payouts %+v, odd %q; want the first, and the second named", list, odd)
		}
	})
}
