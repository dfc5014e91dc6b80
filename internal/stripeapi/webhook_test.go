package stripeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fixture"
)

const secondSecret = "whsec_9876543210"

func TestVerifyAcceptsOnlyRecentSignatures(t *testing.T) {
	t.Parallel()
	two := WebhookSecrets{fixture.TestSecret, secondSecret}
	one := WebhookSecrets{fixture.TestSecret}
	synctest.Test(t, func(t *testing.T) {
		body := fixture.SessionEvent("checkout.session.completed", "")
		now := time.Now()
		v1 := func(header string) string { return header[strings.Index(header, ",v1="):] }
		rows := []struct {
			name, body, header string
			webhooks           WebhookSecrets
			accepted           bool
		}{
			{"signed with the secret", body, fixture.Signed(body, fixture.TestSecret), one, true},
			{"signed with the first of two", body, fixture.Signed(body, fixture.TestSecret), two, true},
			{"signed with the second of two", body, fixture.Signed(body, secondSecret), two, true},
			{
				"signed with both, as while a secret is rolled",
				body,
				fixture.Signed(body, "whsec_old_old_old") + v1(fixture.Signed(body, fixture.TestSecret)),
				one,
				true,
			},
			{"with a scheme of tomorrow beside", body, fixture.Signed(body, fixture.TestSecret) + ",v9=abc", one, true},
			{"5 minutes old", body, fixture.SignedAt(body, fixture.TestSecret, now.Add(-5*time.Minute)), one, true},
			{
				"of a clock that is ahead",
				body,
				fixture.SignedAt(body, fixture.TestSecret, now.Add(time.Minute)),
				one,
				true,
			},
			{"6 minutes old", body, fixture.SignedAt(body, fixture.TestSecret, now.Add(-6*time.Minute)), one, false},
			{
				"6 minutes old, for the second secret",
				body,
				fixture.SignedAt(body, secondSecret, now.Add(-6*time.Minute)),
				two,
				false,
			},
			{"signed with another secret", body, fixture.Signed(body, "whsec_another_one"), two, false},
			{"signed with no secret", body, fixture.Signed(body, ""), one, false},
			{
				"another time than was signed",
				body,
				"t=" + fmt.Sprint(now.Unix()-1) + v1(fixture.Signed(body, fixture.TestSecret)),
				one,
				false,
			},
			{
				"another body than was signed",
				strings.Replace(body, "evt_1", "evt_2", 1),
				fixture.Signed(body, fixture.TestSecret),
				one,
				false,
			},
			{"one byte more than was signed", body + "\n", fixture.Signed(body, fixture.TestSecret), one, false},
			{"no header", body, "", one, false},
			{"garbage", body, "garbage", one, false},
			{"commas", body, ",,,", one, false},
			{"no time", body, strings.TrimPrefix(v1(fixture.Signed(body, fixture.TestSecret)), ","), one, false},
			{"a time that is none", body, "t=now" + v1(fixture.Signed(body, fixture.TestSecret)), one, false},
			{"no signature", body, fmt.Sprintf("t=%d", now.Unix()), one, false},
			{
				"only the scheme for tests",
				body,
				strings.Replace(fixture.Signed(body, fixture.TestSecret), "v1=", "v0=", 1),
				one,
				false,
			},
			{"a signature that is no hex", body, fmt.Sprintf("t=%d,v1=zz", now.Unix()), one, false},
			{"without any secret", body, fixture.Signed(body, fixture.TestSecret), WebhookSecrets{}, false},
			{"without any secret, signed with none", body, fixture.Signed(body, ""), WebhookSecrets{}, false},
			{"with an empty secret, signed with none", body, fixture.Signed(body, ""), WebhookSecrets{""}, false},
			{
				"with an empty secret beside a good one, signed with none",
				body,
				fixture.Signed(body, ""),
				WebhookSecrets{"", fixture.TestSecret},
				false,
			},
			{
				"with an empty secret beside a good one",
				body,
				fixture.Signed(body, fixture.TestSecret),
				WebhookSecrets{"", fixture.TestSecret},
				true,
			},
		}
		for _, row := range rows {
			event, err := row.webhooks.Verify([]byte(row.body), row.header, nil)
			switch {
			case row.accepted && (err != nil || event.ID != "evt_1"):
				t.Errorf("%s: event %q, %v; want it to be accepted", row.name, event.ID, err)
			case !row.accepted && (!errors.Is(err, ErrSignature) || event.ID != ""):
				t.Errorf("%s: event %q, %v; want %v", row.name, event.ID, err, ErrSignature)
			}
		}
	})
}

