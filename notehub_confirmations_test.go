package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

const (
	hubEvents = "GET /v1/projects/{project}/events-cursor"
	oneCredit = "cr_7k3m7q2xh4abcdef"
)

// confirm lets the washer answer.
func (h *testHub) confirm(credit, state, code string) (eventID string) {
	return h.AddEvent(washer, confirmationFile, map[string]any{"credit_id": credit, "state": state, "code": code})
}

func TestConfirmationsAreReadFromTheCursorOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		list, cursor, more, err := h.client.Confirmations(t.Context(), "")
		meant(t, "nothing yet", err, upstream.Done)
		if len(list) != 0 || cursor != "" || more {
			t.Errorf("%+v, cursor %q, more %t; want nothing", list, cursor, more)
		}
		time.Sleep(1500 * time.Millisecond)
		at := time.Now()
		first := h.confirm(oneCredit, "failed", "E-DOOR")
		h.AddEvent(washer, "_health.qo", nil)
		list, cursor, more, err = h.client.Confirmations(t.Context(), cursor)
		meant(t, "the first", err, upstream.Done)
		want := bridge.Confirmation{EventID: first, DeviceUID: washer, CreditID: oneCredit, State: "failed", Code: "E-DOOR", At: at.UTC()}
		if len(list) != 1 || list[0] != want || cursor != first || more {
			t.Errorf("%+v, cursor %q, more %t; want %+v alone", list, cursor, more, want)
		}
		second := h.confirm(oneCredit, "started", "")
		list, cursor, _, err = h.client.Confirmations(t.Context(), cursor)
		meant(t, "the second", err, upstream.Done)
		if len(list) != 2 || list[0].EventID != first || list[1].EventID != second || cursor != second {
			t.Errorf("%+v, cursor %q; want the first once more and then the second", list, cursor)
		}
		list, cursor, _, err = h.client.Confirmations(t.Context(), cursor)
		meant(t, "nothing new", err, upstream.Done)
		if len(list) != 1 || list[0].EventID != second || cursor != second {
			t.Errorf("%+v, cursor %q; want the second once more", list, cursor)
		}
		if asked := h.Requests(hubEvents)[2]; asked.Query != "cursor="+first+"&files=payment_ack.qo&limit=50&sortOrder=asc" {
			t.Errorf("asked %q", asked.Query)
		}
	})
}

func TestNoConfirmationIsMissedBetweenPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		var want []string
		for i := range 3*eventsPerPage + 7 {
			if i%10 == 9 {
				h.confirm("cr_strange", "started", "") // passed over, and no reason to stay where we are
				continue
			}
			want = append(want, h.confirm(oneCredit, "started", ""))
		}
		var got []string
		for cursor, more := "", true; more; {
			var list []bridge.Confirmation
			var err error
			list, cursor, more, err = h.client.Confirmations(t.Context(), cursor)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				if !slices.Contains(got, c.EventID) {
					got = append(got, c.EventID)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d confirmations; want all %d, in order", len(got), len(want))
		}
	})
}

func TestACursorThatNotehubNoLongerKnowsBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, nil)
		id := h.confirm(oneCredit, "started", "")
		list, cursor, _, err := h.client.Confirmations(t.Context(), "00000000-gone")
		meant(t, "answers", err, upstream.Done)
		if len(list) != 1 || cursor != id {
			t.Errorf("%+v, cursor %q; want all that there is", list, cursor)
		}
	})
}

