package notehub

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"notepay/internal/fixture"
	"notepay/internal/notefile"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

func FuzzClient(f *testing.F) {
	for _, body := range []string{
		`{}`,
		`{"devices":[{"uid":"dev:1","fleet_uids":["fleet:1"],"last_activity":"2026-11-21T02:00:00Z"}],` +
			`"has_more":false}`,
		`{"devices":[{"uid":"dev:1"}],"has_more":true}`,
		`{"devices":null,"has_more":true}`, `{"notes":{"1:435":{"body":{"credit_id":"cr_1"},"time":1}},"total":1}`,
		`{"notes":{"1:1":{"body":"secret"}}}`, `{"notes":[]}`,
		`{"err":"{device-noexist}","code":404}`, `{"err":"{notefile-noexist}","code":404}`,
		`{"err":"a maximum of 100 notes may be pending for device (currently 100)"}`, fixture.ProxyPage, ``, `null`,
		"\xff\xfe",
		`{"err":"{note-noexist}","code":404}`,
		`{"events":[{"event":"e1"},{"event":"e2","file":"payment_ack.qo"},7],"next_cursor":"","has_more":true}`,
		`{"uid":"` + fixture.Washer + `","last_activity":null}`,
		`{"device_public_keys":[{"uid":"dev:1","key":"` + somePublicKey + `"},{"uid":"dev:2"}],"has_more":false}`,
		`{"notes":{"1:435":{"body":{"alg":"secp384r1-aes256cbc","data":"AA==","key":"AA=="}}},"total":1}`,
		`{"uid":"` + fixture.Washer + `","last_activity":"0000-00-00"}`,
	} {
		for _, status := range []int{200, 204, 302, 400, 401, 403, 404, 408, 413, 429, 500, 503} {
			f.Add(status, []byte(body), "7")
		}
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, after string) {
		if status < 200 || status > 599 || strings.ContainsAny(after, "\r\n\x00") {
			return // no server can send this
		}
		answers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(status)
			_, _ = w.Write(body)
		})
		client := func() *Client { // one each, because a 429 would hold the next call
			n := New(testConfig("http://notehub.test"))
			n.http.Transport = sandbox.InProcess(answers)
			return n
		}
		check := func(name string, err error) {
			t.Helper()
			outcome := upstream.OutcomeOf(err)
			if outcome == upstream.OK && status/100 != 2 {
				t.Errorf("%s: done, by status %d %q", name, status, body)
			}
			var e *upstream.Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%s: the error is a %T: %v", name, err, err)
			}
			if e != nil && (e.RetryAfter < 0 || e.RetryAfter > 24*time.Hour || len(e.Error()) > 1500) {
				t.Errorf("%s: to wait %v: %v", name, e.RetryAfter, e)
			}
		}
		err := client().PostNote(context.Background(), fixture.Washer, PaymentFile, payment.Note{CreditID: "cr_1"})
		check("note", err)
		if text := strings.TrimSpace(string(body)); err == nil && text != "" && (text[0] != '{' || !json.Valid(body)) {
			t.Errorf("note: done, by %q; want an empty body or an object", body)
		}
		_, err = client().PendingNotes(context.Background(), fixture.Washer, PaymentFile)
		if outcome := upstream.OutcomeOf(err); outcome == upstream.OK && status/100 != 2 &&
			!strings.Contains(string(body), "file-noexist}") {
			t.Errorf("pending: done, by status %d %q", status, body)
		}
		err = client().DeleteNote(context.Background(), fixture.Washer, PaymentFile, "1:435")
		if check("recall", err); upstream.OutcomeOf(err) == upstream.Rejected &&
			!strings.Contains(string(body), "noexist") &&
			!strings.Contains(string(body), `\u`) {
			t.Errorf("recall: refused, by status %d %q", status, body)
		}
		_, next, more, err := client().Confirmations(context.Background(), "e1")
		if check("answers", err); more && next == "e1" {
			t.Errorf("answers: more, and no further: %q", body)
		}
		d, err := client().Device(context.Background(), fixture.Washer)
		if check("device", err); err == nil && d.UID != fixture.Washer {
			t.Errorf("device %+v; want the one that was asked for", d)
		}
		keys, err := client().PublicKeys(context.Background())
		check("public keys", err)
		for uid, key := range keys {
			if key == nil || uid == "" {
				t.Errorf("the key of %q is %v", uid, key)
			}
		}
		devices, err := client().Devices(context.Background())
		check("devices", err)
		for _, d := range devices {
			if d.UID == "" {
				t.Errorf("a device without UID: %+v", d)
			}
		}
	})
}

func FuzzDecodeConfirmation(f *testing.F) {
	const answer = `{"event":"e1","file":"payment_ack.qo","device":"dev:1","app":"app:1","received":1700000001.5,` +
		`"body":{"credit_id":"cr_7k3m7q2xh4abcdef","state":"failed","code":"E-DOOR"}}`
	for _, body := range []string{
		answer, `{}`, `[]`, `null`, `"`, `{"file":"payment_ack.qo"}`, `{"event":7}`, strings.Repeat(`{"body":`, 100),
		"\xff\x00",
		strings.Replace(answer, "payment_ack.qo", "_health.qo", 1),
		strings.Replace(answer, "1700000001.5", "-1e300", 1), strings.Replace(answer, "1700000001.5", "1e11", 1),
		strings.Replace(answer, `"E-DOOR"`, `{"a":[1,"\u0000"]}`, 1),
		strings.Replace(answer, "E-DOOR", strings.Repeat("\u00fc", 100), 1),
		strings.Replace(answer, "E-DOOR", "\u2028\ufffd\u202e", 1),
		strings.Replace(answer, "dev:1", "DEV:\u212a", 1), strings.Replace(answer, "cr_", "CR_", 1),
		strings.Replace(answer, `"e1"`, `"e\u0000"`, 1),
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, _, err := DecodeConfirmation(body, notefile.Answers, uid.Parse)
		if err != nil {
			if c != (payment.Confirmation{}) || !json.Valid(body) && !errors.Is(err, errMalformed) {
				t.Errorf("%+v, %v of %q; want nothing, and malformed for what is no JSON", c, err, body)
			}
			return
		}
		key, ok := uid.Parse(c.DeviceUID)
		if c.EventID == "" || len(c.EventID) > 128 || len(c.CreditID) != 19 || !strings.HasPrefix(c.CreditID, "cr_") {
			t.Errorf("%+v; want an event and a credit", c)
		}
		known := slices.Contains([]string{"started", "done", "failed", "busy", "expired", "duplicate"}, c.State)
		if (c.Unusable == "") != (ok && key == c.DeviceUID && known) || utf8.RuneCountInString(c.State) > 64 {
			t.Errorf("%+v; want a device and a state, or why it is unusable", c)
		}
		if utf8.RuneCountInString(c.Code) > 64 ||
			strings.ContainsFunc(c.Code, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("code %q; want at most 64 printable characters", c.Code)
		}
		if year := c.At.Year(); !c.At.IsZero() && (year < 1970 || year > 5138) {
			t.Errorf("received at %v", c.At)
		}
	})
}
