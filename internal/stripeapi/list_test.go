package stripeapi

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/checkout"
	"notepay/internal/fixture"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// page is a page of a list with these records.
func page(records ...string) sandbox.Outcome {
	return sandbox.Outcome{
		Status: 200,
		Body:   `{"object":"list","url":"/v1/x","has_more":false,"data":[` + strings.Join(records, ",") + `]}`,
	}
}

func TestAnOddRecordHidesNoOtherOfItsList(t *testing.T) {
	t.Parallel()
	ours := `"metadata":{"app":"notepay","project":"` + fixture.Project + `","device_uid":"` + fixture.Washer + `","price_id":"` + fixture.Warm + `"}`
	const cs = `{"id":"cs_good","object":"checkout.session","status":"complete","mode":"payment","payment_status":"paid","amount_total":350,"currency":"eur","payment_intent":{"id":"pi_1","status":"succeeded","latest_charge":{"id":"ch_1","created":5}}}`
	const link = `{"id":"plink_good","object":"payment_link","active":true,"url":"https://buy.test/1",`
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		named := map[string][]string{}
		s.client.Odd = func(source string, records []string) { named[source] = records }
		s.Next(
			fixture.ListLinks,
			page(
				`{"id":"plink_odd","active":"yes","url":"https://buy.test/2",`+ours+`}`,
				`7`,
				link+`"after_completion":7,"restrictions":[7],`+ours+`}`,
			),
		)
		links, err := s.client.Links(t.Context())
		fixture.Meant(t, "links", err, upstream.OK)
		if len(links) != 1 || links[0].ID != "plink_good" || links[0].DeviceUID != fixture.Washer {
			t.Errorf("links %+v; want the good one", links)
		}
		if got := strings.Join(named["Stripe's payment links"], ", "); got != "link plink_odd (active), link without id" {
			t.Errorf("odd links: %q", got)
		}
		s.Next(
			fixture.ListSessions,
			page(
				`{"id":"cs_odd","status":"complete","payment_status":"paid","amount_total":{},"currency":"eur"}`,
				`{"id":"cs_charge","status":"complete","payment_intent":{"id":"pi_2","latest_charge":{"id":"ch_2","created":"now"}}}`,
				`null`,
				fixture.With(cs, `"mode"`, `"customer_details":7,"line_items":"x","automatic_tax":[],"mode"`),
			),
		)
		sessions, odd, _, more, err := s.client.Sessions(t.Context(), time.Unix(0, 0), "")
		fixture.Meant(t, "sessions", err, upstream.OK)
		if len(sessions) != 1 || sessions[0].ID != "cs_good" || sessions[0].IntentStatus != "succeeded" || more {
			t.Errorf("sessions %+v; want the good one", sessions)
		}
		if len(odd) != 3 || !strings.Contains(odd[0], "cs_odd (amount_total)") ||
			!strings.Contains(odd[1], "cs_charge (created)") {
			t.Errorf("odd sessions: %q", odd)
		}
		// Without one refund it is not known how much is back.
		s.Next(
			fixture.ListRefunds,
			page(
				`{"id":"re_1","amount":100,"status":"succeeded","payment_intent":"pi_1"}`,
				`{"id":"re_2","amount":"all"}`,
			),
		)
		_, err = s.client.Refunds(t.Context(), "pi_1")
		fixture.Meant(t, "refunds", err, upstream.Misconfigured)
		s.Next(
			fixture.ListRefunds,
			page(
				`{"id":"re_1","amount":100,"status":"succeeded","payment_intent":"pi_1","reason":7,"destination_details":[]}`,
			),
		)
		refunds, err := s.client.Refunds(t.Context(), "pi_1")
		if fixture.Meant(t, "refunds", err, upstream.OK); len(refunds) != 1 || refunds[0].Amount != 100 {
			t.Errorf("refunds %+v; want one of 100", refunds)
		}
		// Of a price and of a charge only what is used has to be readable.
		s.Next(
			fixture.ReadPrice,
			sandbox.Outcome{
				Status: 200,
				Body: `{"id":"price_1","object":"price","active":true,"currency":"eur","unit_amount":350,"nickname":7,"product":{"name":"Warm","images":"none"},
			"tiers":7,"transform_quantity":"x","currency_options":{"usd":{"unit_amount":400},"gbp":"odd","eur":{"unit_amount":350}},"metadata":{"duration":"30m"}}`,
			},
		)
		plan, err := s.client.Offer(t.Context(), "price_1")
		fixture.Meant(t, "price", err, upstream.OK)
		if want := (payment.Offer{PriceID: "price_1", Name: "Warm", Amount: 350, Currency: "eur", CurrencyOptions: "usd=400", Duration: 30 * time.Minute}); plan != want {
			t.Errorf("price %+v; want %+v", plan, want)
		}
		s.Next(
			fixture.ReadPrice,
			sandbox.Outcome{
				Status: 200,
				Body:   `{"id":"price_1","object":"price","active":true,"currency":"eur","unit_amount":"350"}`,
			},
		)
		_, err = s.client.Offer(t.Context(), "price_1")
		fixture.Meant(t, "a price whose amount cannot be read", err, upstream.Misconfigured)
		s.Next(
			fixture.ReadSession,
			sandbox.Outcome{
				Status: 200,
				Body: fixture.With(
					cs,
					`"created":5`,
					`"created":5,"outcome":7,"payment_method_details":{"card":"odd"},"receipt_url":7`,
				),
			},
		)
		session, err := s.client.Session(t.Context(), "cs_good")
		if fixture.Meant(t, "session", err, upstream.OK); session.Amount != 350 || session.CardLast4 != "" {
			t.Errorf("session %+v; want what is used of it", session)
		}
	})
}

