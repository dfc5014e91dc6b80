package stripeapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// listOf returns a page of a list with these records.
func listOf(records ...string) sandbox.Outcome {
	return sandbox.Outcome{
		Status: 200,
		Body:   `{"object":"list","url":"/v1/x","has_more":false,"data":[` + strings.Join(records, ",") + `]}`,
	}
}

func TestListsKeepTheOthersBesideAnOddRecord(t *testing.T) {
	t.Parallel()
	ours := `"metadata":{"app":"notepay","project":"` + fixture.Project + `","device_uid":"` + fixture.Washer +
		`","price_id":"` + fixture.Warm + `"}`
	const cs = `{"id":"cs_good","object":"checkout.session","status":"complete","mode":"payment",` +
		`"payment_status":"paid","amount_total":350,"currency":"eur","payment_intent":{"id":"pi_1",` +
		`"status":"succeeded","latest_charge":{"id":"ch_1","created":5}}}`
	const link = `{"id":"plink_good","object":"payment_link","active":true,"url":"https://buy.test/1",`
	synctest.Test(t, func(t *testing.T) {
		s := newStripeTest(t)
		named := map[string][]string{}
		s.client.Odd = func(source string, records []string) { named[source] = records }
		s.Next(
			fixture.ListLinks,
			listOf(
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
		if got := strings.Join(
			named["Stripe's payment links"], ", ",
		); got != "link plink_odd (active), link without id" {
			t.Errorf("odd links: %q", got)
		}
		s.Next(
			fixture.ListSessions,
			listOf(
				`{"id":"cs_odd","status":"complete","payment_status":"paid","amount_total":{},"currency":"eur"}`,
				`{"id":"cs_charge","status":"complete","payment_intent":{"id":"pi_2","latest_charge":{"id":"ch_2",`+
					`"amount_refunded":"all"}}}`,
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
			!strings.Contains(odd[1], "cs_charge (amount_refunded)") {
			t.Errorf("odd sessions: %q", odd)
		}
		// Without one refund the refunded sum is unknown.
		s.Next(
			fixture.ListRefunds,
			listOf(
				`{"id":"re_1","amount":100,"status":"succeeded","payment_intent":"pi_1"}`,
				`{"id":"re_2","amount":"all"}`,
			),
		)
		_, err = s.client.Refunds(t.Context(), "pi_1")
		fixture.Meant(t, "refunds", err, upstream.Misconfigured)
		s.Next(
			fixture.ListRefunds,
			listOf(
				`{"id":"re_1","amount":100,"status":"succeeded","payment_intent":"pi_1","reason":7,`+
					`"destination_details":[]}`,
			),
		)
		refunds, err := s.client.Refunds(t.Context(), "pi_1")
		if fixture.Meant(t, "refunds", err, upstream.OK); len(refunds) != 1 || refunds[0].Amount != 100 {
			t.Errorf("refunds %+v; want one of 100", refunds)
		}
		// Only the used fields of a price and of a charge must be readable.
		s.Next(
			fixture.ReadPrice,
			sandbox.Outcome{
				Status: 200,
				Body: `{"id":"price_1","object":"price","active":true,"currency":"eur","unit_amount":350,` +
					`"nickname":7,` +
					`"product":{"name":"Warm","images":"none"},"tiers":7,"transform_quantity":"x",` +
					`"currency_options":{"usd":{"unit_amount":400},"gbp":"odd","eur":{"unit_amount":350}},` +
					`"metadata":{"duration":"30m"}}`,
			},
		)
		plan, err := s.client.Offer(t.Context(), "price_1")
		fixture.Meant(t, "price", err, upstream.OK)
		if want := (payment.Offer{
			PriceID:         "price_1",
			Name:            "Warm",
			Amount:          350,
			Currency:        "eur",
			CurrencyOptions: "usd=400",
			Duration:        30 * time.Minute,
		}); plan != want {
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

func TestListsFailWithoutAList(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `null`, `[]`, `{"object":"list",` +
		`"data":null,"has_more":false}`, `{"object":"list","data":{},"has_more":false}`,
		`{"object":"list","data":[]}`,
		`{"object":"event",` +
			`"data":[],"has_more":false}`, `<html>sign in</html>`, ``, `{"object":"list","data":[{}],` +
			`"has_more":true}`} {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			o := sandbox.Outcome{Status: 200, Body: body}
			if body == "" {
				o.Body = " "
			}
			for _, pattern := range []string{
				fixture.ListEvents, fixture.ListSessions, fixture.ListRefunds, fixture.ListLinks,
			} {
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

// unclear checks that an error is neither a success nor a rejection.
func unclear(t *testing.T, name string, err error) {
	t.Helper()
	if outcome := upstream.OutcomeOf(err); outcome == upstream.OK || outcome == upstream.Rejected {
		t.Errorf("%s: %v (%v); want it to say nothing", name, outcome, err)
	}
}

func TestClientAcceptsOnlyStripesObjects(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{}`, `null`, `[]`, ``, fixture.ProxyPage, `{"object":7}`, `{"object":"list"}`,
		`{"object":"list","data":null}`, `{"object":"list","data":{}}`, `{"error":{}}`,
	} {
		s := newStripeTest(t)
		s.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 200, Body: body})
		if body == `` {
			s.client.http.Transport = upstream.CheckReplies(
				sandbox.InProcess(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})),
				checkObject,
			)
		}
		for name, call := range s.stripeCalls() {
			fixture.Meant(t, fmt.Sprintf("%s by %q", name, body), call(t.Context()), upstream.Unknown)
		}
	}
}

func TestClientAcceptsOnlyTheRequestedObject(t *testing.T) {
	t.Parallel()
	list := func(record string) string { return `{"object":"list","data":[` + record + `],"has_more":false}` }
	order := payment.RefundOrder{Intent: "pi_1", Amount: 350, Credit: "cr_1", Number: 2}
	ours := `"object":"refund","id":"re_1","amount":350,"status":"succeeded","metadata":{"app":"notepay",` +
		`"credit":"cr_1","number":`
	order2 := `"metadata":{"app":"notepay","credit":"cr_1","number":"2"}}`
	for body, want := range map[string]upstream.Outcome{
		`{` + ours + `"2"}}`:   upstream.OK,
		`{` + ours + `"1"}}`:   upstream.Unknown, // another order
		`{` + ours + `"2.0"}}`: upstream.Unknown,
		`{"object":"refund","id":"re_1",` +
			`"amount":350,"sta` +
			`tus":"succeeded"}`: upstream.Unknown,
		`{"object":"refund","id":"re_1","amount":350,"status":"succeeded","metadata":{"app":"other",` +
			`"credit":"cr_1","number":"2"}}`: upstream.Unknown,
		`{"object":"charge","id":"ch_1","amount":350,"status":"succeeded",` +
			order2: upstream.Unknown,
		`{"object":"refund","id":"","amount":350,"status":"succeeded",` +
			order2: upstream.Unknown,
		`{"object":"refund","id":"re_1","amount":"350","status":"succeeded",` +
			order2: upstream.Unknown,
		// this call waits
		`{"object":"refund","id":"re_1","amount":350,"status":"in_review",` + order2: upstream.OK,
		`{"object":"refund","id":"re_1","amount":350,` + order2:                      upstream.OK,
	} {
		s := newStripeTest(t)
		s.Next("POST /v1/refunds", sandbox.Outcome{Status: 200, Body: body})
		_, err := s.client.Refund(t.Context(), order)
		fixture.Meant(t, "an order by "+body, err, want)
	}
	for body, want := range map[string]upstream.Outcome{
		list(``):                   upstream.OK,
		list(`{` + ours + `"1"}}`): upstream.OK,
		list(`{}`):                 upstream.Misconfigured,
		list(`{"object":"charge","id":"ch_1","amount":350,"status":"succeeded"}`): upstream.Misconfigured,
		list(`{"object":"refund","id":"re_1","amount":"350","status":"failed"}`):  upstream.Misconfigured,
	} {
		s := newStripeTest(t)
		s.Next("GET /v1/refunds", sandbox.Outcome{Status: 200, Body: body})
		_, err := s.client.Refunds(t.Context(), "pi_1")
		fixture.Meant(t, "refunds by "+body, err, want)
	}
	for _, body := range []string{
		`{"object":"customer","id":"cus_1"}`, `{"object":"checkout.session"}`,
		`{"object":"checkout.session","id":"cs_test_2","status":"expired"}`,
	} {
		s := newStripeTest(t)
		s.Next("GET /v1/checkout/sessions/{id}", sandbox.Outcome{Status: 200, Body: body})
		_, err := s.client.Session(t.Context(), "cs_test_1")
		fixture.Meant(t, "session by "+body, err, upstream.Misconfigured)
	}
}
