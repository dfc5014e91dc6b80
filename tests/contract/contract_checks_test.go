package contract

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"notepay/internal/sandbox"
)

// complaints collects what a proxy or a sandbox reports.
type complaints []string

func (c *complaints) Errorf(format string, args ...any) {
	*c = append(*c, fmt.Sprintf(format, args...))
}

// ask sends a request to a handler.
func ask(t *testing.T, h http.Handler, method, path, kind, body string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+accessToken)
	if strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/v1/projects") {
		request.Header.Set("Authorization", "Bearer "+stripeKey)
	}
	if strings.HasPrefix(path, "/oauth2/") {
		request.Header.Del("Authorization")
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer
}

const (
	formKind = "application/x-www-form-urlencoded"
	jsonKind = "application/json"
)

// answering returns a vendor that always gives the same response.
func answering(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonKind)
		w.WriteHeader(status)
		_, _ = io.Copy(w, bytes.NewReader([]byte(body)))
	})
}

func TestStripeMockReportsDifferences(t *testing.T) {
	t.Parallel()
	mock := newStripeMock(t)
	for _, c := range []struct {
		name, method, path, body, want string
	}{
		{"a call as it should be passes", "POST", "/v1/payment_links",
			"line_items[0][price]=price_1&line_items[0][quantity]=1", ""},
		{"an authorization that is captured", "POST", "/v1/payment_intents/pi_1/capture", "", ""},
		{"an authorization that is canceled", "POST", "/v1/payment_intents/pi_1/cancel", "", ""},
		{"a refund", "POST", "/v1/refunds",
			"amount=350&metadata[app]=notepay&metadata[credit]=cr_1&metadata[number]=1&metadata[project]=app:1" +
				"&payment_intent=pi_1", ""},
		{"the refunds of an intent", "GET", "/v1/refunds?limit=100&payment_intent=pi_1", "", ""},
		{"a page of events", "GET",
			"/v1/events?created[gte]=1795219200&limit=100&starting_after=evt_1" +
				"&types[0]=charge.refunded&types[1]=refund.failed", "", ""},
		{"a page of sessions", "GET",
			"/v1/checkout/sessions?created[gte]=1795219200&expand[0]=data.payment_intent.latest_charge" +
				"&limit=100&starting_after=cs_1&status=complete", "", ""},
		{"a link that only holds the money", "POST", "/v1/payment_links",
			"line_items[0][price]=price_1&line_items[0][quantity]=1&payment_intent_data[capture_method]=manual", ""},
		{"an unknown path", "GET", "/v1/payment_lynx", "", "Unrecognized request URL"},
		{"an unknown parameter", "POST", "/v1/payment_links",
			"line_items[0][price]=price_1&line_items[0][quantity]=1&color=red", "color"},
		{"an unknown query parameter", "GET", "/v1/payment_links?color=red", "", "color"},
		{"a missing parameter", "POST", "/v1/payment_links", "metadata[app]=notepay", "line_items"},
		{"a value that is not in the enumeration", "POST", "/v1/payment_links",
			"line_items[0][price]=price_1&line_items[0][quantity]=1&submit_type=steal", "validator"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got complaints
			ask(t, mock.proxy(&got, answering(http.StatusOK, "{}")), c.method, c.path, formKind, c.body)
			expect(t, got, c.want)
		})
	}
}

func TestNotehubAPIReportsDifferences(t *testing.T) {
	t.Parallel()
	api := newNotehubAPI(t)
	devices, notes := "/v1/projects/"+project+"/devices", "/v1/projects/"+project+"/devices/"+washer+"/notes/payment.qi"
	for _, c := range []struct {
		name, method, path, kind, body string
		status                         int
		answer, want                   string
	}{
		{"a call and an answer as they should be pass", "GET", devices, "", "", 200,
			`{"devices":[],"has_more":false}`, ""},
		{"an unknown path", "GET", "/v2/projects", "", "", 200, "{}", "find the operation"},
		{"an unknown query parameter", "GET", devices + "?color=red", "", "", 200,
			`{"devices":[],"has_more":false}`, "color"},
		{"a query parameter out of bounds", "GET", devices + "?pageSize=20000", "", "", 200,
			`{"devices":[],"has_more":false}`, "pageSize"},
		{"an unknown member of a body", "POST", notes, jsonKind, `{"body":{},"urgent":true}`, 200, "{}", "urgent"},
		{"a body of another kind", "POST", notes, formKind, "body=x", 200, "{}", "Content-Type"},
		{"a token call without a client id", "POST", "/oauth2/token", formKind,
			"grant_type=client_credentials&client_secret=x", 200,
			`{"access_token":"x","token_type":"bearer","expires_in":1800}`, "client_id"},
		{"an answer without what is required", "GET", devices, "", "", 200, `{"devices":[]}`, "has_more"},
		{"an answer with more than is described", "GET", devices, "", "", 200,
			`{"devices":[],"has_more":false,"total":0}`, "total"},
		{"an error in another shape than Notehub's", "GET", devices, "", "", 500, `{"error":"broken"}`, "err"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got complaints
			ask(t, api.proxy(&got, answering(c.status, c.answer)), c.method, c.path, c.kind, c.body)
			expect(t, got, c.want)
		})
	}
}