func TestAPageOfEventsThatLeadsNowhere(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, body string
		want       upstream.Outcome
	}{
		{"an empty page", `{"events":[],"next_cursor":"","has_more":false}`, upstream.Done},
		{"events that cannot be read", `{"events":[7,null,{"event":7}],"has_more":false}`, upstream.Done},
		{"no has_more", `{"events":[]}`, upstream.Again},
		{"another service's answer", `{}`, upstream.Again},
		{"a proxy's page", proxyPage, upstream.Again},
		{"an empty page that is not the last", `{"events":[],"has_more":true}`, upstream.Again},
		{"the event under the cursor for ever", `{"events":[{"event":"e1"}],"has_more":true}`, upstream.Again},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t, nil)
			h.Next(hubEvents, sandbox.Outcome{Status: 200, Body: row.body})
			list, cursor, more, err := h.client.Confirmations(t.Context(), "e1")
			meant(t, row.name, err, row.want)
			if len(list) != 0 || cursor != "e1" || more {
				t.Errorf("%s: %+v, cursor %q, more %t; want nothing, and the cursor where it was", row.name, list, cursor, more)
			}
		})
	}
}

func TestWhatIsReadOfAConfirmation(t *testing.T) {
	t.Parallel()
	event := func(changes string) string {
		var e map[string]any
		base := `{"event":"e1","file":"payment_ack.qo","device":"dev:1","app":"app:1","received":1700000001.5,"when":1,"sn":"x","body":{"credit_id":"` + oneCredit + `","state":"started","code":""}}`
		for _, text := range []string{base, changes} {
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	body := func(members string) string { return event(`{"body":{` + members + `}}`) }
	credit := `"credit_id":"` + oneCredit + `"`
	at := time.Date(2023, 11, 14, 22, 13, 21, 500e6, time.UTC)
	good := bridge.Confirmation{EventID: "e1", DeviceUID: "dev:1", CreditID: oneCredit, State: "started", At: at}
	with := func(change func(*bridge.Confirmation)) bridge.Confirmation { c := good; change(&c); return c }
	code := func(code string) bridge.Confirmation {
		return with(func(c *bridge.Confirmation) { c.State, c.Code = "failed", code })
	}
	for _, row := range []struct {
		name, text string
		want       bridge.Confirmation
		err        error
	}{
		{"as the contract says", event(`{}`), good, nil},
		{"a device in capitals", event(`{"device":"DEV:AB"}`), with(func(c *bridge.Confirmation) { c.DeviceUID = "dev:ab" }), nil},
		{"no time", event(`{"received":0}`), with(func(c *bridge.Confirmation) { c.At = time.Time{} }), nil},
		{"no time that there is", event(`{"received":1e300}`), with(func(c *bridge.Confirmation) { c.At = time.Time{} }), nil},
		{"done", body(credit + `,"state":"done"`), with(func(c *bridge.Confirmation) { c.State = "done" }), nil},
		{"busy", body(credit + `,"state":"busy"`), with(func(c *bridge.Confirmation) { c.State = "busy" }), nil},
		{"expired", body(credit + `,"state":"expired"`), with(func(c *bridge.Confirmation) { c.State = "expired" }), nil},
		{"duplicate", body(credit + `,"state":"duplicate"`), with(func(c *bridge.Confirmation) { c.State = "duplicate" }), nil},
		{"failed with a code", body(credit + `,"state":"failed","code":"E-DOOR"`), code("E-DOOR"), nil},
		{"a code that is a number", body(credit + `,"state":"failed","code":17`), code("17"), nil},
		{"a code that is null", body(credit + `,"state":"failed","code":null`), code(""), nil},
		{"a code with lines", body(credit + `,"state":"failed","code":" a\n\tb\u0000c "`), code("a bc"), nil},
		{"a long code", body(credit + `,"state":"failed","code":"` + strings.Repeat("ü", 70) + `"`), code(strings.Repeat("ü", 64)), nil},
		{"another file", event(`{"file":"_health.qo"}`), bridge.Confirmation{}, errNotConfirmation},
		{"no file", event(`{"file":""}`), bridge.Confirmation{}, errNotConfirmation},
		{"no event id", event(`{"event":""}`), bridge.Confirmation{}, errNotConfirmation},
		{"a long event id", event(`{"event":"` + strings.Repeat("e", 129) + `"}`), bridge.Confirmation{}, errNotConfirmation},
		{"no device", event(`{"device":""}`), bridge.Confirmation{}, errNotConfirmation},
		{"a device that is none", event(`{"device":"imei:1"}`), bridge.Confirmation{}, errNotConfirmation},
		{"no body", event(`{"body":null}`), bridge.Confirmation{}, errNotConfirmation},
		{"a body that is a text", event(`{"body":"started"}`), bridge.Confirmation{}, errNotConfirmation},
		{"no credit", body(`"state":"started"`), bridge.Confirmation{}, errNotConfirmation},
		{"another credit id", body(`"credit_id":"cr_7k3m9q2xh4abcde8","state":"started"`), bridge.Confirmation{}, errNotConfirmation},
		{"a longer credit id", body(`"credit_id":"` + oneCredit + `a","state":"started"`), bridge.Confirmation{}, errNotConfirmation},
		{"a credit id with a line after it", body(`"credit_id":"` + oneCredit + `\n","state":"started"`), bridge.Confirmation{}, errNotConfirmation},
		{"no state", body(credit), bridge.Confirmation{}, errNotConfirmation},
		{"an unknown state", body(credit + `,"state":"Started"`), bridge.Confirmation{}, errNotConfirmation},
		{"no JSON", `hello`, bridge.Confirmation{}, errMalformed},
		{"nothing", ``, bridge.Confirmation{}, errMalformed},
		{"half of it", event(`{}`)[:50], bridge.Confirmation{}, errMalformed},
		{"a list", `[]`, bridge.Confirmation{}, errMalformed},
		{"a number for a name", event(`{"device":7}`), bridge.Confirmation{}, errMalformed},
		{"null", `null`, bridge.Confirmation{}, errNotConfirmation},
	} {
		got, app, err := decodeConfirmation([]byte(row.text))
		if got != row.want || !errors.Is(err, row.err) || (err == nil) != (row.err == nil) {
			t.Errorf("%s: %+v, %v; want %+v, %v", row.name, got, err, row.want, row.err)
		}
		if err == nil && app != "app:1" {
			t.Errorf("%s: project %q; want app:1", row.name, app)
		}
	}
}

// What a route sends is what the cursor lists: the same machine's answer is read from either.
func TestARouteAndTheCursorTellTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var routed []bridge.Confirmation
		receiver := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var raw json.RawMessage
			if err := json.NewDecoder(r.Body).Decode(&raw); err != nil {
				t.Error(err)
			}
			c, app, err := decodeConfirmation(raw)
			if err != nil || app != project {
				t.Errorf("%s: project %q, %v", raw, app, err)
			}
			routed = append(routed, c)
		})
		h := newHub(t, nil)
		h.Notehub = sandbox.NewNotehub(sandbox.NotehubConfig{Project: project, Token: hubToken, Report: t, Client: &http.Client{Transport: sandbox.InProcess(receiver)}})
		h.client.http.Transport = sandbox.InProcess(h)
		t.Cleanup(h.Close)
		h.AddDevice(sandbox.Device{UID: washer})
		h.SetRoute("http://notepay.test/webhook/notehub", "token")
		machine := sandbox.NewMachine(h.Notehub, sandbox.MachineConfig{Device: washer, Confirms: true})
		machine.SetBehaviour(sandbox.Behaviour{Refuse: "failed", Code: "E-DOOR"})
		meant(t, "note", h.client.PostNote(t.Context(), washer, bridge.Note{PaymentStatus: "completed", CreditID: oneCredit}), upstream.Done)
		machine.Step()
		synctest.Wait()
		listed, _, _, err := h.client.Confirmations(t.Context(), "")
		meant(t, "answers", err, upstream.Done)
		if len(listed) != 1 || !slices.Equal(listed, routed) || listed[0].Code != "E-DOOR" || listed[0].CreditID != oneCredit {
			t.Errorf("%+v by the cursor and %+v through the route; want one E-DOOR by both", listed, routed)
		}
	})
}
