package stripeapi

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestSession(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, capture          string
		options                sandbox.PayOptions
		status, intent, charge string
	}{
		{"paid", "", sandbox.PayOptions{}, "paid", "succeeded", "now"},
		{
			"paid long after it was opened",
			"",
			sandbox.PayOptions{SessionAge: 3 * time.Hour},
			"paid",
			"succeeded",
			"now",
		},
		{"free", "", sandbox.PayOptions{Free: true}, "no_payment_required", "", "none"},
		{"paid with money that comes later", "", sandbox.PayOptions{Unpaid: true}, "unpaid", "processing", "none"},
		{"held", "manual", sandbox.PayOptions{}, "unpaid", "requires_capture", "now"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStripeTest(t)
				link := s.AddLink(
					sandbox.Link{
						Active:        true,
						PriceID:       fixture.Warm,
						DeviceUID:     fixture.Washer,
						CaptureMethod: row.capture,
					},
				)
				time.Sleep(time.Hour)
				sold, err := s.Pay(link.ID, row.options)
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.client.Session(t.Context(), sold.ID)
				fixture.Meant(t, "session", err, upstream.OK)
				if got.ID != sold.ID || got.PaymentStatus != row.status || got.IntentStatus != row.intent ||
					got.PaymentIntent != sold.PaymentIntent ||
					got.PaymentLink != link.ID ||
					got.Amount != sold.Amount ||
					got.Currency != "eur" ||
					got.Livemode ||
					got.Metadata["device_uid"] != fixture.Washer {
					t.Errorf("session %+v; want what was sold: %+v", got, sold)
				}
				var want time.Time // unknown without a charge
				if row.charge == "now" {
					want = time.Now().Truncate(time.Second)
				}
				if !got.PaidAt.Equal(want) || !got.Created.Equal(sold.Created.Truncate(time.Second)) {
					t.Errorf("paid at %v, created at %v; want %v, %v", got.PaidAt, got.Created, want, sold.Created)
				}
				if sold.PaymentIntent == "" {
					return
				}
				byIntent, err := s.client.Session(t.Context(), sold.PaymentIntent)
				fixture.Meant(t, "by the payment intent", err, upstream.OK)
				if fmt.Sprint(byIntent) != fmt.Sprint(got) {
					t.Errorf("by the payment intent %+v; want the same: %+v", byIntent, got)
				}
			})
		})
	}
}

func TestSessionThatIsNotPaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		link := s.AddLink(sandbox.Link{Active: true, PriceID: fixture.Warm, DeviceUID: fixture.Washer})
		open, err := s.Open(link.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, state := range []string{"open", "expired"} {
			got, err := s.client.Session(t.Context(), open.ID)
			fixture.Meant(t, state, err, upstream.OK)
			if got.PaymentStatus != "unpaid" || got.IntentStatus != "" {
				t.Errorf("%s: %+v; want unpaid", state, got)
			}
			time.Sleep(25 * time.Hour)
		}
		// An unfinished session is unpaid, whatever its other fields say.
		s.Next(
			fixture.ReadSession,
			sandbox.Outcome{
				Status: 200,
				Body: `{"id":"cs_test_1","object":"checkout.session","status":"open","payment_status":"paid",` +
					`"payment_intent":{"id":"pi_1","status":"succeeded"}}`,
			},
		)
		got, err := s.client.Session(t.Context(), "cs_test_1")
		fixture.Meant(t, "a contradiction", err, upstream.OK)
		if got.PaymentStatus != "unpaid" || got.IntentStatus != "" {
			t.Errorf("a contradiction: %+v; want unpaid", got)
		}
		_, err = s.client.Session(t.Context(), "cs_test_none")
		fixture.Meant(t, "no such session", err, upstream.Rejected)
		_, err = s.client.Session(t.Context(), "pi_none")
		fixture.Meant(t, "no session of the intent", err, upstream.Rejected)
	})
}

func TestSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		s.sell(t, "", sandbox.PayOptions{}) // too long ago
		time.Sleep(48 * time.Hour)
		since := time.Now().Add(-24 * time.Hour)
		paid := s.sell(t, "", sandbox.PayOptions{SessionAge: 23 * time.Hour})
		held := s.hold(t)
		open, err := s.Open(paid.PaymentLink)
		if err != nil {
			t.Fatal(err)
		}
		s.Stripe.Refund(paid.ID, 100)
		s.Dispute(paid.ID)
		sessions, _, last, more, err := s.client.Sessions(t.Context(), since, "")
		fixture.Meant(t, "sessions", err, upstream.OK)
		if len(sessions) != 2 || last != paid.ID || more {
			t.Fatalf(
				"sessions %+v, last %q, more %v; want the two that are complete, and not %s", sessions, last,
				more, open.ID,
			)
		}
		for i, want := range []string{held.ID, paid.ID} {
			one, err := s.client.Session(t.Context(), want)
			fixture.Meant(t, "session", err, upstream.OK)
			if told := one.Disputes; len(told) != i { // a list does not hold them
				t.Errorf("disputes %+v; want %d", told, i)
			}
			one.Disputes = nil
			if fmt.Sprint(sessions[i]) != fmt.Sprint(one) {
				t.Errorf("listed %+v; want what the session says itself: %+v", sessions[i], one)
			}
		}
		if sessions[0].IntentStatus != "requires_capture" || sessions[1].Refunded != 100 || !sessions[1].Disputed ||
			!sessions[1].PaidAt.Equal(time.Now().Truncate(time.Second)) {
			t.Errorf("sessions %+v; want one held, and one refunded, disputed and paid now", sessions)
		}
	})
}