func TestVerifyChecksTheRawBody(t *testing.T) {
	t.Parallel()
	body := fixture.SessionEvent("checkout.session.completed", ``)
	var event any
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	_, err = (WebhookSecrets{fixture.TestSecret}).Verify(again, fixture.Signed(body, fixture.TestSecret), nil)
	if !errors.Is(err, ErrSignature) {
		t.Errorf("%v; want %v", err, ErrSignature)
	}
}

func TestVerifyDecodesTheEvent(t *testing.T) {
	t.Parallel()
	read := func(body string) (bridge.Event, error) {
		return WebhookSecrets{fixture.TestSecret}.Verify([]byte(body), fixture.Signed(body, fixture.TestSecret), nil)
	}
	const paid = `,"payment_status":"paid","payment_link":"plink_1","amount_total":350,"currency":"eur",` +
		`"metadata":{"device_uid":"dev:1","price_id":"price_1"}`
	for name, intent := range map[string]string{
		"a string": `"pi_1"`, "an object": `{"id":"pi_1","object":"payment_intent","amount":350}`,
	} {
		body := fixture.SessionEvent("checkout.session.completed", paid+`,"payment_intent":`+intent)
		e, err := read(body)
		if err != nil {
			t.Fatalf("intent as %s: %v", name, err)
		}
		s := e.Session
		if s == nil || s.ID != "cs_test_1" || s.PaymentIntent != "pi_1" || s.PaymentLink != "plink_1" ||
			s.PaymentStatus != "paid" || s.Amount != 350 || s.Currency != "eur" || s.Livemode ||
			s.Metadata["device_uid"] != "dev:1" || !s.PaidAt.Equal(e.Created) ||
			e.ObjectID != "cs_test_1" || e.Type != "checkout.session.completed" {
			t.Errorf("intent as %s: event %+v, session %+v", name, e, s)
		}
	}
	rows := []struct {
		name, body string
		ok         bool
		intent     string
	}{
		{
			"another release train of the API",
			strings.Replace(
				fixture.SessionEvent("checkout.session.completed", paid), "2025-08-27.basil",
				"2026-08-26.dahlia", 1,
			),
			true,
			"",
		},
		{
			"no API version",
			strings.Replace(
				fixture.SessionEvent("checkout.session.completed", paid), `"api_version":"2025-08-27.basil",`,
				"", 1,
			),
			true,
			"",
		},
		{
			"an intent that is null",
			fixture.SessionEvent("checkout.session.completed", paid+`,"payment_intent":null`),
			true,
			"",
		},
		{
			"an intent that is an empty object",
			fixture.SessionEvent("checkout.session.completed", paid+`,"payment_intent":{}`),
			true,
			"",
		},
		{
			"an intent that is a number",
			fixture.SessionEvent("checkout.session.completed", paid+`,"payment_intent":5`),
			false,
			"",
		},
		{
			"unknown fields",
			fixture.SessionEvent("checkout.session.completed", paid+`,"new":{"deep":[1,2,{"x":null}]}`),
			true,
			"",
		},
		{"metadata that is null", fixture.SessionEvent("checkout.session.completed", `,"metadata":null`), true, ""},
		{
			"a session without id",
			strings.Replace(fixture.SessionEvent("checkout.session.completed", paid), "cs_test_1", "", 1),
			false,
			"",
		},
		{
			"an intent's event without id",
			strings.Replace(fixture.SessionEvent("payment_intent.succeeded", ``), "cs_test_1", "", 1),
			false,
			"",
		},
		{
			"another object in an unknown shape",
			fixture.SessionEvent("report.created", `,"payment_intent":5,"metadata":[],"currency":{}`),
			true,
			"",
		},
		{"no JSON", `<xml/>`, false, ""},
		{"nothing", ``, false, ""},
		{"a list", `[]`, false, ""},
		{"null", `null`, false, ""},
		{"two values", fixture.SessionEvent("a.b", "") + `{}`, false, ""},
		{"no id", `{"type":"a.b","created":1,"data":{"object":{}}}`, false, ""},
		{"no type", `{"id":"evt_1","created":1,"data":{"object":{}}}`, false, ""},
		{"no time", `{"id":"evt_1","type":"a.b","data":{"object":{}}}`, false, ""},
		{"data that is null", `{"id":"evt_1","type":"a.b","created":1,"data":null}`, true, ""},
		{"data that is empty", `{"id":"evt_1","type":"a.b","created":1,"data":{}}`, true, ""},
		{"no data", `{"id":"evt_1","type":"a.b","created":1}`, true, ""},
		{"an object that is null", `{"id":"evt_1","type":"a.b","created":1,"data":{"object":null}}`, true, ""},
		{
			"a session whose data are null",
			`{"id":"evt_1","type":"checkout.session.completed","created":1,"data":null}`,
			false,
			"",
		},
		{
			"a session whose data are empty",
			`{"id":"evt_1","type":"checkout.session.completed","created":1,"data":{}}`,
			false,
			"",
		},
		{
			"a session whose object is null",
			`{"id":"evt_1","type":"checkout.session.completed","created":1,"data":{"object":null}}`,
			false,
			"",
		},
	}
	for _, row := range rows {
		e, err := read(row.body)
		switch {
		case row.ok && err != nil:
			t.Errorf("%s: %v; want it to be read", row.name, err)
		case !row.ok && !errors.Is(err, ErrMalformed):
			t.Errorf("%s: %v; want %v", row.name, err, ErrMalformed)
		case row.ok && e.Session != nil && e.Session.PaymentIntent != row.intent:
			t.Errorf("%s: intent %q; want %q", row.name, e.Session.PaymentIntent, row.intent)
		case row.ok && (e.Session != nil) != strings.HasPrefix(e.Type, "checkout.session."):
			t.Errorf("%s: session %+v for an event of type %s", row.name, e.Session, e.Type)
		}
	}
}