// expect checks that a complaint contains a text, or that there is none if the text is empty.
func expect(t *testing.T, got complaints, want string) {
	t.Helper()
	all := strings.Join(got, "\n")
	if want == "" && all != "" {
		t.Errorf("got complaint %q; want none", all)
	}
	if !strings.Contains(all, want) || want != "" && all == "" {
		t.Errorf("got complaint %q; want one about %q", all, want)
	}
}

// TestSandboxAnswersAsNotehubDescribes checks the sandbox's replies and errors against Notehub's
// description, including calls that notepay does not make. Most tests read Notehub from the
// sandbox, so it may reply only what Notehub describes.
func TestSandboxAnswersAsNotehubDescribes(t *testing.T) {
	t.Parallel()
	api := newNotehubAPI(t)
	notehub := sandbox.NewNotehub(sandbox.NotehubConfig{
		ClientID:     clientID,
		ClientSecret: clientSecret,
		Token:        accessToken,
		Project:      project,
		MaxPending:   2,
	})
	variables := map[string]string{"stripe_price_id": warm}
	notehub.SetProjectVariables(variables)
	notehub.AddFleet(fleet, "Laundry", variables)
	notehub.AddDevice(sandbox.Device{
		UID:          washer,
		Name:         "Washer 3",
		Fleets:       []string{fleet},
		LastActivity: time.Now(),
		Variables:    variables,
	})
	notehub.AddDevice(sandbox.Device{UID: charger, Disabled: true})
	notehub.AddEvent(washer, "payment_ack.qo", map[string]any{"credit_id": "cr_7k3m9q2xh4abcdef", "state": "started"})
	notehub.AddEvent(washer, "payment_ack.qo", map[string]any{"credit_id": "cr_7k3m9q2xh4abcdef", "state": "done"})
	checked := api.proxy(t, notehub)
	all, device := "/v1/projects/"+project, "/v1/projects/"+project+"/devices/"+washer
	note := `{"body":{"credit_id":"cr_7k3m9q2xh4abcdef"}}`
	token := "grant_type=client_credentials&client_id=" + clientID + "&client_secret="
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
	}{
		{"POST", "/oauth2/token", formKind, token + clientSecret, 200},
		{"POST", "/oauth2/token", formKind, token + "wrong", 401},
		{"GET", all, "", "", 200},
		{"GET", all + "/environment_variables", "", "", 200},
		{"GET", all + "/devices?pageSize=1&pageNum=1", "", "", 200},
		{"GET", all + "/devices?deviceUID=" + washer + "&deviceUID=" + charger + "&fleetUID=" + fleet +
			"&serialNumber=Washer+3", "", "", 200},
		{"GET", all + "/fleets", "", "", 200},
		{"GET", all + "/fleets/" + fleet + "/devices", "", "", 200},
		{"GET", all + "/fleets/" + fleet + "/environment_variables", "", "", 200},
		{"GET", device, "", "", 200},
		{"GET", all + "/devices/" + charger, "", "", 200},
		{"GET", all + "/devices/dev:0", "", "", 404},
		{"GET", device + "/environment_variables", "", "", 200},
		{"POST", device + "/notes/payment.qi", jsonKind, note, 200},
		{"POST", device + "/notes/payment.qi", jsonKind, note, 200},
		{"POST", device + "/notes/payment.qi", jsonKind, note, 400}, // two notes are pending
		{"GET", device + "/notes/payment.qi", "", "", 200},
		{"GET", device + "/notes/payment.qi?max=1", "", "", 200},
		{"GET", device + "/files?pending=true&files=payment.qi", "", "", 200},
		{"DELETE", device + "/notes/payment.qi/1:1", "", "", 404},
		{"GET", device + "/public-key", "", "", 200},
		{"GET", all + "/devices/public-keys?pageSize=10&pageNum=1", "", "", 200},
		{"DELETE", device + "/files", jsonKind, `{"files":["payment.qi"]}`, 200},
		{"POST", device + "/signal", jsonKind, `{"body":{"look":"now"}}`, 200},
		{"GET", all + "/events-cursor?files=payment_ack.qo&limit=1&sortOrder=asc", "", "", 200},
		{"GET", all + "/events-cursor?files=payment_ack.qo&deviceUID=" + washer, "", "", 200},
		{"GET", "/v1/projects/app:other/devices", "", "", 404},
	} {
		if answer := ask(t, checked, c.method, c.path, c.kind, c.body); answer.Code != c.status {
			t.Errorf("%s %s answered %d %s; want %d", c.method, c.path, answer.Code, answer.Body, c.status)
		}
	}
	ask(t, checked, "POST", device+"/notes/payment.qi", jsonKind, note)
	id := notehub.Pending(washer, "payment.qi")[0].ID
	if answer := ask(t, checked, "DELETE", device+"/notes/payment.qi/"+id, "", ""); answer.Code != http.StatusOK {
		t.Errorf("recalling a note answered %d %s; want 200", answer.Code, answer.Body)
	}
	api.report(t, "Notehub's description, called by the test", []string{
		"AddQiNote", "DeleteNote", "DeleteNotefiles", "GetDevice", "GetDeviceEnvironmentVariables",
		"GetDevicePublicKey", "GetDevicePublicKeys", "GetDevices",
		"GetEventsByCursor",
		"GetFleetDevices", "GetFleetEnvironmentVariables", "GetFleets", "GetNotefile", "GetProject",
		"GetProjectEnvironmentVariables",
		"ListNotefiles", "OAuth2ClientCredentials", "SignalDevice",
	})
}
