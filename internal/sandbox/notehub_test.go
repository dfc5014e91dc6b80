package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hubCall makes one call below the project and returns the decoded response.
func hubCall(t *testing.T, n *Notehub, method, path, body string) (int, map[string]any) {
	t.Helper()
	status, text, _ := hubRequest(t, n, method, "/v1/projects/"+project+path, "pat", body)
	var answer map[string]any
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s %s answered %q: %v", method, path, text, err)
	}
	return status, answer
}

func hubRequest(t *testing.T, n *Notehub, method, path, token, body string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://hub.example"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	kind := "application/json"
	if path == "/oauth2/token" {
		kind = "application/x-www-form-urlencoded"
	}
	r.Header.Set("Content-Type", kind)
	answer, err := InProcess(n).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.Header
}

func hubToken(t *testing.T, n *Notehub) string {
	t.Helper()
	_, text, _ := hubRequest(t, n, "POST", "/oauth2/token", "",
		"grant_type=client_credentials&client_id=client&client_secret=secret")
	var answer struct {
		Token     string `json:"access_token"`
		Type      string `json:"token_type"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Token == "" || answer.Type != "bearer" ||
		answer.ExpiresIn != 1800 {
		t.Fatalf("got token %s (%v); want one for 1800 seconds", text, err)
	}
	return answer.Token
}

func TestTokensExpireAndCanBeRevoked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newHub(t)
		try := func(token string) int {
			status, _, _ := hubRequest(t, n, "GET", "/v1/projects/"+project, token, "")
			return status
		}
		token := hubToken(t, n)
		got := []int{try(token), try("pat"), try(""), try("wrong")}
		time.Sleep(30*time.Minute - time.Second)
		got = append(got, try(token))
		time.Sleep(time.Second)
		got = append(got, try(token))
		again := hubToken(t, n)
		got = append(got, try(again))
		n.RevokeTokens()
		got = append(got, try(again), try("pat"))
		if want := []int{200, 200, 401, 401, 200, 401, 200, 401, 200}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v; want %v", got, want)
		}
		if got := n.TokensIssued(); got != 2 {
			t.Errorf("got %d tokens issued; want 2", got)
		}
	})
}

func TestTokenErrors(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, form, token, code string
		status, reported        int
	}{
		{"a wrong secret", "grant_type=client_credentials&client_id=client&client_secret=no", "",
			"invalid_client", 401, 0},
		{"no grant type", "client_id=client&client_secret=secret", "", "invalid_request", 400, 1},
		{"another grant type", "grant_type=password&client_id=client&client_secret=secret", "",
			"unsupported_grant_type", 400, 1},
		{"credentials in a header", "grant_type=client_credentials", "x", "invalid_client", 401, 1},
		{"an unknown field", "grant_type=client_credentials&client_id=client&client_secret=secret&audience=x", "",
			"invalid_request", 400, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			said := &reports{}
			status, text, _ := hubRequest(t, newHub(said), "POST", "/oauth2/token", row.token, row.form)
			if status != row.status || !strings.Contains(text, `"error":"`+row.code+`"`) ||
				said.count() != row.reported {
				t.Errorf("got %d %s with reports %v; want %d %s with %d", status, text, said.said, row.status,
					row.code, row.reported)
			}
		})
	}
}

func TestNotehubLimitHoldsInEveryMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := NewNotehub(NotehubConfig{ClientID: "client", ClientSecret: "secret", Project: project,
			PerMinute: 3, Report: t})
		token := hubToken(t, n)
		time.Sleep(10*time.Second + time.Millisecond)
		var got []string
		for range 3 {
			status, _, header := hubRequest(t, n, "GET", "/v1/projects/"+project, token, "")
			got = append(got, strings.TrimSpace(fmt.Sprintln(status, header.Get("Retry-After"))))
		}
		time.Sleep(50 * time.Second)
		for range 2 { // the token call was a minute ago, the others were not
			status, _, header := hubRequest(t, n, "GET", "/v1/projects/"+project, token, "")
			got = append(got, strings.TrimSpace(fmt.Sprintln(status, header.Get("Retry-After"))))
		}
		if want := "[200 200 429 50 200 429 10]"; fmt.Sprint(got) != want {
			t.Errorf("got %v; want %v", got, want)
		}
	})
}

func TestNotehubErrors(t *testing.T) {
	t.Parallel()
	note := "/devices/" + machine1 + "/notes/payment.qi"
	for _, row := range []struct {
		name, method, path, body, text string
		status                         int
		reported                       bool
	}{
		{"an unknown path", "GET", "/nowhere", "", "no such call", 404, true},
		{"an unknown method", "PUT", note, "{}", "no such call", 404, true},
		{"an unknown query parameter", "GET", note + "?delete=true", "", "unknown query parameter delete", 400, true},
		{"too large a page", "GET", "/devices?pageSize=10001", "", "pageSize", 400, true},
		{"an unknown device", "GET", "/devices/dev:0", "", "{device-noexist}", 404, false},
		{"an unknown fleet", "GET", "/fleets/fleet:0/devices", "", "does not exist", 404, false},
		{"a note that is no JSON", "POST", note, "hello", "malformed body", 400, true},
		{"a note without a body", "POST", note, "{}", "needs a body", 400, true},
		{"a note with an unknown field", "POST", note, `{"body":{},"note":"1"}`, "unknown field", 400, true},
		{"two notes at once", "POST", note, `{"body":{}}{"body":{}}`, "more than one", 400, true},
		{"too large a note", "POST", note, `{"body":{"x":"` + strings.Repeat("x", 1024) + `"}}`,
			"{too-big}", 400, true},
		{"a note with an id", "POST", note + "/1", `{"body":{}}`, "no such call", 404, true},
		{"a note into an outbound file", "POST", "/devices/" + machine1 + "/notes/x.qo", `{"body":{}}`,
			"{notefile-bad-name}", 400, true},
		{"a note that is gone", "DELETE", note + "/1:1", "", "{note-noexist}", 404, false},
		{"deleting no files", "DELETE", "/devices/" + machine1 + "/files", `{"files":[]}`, "no files", 400, true},
		{"files that are not pending", "GET", "/devices/" + machine1 + "/files", "", "pending=true", 400, true},
		{"events in no order", "GET", "/events-cursor?sortOrder=random", "", "asc or desc", 400, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			said := &reports{}
			n := newHub(said)
			status, answer := hubCall(t, n, row.method, row.path, row.body)
			text, _ := answer["err"].(string)
			if status != row.status || answer["code"] != float64(status) || !strings.Contains(text, row.text) {
				t.Errorf("got %d %v; want %d with %q", status, answer, row.status, row.text)
			}
			if (said.count() > 0) != row.reported {
				t.Errorf("got reports %v; want reported %t", said.said, row.reported)
			}
			if len(n.Notes("")) > 0 {
				t.Error("a refused note was queued; want none")
			}
		})
	}
	other := "/v1/projects/app:0/devices"
	if status, text, _ := hubRequest(t, newHub(t), "GET", other, "pat", ""); status != http.StatusNotFound ||
		!strings.Contains(text, "{app-noexist}") {
		t.Errorf("another project answered %d %s; want 404 {app-noexist}", status, text)
	}
}

func TestNoteIsPendingUntilFetchedOrRecalled(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	device := "/devices/" + machine1
	for i := 1; i <= 4; i++ {
		status, answer := hubCall(t, n, "POST", device+"/notes/payment.qi", fmt.Sprintf(`{"body":{"n":%d}}`, i))
		if status != 200 || len(answer) != 0 {
			t.Fatalf("got %d %v; want 200 and {}", status, answer)
		}
	}
	pending := n.Pending(machine1, "payment.qi")
	if len(pending) != 4 || pending[0].Body["n"] != 1.0 {
		t.Fatalf("got %+v pending; want 4 notes, the oldest first", pending)
	}
	if status, _ := hubCall(t, n, "DELETE", device+"/notes/payment.qi/"+pending[1].ID, ""); status != 200 {
		t.Errorf("recalling answered %d; want 200", status)
	}
	if status, _ := hubCall(t, n, "DELETE", device+"/notes/payment.qi/"+pending[1].ID, ""); status != 404 {
		t.Errorf("recalling again answered %d; want 404", status)
	}
	_, listed := hubCall(t, n, "GET", device+"/notes/payment.qi?max=2", "")
	if notes, _ := listed["notes"].(map[string]any); listed["total"] != 3.0 || len(notes) != 2 ||
		notes[pending[0].ID] == nil {
		t.Errorf("got %v; want 2 of 3 notes, by id", listed)
	}
	_, text, _ := hubRequest(t, n, "GET", "/v1/projects/"+project+device+"/files?pending=true&files=payment.qi", "pat",
		"")
	var files []struct {
		ID    string
		Notes []struct {
			ID      string
			Pending bool
		}
	}
	if err := json.Unmarshal([]byte(text), &files); err != nil || len(files) != 1 || files[0].ID != "payment.qi" ||
		len(files[0].Notes) != 3 || !files[0].Notes[0].Pending {
		t.Errorf("got %s (%v); want an array of one file with 3 pending notes", text, err)
	}
	if got := n.Fetch(machine1, "payment.qi"); len(got) != 3 || !got[0].Fetched || got[0].FetchedAt.IsZero() {
		t.Errorf("fetched %+v; want 3 notes", got)
	}
	_, text, _ = hubRequest(t, n, "GET", "/v1/projects/"+project+device+"/files?pending=true", "pat", "")
	if text != "[]" {
		t.Errorf("after fetching got %s; want []", text)
	}
	hubCall(t, n, "POST", device+"/notes/payment.qi", `{"body":{"n":5}}`)
	hubCall(t, n, "DELETE", device+"/files", `{"files":["payment.qi"]}`)
	var fates []string
	for _, note := range n.Notes(machine1) {
		fates = append(fates, fmt.Sprint(note.Body["n"], note.Fetched, note.Deleted))
	}
	if want := "[1 true false 2 false true 3 true false 4 true false 5 false true]"; fmt.Sprint(fates) != want {
		t.Errorf("got fates %v; want %v", fates, want)
	}
}

func TestMaxPending(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	path := "/devices/" + machine1 + "/notes/payment.qi"
	for range 100 {
		hubCall(t, n, "POST", path, `{"body":{}}`)
	}
	status, answer := hubCall(t, n, "POST", path, `{"body":{}}`)
	if want := "a maximum of 100 notes may be pending for device (currently 100)"; status != 400 ||
		answer["err"] != want {
		t.Errorf("got %d %v; want 400 %q", status, answer["err"], want)
	}
	if status, _ := hubCall(t, n, "POST", "/devices/"+machine1+"/notes/other.qi", `{"body":{}}`); status != 200 {
		t.Errorf("another file answered %d; want 200", status)
	}
	n.RemoveDevice(machine1)
	if status, _ := hubCall(t, n, "POST", path, `{"body":{}}`); status != 404 {
		t.Errorf("a removed device answered %d; want 404", status)
	}
	if got := n.Pending(machine1, "payment.qi"); got != nil {
		t.Errorf("a removed device has %d notes pending; want none", len(got))
	}
}

func TestListDevicesInPages(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	n.RemoveDevice(machine1)
	n.AddFleet("fleet:1", "Laundry", nil)
	for i := range 120 {
		d := Device{UID: fmt.Sprintf("dev:%03d", i), Disabled: i == 0}
		if i%2 == 0 {
			d.Fleets = []string{"fleet:1"}
		}
		n.AddDevice(d)
	}
	for _, row := range []struct {
		query string
		count int
		more  bool
		first string
	}{
		{"/devices", 50, true, "dev:000"},
		{"/devices?pageNum=3", 20, false, "dev:100"},
		{"/devices?pageSize=10000", 120, false, "dev:000"},
		{"/devices?pageSize=60&pageNum=2", 60, false, "dev:060"},
		{"/devices?fleetUID=fleet:1&pageSize=59", 59, true, "dev:000"},
		{"/devices?deviceUID=dev:007&deviceUID=dev:008", 2, false, "dev:007"},
		{"/fleets/fleet:1/devices?pageSize=60", 60, false, "dev:000"},
	} {
		_, answer := hubCall(t, n, "GET", row.query, "")
		devices, _ := answer["devices"].([]any)
		if len(devices) != row.count || answer["has_more"] != row.more {
			t.Errorf("%s: got %d devices, has_more %v; want %d, %t", row.query, len(devices),
				answer["has_more"], row.count, row.more)
			continue
		}
		if first, _ := devices[0].(map[string]any); first["uid"] != row.first {
			t.Errorf("%s: got %v first; want %s", row.query, first["uid"], row.first)
		}
	}
	_, disabled := hubCall(t, n, "GET", "/devices/dev:000", "")
	_, enabled := hubCall(t, n, "GET", "/devices/dev:001", "")
	if disabled["disabled"] != true || disabled["last_activity"] != nil {
		t.Errorf("got %v; want disabled, never seen", disabled)
	}
	if _, given := enabled["disabled"]; given {
		t.Errorf("got %v; want disabled left out", enabled)
	}
	n.SetDevice("dev:001", func(d *Device) { d.LastActivity = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC) })
	if _, seen := hubCall(t, n, "GET", "/devices/dev:001", ""); seen["last_activity"] != "2026-11-21T02:00:00Z" {
		t.Errorf("got last_activity %v; want 2026-11-21T02:00:00Z", seen["last_activity"])
	}
}

func TestDeviceVariablesAreInherited(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	n.SetProjectVariables(map[string]string{"a": "project", "b": "project", "c": "project"})
	n.AddFleet("fleet:1", "one", map[string]string{"b": "fleet", "c": "fleet"})
	n.AddFleet("fleet:2", "two", map[string]string{"b": "other fleet"})
	n.SetDevice(machine1, func(d *Device) {
		d.Fleets, d.Variables = []string{"fleet:1", "fleet:2"}, map[string]string{"c": "device"}
	})
	_, answer := hubCall(t, n, "GET", "/devices/"+machine1+"/environment_variables", "")
	got, want := fmt.Sprint(answer["environment_variables_effective"]), "map[a:project b:fleet c:device]"
	if got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if got, want := fmt.Sprint(answer["environment_variables"]), "map[c:device]"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	_, answer = hubCall(t, n, "GET", "/environment_variables", "")
	if got, want := fmt.Sprint(answer), "map[environment_variables:map[a:project b:project c:project]]"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	_, answer = hubCall(t, n, "GET", "/fleets", "")
	fleets, _ := answer["fleets"].([]any)
	if first, _ := fleets[0].(map[string]any); len(fleets) != 2 ||
		fmt.Sprint(first["environment_variables"]) != "map[b:fleet c:fleet]" {
		t.Errorf("got %v; want two fleets with their variables", answer)
	}
}

func TestListEventsByCursor(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	var want []string
	for i := range 5 {
		want = append(want, n.AddEvent(machine1, "payment_ack.qo", map[string]any{"credit_id": fmt.Sprint(i)}))
		n.AddEvent(machine1, "_health.qo", nil)
	}
	read := func(cursor string) (ids []string, next string, more bool) {
		_, answer := hubCall(t, n, "GET",
			"/events-cursor?files=payment_ack.qo&limit=2&sortOrder=asc&cursor="+cursor, "")
		events, _ := answer["events"].([]any)
		for _, e := range events {
			event, _ := e.(map[string]any)
			ids = append(ids, fmt.Sprint(event["event"]))
			if event["device"] != machine1 || event["sn"] != "Washer 1" {
				t.Errorf("got event %v; want it from Washer 1", event)
			}
		}
		return ids, fmt.Sprint(answer["next_cursor"]), answer["has_more"] == true
	}
	var got []string
	cursor, more := "", true
	for more {
		var ids []string
		ids, cursor, more = read(cursor)
		got = append(got, ids...)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if cursor != "" {
		t.Errorf("got next_cursor %q after the last event; want none", cursor)
	}
	last := n.AddEvent(machine1, "payment_ack.qo", nil)
	if ids, _, _ := read(want[4]); fmt.Sprint(ids) != fmt.Sprint([]string{want[4], last}) {
		t.Errorf("got %v; want the last one again and then the new one", ids)
	}
}

func TestSignalReportsTheConnection(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	for _, connected := range []bool{false, true} {
		n.SetConnected(machine1, connected)
		status, answer := hubCall(t, n, "POST", "/devices/"+machine1+"/signal", `{"body":{"hello":1}}`)
		if status != 200 || answer["connected"] != connected {
			t.Errorf("got %d %v; want 200, connected %t", status, answer, connected)
		}
	}
}
