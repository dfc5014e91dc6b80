package notehub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

// testHub is a simulated Notehub with the client under test.
type testHub struct {
	*sandbox.Notehub
	client *Client
}

// testConfig returns the settings of a client that signs in with a personal token.
func testConfig(base string) Config {
	return Config{
		APIURL:    base,
		Project:   fixture.Project,
		Token:     fixture.HubToken,
		Transport: upstream.NewTransport(8 << 20),
		Timeout:   payment.CallTimeout,
		UserAgent: "notepay/" + fixture.TestVersion,
	}
}

// newTestHub is for tests within a bubble of time: there is no socket. The client signs in with a
// personal token, unless change says else.
func newTestHub(t *testing.T, change func(*Config, *sandbox.NotehubConfig)) *testHub {
	t.Helper()
	s := testConfig("http://notehub.test")
	c := sandbox.NotehubConfig{
		Project:      fixture.Project,
		Token:        fixture.HubToken,
		ClientID:     "client",
		ClientSecret: fixture.HubSecret,
		Report:       t,
	}
	if change != nil {
		change(&s, &c)
	}
	h := &testHub{Notehub: sandbox.NewNotehub(c)}
	s.Transport = sandbox.InProcess(h)
	h.client = New(s)
	h.AddDevice(sandbox.Device{UID: fixture.Washer, Name: "Washer 3"})
	return h
}

// withOAuth makes the client sign in with OAuth client credentials.
func withOAuth(s *Config, _ *sandbox.NotehubConfig) {
	credentials := clientcredentials.Config{
		ClientID:     "client",
		ClientSecret: fixture.HubSecret,
		TokenURL:     s.APIURL + "/oauth2/token",
		AuthStyle:    oauth2.AuthStyleInParams,
	}
	s.Token, s.FetchToken = "", credentials.Token
}

func (h *testHub) post() error {
	return h.client.PostNote(
		context.Background(),
		fixture.Washer,
		payment.Note{PaymentStatus: "completed", SessionID: "cs_1", CreditID: "cr_1"},
	)
}

func (h *testHub) ask() error {
	_, err := h.client.Device(context.Background(), fixture.Washer)
	return err
}

func TestWhatAnAnswerToANoteMeans(t *testing.T) {
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

func TestAFullQueueIsTriedAgainAndAnUnknownDeviceIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(_ *Config, c *sandbox.NotehubConfig) { c.MaxPending = 1 })
		fixture.Meant(t, "first note", h.post(), upstream.OK)
		fixture.Meant(t, "second note", h.post(), upstream.Retryable)
		fixture.Meant(t, "unknown device", h.client.PostNote(t.Context(), "dev:1", payment.Note{}), upstream.Rejected)
	})
}

func TestANoteIsPostedAsTheContractSays(t *testing.T) {
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
		fixture.Meant(t, "note", h.client.PostNote(t.Context(), fixture.Washer, note), upstream.OK)
		seen := h.Requests(fixture.PostNote)[0]
		want := `{"body":{"payment_status":"completed","timestamp":1640995200,"session_id":"cs_test_1","credit_id":"cr_1","expires":1640995800,"duration_s":3600,"delayed_start_s":300}}`
		if got := string(seen.Body); got != want {
			t.Errorf("body %s; want %s", got, want)
		}
		if !strings.HasSuffix(seen.Path, "/devices/"+fixture.Washer+"/notes/payment.qi") ||
			!strings.HasPrefix(seen.Header.Get("User-Agent"), "notepay/") {
			t.Errorf("posted to %s as %q", seen.Path, seen.Header.Get("User-Agent"))
		}
	})
}

func TestASlowCallIsUnclearAfterItsTimeLimit(t *testing.T) {
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
				time.Sleep(time.Minute) // of the bubble: what is applied late is applied
				if n := len(h.Notes(fixture.Washer)); (n == 1) != answer.Applied {
					t.Errorf("%d notes; applied is %v", n, answer.Applied)
				}
			})
		})
	}
}

