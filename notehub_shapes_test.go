package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/config"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// acknowledgments are 2xx replies to a call that changes something at Notehub, and whether Notehub gave them.
var acknowledgments = []struct {
	name, body string
	want       upstream.Outcome
}{
	{"the empty object that Notehub documents", `{}`, upstream.OK},
	{"an object with a line break", "{}\n", upstream.OK},
	{"an object with members that we do not know", `{"changes":1,"total":1}`, upstream.OK},
	{"an empty line", "\n", upstream.OK},
	{"a captive portal's page", proxyPage, upstream.Unknown},
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
				h.Next(postNote, sandbox.Outcome{Status: status, Body: row.body})
				meant(t, fmt.Sprint(row.name, " under ", status), h.post(), row.want)
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		h.client.Http.Transport = sandbox.InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
		meant(t, "204 has no body", h.post(), upstream.OK)
	})
}

func TestDeleteNoteAcceptsOnlyAnAcknowledgment(t *testing.T) {
	t.Parallel()
	for _, row := range acknowledgments {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(hubDelete, sandbox.Outcome{Status: 200, Body: row.body})
			meant(t, row.name, h.client.DeleteNote(t.Context(), washer, "1:1"), row.want)
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
		n := notehub.New(hubSettings(server.URL))
		meant(t, row.name, n.PostNote(t.Context(), washer, payment.Note{}), row.want)
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
		proxyPage:                              upstream.Retryable,
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
			h.Next(hubNotes, sandbox.Outcome{Status: 200, Body: body})
			notes, err := h.client.PendingNotes(t.Context(), washer)
			meant(t, body, err, want)
			if len(notes) != 0 {
				t.Errorf("%s: %v; want no notes", body, notes)
			}
		})
	}
}

// Whatever stands between us and Notehub for a while: the machine gets its credit from the real Notehub afterwards.
func TestACaptivePortalDeliversNoCredit(t *testing.T) {
	for name, body := range map[string]string{"a page": proxyPage, "an error": `{"err":"sign in first"}`, "null": "null"} {
		t.Run(name, func(t *testing.T) {
			story(t, without, threeKeys, func(f *front, m *sandbox.Machine) {
				f.run()
				f.notehub.Always(postNote, sandbox.Outcome{Status: 200, Body: body})
				f.notehub.Always(hubNotes, sandbox.Outcome{Status: 200, Body: body})
				session := f.buy(sandbox.PayOptions{})
				f.pass(30 * time.Second)
				f.stands(session.ID, ending{payment.Paid, payment.Queued, "", ""})
				f.notehub.Clear(postNote)
				f.notehub.Clear(hubNotes)
				f.pass(5 * time.Minute)
				f.stands(session.ID, ending{payment.Paid, payment.Fetched, "", ""})
				f.started(m, 1)
			})
		})
	}
}

func TestAReplyThatIsNoListProvesNoFetch(t *testing.T) {
	for _, body := range []string{`{}`, `null`, `{"notes":null}`, `[]`} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			inFront(t, without, func(f *front) { // the machine is off and fetches nothing
				f.run()
				session := f.buy(sandbox.PayOptions{})
				f.notehub.Always(hubNotes, sandbox.Outcome{Status: 200, Body: body})
				f.pass(5 * time.Minute)
				f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
				f.notehub.Clear(hubNotes)
				f.pass(5 * time.Minute)
				f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
				f.money(session.ID, 350, 0, 350)
			})
		})
	}
}

func TestDeleteNoteOfACaptivePortalProvesNoRecall(t *testing.T) {
	t.Parallel()
	inFront(t, without, func(f *front) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.notehub.Always(hubDelete, sandbox.Outcome{Status: 200, Body: proxyPage})
		f.pass(4 * time.Minute)
		f.stands(session.ID, ending{payment.Paid, payment.Sent, "", ""})
		f.notehub.Clear(hubDelete)
		f.pass(4 * time.Minute)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonRecalled, ""})
		if n := len(f.notehub.Pending(washer, notehub.PaymentFile)); n != 0 {
			f.Errorf("%d notes are pending after the recall; want none", n)
		}
	})
}