func TestVerifyDropsPersonalData(t *testing.T) {
	t.Parallel()
	deep := `{"customer_details":{"name":"Casey Example"},"list":[{"billing_details":{"name":"Casey Example"},` +
		`"kept":1}],"shipping":{"name":"Casey Example"},` +
		`"more":{"latest_charge":{"receipt_email":"casey@example.com","shipping":null,` +
		`"paypal":{"payer_email":"casey@example.com","payer_name":{"surname":"Casey"},"payer_id":"Casey"},` +
		`"evidence":{"customer_name":"Casey Example"}}},"customer_email":"casey@example.com",` +
		`"collected_information":{"shipping_details":{"name":"Casey Example"}},"phone":"+1 555 0100",` +
		`"address":{"city":"Example"},"email":"casey@example.com"}`
	body := fixture.SessionEvent(
		"checkout.session.completed",
		`,"payment_status":"paid","x":`+deep+strings.TrimSuffix(","+deep[1:], "}"),
	)
	e, err := (WebhookSecrets{fixture.TestSecret}).Verify([]byte(body), fixture.Signed(body, fixture.TestSecret), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"asey", "example.com", "555 0100", "city"} {
		if strings.Contains(e.Body, word) {
			t.Errorf("%q is kept:\n%s", word, e.Body)
		}
	}
	if !strings.Contains(e.Body, `"kept":1`) || !strings.Contains(e.Body, `"payment_status":"paid"`) {
		t.Errorf("the rest is not kept:\n%s", e.Body)
	}
}

func TestVerifyKeepsNumbersExactly(t *testing.T) {
	t.Parallel()
	body := fixture.SessionEvent(
		"checkout.session.completed",
		`,"big":12345678901234567890,"small":0.10000000000000000001,"exact":9007199254740993,`+
			`"amount_total":999999999999`,
	)
	e, err := (WebhookSecrets{fixture.TestSecret}).Verify([]byte(body), fixture.Signed(body, fixture.TestSecret), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{"12345678901234567890", "0.10000000000000000001", "9007199254740993"} {
		if !strings.Contains(e.Body, number) {
			t.Errorf("%s is not kept exactly:\n%s", number, e.Body)
		}
	}
	if e.Session.Amount != 999_999_999_999 {
		t.Errorf("amount %d; want twelve digits", e.Session.Amount)
	}
}
