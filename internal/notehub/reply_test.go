package notehub

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// acknowledgments are 2xx replies to a call that changes something at Notehub, and whether Notehub
// gave them.
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

func TestDeleteNoteAcceptsOnlyAnAcknowledgment(t *testing.T) {
	t.Parallel()
	for _, row := range acknowledgments {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubDelete, sandbox.Outcome{Status: 200, Body: row.body})
			fixture.Meant(t, row.name, h.client.DeleteNote(t.Context(), fixture.Washer, "1:1"), row.want)
		})
	}
}

// A compressed reply is unpacked before it is read, and one that cannot be is no acknowledgment.
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
		fixture.Meant(t, row.name, n.PostNote(t.Context(), fixture.Washer, payment.Note{}), row.want)
	}
}

func TestPendingNotesNeedsAList(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]upstream.Outcome{
		`{"changes":0,"total":0,"notes":{}}`:   upstream.OK,
		`{"notes":{}}`:                         upstream.OK,
		`{"changes":0,"total":0}`:              upstream.OK,
		`{"changes":0,"total":0,"notes":null}`: upstream.OK,
		`{}`:                                   upstream.Retryable,
		`null`:                                 upstream.Retryable,
		`[]`:                                   upstream.Retryable,
		`""`:                                   upstream.Retryable,
		``:                                     upstream.Retryable,
		fixture.ProxyPage:                      upstream.Retryable,
		`{"err":"no"}`:                         upstream.Retryable,
		`{"notes":null}`:                       upstream.Retryable,
		`{"notes":[]}`:                         upstream.Retryable,
		`{"notes":"none"}`:                     upstream.Retryable,
		`{"notes":{},"total":"none"}`:          upstream.Retryable,
		`{"changes":1,"total":1}`:              upstream.Retryable,
		`{"changes":2,"total":2,"notes":{}}`:   upstream.Retryable,
		`{"total":2,"notes":{"1:1":{"body":{}}}}`:                   upstream.Retryable,
		`{"notes":{},"err":"the queue cannot be read"}`:             upstream.Retryable,
		`{"changes":0,"total":0,"err":"no"}`:                        upstream.Retryable,
		`{"changes":0,"total":0,"notes":null,"Error":{"code":500}}`: upstream.Retryable,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubNotes, sandbox.Outcome{Status: 200, Body: body})
			notes, err := h.client.PendingNotes(t.Context(), fixture.Washer)
			fixture.Meant(t, body, err, want)
			if len(notes) != 0 {
				t.Errorf("%s: %v; want no notes", body, notes)
			}
		})
	}
}

func TestDeviceNeedsADevice(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `null`, `[]`, `{"uid":7}`, `{"devices":[]}`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubDevice, sandbox.Outcome{Status: 200, Body: body})
			fixture.Meant(t, body, h.ask(), upstream.Retryable)
		})
	}
}

func TestDevicesNeedAList(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"has_more":false}`, `{"devices":null,"has_more":false}`, `{"devices":{},"has_more":false}`, `{"devices":[],"has_more":"no"}`, `[]`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubList, sandbox.Outcome{Status: 200, Body: body})
			_, err := h.client.Devices(t.Context())
			fixture.Meant(t, body, err, upstream.Retryable)
		})
	}
}

func TestConfirmationsNeedAList(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"has_more":false}`, `{"events":null,"has_more":false}`, `{"events":{},"has_more":false}`, `{"events":[],"has_more":null}`, `null`, `[]`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubEvents, sandbox.Outcome{Status: 200, Body: body})
			_, cursor, _, err := h.client.Confirmations(t.Context(), "e1")
			fixture.Meant(t, body, err, upstream.Retryable)
			if cursor != "e1" {
				t.Errorf("%s: cursor %q; want it where it was", body, cursor)
			}
		})
	}
}

func TestFleetVariablesAreDecodedOneByOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		read := func(fleets string) map[string]map[string]string {
			h.Next(fixture.HubFleets, sandbox.Outcome{Status: 200, Body: `{"fleets":[` + fleets + `]}`})
			variables, err := h.client.FleetVariables(t.Context())
			fixture.Meant(t, fleets, err, upstream.OK)
			return variables
		}
		const good = `{"uid":"fleet:1","environment_variables":{"a":"1"}}`
		for _, odd := range []string{`7`, `null`, `{"uid":7}`, `{"label":"x"}`} {
			if got := read(odd + "," + good); len(got) != 1 || got["fleet:1"]["a"] != "1" {
				t.Errorf("with %s: %v; want the other fleet", odd, got)
			}
		}
		if got := read(good + `,{"uid":"fleet:2","environment_variables":"x"}`); got["fleet:2"]["payment_enabled"] != "unreadable" {
			t.Errorf("%v; want a fleet that could never be read to be out of sale", got)
		}
		read(good + `,{"uid":"fleet:2","environment_variables":{"b":"2"}}`)
		if got := read(good + `,{"uid":"fleet:2","environment_variables":[]}`); got["fleet:2"]["b"] != "2" {
			t.Errorf("%v; want what was known of fleet:2", got)
		}
		if got := read(`{"environment_variables":{}},` + good); got["fleet:2"]["b"] != "2" {
			t.Errorf("%v; want fleet:2 kept, for the nameless one may be it", got)
		}
		if got := read(good); len(got) != 1 {
			t.Errorf("%v; want fleet:2 gone", got)
		}
	})
}

func TestVariablesAreDecodedOneByOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		h.Next(
			fixture.HubDeviceNames,
			sandbox.Outcome{
				Status: 200,
				Body:   `{"environment_variables":{"a":"1","payment_enabled":false,"n":7,"o":{"x":1},"gone":null}}`,
			},
		)
		got, err := h.client.DeviceVariables(t.Context(), fixture.Washer)
		fixture.Meant(t, "variables", err, upstream.OK)
		want := "map[a:1 n:7 o:{\"x\":1} payment_enabled:false]"
		if fmt.Sprint(got) != want {
			t.Errorf("%v; want %s", got, want)
		}
	})
}

func TestPendingNotesAreDecodedOneByOne(t *testing.T) {
	t.Parallel()
	for _, odd := range []string{`7`, `null`, `"x"`, `[]`, `{"body":7}`, `{"body":{"credit_id":{},"payment_status":"completed"}}`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(
				fixture.HubNotes,
				sandbox.Outcome{
					Status: 200,
					Body:   `{"notes":{"1:1":` + odd + `,"1:2":{"body":{"credit_id":"cr_2","payment_status":"completed"}}}}`,
				},
			)
			got, err := h.client.PendingNotes(t.Context(), fixture.Washer)
			fixture.Meant(t, odd, err, upstream.OK)
			if ours := (payment.PendingNote{ID: "1:2", CreditID: "cr_2", PaymentStatus: "completed"}); len(got) != 2 ||
				!slices.Contains(got, ours) {
				t.Errorf("%s: %+v; want two notes, one of them %+v", odd, got, ours)
			}
		})
	}
}
