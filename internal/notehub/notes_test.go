package notehub

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestPostNoteSendsTheNote(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		note := payment.Note{
			PaymentStatus: "completed",
			Timestamp:     1640995200,
			SessionID:     "cs_test_1",
			CreditID:      "cr_1",
			Expires:       1640995800,
			Duration:      3600,
			DelayedStart:  300,
		}
		fixture.Meant(t, "note", h.client.PostNote(t.Context(), fixture.Washer, PaymentFile, note), upstream.OK)
		seen := h.Requests(fixture.PostNote)[0]
		want := `{"body":{"payment_status":"completed","timestamp":1640995200,"session_id":"cs_test_1",` +
			`"credit_id":"cr_1","expires":1640995800,"duration_s":3600,"delayed_start_s":300}}`
		if got := string(seen.Body); got != want {
			t.Errorf("body %s; want %s", got, want)
		}
		if !strings.HasSuffix(seen.Path, "/devices/"+fixture.Washer+"/notes/payment.qi") ||
			!strings.HasPrefix(seen.Header.Get("User-Agent"), "notepay/") {
			t.Errorf("posted to %s as %q", seen.Path, seen.Header.Get("User-Agent"))
		}
	})
}

func TestPostNoteClassifiesReplies(t *testing.T) {
	t.Parallel()
	const full = "a maximum of 100 notes may be pending for device (currently 100)"
	after := func(value string) sandbox.Outcome {
		return sandbox.Outcome{Status: 429, Header: http.Header{"Retry-After": {value}}}
	}
	rows := []struct {
		name   string
		answer sandbox.Outcome
		want   upstream.Outcome
		wait   time.Duration
	}{
		{"200 is a yes", sandbox.Outcome{Applied: true, Status: 200}, upstream.OK, 0},
		{"201 is a yes", sandbox.Outcome{Applied: true, Status: 201}, upstream.OK, 0},
		{"202 is a yes", sandbox.Outcome{Applied: true, Status: 202}, upstream.OK, 0},
		{"429 with seconds", after("7"), upstream.RateLimited, 7 * time.Second},
		{"429 with a date", after("Sat, 01 Jan 2000 00:01:30 GMT"), upstream.RateLimited, 90 * time.Second},
		{"429 with a date that is over", after("Fri, 31 Dec 1999 00:00:00 GMT"), upstream.RateLimited, 0},
		{"429 that does not say how long", sandbox.Outcome{Status: 429}, upstream.RateLimited, 0},
		{"429 with words", after("soon"), upstream.RateLimited, 0},
		{"429 with less than nothing", after("-5"), upstream.RateLimited, 0},
		{"429 with more than a day", after("4000000000"), upstream.RateLimited, 24 * time.Hour},
		{"429 with more than a number holds", after("99999999999999999999"), upstream.RateLimited, 0},
		{"429 of a proxy", sandbox.Outcome{Status: 429, Body: fixture.ProxyPage}, upstream.RateLimited, 0},
		{
			"403 because the account is suspended",
			fixture.Saying(403, "this billing account is suspended"),
			upstream.Misconfigured,
			0,
		},
		{"403 without a word", sandbox.Outcome{Status: 403}, upstream.Misconfigured, 0},
		{"404 that names the device", fixture.Saying(404, "device dev:1 {device-noexist}"), upstream.Rejected, 0},
		{"403 that names the device", fixture.Saying(403, "{device-none}"), upstream.Rejected, 0},
		{"403 because the device is disabled", fixture.Saying(403, "{device-disabled}"), upstream.Rejected, 0},
		{"400 that names the device", fixture.Saying(400, "{device-id-invalid}"), upstream.Rejected, 0},
		{"404 without a word", sandbox.Outcome{Status: 404}, upstream.Misconfigured, 0},
		{"404 of a proxy", sandbox.Outcome{Status: 404, Body: fixture.ProxyPage}, upstream.Misconfigured, 0},
		{"404 that names the project", fixture.Saying(404, "{app-noexist}"), upstream.Misconfigured, 0},
		{
			"a proxy's page that quotes a device's token",
			sandbox.Outcome{Status: 404, Body: "<p>{device-noexist}</p>"},
			upstream.Misconfigured,
			0,
		},
		{
			"400 by which Notehub refuses the note",
			fixture.Saying(400, "note body is not an object"),
			upstream.Rejected,
			0,
		},
		{"413 by which Notehub refuses the note", fixture.Saying(413, "{too-big}"), upstream.Rejected, 0},
		{"400 of a proxy", sandbox.Outcome{Status: 400, Body: fixture.ProxyPage}, upstream.Misconfigured, 0},
		{"413 of a proxy", sandbox.Outcome{Status: 413, Body: fixture.ProxyPage}, upstream.Misconfigured, 0},
		{"405", sandbox.Outcome{Status: 405}, upstream.Misconfigured, 0},
		{"409", sandbox.Outcome{Status: 409}, upstream.Misconfigured, 0},
		{
			"302 is not followed",
			sandbox.Outcome{Status: 302, Header: http.Header{"Location": {"http://elsewhere.test/"}}},
			upstream.Misconfigured,
			0,
		},
		{"304", sandbox.Outcome{Status: 304}, upstream.Misconfigured, 0},
		{"a full queue under 400", fixture.Saying(400, full), upstream.Retryable, 0},
		{"a full queue under 403", fixture.Saying(403, full), upstream.Retryable, 0},
		{"a full queue under 409", fixture.Saying(409, full), upstream.Retryable, 0},
		{"a full queue under 429", fixture.Saying(429, full), upstream.Retryable, 0},
		{"a full queue under 500", fixture.Saying(500, full), upstream.Retryable, 0},
		{"408", sandbox.Outcome{Status: 408}, upstream.Unknown, 0},
		{"500 after the effect", sandbox.Outcome{Applied: true, Status: 500}, upstream.Unknown, 0},
		{"500 without the effect", sandbox.Outcome{Status: 500}, upstream.Unknown, 0},
		{"502", sandbox.Outcome{Status: 502, Body: fixture.ProxyPage}, upstream.Unknown, 0},
		{
			"503 that says how long",
			sandbox.Outcome{Status: 503, Header: http.Header{"Retry-After": {"30"}}},
			upstream.Unknown,
			30 * time.Second,
		},
		{"504", sandbox.Outcome{Status: 504}, upstream.Unknown, 0},
		{"500 that names the device", fixture.Saying(500, "{device-noexist}"), upstream.Unknown, 0},
		{"cut after the effect", sandbox.Outcome{Applied: true}, upstream.Unknown, 0},
		{"cut without the effect", sandbox.Outcome{}, upstream.Unknown, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.Next(fixture.PostNote, row.answer)
				err := h.post()
				fixture.Meant(t, "note", err, row.want)
				if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter != row.wait {
					t.Errorf("to wait %v; want %v", e.RetryAfter, row.wait)
				}
				if n := h.Count(fixture.PostNote); n != 1 {
					t.Errorf("%d attempts; want one", n)
				}
				held := row.want == upstream.RateLimited
				if d := h.client.Limiter.Delay(time.Now()); (d > 0) != held || (row.wait > 0 && held && d != row.wait) {
					t.Errorf("all calls are held for %v; want %v", d, row.wait)
				}
			})
		})
	}
}