// A reply that is no list says nothing of what there is.
func TestRepliesThatAreNoListsAreNoEmptyLists(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `null`, `[]`, `{"object":"list","data":null,"has_more":false}`, `{"object":"list","data":{},"has_more":false}`, `{"object":"list","data":[]}`,
		`{"object":"event","data":[],"has_more":false}`, `<html>sign in</html>`, ``, `{"object":"list","data":[{}],"has_more":true}`} {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			o := sandbox.Outcome{Status: 200, Body: body}
			if body == "" {
				o.Body = " "
			}
			for _, pattern := range []string{fixture.ListEvents, fixture.ListSessions, fixture.ListRefunds, fixture.ListLinks} {
				s.Always(pattern, o)
			}
			_, _, _, err := s.client.Events(t.Context(), time.Unix(0, 0), "")
			unclear(t, "events "+body, err)
			_, _, _, _, err = s.client.Sessions(t.Context(), time.Unix(0, 0), "")
			unclear(t, "sessions "+body, err)
			_, err = s.client.Session(t.Context(), "pi_1")
			unclear(t, "session of an intent "+body, err)
			_, err = s.client.Refunds(t.Context(), "pi_1")
			unclear(t, "refunds "+body, err)
			_, err = s.client.Links(t.Context())
			unclear(t, "links "+body, err)
		})
	}
}

// unclear demands an error that leaves open what there is.
func unclear(t *testing.T, name string, err error) {
	t.Helper()
	if outcome := upstream.OutcomeOf(err); outcome == upstream.OK || outcome == upstream.Rejected {
		t.Errorf("%s: %v (%v); want it to say nothing", name, outcome, err)
	}
}

// An empty id makes another call of it, and a malformed one may, too.
func TestNoCallIsMadeWithAnIDThatCannotBeStripes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		ctx := t.Context()
		for _, id := range []string{"", " ", "pi_", "cs_", "x", "pi_1/../../refunds", "cs_1?expand[]=a", "plink_1#", "price_ 1", "pi_1\n", "pi_" + strings.Repeat("1", 300)} {
			calls := map[string]func() error{
				"session": func() error { _, err := s.client.Session(ctx, id); return err },
				"is open": func() error { _, err := s.client.SessionIsOpen(ctx, id); return err },
				"expire":  func() error { return s.client.ExpireSession(ctx, id) },
				"capture": func() error { return s.client.Capture(ctx, id, "key") },
				"release": func() error { return s.client.Release(ctx, id, "key") },
				"refund": func() error {
					_, err := s.client.Refund(
						ctx,
						payment.RefundOrder{Intent: id, Amount: 1, Credit: "cr_1", Number: 1},
					)
					return err
				},
				"refunds": func() error { _, err := s.client.Refunds(ctx, id); return err },
				"price":   func() error { _, err := s.client.Offer(ctx, id); return err },
				"link":    func() error { return s.client.UpdateLink(ctx, ledger.Link{ID: id}) },
				"sign":    func() error { return s.client.SignLink(ctx, id, "process") },
				"make a link": func() error {
					_, err := s.client.CreateLink(ctx, fleet.NewLink{
						Device:         ledger.Device{UID: fixture.Washer},
						Plan:           payment.Offer{PriceID: id},
						SignedBy:       "process",
						IdempotencyKey: "key",
					})
					return err
				},
				"make a sale": func() error {
					_, _, err := s.client.CreateSession(ctx, checkout.NewSession{
						Device:         ledger.Device{UID: fixture.Washer},
						Plan:           payment.Offer{PriceID: id},
						PublicURL:      "https://pay.example.com",
						Ends:           time.Now().Add(time.Hour),
						IdempotencyKey: "key",
					})
					return err
				},
			}
			for name, call := range calls {
				fixture.Meant(t, name+" "+id, call(), upstream.Rejected)
			}
		}
		if n := s.Count("{any} /{rest...}"); n != 0 {
			t.Errorf("%d calls were made; want none", n)
		}
	})
}
