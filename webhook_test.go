package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

const secondSecret = "whsec_9876543210"

// signed is the header that Stripe would send now.
func signed(body, secret string) string { return signedAt(body, secret, time.Now()) }

func signedAt(body, secret string, at time.Time) string {
	return (&sandbox.Stripe{}).Sign([]byte(body), secret, at)
}

// sessionEvent is an event about a session, with the object's other fields as JSON.
func sessionEvent(kind, fields string) string {
	return fmt.Sprintf(`{"id":"evt_1","object":"event","api_version":"2025-08-27.basil","created":%d,"livemode":false,"type":%q,"data":{"object":{"id":"cs_test_1"%s}}}`, time.Now().Unix(), kind, fields)
}

func TestOnlyWhatStripeSignedLatelyIsAccepted(t *testing.T) {
	t.Parallel()
	two := stripeapi.WebhookSecrets{testSecret, secondSecret}
	one := stripeapi.WebhookSecrets{testSecret}
	synctest.Test(t, func(t *testing.T) {
		body := sessionEvent("checkout.session.completed", "")
		now := time.Now()
		v1 := func(header string) string { return header[strings.Index(header, ",v1="):] }
		rows := []struct {
			name, body, header string
			webhooks           stripeapi.WebhookSecrets
			accepted           bool
		}{
			{"signed with the secret", body, signed(body, testSecret), one, true},
			{"signed with the first of two", body, signed(body, testSecret), two, true},
			{"signed with the second of two", body, signed(body, secondSecret), two, true},
			{"signed with both, as while a secret is rolled", body, signed(body, "whsec_old_old_old") + v1(signed(body, testSecret)), one, true},
			{"with a scheme of tomorrow beside", body, signed(body, testSecret) + ",v9=abc", one, true},
			{"5 minutes old", body, signedAt(body, testSecret, now.Add(-5*time.Minute)), one, true},
			{"of a clock that is ahead", body, signedAt(body, testSecret, now.Add(time.Minute)), one, true},
			{"6 minutes old", body, signedAt(body, testSecret, now.Add(-6*time.Minute)), one, false},
			{"6 minutes old, for the second secret", body, signedAt(body, secondSecret, now.Add(-6*time.Minute)), two, false},
			{"signed with another secret", body, signed(body, "whsec_another_one"), two, false},
			{"signed with no secret", body, signed(body, ""), one, false},
			{"another time than was signed", body, "t=" + fmt.Sprint(now.Unix()-1) + v1(signed(body, testSecret)), one, false},
			{"another body than was signed", strings.Replace(body, "evt_1", "evt_2", 1), signed(body, testSecret), one, false},
			{"one byte more than was signed", body + "\n", signed(body, testSecret), one, false},
			{"no header", body, "", one, false},
			{"garbage", body, "garbage", one, false},
			{"commas", body, ",,,", one, false},
			{"no time", body, strings.TrimPrefix(v1(signed(body, testSecret)), ","), one, false},
			{"a time that is none", body, "t=now" + v1(signed(body, testSecret)), one, false},
			{"no signature", body, fmt.Sprintf("t=%d", now.Unix()), one, false},
			{"only the scheme for tests", body, strings.Replace(signed(body, testSecret), "v1=", "v0=", 1), one, false},
			{"a signature that is no hex", body, fmt.Sprintf("t=%d,v1=zz", now.Unix()), one, false},
			{"without any secret", body, signed(body, testSecret), stripeapi.WebhookSecrets{}, false},
			{"without any secret, signed with none", body, signed(body, ""), stripeapi.WebhookSecrets{}, false},
			{"with an empty secret, signed with none", body, signed(body, ""), stripeapi.WebhookSecrets{""}, false},
			{"with an empty secret beside a good one, signed with none", body, signed(body, ""), stripeapi.WebhookSecrets{"", testSecret}, false},
			{"with an empty secret beside a good one", body, signed(body, testSecret), stripeapi.WebhookSecrets{"", testSecret}, true},
		}
		for _, row := range rows {
			event, err := row.webhooks.Verify([]byte(row.body), row.header, nil)
			switch {
			case row.accepted && (err != nil || event.ID != "evt_1"):
				t.Errorf("%s: event %q, %v; want it to be accepted", row.name, event.ID, err)
			case !row.accepted && (!errors.Is(err, stripeapi.ErrSignature) || event.ID != ""):
				t.Errorf("%s: event %q, %v; want %v", row.name, event.ID, err, stripeapi.ErrSignature)
			}
		}
	})
}