func TestDevicesAreDecodedOneByOne(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, record string
		named        string // in the problem and in the log; "": nothing is odd
		devices      int    // known afterwards
		unsold       int
	}{
		{"a device of another kind", `{"uid":"imei:866425033334444","serial_number":"tracker"}`, "imei:866425033334444 (uid)", 1, 1},
		{"a UID that is no UID", `{"uid":"dev:a b"}`, "dev:a b (uid)", 1, 1},
		{"a UID that is a number", `{"uid":7}`, "page 1, record 2 (uid)", 1, 0},
		{"no UID", `{"serial_number":"x"}`, "page 1, record 2 (uid)", 1, 0},
		{"a text", `"dev:7"`, "page 1, record 2 (uid)", 1, 0},
		{"null", `null`, "page 1, record 2 (uid)", 1, 0},
		{"a list", `[]`, "page 1, record 2 (uid)", 1, 0},
		{"an empty last_activity", `{"uid":"dev:7","last_activity":""}`, "dev:7 (last_activity)", 2, 0},
		{"a last_activity in seconds", `{"uid":"dev:7","last_activity":1700000000}`, "dev:7 (last_activity)", 2, 0},
		{"a last_activity of null", `{"uid":"dev:7","last_activity":null}`, "", 2, 0},
		{"a serial_number that is a number", `{"uid":"dev:7","serial_number":12345}`, "dev:7 (serial_number)", 2, 0},
		{"fields that are not needed", `{"uid":"dev:7","voltage":"low","contact":7,"sku":[],"provisioned":false}`, "", 2, 0},
		{"fleets that are a text", `{"uid":"dev:7","fleet_uids":"fleet:1"}`, "dev:7 (fleet_uids)", 1, 1},
		{"fleets with a number", `{"uid":"dev:7","fleet_uids":["fleet:1",7]}`, "dev:7 (fleet_uids)", 1, 1},
		{"a disabled that is a text", `{"uid":"dev:7","disabled":"yes"}`, "dev:7 (disabled)", 1, 1},
		{"a disabled of null", `{"uid":"dev:7","disabled":null,"fleet_uids":null}`, "", 2, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			inFront(t, func(s *config.Settings) { s.RefreshInterval = time.Minute }, func(f *front) {
				f.notehub.AddOddDevice(row.record)
				f.run()
				f.pass(5 * time.Minute)
				f.answers("the other machine", f.get("/pay?device="+washer), http.StatusTemporaryRedirect, "")
				if n, _, _ := f.fleet.Counts(); n != row.devices {
					f.Errorf("%d devices are known; want %d", n, row.devices)
				}
				unsold := f.fleet.Unsold()
				if len(unsold) != row.unsold || row.unsold == 1 && unsold[0].Problem == "" {
					f.Errorf("unsold: %+v; want %d, with a problem", unsold, row.unsold)
				}
				health := f.get("/health").Body.String()
				if row.named == "" {
					f.answers("health", f.get("/health"), 200, `"status":"ok"`)
				} else if !strings.Contains(health, row.named) || !strings.Contains(health, "degraded") {
					f.Errorf("health: %s; want it degraded and naming %q", health, row.named)
				}
				if n := strings.Count(f.logs.String(), `msg="odd record"`); n != min(len(row.named), 1) {
					f.Errorf("%d lines in the log after six refreshes; want at most one", n)
				}
				f.notehub.Always(hubList, sandbox.Outcome{Status: 200, Body: `{"devices":[{"uid":"` + washer + `","fleet_uids":[]}],"has_more":false}`})
				f.pass(2 * time.Minute)
				f.answers("health when the record is gone", f.get("/health"), 200, `"status":"ok"`)
			})
		})
	}
}

