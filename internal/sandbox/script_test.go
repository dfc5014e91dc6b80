package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reports collects what a sandbox reports, for tests that send malformed requests on purpose.
type reports struct {
	mu   sync.Mutex
	said []string
}

func (r *reports) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *reports) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.said)
}

const (
	project  = "app:11111111-2222-3333-4444-555555555555"
	machine1 = "dev:864475044215258"
	postNote = "POST /v1/projects/{project}/devices/{device}/notes/{file}"
)

func newHub(report Reporter) *Notehub {
	n := NewNotehub(NotehubConfig{Token: "pat", Project: project, ClientID: "client",
		ClientSecret: "secret", Report: report})
	n.AddDevice(Device{UID: machine1, Name: "Washer 1"})
	return n
}

// sendNote posts a note for machine1 and returns the status, or the transport's error.
func sendNote(ctx context.Context, client *http.Client, base, credit string) (int, string, error) {
	body := fmt.Sprintf(`{"body":{"payment_status":"completed","timestamp":1640995200,"session_id":"cs_1",`+
		`"credit_id":%q}}`, credit)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost,
		base+"/v1/projects/"+project+"/devices/"+machine1+"/notes/payment.qi", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", "Bearer pat")
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func TestOutcomeSeparatesEffectAndResponse(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name    string
		outcome Outcome
		status  int // 0: the connection breaks
		notes   int
		text    string
	}{
		{"nothing happens and the connection dies", Outcome{}, 0, 0, ""},
		{"the note is queued and the connection dies", Outcome{Applied: true}, 0, 1, ""},
		{"nothing happens and a 500 is seen", Outcome{Status: 500}, 500, 0, `"code":500`},
		{"the note is queued and a 503 is seen", Outcome{Applied: true, Status: 503}, 503, 1, `"code":503`},
		{"the note is queued and the normal reply is seen", Outcome{Applied: true, Status: 200}, 200, 1, "{}"},
		{"nothing happens and a lie is seen", Outcome{Status: 200}, 200, 0, "{}"},
		{"a proxy answers with a page", Outcome{Status: 502, Body: "<html>bad gateway</html>"}, 502, 0, "<html>"},
		{"a limit is met", Outcome{Status: 429, Header: http.Header{"retry-after": {"7"}}}, 429, 0, `"code":429`},
	}
	for _, transport := range []string{"in process", "over a socket"} {
		for _, row := range rows {
			t.Run(transport+" "+row.name, func(t *testing.T) {
				t.Parallel()
				n := newHub(t)
				client, base := &http.Client{Transport: InProcess(n)}, "http://hub.example"
				if transport == "over a socket" {
					server := httptest.NewServer(n)
					t.Cleanup(server.Close)
					client, base = server.Client(), server.URL
				}
				n.Next(postNote, row.outcome)
				status, text, err := sendNote(t.Context(), client, base, "cr_1")
				if status != row.status || (err != nil) != (row.status == 0) {
					t.Errorf("got status %d and error %v; want status %d", status, err, row.status)
				}
				if !strings.Contains(text, row.text) {
					t.Errorf("got body %q; want it to contain %q", text, row.text)
				}
				if got := len(n.Notes("")); got != row.notes {
					t.Errorf("got %d notes; want %d", got, row.notes)
				}
				seen := n.Requests(postNote)
				if len(seen) != 1 || seen[0].Status != row.status || seen[0].Applied != (row.notes == 1) {
					t.Errorf("got %+v; want one request with status %d, applied %t", seen, row.status, row.notes == 1)
				}
				if status, _, err := sendNote(t.Context(), client, base, "cr_2"); status != http.StatusOK ||
					err != nil {
					t.Errorf("afterwards got status %d and error %v; want 200", status, err)
				}
			})
		}
	}
}