func TestAReserialisedBodyIsNotWhatWasSigned(t *testing.T) {
	t.Parallel()
	body := sessionEvent("checkout.session.completed", ``)
	var event any
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (stripeapi.WebhookSecrets{testSecret}).Verify(again, signed(body, testSecret), nil); !errors.Is(err, stripeapi.ErrSignature) {
		t.Errorf("%v; want %v", err, stripeapi.ErrSignature)
	}
}

func TestWhatIsReadOfAnEvent(t *testing.T) {
	t.Parallel()
	read := func(body string) (bridge.Event, error) {
		return stripeapi.WebhookSecrets{testSecret}.Verify([]byte(body), signed(body, testSecret), nil)
	}
	const paid = `,"payment_status":"paid","payment_link":"plink_1","amount_total":350,"currency":"eur","metadata":{"device_uid":"dev:1","price_id":"price_1"}`
	for name, intent := range map[string]string{"a string": `"pi_1"`, "an object": `{"id":"pi_1","object":"payment_intent","amount":350}`} {
		body := sessionEvent("checkout.session.completed", paid+`,"payment_intent":`+intent)
		e, err := read(body)
		if err != nil {
			t.Fatalf("intent as %s: %v", name, err)
		}
		s := e.Session
		if s == nil || s.ID != "cs_test_1" || s.PaymentIntent != "pi_1" || s.PaymentLink != "plink_1" || s.PaymentStatus != "paid" || s.Amount != 350 || s.Currency != "eur" ||
			s.Livemode || s.Metadata["device_uid"] != "dev:1" || !s.PaidAt.Equal(e.Created) || e.ObjectID != "cs_test_1" || e.Type != "checkout.session.completed" {
			t.Errorf("intent as %s: event %+v, session %+v", name, e, s)
		}
	}
	rows := []struct {
		name, body string
		ok         bool
		intent     string
	}{
		{"another release train of the API", strings.Replace(sessionEvent("checkout.session.completed", paid), "2025-08-27.basil", "2026-08-26.dahlia", 1), true, ""},
		{"no API version", strings.Replace(sessionEvent("checkout.session.completed", paid), `"api_version":"2025-08-27.basil",`, "", 1), true, ""},
		{"an intent that is null", sessionEvent("checkout.session.completed", paid+`,"payment_intent":null`), true, ""},
		{"an intent that is an empty object", sessionEvent("checkout.session.completed", paid+`,"payment_intent":{}`), true, ""},
		{"an intent that is a number", sessionEvent("checkout.session.completed", paid+`,"payment_intent":5`), false, ""},
		{"fields that nobody knows", sessionEvent("checkout.session.completed", paid+`,"new":{"deep":[1,2,{"x":null}]}`), true, ""},
		{"metadata that is null", sessionEvent("checkout.session.completed", `,"metadata":null`), true, ""},
		{"a session without id", strings.Replace(sessionEvent("checkout.session.completed", paid), "cs_test_1", "", 1), false, ""},
		{"an intent's event without id", strings.Replace(sessionEvent("payment_intent.succeeded", ``), "cs_test_1", "", 1), false, ""},
		{"another object in a shape that nobody knows", sessionEvent("report.created", `,"payment_intent":5,"metadata":[],"currency":{}`), true, ""},
		{"no JSON", `<xml/>`, false, ""},
		{"nothing", ``, false, ""},
		{"a list", `[]`, false, ""},
		{"null", `null`, false, ""},
		{"two values", sessionEvent("a.b", "") + `{}`, false, ""},
		{"no id", `{"type":"a.b","created":1,"data":{"object":{}}}`, false, ""},
		{"no type", `{"id":"evt_1","created":1,"data":{"object":{}}}`, false, ""},
		{"no time", `{"id":"evt_1","type":"a.b","data":{"object":{}}}`, false, ""},
		{"data that is null", `{"id":"evt_1","type":"a.b","created":1,"data":null}`, true, ""},
		{"data that is empty", `{"id":"evt_1","type":"a.b","created":1,"data":{}}`, true, ""},
		{"no data", `{"id":"evt_1","type":"a.b","created":1}`, true, ""},
		{"an object that is null", `{"id":"evt_1","type":"a.b","created":1,"data":{"object":null}}`, true, ""},
		{"a session whose data are null", `{"id":"evt_1","type":"checkout.session.completed","created":1,"data":null}`, false, ""},
		{"a session whose data are empty", `{"id":"evt_1","type":"checkout.session.completed","created":1,"data":{}}`, false, ""},
		{"a session whose object is null", `{"id":"evt_1","type":"checkout.session.completed","created":1,"data":{"object":null}}`, false, ""},
	}
	for _, row := range rows {
		e, err := read(row.body)
		switch {
		case row.ok && err != nil:
			t.Errorf("%s: %v; want it to be read", row.name, err)
		case !row.ok && !errors.Is(err, stripeapi.ErrMalformed):
			t.Errorf("%s: %v; want %v", row.name, err, stripeapi.ErrMalformed)
		case row.ok && e.Session != nil && e.Session.PaymentIntent != row.intent:
			t.Errorf("%s: intent %q; want %q", row.name, e.Session.PaymentIntent, row.intent)
		case row.ok && (e.Session != nil) != strings.HasPrefix(e.Type, "checkout.session."):
			t.Errorf("%s: session %+v for an event of type %s", row.name, e.Session, e.Type)
		}
	}
}