func TestWhenNoConnectionIsMadeNothingWasDone(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	n := New(testConfig(gone.URL))
	fixture.Meant(t, "note", n.PostNote(t.Context(), fixture.Washer, payment.Note{}), upstream.Retryable)
	_, err := n.Device(t.Context(), fixture.Washer)
	fixture.Meant(t, "device", err, upstream.Retryable)
}

func TestAReplyThatEndsHalfway(t *testing.T) {
	t.Parallel()
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"uid":"dev:1","notes":{`))
	}))
	t.Cleanup(half.Close)
	n := New(testConfig(half.URL))
	fixture.Meant(t, "note", n.PostNote(t.Context(), fixture.Washer, payment.Note{}), upstream.Unknown)
	_, err := n.Device(t.Context(), fixture.Washer)
	fixture.Meant(t, "device", err, upstream.Unknown)
	_, err = n.PendingNotes(t.Context(), fixture.Washer)
	fixture.Meant(t, "pending", err, upstream.Unknown)
	_, err = n.Devices(t.Context())
	fixture.Meant(t, "devices", err, upstream.Unknown)
}

func TestAReadThatIsNotWhatItShouldBeIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"a proxy's page": fixture.ProxyPage, "half of it": `{"uid":"dev:`, "a list": `[]`, "a number for a name": `{"uid":1}`} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHub(t, nil)
			h.Next(fixture.HubDevice, sandbox.Outcome{Status: 200, Body: body})
			fixture.Meant(t, name, h.ask(), upstream.Retryable)
		})
	}
}

func TestARedirectIsNotFollowedWithTheToken(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s was followed", r.Method, r.URL)
	}))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		lead := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		t.Cleanup(lead.Close)
		n := New(testConfig(lead.URL))
		fixture.Meant(
			t,
			fmt.Sprint("note ", status),
			n.PostNote(t.Context(), fixture.Washer, payment.Note{}),
			upstream.Misconfigured,
		)
		_, err := n.Device(t.Context(), fixture.Washer)
		fixture.Meant(t, fmt.Sprint("device ", status), err, upstream.Misconfigured)
		s := testConfig(lead.URL)
		withOAuth(&s, nil)
		err = New(s).PostNote(t.Context(), fixture.Washer, payment.Note{})
		fixture.Meant(t, fmt.Sprint("token ", status), err, upstream.Retryable)
	}
}

func TestDevicesAreReadPageByPage(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 1, devicesPerPage - 1, devicesPerPage, devicesPerPage + 1, 2 * devicesPerPage} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.RemoveDevice(fixture.Washer)
				for i := range count {
					h.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%06d", i)})
				}
				devices, err := h.client.Devices(t.Context())
				fixture.Meant(t, "devices", err, upstream.OK)
				if len(devices) != count {
					t.Errorf("%d devices; want %d", len(devices), count)
				}
				want := max(1, (count+devicesPerPage-1)/devicesPerPage)
				if n := h.Count(fixture.HubList); n != want {
					t.Errorf("%d calls; want %d", n, want)
				}
			})
		})
	}
}