// A device that is sold on keeps its last state while its record cannot be read: it is neither removed nor sold on a guess.
func TestDevicesKeepAKnownDeviceWhoseRecordIsUnreadable(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.RefreshInterval = time.Minute }, func(f *front) {
		f.notehub.AddDevice(sandbox.Device{UID: "dev:7", Disabled: true})
		f.run()
		f.notehub.Always(hubList, sandbox.Outcome{Status: 200, Body: `{"devices":[{"uid":"dev:7","disabled":"no"},{"uid":"` + washer + `"}],"has_more":false}`})
		f.pass(2 * time.Minute)
		f.answers("a scan", f.get("/pay?device=dev:7"), 503, "This machine is out of service")
		if n := len(f.fleet.Unsold()); n != 0 {
			f.Errorf("%d unsold devices; want none, for it is known", n)
		}
	})
}

func TestDeviceNeedsADevice(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `null`, `[]`, `{"uid":7}`, `{"devices":[]}`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(hubDevice, sandbox.Outcome{Status: 200, Body: body})
			meant(t, body, h.ask(), upstream.Retryable)
		})
	}
}

func TestDevicesNeedAList(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"has_more":false}`, `{"devices":null,"has_more":false}`, `{"devices":{},"has_more":false}`, `{"devices":[],"has_more":"no"}`, `[]`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(hubList, sandbox.Outcome{Status: 200, Body: body})
			_, err := h.client.Devices(t.Context())
			meant(t, body, err, upstream.Retryable)
		})
	}
}

func TestConfirmationsNeedAList(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"has_more":false}`, `{"events":null,"has_more":false}`, `{"events":{},"has_more":false}`, `{"events":[],"has_more":null}`, `null`, `[]`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(hubEvents, sandbox.Outcome{Status: 200, Body: body})
			_, cursor, _, err := h.client.Confirmations(t.Context(), "e1")
			meant(t, body, err, upstream.Retryable)
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
			h.Next(hubFleets, sandbox.Outcome{Status: 200, Body: `{"fleets":[` + fleets + `]}`})
			variables, err := h.client.FleetVariables(t.Context())
			meant(t, fleets, err, upstream.OK)
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
		h.Next(hubDeviceNames, sandbox.Outcome{Status: 200, Body: `{"environment_variables":{"a":"1","payment_enabled":false,"n":7,"o":{"x":1},"gone":null}}`})
		got, err := h.client.DeviceVariables(t.Context(), washer)
		meant(t, "variables", err, upstream.OK)
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
			h.Next(hubNotes, sandbox.Outcome{Status: 200, Body: `{"notes":{"1:1":` + odd + `,"1:2":{"body":{"credit_id":"cr_2","payment_status":"completed"}}}}`})
			got, err := h.client.PendingNotes(t.Context(), washer)
			meant(t, odd, err, upstream.OK)
			if ours := (payment.PendingNote{ID: "1:2", CreditID: "cr_2", PaymentStatus: "completed"}); len(got) != 2 || !slices.Contains(got, ours) {
				t.Errorf("%s: %+v; want two notes, one of them %+v", odd, got, ours)
			}
		})
	}
}

// Pages of confirmations that lead in a circle end in an error: silence does not count, and nobody reads for ever.
func TestConfirmationsThatRepeatAreNoSilence(t *testing.T) {
	t.Parallel()
	inFront(t, confirming, func(f *front) {
		f.run()
		session := f.buy(sandbox.PayOptions{})
		f.notehub.Fetch(washer, notehub.PaymentFile)
		page := func(id string) sandbox.Outcome {
			return sandbox.Outcome{Status: 200, Body: `{"events":[{"event":"` + id + `"}],"next_cursor":"","has_more":true}`}
		}
		f.notehub.Next(hubEvents, slices.Repeat([]sandbox.Outcome{page("a"), page("b")}, 5000)...)
		before := f.notehub.Count(hubEvents)
		f.pass(5 * time.Minute)
		if n := f.notehub.Count(hubEvents) - before; n > 200 {
			f.Errorf("%d reads in five minutes; want them to back off", n)
		}
		if p := f.paid(session.ID); p.Funds != payment.Paid {
			f.Errorf("%s, %s; want the money kept while the answers cannot be read", p.Delivery, p.Funds)
		}
		f.notehub.Clear(hubEvents)
		f.pass(5 * time.Minute)
		f.stands(session.ID, ending{payment.Refunded, payment.Failed, payment.ReasonUnconfirmed, payment.ReasonUnconfirmed})
	})
}