func TestWhoPaidIsNotKept(t *testing.T) {
	t.Parallel()
	deep := `{"customer_details":{"name":"Casey Example"},"list":[{"billing_details":{"name":"Casey Example"},"kept":1}],"shipping":{"name":"Casey Example"},` +
		`"more":{"latest_charge":{"receipt_email":"casey@example.com","shipping":null,"paypal":{"payer_email":"casey@example.com","payer_name":{"surname":"Casey"},"payer_id":"Casey"},"evidence":{"customer_name":"Casey Example"}}},"customer_email":"casey@example.com",` +
		`"collected_information":{"shipping_details":{"name":"Casey Example"}},"phone":"+1 555 0100","address":{"city":"Example"},"email":"casey@example.com"}`
	body := sessionEvent("checkout.session.completed", `,"payment_status":"paid","x":`+deep+strings.TrimSuffix(","+deep[1:], "}"))
	e, err := (stripeapi.WebhookSecrets{testSecret}).Verify([]byte(body), signed(body, testSecret), nil)
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

func TestNumbersAreKeptExactly(t *testing.T) {
	t.Parallel()
	body := sessionEvent("checkout.session.completed", `,"big":12345678901234567890,"small":0.10000000000000000001,"amount_total":9007199254740993`)
	e, err := (stripeapi.WebhookSecrets{testSecret}).Verify([]byte(body), signed(body, testSecret), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{"12345678901234567890", "0.10000000000000000001", "9007199254740993"} {
		if !strings.Contains(e.Body, number) {
			t.Errorf("%s is not kept exactly:\n%s", number, e.Body)
		}
	}
	if e.Session.Amount != 9007199254740993 {
		t.Errorf("amount %d; want 9007199254740993", e.Session.Amount)
	}
}

// deliver posts a body as Stripe would, signed.
func (f *front) deliver(path, body string) *httptest.ResponseRecorder {
	return f.do(http.MethodPost, path, body, "Stripe-Signature", signed(body, testSecret), "Content-Type", "application/json")
}

// outcomes are what came of the events that are recorded.
func (f *front) outcomes() (outcomes []string) {
	f.Helper()
	events, err := f.ledger.Events(f.Context(), 100)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range events {
		outcomes = append(outcomes, fmt.Sprintf("%s x%d", e.Outcome, 1+e.Repeats))
	}
	return outcomes
}

func TestAWebhookIsAnsweredYesOnceItIsOnDisk(t *testing.T) {
	t.Parallel()
	const yes = "{\"received\":true}\n"
	for _, path := range []string{"/webhook/stripe", "/api/stripe/webhook", "/api/webhook"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			inFront(t, func(s *config.Settings) { s.OperatorToken = "" }, func(f *front) {
				session := f.order(sandbox.PayOptions{NoWebhook: true, EventsFirst: "only-session"})
				event := f.stripe.Events()[0]
				for range 3 {
					w := f.deliver(path, string(event.Body))
					if w.Code != http.StatusOK || w.Body.String() != yes || w.Header().Get("Content-Type") != "application/json" {
						f.Errorf("%d %q; want 200 %q", w.Code, w.Body, yes)
					}
				}
				p, err := f.ledger.Payment(f.Context(), session.ID)
				if err != nil || p.Delivery != payment.Queued || p.DeviceUID != washer {
					f.Errorf("payment %+v, %v; want it queued for the washer", p, err)
				}
				if got := strings.Join(f.outcomes(), ", "); got != "payment_recorded x3" {
					f.Errorf("events %s; want one that came three times", got)
				}
			})
		})
	}
}

