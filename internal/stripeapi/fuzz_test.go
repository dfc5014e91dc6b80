package stripeapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"notepay/internal/fixture"
)

// reallySigned reports whether a signature is valid, without the code under test. One of the header's
// v1= must sign the body and one of its times, which must not be too old.
func reallySigned(body []byte, header, secret string) bool {
	var times, signatures []string
	for pair := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "t":
			times = append(times, value)
		case "v1":
			signatures = append(signatures, strings.ToLower(value))
		}
	}
	for _, at := range times {
		seconds, err := strconv.ParseInt(at, 10, 64)
		if err != nil || time.Since(time.Unix(seconds, 0)) > 5*time.Minute {
			continue
		}
		mac := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(mac, "%d.%s", seconds, body)
		for _, s := range signatures {
			if s == hex.EncodeToString(mac.Sum(nil)) {
				return true
			}
		}
	}
	return false
}

func FuzzVerify(f *testing.F) {
	good := fixture.SessionEvent(
		"checkout.session.completed",
		`,"payment_status":"paid","payment_intent":"pi_1","metadata":{"device_uid":"dev:1"},`+
			`"customer_details":{"email":"casey@example.com"}`,
	)
	for _, body := range []string{
		good,
		fixture.SessionEvent("payment_intent.succeeded", `,"latest_charge":{"billing_details":{"name":"Casey"}}`),
		fixture.SessionEvent("checkout.session.completed", `,"payment_intent":{"id":"pi_1"}`),
		`{"id":"evt_1","type":"checkout.session.completed","created":1,"data":null}`,
		`{"id":"evt_1","type":"a","created":9223372036854775807,"data":{"object":[]}}`,
		fixture.SessionEvent("charge.refunded", `,"payment_intent":"pi_1","amount_refunded":350`),
		fixture.SessionEvent("charge.dispute.closed", `,"payment_intent":"pi_1","status":"won"`),
		fixture.SessionEvent(
			"refund.failed",
			`,"amount":350,"status":"failed","metadata":{"app":"notepay","credit":"cr_1","number":"1"}`,
		),
		`{"id":"evt_1","object":"v2.core.event","type":"v2.core.account.updated",` +
			`"created":"2025-10-04T15:13:32.232083866Z"}`,
		`{"id":"evt_1","type":"checkout.session.completed","created":1,"account":"acct_1",` +
			`"data":{"object":{"id":"cs_1"}}}`,
		`{"id":"evt_1","type":"refund.created","created":"now","pending_webhooks":"none","context":{},"data":[]}`,
		`[]`, `null`, `"`, `{"id":1}`, strings.Repeat(`{"data":`, 100),
		`{"id":"evt_1","ID":"evt_2","type":"a","created":1e3}`, "\xff\x00",
	} {
		for _, header := range []string{
			"", "t=1,v1=00", "t=,v1=", ",=,=", fixture.Signed(body, fixture.TestSecret), fixture.Signed(body, ""),
			fixture.Signed(good, fixture.TestSecret), "t=9223372036854775807,v1=00",
			fixture.Signed(body, fixture.TestSecret) + ",v1=,v0=1",
		} {
			f.Add([]byte(body), header)
		}
	}
	w := WebhookSecrets{fixture.TestSecret, ""}
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		if _, err := w.Verify(body, header, nil); !errors.Is(err, ErrSignature) &&
			!reallySigned(body, header, fixture.TestSecret) {
			t.Fatalf("accepted, and not signed: %q with %q: %v", body, header, err)
		}
		event, err := w.Verify(body, fixture.Signed(string(body), fixture.TestSecret), nil)
		if err != nil && event.ID != "" && (event.Type == "" || !json.Valid([]byte(event.Body))) {
			t.Errorf("event %+v; want a type and the body of what has an id", event)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v; want %v for what is signed and cannot be read", err, ErrMalformed)
			}
			return
		}
		if event.ID == "" || event.Type == "" || event.Created.IsZero() || !json.Valid([]byte(event.Body)) {
			t.Errorf("event %+v; want an id, a type, a time and the body", event)
		}
		if event.Foreign || event.Skipped != "" { // its object may have any shape
			if event.Session != nil || event.Refund != nil || event.Dispute != "" || event.Refunded != 0 {
				t.Errorf("event %+v; want nothing read of it", event)
			}
			return
		}
		if (event.Session != nil) != strings.HasPrefix(event.Type, "checkout.session.") ||
			(event.Session != nil && event.Session.ID == "") {
			t.Errorf("session %+v for type %q", event.Session, event.Type)
		}
		refund := strings.HasPrefix(event.Type, "refund.") || event.Type == "charge.refund.updated"
		if (event.Refund != nil) != refund ||
			refund && (event.Refund.ID != event.ObjectID || (event.Refund.Credit == "") != (event.Refund.Number == 0)) {
			t.Errorf("refund %+v for type %q", event.Refund, event.Type)
		}
		if event.Dispute != "" && !strings.HasPrefix(event.Type, "charge.dispute.") ||
			event.Refunded != 0 && event.Type != "charge.refunded" {
			t.Errorf("dispute %q and %d refunded for type %q", event.Dispute, event.Refunded, event.Type)
		}
		for _, key := range []string{
			"customer_details", "billing_details", "shipping", "customer_email", "receipt_email", "email", "phone",
			"address",
		} {
			if strings.Contains(event.Body, `"`+key+`":`) {
				t.Errorf("%s is kept: %s", key, event.Body)
			}
		}
	})
}