func TestPostNoteToAFullQueueAndToAnUnknownDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(_ *Config, c *sandbox.NotehubConfig) { c.MaxPending = 1 })
		fixture.Meant(t, "first note", h.post(), upstream.OK)
		fixture.Meant(t, "second note", h.post(), upstream.Retryable)
		fixture.Meant(t, "unknown device",
			h.client.PostNote(t.Context(), "dev:1", PaymentFile, payment.Note{}), upstream.Rejected)
	})
}

func TestPostNoteIsUnknownAfterATimeout(t *testing.T) {
	t.Parallel()
	rows := map[string]sandbox.Outcome{
		"applied, the reply late":    {Applied: true, Status: 200, Delay: time.Hour},
		"not applied":                {Status: 200, Delay: time.Hour},
		"applied after we gave up":   {Applied: true, Status: 200, Delay: 16 * time.Second, DelayEffect: true},
		"a cut after an hour":        {Delay: time.Hour},
		"applied, and never a reply": {Applied: true, Delay: time.Hour},
	}
	for name, answer := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.Next(fixture.PostNote, answer)
				began := time.Now()
				fixture.Meant(t, "note", h.post(), upstream.Unknown)
				if took := time.Since(began); took != payment.CallTimeout {
					t.Errorf("gave up after %v; want %v", took, payment.CallTimeout)
				}
				time.Sleep(time.Minute) // so that a call that is applied late has been applied
				if n := len(h.Notes(fixture.Washer)); (n == 1) != answer.Applied {
					t.Errorf("%d notes; applied is %v", n, answer.Applied)
				}
			})
		})
	}
}

