package notehub

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
	"notepay/internal/fixture"
	"notepay/internal/notefile"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

func TestConfirmationsNeedAList(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"has_more":false}`, `{"events":null,"has_more":false}`, `{"events":{},"has_more":false}`,
		`{"events":[],"has_more":null}`, `null`, `[]`,
	} {
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

// confirm makes the washer send a confirmation.
func (h *testHub) confirm(credit, state, code string) (eventID string) {
	return h.AddEvent(
		fixture.Washer,
		"payment_ack.qo",
		map[string]any{"credit_id": credit, "state": state, "code": code},
	)
}

func TestConfirmationsBeginsAtTheCursor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		list, cursor, more, err := h.client.Confirmations(t.Context(), "")
		fixture.Meant(t, "nothing yet", err, upstream.OK)
		if len(list) != 0 || cursor != "" || more {
			t.Errorf("%+v, cursor %q, more %t; want nothing", list, cursor, more)
		}
		time.Sleep(1500 * time.Millisecond)
		at := time.Now()
		first := h.confirm(fixture.OneCredit, "failed", "E-DOOR")
		h.AddEvent(fixture.Washer, "_health.qo", nil)
		list, cursor, more, err = h.client.Confirmations(t.Context(), cursor)
		fixture.Meant(t, "the first", err, upstream.OK)
		want := payment.Confirmation{
			EventID:   first,
			DeviceUID: fixture.Washer,
			CreditID:  fixture.OneCredit,
			State:     "failed",
			Code:      "E-DOOR",
			At:        at.UTC(),
			SaidAt:    at.UTC().Truncate(time.Second),
		}
		if len(list) != 1 || list[0] != want || cursor != first || more {
			t.Errorf("%+v, cursor %q, more %t; want %+v alone", list, cursor, more, want)
		}
		second := h.confirm(fixture.OneCredit, "started", "")
		list, cursor, _, err = h.client.Confirmations(t.Context(), cursor)
		fixture.Meant(t, "the second", err, upstream.OK)
		if len(list) != 2 || list[0].EventID != first || list[1].EventID != second || cursor != second {
			t.Errorf("%+v, cursor %q; want the first once more and then the second", list, cursor)
		}
		list, cursor, _, err = h.client.Confirmations(t.Context(), cursor)
		fixture.Meant(t, "nothing new", err, upstream.OK)
		if len(list) != 1 || list[0].EventID != second || cursor != second {
			t.Errorf("%+v, cursor %q; want the second once more", list, cursor)
		}
		if asked := h.Requests(fixture.HubEvents)[2]; asked.Query != "cursor="+first+"&files=payment_ack.qo%2Cpayme"+
			"nt_ack.qos&limit=50&sortOrder=asc" {
			t.Errorf("asked %q", asked.Query)
		}
	})
}

func TestConfirmationsMissesNoneBetweenPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		var want []string
		for i := range 3*eventsPerPage + 7 {
			if i%10 == 9 {
				h.confirm("cr_strange", "started", "") // skipped, and the cursor moves past it
				continue
			}
			want = append(want, h.confirm(fixture.OneCredit, "started", ""))
		}
		var got []string
		for cursor, more := "", true; more; {
			var list []payment.Confirmation
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

func TestConfirmationsWithAnUnknownCursorBeginsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, nil)
		id := h.confirm(fixture.OneCredit, "started", "")
		list, cursor, _, err := h.client.Confirmations(t.Context(), "00000000-gone")
		fixture.Meant(t, "answers", err, upstream.OK)
		if len(list) != 1 || cursor != id {
			t.Errorf("%+v, cursor %q; want all that there is", list, cursor)
		}
	})
}

func TestConfirmationsFailsWithoutProgress(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, body string
		want       upstream.Outcome
	}{
		{"an empty page", `{"events":[],"next_cursor":"","has_more":false}`, upstream.OK},
		{"events that cannot be read", `{"events":[7,null,{"event":7}],"has_more":false}`, upstream.OK},
		{"no has_more", `{"events":[]}`, upstream.Retryable},
		{"another service's answer", `{}`, upstream.Retryable},
		{"a proxy's page", fixture.ProxyPage, upstream.Retryable},
		{"an empty page that is not the last", `{"events":[],"has_more":true}`, upstream.Retryable},
		{"the event under the cursor forever", `{"events":[{"event":"e1"}],"has_more":true}`, upstream.Retryable},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubEvents, sandbox.Outcome{Status: 200, Body: row.body})
			list, cursor, more, err := h.client.Confirmations(t.Context(), "e1")
			fixture.Meant(t, row.name, err, row.want)
			if len(list) != 0 || cursor != "e1" || more {
				t.Errorf(
					"%s: %+v, cursor %q, more %t; want nothing, and the cursor where it was", row.name, list,
					cursor, more,
				)
			}
		})
	}
}

func TestDecodeConfirmation(t *testing.T) {
	t.Parallel()
	event := func(changes string) string {
		var e map[string]any
		base := `{"event":"e1","file":"payment_ack.qo","device":"dev:1","app":"app:1","received":1700000001.5,` +
			`"when":1,"sn":"x","body":{"credit_id":"` + fixture.OneCredit + `","state":"started","code":""}}`
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
	credit := `"credit_id":"` + fixture.OneCredit + `"`
	at := time.Date(2023, 11, 14, 22, 13, 21, 500e6, time.UTC)
	good := payment.Confirmation{
		EventID:   "e1",
		DeviceUID: "dev:1",
		CreditID:  fixture.OneCredit,
		State:     "started",
		At:        at,
		SaidAt:    time.Unix(1, 0).UTC(),
	}
	with := func(change func(*payment.Confirmation)) payment.Confirmation { c := good; change(&c); return c }
	code := func(code string) payment.Confirmation {
		return with(func(c *payment.Confirmation) { c.State, c.Code = "failed", code })
	}
	unusable := func(why, device string) payment.Confirmation {
		return with(func(c *payment.Confirmation) { c.DeviceUID, c.Unusable = device, why })
	}
	none := payment.Confirmation{}
	for _, row := range []struct {
		name, text string
		want       payment.Confirmation
		err        error
	}{
		{"as the contract says", event(`{}`), good, nil},
		{
			"a device in capitals", event(`{"device":"DEV:AB"}`),
			with(func(c *payment.Confirmation) { c.DeviceUID = "dev:ab" }), nil,
		},
		{"no time", event(`{"received":0}`), with(func(c *payment.Confirmation) { c.At = time.Time{} }), nil},
		{
			"no time that there is", event(`{"received":1e300}`),
			with(func(c *payment.Confirmation) { c.At = time.Time{} }), nil,
		},
		{"done", body(credit + `,"state":"done"`), with(func(c *payment.Confirmation) { c.State = "done" }), nil},
		{"busy", body(credit + `,"state":"busy"`), with(func(c *payment.Confirmation) { c.State = "busy" }), nil},
		{
			"expired", body(credit + `,"state":"expired"`),
			with(func(c *payment.Confirmation) { c.State = "expired" }), nil,
		},
		{
			"duplicate", body(credit + `,"state":"duplicate"`),
			with(func(c *payment.Confirmation) { c.State = "duplicate" }), nil,
		},
		{"failed with a code", body(credit + `,"state":"failed","code":"E-DOOR"`), code("E-DOOR"), nil},
		{"a code that is a number", body(credit + `,"state":"failed","code":17`), code("17"), nil},
		{"a code that is null", body(credit + `,"state":"failed","code":null`), code(""), nil},
		{"a code with lines", body(credit + `,"state":"failed","code":" a\n\tb\u0000c "`), code("a bc"), nil},
		{
			"a long code", body(credit + `,"state":"failed","code":"` + strings.Repeat("ü", 70) + `"`),
			code(strings.Repeat("ü", 64)), nil,
		},
		{"another file", event(`{"file":"_health.qo"}`), none, ErrOtherFile},
		{"no file", event(`{"file":""}`), none, ErrOtherFile},
		{"a file that is a number", event(`{"file":7}`), none, ErrOtherFile},
		{"the file in other letters", event(`{"file":" Payment_Ack.QO "}`), good, nil},
		{"the file that is sent over TLS", event(`{"file":"payment_ack.qos"}`), good, nil},
		{"a state in other letters", body(credit + `,"state":" Started\n"`), good, nil},
		{
			"a credit in other letters",
			body(`"credit_id":" ` + strings.ToUpper(fixture.OneCredit) + ` ","state":"STARTED"`), good, nil,
		},
		{
			"a credit id with a line after it", body(`"credit_id":"` + fixture.OneCredit + `\n","state":"started"`),
			good, nil,
		},
		{"a device with spaces", event(`{"device":" dev:1 "}`), good, nil},
		{"a time that is a text", event(`{"received":"1700000001.5"}`), good, nil},
		{
			"fields that are not needed", event(`{"when":"noon","sn":7,"fleets":"x"}`),
			with(func(c *payment.Confirmation) { c.SaidAt = time.Time{} }), nil,
		},
		{"no device", event(`{"device":""}`), unusable(bridge.ConfirmationNoDevice, ""), nil},
		{"a device that is none", event(`{"device":"imei:1"}`), unusable(bridge.ConfirmationNoDevice, ""), nil},
		{"a device that is a number", event(`{"device":7}`), unusable(bridge.ConfirmationNoDevice, ""), nil},
		{
			"no state", body(credit),
			with(func(c *payment.Confirmation) { c.State, c.Unusable = "", bridge.ConfirmationNoState }), nil,
		},
		{
			"an unknown state", body(credit + `,"state":"Running"`),
			with(func(c *payment.Confirmation) { c.State, c.Unusable = "running", bridge.ConfirmationNoState }), nil,
		},
		{
			"a state that is a number", body(credit + `,"state":1`),
			with(func(c *payment.Confirmation) { c.State, c.Unusable = "", bridge.ConfirmationNoState }), nil,
		},
		{"no body", event(`{"body":null}`), none, ErrNoCredit},
		{"a body that is a text", event(`{"body":"started"}`), none, ErrNoCredit},
		{"no credit", body(`"state":"started"`), none, ErrNoCredit},
		{"another credit id", body(`"credit_id":"cr_7k3m9q2xh4abcde8","state":"started"`), none, ErrNoCredit},
		{"a longer credit id", body(`"credit_id":"` + fixture.OneCredit + `a","state":"started"`), none, ErrNoCredit},
		{"no JSON", `hello`, none, errMalformed},
		{"nothing", ``, none, errMalformed},
		{"half of it", event(`{}`)[:50], none, errMalformed},
		{"a list", `[]`, none, errMalformed},
		{"null", `null`, none, ErrOtherFile},
	} {
		got, app, err := DecodeConfirmation([]byte(row.text), notefile.Answers, uid.Parse)
		if got != row.want || !errors.Is(err, row.err) || (err == nil) != (row.err == nil) {
			t.Errorf("%s: %+v, %v; want %+v, %v", row.name, got, err, row.want, row.err)
		}
		if err == nil && app != "app:1" {
			t.Errorf("%s: project %q; want app:1", row.name, app)
		}
	}
}

// The same confirmation is decoded from a route's event and from the cursor's list.
func TestDecodeConfirmationOfARouteEqualsTheCursors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var routed []payment.Confirmation
		receiver := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var raw json.RawMessage
			if err := json.NewDecoder(r.Body).Decode(&raw); err != nil {
				t.Error(err)
			}
			c, app, err := DecodeConfirmation(raw, notefile.Answers, uid.Parse)
			if err != nil || app != fixture.Project {
				t.Errorf("%s: project %q, %v", raw, app, err)
			}
			routed = append(routed, c)
		})
		h := newTestHub(t, nil)
		h.Notehub = sandbox.NewNotehub(
			sandbox.NotehubConfig{
				Project: fixture.Project,
				Token:   fixture.HubToken,
				Report:  t,
				Client:  &http.Client{Transport: sandbox.InProcess(receiver)},
			},
		)
		h.client.http.Transport = sandbox.InProcess(h)
		t.Cleanup(h.Close)
		h.AddDevice(sandbox.Device{UID: fixture.Washer})
		h.SetRoute("http://notepay.test/webhook/notehub", "token")
		machine := sandbox.NewMachine(h.Notehub, sandbox.MachineConfig{Device: fixture.Washer, Confirms: true})
		machine.SetBehavior(sandbox.Behavior{Refuse: "failed", Code: "E-DOOR"})
		fixture.Meant(
			t,
			"note",
			h.client.PostNote(
				t.Context(),
				fixture.Washer,
				PaymentFile,
				payment.Note{PaymentStatus: "completed", CreditID: fixture.OneCredit},
			),
			upstream.OK,
		)
		machine.Step()
		synctest.Wait()
		listed, _, _, err := h.client.Confirmations(t.Context(), "")
		fixture.Meant(t, "answers", err, upstream.OK)
		if len(listed) != 1 || !slices.Equal(listed, routed) || listed[0].Code != "E-DOOR" ||
			listed[0].CreditID != fixture.OneCredit {
			t.Errorf("%+v by the cursor and %+v through the route; want one E-DOOR by both", listed, routed)
		}
	})
}

// The text identifies an event whose id is missing or cannot be stored.
func TestDecodeConfirmationNamesAnEventWithoutAnID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, id := range []string{`""`, `null`, `7`, `"` + strings.Repeat("e", 129) + `"`, `"e\u0000"`} {
		text := `{"event":` + id + `,"file":"payment_ack.qo","device":"dev:1","body":{"credit_id":"` +
			fixture.OneCredit + `","state":"started"}}`
		c, _, err := DecodeConfirmation([]byte(text), notefile.Answers, uid.Parse)
		again, _, _ := DecodeConfirmation([]byte(text), notefile.Answers, uid.Parse)
		if err != nil || !strings.HasPrefix(c.EventID, "sha256:") || c.EventID != again.EventID || seen[c.EventID] {
			t.Errorf("%s: %q and %q, %v; want the same digest twice", id, c.EventID, again.EventID, err)
		}
		seen[c.EventID] = true
	}
}

func TestDecodeConfirmationFindsTheProject(t *testing.T) {
	t.Parallel()
	for members, want := range map[string]string{
		`"app":"app:1"`: "app:1", `"project":{"id":"app:1","name":"x"}`: "app:1",
		`"app":"","project":{"id":" app:1 "}`:    "app:1",
		`"app":"app:1","project":{"id":"app:2"}`: "app:1", `"project":"app:1"`: "", `"app":7`: "", `"sn":"x"`: "",
	} {
		text := `{"event":"e1","file":"payment_ack.qo","device":"dev:1",` + members + `,"body":{"credit_id":"` +
			fixture.OneCredit + `","state":"started"}}`
		if _, got, err := DecodeConfirmation([]byte(text), notefile.Answers, uid.Parse); got != want || err != nil {
			t.Errorf("%s: project %q, %v; want %q", members, got, err, want)
		}
	}
}