func FuzzDecoders(f *testing.F) {
	const list = `{"object":"list","has_more":false,"data":[%s]}`
	for _, record := range []string{
		`{"id":"evt_1","type":"checkout.session.completed","created":1,"pending_webhooks":0,` +
			`"data":{"object":{"id":"cs_1","metadata":{"device_uid":"dev:1"}}}}`,
		`{"id":"evt_1","type":"charge.refunded","created":1,"data":{}},null,7,{"id":{}},{"type":"a"}`,
		`{"id":"cs_1","status":"complete","payment_status":"paid","amount_total":350,"currency":"eur",` +
			`"payment_intent":{"id":"pi_1","latest_charge":{"id":"ch_1","created":5}}}`,
		`{"id":"cs_1","payment_intent":{"latest_charge":[]},"currency_conversion":{"amount_total":350,` +
			`"source_currency":"eur"},"presentment_details":null}`,
		`{"id":"plink_1","url":"https://buy.test/1","active":true,"metadata":{"app":"notepay"},` +
			`"after_completion":[]}`,
		`{"id":"re_1","amount":-1,"status":null,"payment_intent":{"id":7}}`,
		`{"id":"price_1","active":true,"currency":"eur","unit_amount":350,` +
			`"currency_options":{"usd":{"unit_amount":400}},"product":{"images":[7]}}`,
		"",
	} {
		f.Add([]byte(fmt.Sprintf(list, record)))
	}
	for _, body := range []string{
		`{}`, `null`, `[]`, `{"object":"list","data":null,"has_more":false}`,
		`{"object":"list","data":[{}],"has_more":true}`, "\xff",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		page, err := decodePage(body)
		if err != nil {
			return
		}
		if page.more && page.last == "" {
			t.Errorf("%q: more, and no further", body)
		}
		named := func(err error) {
			if odd, ok := errors.AsType[*oddRecord](err); err != nil &&
				(!ok || odd.name() == "" || nameOf(err) != odd.name()) {
				t.Errorf("%v; want the record named", err)
			}
		}
		for _, record := range page.records {
			e := decodeListedEvent(record)
			if !e.Listed || e.Odd == "" && (e.ID == "" || e.Created.IsZero()) || e.Pending < -1 {
				t.Errorf("event %+v; want it read, or said why not", e)
			}
			s, complete, err := decodeSession(record)
			paid := complete && s.PaymentStatus == "paid" && s.Metadata["device_uid"] != ""
			if named(err); err == nil && (s.ID == "" || paid && s.Currency == "") {
				t.Errorf("session %+v", s)
			}
			r, _, err := decodeRefund(record)
			if named(err); err == nil && (r.ID == "" || (r.Credit == "") != (r.Number == 0)) {
				t.Errorf("refund %+v", r)
			}
			l, err := decodeLink(record)
			if named(err); err == nil && (l.ID == "" || l.URL == "") {
				t.Errorf("link %+v", l)
			}
			p, err := decodePrice(record)
			if named(err); err == nil && p.ID == "" {
				t.Errorf("price %+v", p)
			}
			for pair := range strings.SplitSeq(p.options(), ",") {
				if _, amount, found := strings.Cut(pair, "="); pair != "" &&
					(!found || strings.Trim(amount, "-0123456789") != "") {
					t.Errorf("options %q", p.options())
				}
			}
			_, err = decodeCharge(record)
			named(err)
			_, err = decodeDispute(record)
			named(err)
			_, err = decodeIntent(record)
			named(err)
		}
	})
}

// FuzzPlausible checks that no request is rejected before its body is read that Verify
// accepts.
func FuzzPlausible(f *testing.F) {
	const body = `{"id":"evt_1","type":"x","created":1,"data":{"object":{}}}`
	for _, header := range []string{"", "t=1", "t=1,v1=00", ",v9=abc", ", v1=00,t=x", "v1=,t="} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		secrets := WebhookSecrets{fixture.TestSecret}
		for _, header := range []string{
			rest, fixture.Signed(body, fixture.TestSecret) + rest, rest + fixture.Signed(body, fixture.TestSecret),
			rest + "," + fixture.Signed(body, fixture.TestSecret),
		} {
			if _, err := secrets.Verify([]byte(body), header, nil); err == nil && !secrets.Plausible(header) {
				t.Errorf("the header %q is accepted and not plausible", header)
			}
		}
	})
}