func TestPostNoteIsRetryableWithoutAConnection(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	n := New(testConfig(gone.URL))
	fixture.Meant(t, "note", n.PostNote(t.Context(), fixture.Washer, PaymentFile, payment.Note{}), upstream.Retryable)
	_, err := n.Device(t.Context(), fixture.Washer)
	fixture.Meant(t, "device", err, upstream.Retryable)
}

func TestPostNoteIsOverOnlyAfterNotehubsOwnError(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		answer sandbox.Outcome
		over   bool
	}{
		{"500 in Notehub's shape", fixture.Saying(500, "internal error"), true},
		{"503 in Notehub's shape", fixture.Saying(503, "busy"), true},
		{"500 of a proxy", sandbox.Outcome{Status: 500, Body: fixture.ProxyPage}, false},
		{"500 with another service's JSON", sandbox.Outcome{Status: 500, Body: `{"message":"oops"}`}, false},
		{"502 in Notehub's shape", fixture.Saying(502, "bad gateway"), false},
		{"504 in Notehub's shape", fixture.Saying(504, "timeout"), false},
		{"cut", sandbox.Outcome{Applied: true}, false},
		{"too slow", sandbox.Outcome{Delay: time.Hour}, false},
	}
	for _, row := range rows {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.PostNote, row.answer)
			err := h.post()
			fixture.Meant(t, row.name, err, upstream.Unknown)
			if e, ok := errors.AsType[*upstream.Error](err); ok && e.Over != row.over {
				t.Errorf("%s: over is %v; want %v", row.name, e.Over, row.over)
			}
		})
	}
}

// acknowledgments are 2xx replies to a call that changes something at Notehub, with the outcome of
// the call.
var acknowledgments = []struct {
	name, body string
	want       upstream.Outcome
}{
	{"the empty object that Notehub documents", `{}`, upstream.OK},
	{"an object with a line break", "{}\n", upstream.OK},
	{"an object with members that we do not know", `{"changes":1,"total":1}`, upstream.OK},
	{"an empty line", "\n", upstream.OK},
	{"a captive portal's page", fixture.ProxyPage, upstream.Unknown},
	{"a text", `OK`, upstream.Unknown},
	{"an error of Notehub", `{"err":"a maximum of 100 notes may be pending"}`, upstream.Unknown},
	{"an error in other letters", `{"Err":"no"}`, upstream.Unknown},
	{"an empty error", `{"err":""}`, upstream.Unknown},
	{"another service's error", `{"error":"login required"}`, upstream.Unknown},
	{"null", `null`, upstream.Unknown},
	{"a list", `[]`, upstream.Unknown},
	{"a number", `1`, upstream.Unknown},
	{"true", `true`, upstream.Unknown},
	{"half an object", `{"err`, upstream.Unknown},
	{"an object and a page", `{}<html>`, upstream.Unknown},
	{"two objects", `{}{}`, upstream.Unknown},
	{"bytes", "\xff\xfe{}", upstream.Unknown},
}

func TestPostNoteAcceptsOnlyAnAcknowledgment(t *testing.T) {
	t.Parallel()
	for _, row := range acknowledgments {
		for _, status := range []int{200, 201, 202, 203, 206} {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.Next(fixture.PostNote, sandbox.Outcome{Status: status, Body: row.body})
				fixture.Meant(t, fmt.Sprint(row.name, " under ", status), h.post(), row.want)
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		h.client.http.Transport = sandbox.InProcess(
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }),
		)
		fixture.Meant(t, "204 has no body", h.post(), upstream.OK)
	})
}

// A compressed reply that cannot be decompressed is no acknowledgment.
func TestPostNoteReadsCompressedReplies(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		body []byte
		want upstream.Outcome
	}{
		{"gzip", packed.Bytes(), upstream.OK},
		{"half of it", packed.Bytes()[:packed.Len()-4], upstream.Unknown},
		{"an object that calls itself gzip", []byte(`{}`), upstream.Unknown},
		{"nothing that calls itself gzip", nil, upstream.OK},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(row.body)
		}))
		t.Cleanup(server.Close)
		n := New(testConfig(server.URL))
		fixture.Meant(t, row.name, n.PostNote(t.Context(), fixture.Washer, PaymentFile, payment.Note{}), row.want)
	}
}