func TestNextTakesPrecedenceOverAlways(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	client := &http.Client{Transport: InProcess(n)}
	n.Next("POST /{everything...}", Outcome{Status: 501})
	n.Next(postNote, Outcome{Status: 502}, Outcome{Status: 503})
	n.Always("{method} /v1/{everything...}", Outcome{Status: 504})
	n.Always("GET /elsewhere", Outcome{Status: 505})
	var got []int
	for i := range 6 {
		if i == 5 {
			n.Clear("{method} /v1/{everything...}")
		}
		status, _, err := sendNote(t.Context(), client, "http://hub.example", "cr_1")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, status)
	}
	if want := []int{502, 503, 501, 504, 504, 200}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if got := n.Count("POST /v1/{everything...}"); got != 6 {
		t.Errorf("got %d requests counted; want 6", got)
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, pattern, method, path string
		want                        bool
	}{
		{"the same", "GET /v1/prices", "GET", "/v1/prices", true},
		{"another method", "GET /v1/prices", "POST", "/v1/prices", false},
		{"any method", "{any} /v1/prices", "POST", "/v1/prices", true},
		{"a placeholder", "GET /v1/prices/{id}", "GET", "/v1/prices/price_1", true},
		{"a placeholder is not empty", "GET /v1/prices/{id}", "GET", "/v1/prices/", false},
		{"too short", "GET /v1/prices/{id}", "GET", "/v1/prices", false},
		{"too long", "GET /v1/prices/{id}", "GET", "/v1/prices/a/b", false},
		{"an escaped segment", "GET /d/dev:1/x", "GET", "/d/dev%3A1/x", true},
		{"an escaped slash stays in its segment", "GET /d/{id}", "GET", "/d/a%2Fb", true},
		{"all that follows", "GET /v1/{rest...}", "GET", "/v1/a/b/c", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if got := matches(row.pattern, row.method, row.path); got != row.want {
				t.Errorf("got %t; want %t", got, row.want)
			}
		})
	}
	defer func() {
		if recover() == nil {
			t.Error("a malformed pattern was accepted; want a panic")
		}
	}()
	new(Script).Next("/v1/prices", Outcome{})
}

func TestDelayEffectAfterTheCallerGaveUp(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		outcome       Outcome
		whenGivenUp   int // notes when the caller gives up after 10 s
		halfAnHourOn  int
		handlerLasted time.Duration
	}{
		{"the effect comes first", Outcome{Applied: true, Status: 200, Delay: time.Minute}, 1, 1, 10 * time.Second},
		{"the effect comes late", Outcome{Applied: true, Status: 200, Delay: time.Minute, DelayEffect: true}, 0, 1,
			time.Minute},
		{"there is no effect", Outcome{Status: 500, Delay: time.Minute}, 0, 0, 10 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newHub(t)
				took := make(chan time.Duration, 1)
				n.Watch(func(e Exchange) { took <- e.Took })
				n.Next(postNote, row.outcome)
				client := &http.Client{Transport: InProcess(n), Timeout: 10 * time.Second}
				began := time.Now()
				_, _, err := sendNote(t.Context(), client, "http://hub.example", "cr_1")
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
					t.Errorf("got %v after %v; want a deadline after 10 s", err, time.Since(began))
				}
				if got := len(n.Notes("")); got != row.whenGivenUp {
					t.Errorf("got %d notes when the caller gave up; want %d", got, row.whenGivenUp)
				}
				time.Sleep(30 * time.Minute) // fake time
				if got := len(n.Notes("")); got != row.halfAnHourOn {
					t.Errorf("got %d notes in the end; want %d", got, row.halfAnHourOn)
				}
				if got := <-took; got != row.handlerLasted {
					t.Errorf("the request was in hand for %v; want %v", got, row.handlerLasted)
				}
			})
		})
	}
}

func TestScriptRedactsSecrets(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	var text strings.Builder
	n.Watch(func(e Exchange) { fmt.Fprintf(&text, "%+v %s %s\n", e, e.Body, e.ResponseBody) })
	client := &http.Client{Transport: InProcess(n)}
	answer, err := client.Post("http://hub.example/oauth2/token", "application/x-www-form-urlencoded",
		strings.NewReader("grant_type=client_credentials&client_id=client&client_secret=secret"))
	if err != nil {
		t.Fatal(err)
	}
	given, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("got status %d and error %v; want a token", answer.StatusCode, err)
	}
	if _, _, err := sendNote(t.Context(), client, "http://hub.example", "cr_1"); err != nil {
		t.Fatal(err)
	}
	for _, r := range n.Requests("{any} /{all...}") {
		fmt.Fprintf(&text, "%+v %s\n", r, r.Body)
	}
	token := strings.Split(string(given), `"`)[3]
	for _, secret := range []string{"client_secret=secret", token, "Bearer pat"} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("%q was remembered; want it redacted", secret)
		}
	}
	if !strings.Contains(text.String(), redacted) {
		t.Errorf("got %q; want it to say %s", text.String(), redacted)
	}
}

func TestScriptMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var s Script
	for range 3 * recordedRequests {
		s.record(&Request{Method: "GET", Path: "/"})
	}
	if got := s.Count("GET /"); got < recordedRequests || got > 2*recordedRequests {
		t.Errorf("got %d requests remembered; want about %d", got, recordedRequests)
	}
	if got := remembered(make([]byte, recordedBody+1)); got != nil {
		t.Errorf("got a body of %d bytes remembered; want none", len(got))
	}
}