func TestAListingThatIsNotCompleteIsAnError(t *testing.T) {
	t.Parallel()
	const first = `{"devices":[{"uid":"dev:1"},{"uid":"dev:2"}],"has_more":true}`
	yes := func(body string) sandbox.Outcome { return sandbox.Outcome{Status: 200, Body: body} }
	rows := []struct {
		name  string
		pages []sandbox.Outcome
		read  int
		want  upstream.Outcome
	}{
		{"the second page fails", []sandbox.Outcome{yes(first), {Status: 500}}, 2, upstream.Unknown},
		{"the second page is held back", []sandbox.Outcome{yes(first), {Status: 429}}, 2, upstream.RateLimited},
		{"the first page fails", []sandbox.Outcome{{Status: 403}}, 0, upstream.Misconfigured},
		{"no has_more", []sandbox.Outcome{yes(`{"devices":[{"uid":"dev:1"}]}`)}, 1, upstream.Retryable},
		{
			"has_more is null",
			[]sandbox.Outcome{yes(`{"devices":[{"uid":"dev:1"}],"has_more":null}`)},
			1,
			upstream.Retryable,
		},
		{"another service's answer", []sandbox.Outcome{yes(`{}`)}, 0, upstream.Retryable},
		{"null", []sandbox.Outcome{yes(`null`)}, 0, upstream.Retryable},
		{
			"an empty page that is not the last",
			[]sandbox.Outcome{yes(first), yes(`{"devices":[],"has_more":true}`)},
			2,
			upstream.Retryable,
		},
		{"the same page for ever", []sandbox.Outcome{yes(first), yes(first)}, 2, upstream.Retryable},
		{
			"two pages that overlap",
			[]sandbox.Outcome{
				yes(first),
				yes(`{"devices":[{"uid":"dev:2"},{"uid":"dev:3"},{"uid":""}],"has_more":false}`),
			},
			3,
			upstream.OK,
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newTestHub(t, nil)
				h.Next(fixture.HubList, row.pages...)
				devices, err := h.client.Devices(t.Context())
				fixture.Meant(t, "devices", err, row.want)
				if len(devices) != row.read {
					t.Errorf("%d devices; want the %d that were read", len(devices), row.read)
				}
			})
		})
	}
}

func TestWhatIsReadOfADevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, func(s *Config, _ *sandbox.NotehubConfig) { s.Fleet = "fleet:1" })
		h.AddFleet("fleet:1", "Laundry", nil)
		h.AddFleet("fleet:2", "Elsewhere", nil)
		seen := time.Now().Add(-time.Hour).UTC()
		h.AddDevice(
			sandbox.Device{
				UID:          fixture.Washer,
				Name:         "Washer 3",
				Fleets:       []string{"fleet:1", "fleet:2"},
				LastActivity: seen,
			},
		)
		h.AddDevice(sandbox.Device{UID: "dev:2", Fleets: []string{"fleet:1"}, Disabled: true})
		h.AddDevice(sandbox.Device{UID: "dev:3", Fleets: []string{"fleet:2"}})
		devices, err := h.client.Devices(t.Context())
		fixture.Meant(t, "devices", err, upstream.OK)
		if len(devices) != 2 || devices[0].UID != fixture.Washer || devices[1].UID != "dev:2" {
			t.Fatalf("%+v; want the two of the fleet", devices)
		}
		if d := devices[0]; d.Name != "Washer 3" || !d.LastActivity.Equal(seen) || d.Disabled ||
			!slices.Equal(d.Fleets, []string{"fleet:1", "fleet:2"}) {
			t.Errorf("%+v; want name, fleets and last activity", d)
		}
		if d := devices[1]; !d.Disabled || !d.LastActivity.IsZero() || d.Name != "" {
			t.Errorf("%+v; want a disabled device that was never seen", d)
		}
		d, err := h.client.Device(t.Context(), fixture.Washer)
		fixture.Meant(t, "device", err, upstream.OK)
		if d.UID != fixture.Washer || d.Name != "Washer 3" {
			t.Errorf("%+v; want Washer 3", d)
		}
		_, err = h.client.Device(t.Context(), "dev:3")
		fixture.Meant(t, "device of another fleet", err, upstream.Rejected)
		_, err = h.client.Device(t.Context(), "dev:4")
		fixture.Meant(t, "unknown device", err, upstream.Rejected)
		h.Next(fixture.HubDevice, sandbox.Outcome{Status: 200, Body: `{"uid":"dev:9","fleet_uids":["fleet:1"]}`})
		_, err = h.client.Device(t.Context(), fixture.Washer)
		fixture.Meant(t, "another device than was asked for", err, upstream.Rejected)
	})
}

func TestOnlyNotehubsOwnWordsEndAnUnclearCall(t *testing.T) {
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