func TestPageURLAllowsOnlyStripesPages(t *testing.T) {
	t.Parallel()
	s := New(testConfig("http://127.0.0.1:12111", nil))
	for address, allowed := range map[string]bool{
		"https://pay.stripe.com/receipts/payment/CAcQ": true,
		"http://127.0.0.1:12111/receipts/ch_1":         true,
		"":                                             false,
		"/receipts/1":                                  false,
		"http://pay.stripe.com/receipts/1":             false,
		"https://stripe.com.example.com/":              false,
		"https://notstripe.com/":                       false,
		"javascript:alert(1)//.stripe.com":             false,
		"http://127.0.0.1:12112/":                      false,
		"https://pay.stripe.com\n/":                    false,
		"https://x@evil.example.com/.stripe.com":       false,
	} {
		if got := s.pageURL(address); got != "" != allowed || (allowed && got != address) {
			t.Errorf("%q became %q; want it allowed: %v", address, got, allowed)
		}
	}
}

func TestSessionWithAPromotionCode(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		options                         sandbox.PayOptions
		amount, discount, price, priced int64
	}{
		"none":      {sandbox.PayOptions{}, 350, 0, 0, 350},
		"a part":    {sandbox.PayOptions{Promotion: "SPRING"}, 250, 100, 0, 350},
		"all":       {sandbox.PayOptions{Promotion: "FREE"}, 0, 350, 0, 350},
		"converted": {sandbox.PayOptions{Promotion: "SPRING", Converted: "usd"}, 500, 200, 350, 700},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStripeTest(t)
				s.AddPromotionCode(sandbox.PromotionCode{Code: "SPRING", AmountOff: 100, Currency: "eur"})
				s.AddPromotionCode(sandbox.PromotionCode{Code: "FREE", PercentOff: 100})
				link := s.AddLink(sandbox.Link{
					Active: true, PriceID: fixture.Warm, DeviceUID: fixture.Washer, PromotionCodes: true,
				})
				sold, err := s.Pay(link.ID, row.options)
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.client.Session(t.Context(), sold.ID)
				fixture.Meant(t, "session", err, upstream.OK)
				if got.Amount != row.amount || got.Discount != row.discount || got.PriceAmount != row.price ||
					got.Amount+got.Discount != row.priced {
					t.Errorf("amount %d, discount %d, price %d; want %+v",
						got.Amount, got.Discount, got.PriceAmount, row)
				}
			})
		})
	}
}

// Stripe converts the price and the taxes that it adds.
func TestSessionConvertedWithTaxes(t *testing.T) {
	t.Parallel()
	s, complete, err := decodeSession([]byte(`{"id":"cs_1","status":"complete","payment_status":"paid",
		"amount_subtotal":412,"amount_total":491,"currency":"usd","metadata":{"device_uid":"dev:1"},
		"currency_conversion":{"amount_subtotal":350,"amount_total":417,"fx_rate":"1.177","source_currency":"eur"},
		"total_details":{"amount_discount":0,"amount_shipping":0,"amount_tax":79}}`))
	if err != nil || !complete || s.Amount != 491 || s.Subtotal != 412 || s.PriceAmount != 417 ||
		s.PriceSubtotal != 350 || s.PriceCurrency != "eur" {
		t.Errorf("%+v, %v; want the price and what was added to it", s, err)
	}
}

func TestUnreadableDiscountIsNone(t *testing.T) {
	t.Parallel()
	for _, totals := range []string{`null`, `"none"`, `{"amount_discount":"1"}`, `{"amount_discount":-5}`, `[]`} {
		s, complete, err := decodeSession([]byte(`{"id":"cs_1","status":"complete","amount_total":350,
			"currency":"eur","payment_status":"paid","total_details":` + totals + `}`))
		if err != nil || !complete || s.Discount != 0 {
			t.Errorf("%s: discount %d, %v; want none", totals, s.Discount, err)
		}
	}
}