func TestWebhooksThatAskForNothing(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		paid := `,"payment_status":"paid","amount_total":350,"currency":"eur"`
		for _, row := range []struct{ name, body, outcome string }{
			{"a type that is ignored", sessionEvent("customer.created", ""), "ignored"},
			{"a session that expired", sessionEvent("checkout.session.expired", ""), "ignored"},
			{"a session of somebody else", sessionEvent("checkout.session.completed", paid), "not_ours"},
			{"a session of another project", sessionEvent("checkout.session.completed", paid+`,"metadata":{"device_uid":"dev:1","project":"app:2"}`), "not_ours"},
			{"an intent of somebody else", sessionEvent("payment_intent.succeeded", ""), "not_ours"},
			{"an event of live mode", strings.Replace(sessionEvent("checkout.session.completed", paid), `"livemode":false`, `"livemode":true`, 1), "wrong_mode"},
		} {
			body := strings.Replace(row.body, "evt_1", "evt_"+strings.ReplaceAll(row.name, " ", "_"), 1)
			f.answers(row.name, f.deliver("/webhook/stripe", body), http.StatusOK, `{"received":true}`)
			f.pass(time.Second)
			if got := f.outcomes()[0]; got != row.outcome+" x1" {
				f.Errorf("%s: %s; want %s", row.name, got, row.outcome)
			}
		}
		f.answers("payments", f.asOperator("/api/payments"), http.StatusOK, `"payments":[]`)
	})
}

func TestWebhooksThatAreRefused(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		good := sessionEvent("checkout.session.completed", `,"payment_status":"paid"`)
		padded := func(size int) string { return good + strings.Repeat(" ", size-len(good)) }
		post := func(body, header string) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, "/webhook/stripe", body, "Stripe-Signature", header)
		}
		f.answers("as large as it may be", f.deliver("/webhook/stripe", padded(1<<20)), http.StatusOK, "received")
		before := f.outcomes()
		f.answers("one byte more", f.deliver("/webhook/stripe", padded(1<<20+1)), http.StatusRequestEntityTooLarge, `"code":"too_large"`)
		f.answers("not signed", post(good, ""), http.StatusBadRequest, `"code":"bad_signature"`)
		f.answers("signed by another", post(good, signed(good, "whsec_another")), http.StatusBadRequest, `"code":"bad_signature"`)
		f.answers("too old", post(good, signedAt(good, testSecret, time.Now().Add(-6*time.Minute))), http.StatusBadRequest, `"code":"bad_signature"`)
		f.answers("no event, and not signed", post(`{"hello":1}`, ""), http.StatusBadRequest, `"code":"bad_signature"`)
		r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", iotest.ErrReader(errors.New("cut")))
		r.Header.Set("Stripe-Signature", signed(good, testSecret))
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		f.answers("a body that breaks off", w, http.StatusBadRequest, `"code":"unreadable"`)
		if after := f.outcomes(); len(after) != len(before) {
			f.Errorf("events %q; want none of those that were refused", after)
		}
	})
}

func TestAWebhookThatCannotBeStoredIsToBeSentAgain(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.order(sandbox.PayOptions{NoWebhook: true})
		f.closeLedger()
		body := string(f.stripe.Events()[0].Body)
		f.answers("closed", f.deliver("/webhook/stripe", body), http.StatusServiceUnavailable, `"code":"not_recorded"`)
		if !strings.Contains(f.logs.String(), "level=ERROR") {
			f.Errorf("log %s; want an error", f.logs)
		}
	})
}

// unread is a body that may not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, errors.New("not to be read")
}

func TestAWebhookWithoutASignatureIsRefusedBeforeItsBodyIsRead(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		sum := strings.Repeat("0", 64)
		for _, header := range []string{"", "x", "t=1", "v1=" + sum, "t=x,v1=" + sum, "t=1,v1=00", "t=1,v1=" + strings.Repeat("x", 64), "t=1,v0=" + sum, "t=1;v1=" + sum} {
			r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", unread{t})
			r.ContentLength = 1 << 20
			if header != "" {
				r.Header.Set("Stripe-Signature", header)
			}
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			f.answers("signature "+header, w, http.StatusBadRequest, `"code":"bad_signature"`)
		}
		r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", unread{t})
		r.ContentLength = 1<<20 + 1
		r.Header.Set("Stripe-Signature", "t=1,v1="+sum)
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		f.answers("announced as too large", w, http.StatusRequestEntityTooLarge, `"code":"too_large"`)
	})
	inFront(t, func(s *config.Settings) { s.StripeWebhookSecret = "off" }, func(f *front) {
		r := httptest.NewRequest(http.MethodPost, "/webhook/stripe", unread{t})
		r.Header.Set("Stripe-Signature", "t=1,v1="+strings.Repeat("0", 64))
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		f.answers("where there is no secret", w, http.StatusBadRequest, `"code":"bad_signature"`)
	})
}
