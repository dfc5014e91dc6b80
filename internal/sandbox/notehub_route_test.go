package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// listener is the URL of a route. It remembers the credit of each event, and answers with a list of
// statuses, then with 200.
type listener struct {
	mu       sync.Mutex
	statuses []int
	got      []string
	bodies   []string
	tokens   []string
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	var event struct {
		Body struct {
			Credit string `json:"credit_id"`
		}
	}
	_ = json.Unmarshal(body, &event)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got, l.bodies = append(l.got, event.Body.Credit), append(l.bodies, string(body))
	l.tokens = append(l.tokens, r.Header.Get("Authorization"))
	if len(l.statuses) == 0 {
		return
	}
	status := l.statuses[0]
	l.statuses = l.statuses[1:]
	switch {
	case status == 0:
		panic(http.ErrAbortHandler)
	case status/100 == 3:
		w.Header().Set("Location", "http://elsewhere.example/")
	}
	w.WriteHeader(status)
}

func (l *listener) credits() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.got, " ")
}

// routed returns a project whose route posts to a listener with these statuses.
func routed(t *testing.T, delays []time.Duration, statuses ...int) (*Notehub, *listener) {
	t.Helper()
	l := &listener{statuses: statuses}
	n := NewNotehub(NotehubConfig{
		Token:       "pat",
		Project:     project,
		Report:      t,
		Client:      &http.Client{Transport: InProcess(l)},
		RouteDelays: delays,
	})
	t.Cleanup(n.Close)
	n.AddDevice(Device{UID: machine1, Name: "Washer 1"})
	n.SetRoute("http://bridge.example/webhook/notehub", "route-token")
	return n, l
}

func confirmed(n *Notehub, credit string) (eventID string) {
	return n.AddEvent(machine1, confirmationFile, map[string]any{"credit_id": credit, "state": "started", "code": ""})
}

func TestRoutePostsTheListedEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, l := routed(t, nil)
		n.AddEvent(machine1, "_health.qo", nil)
		id := confirmed(n, "cr_1")
		synctest.Wait()
		if l.credits() != "cr_1" || l.tokens[0] != "Bearer route-token" {
			t.Fatalf("got events of %q with %q; want one of cr_1 with the token", l.credits(), l.tokens)
		}
		_, answer := hubCall(t, n, "GET", "/events-cursor?files=payment_ack.qo", "")
		events, _ := answer["events"].([]any)
		var pushed any
		if err := json.Unmarshal([]byte(l.bodies[0]), &pushed); err != nil || len(events) != 1 ||
			fmt.Sprint(pushed) != fmt.Sprint(events[0]) {
			t.Errorf("got %s through the route and %v by the cursor (%v); want the same", l.bodies[0], events, err)
		}
		if tries := n.Routed(id); len(tries) != 1 || tries[0].Status != 200 || !n.Settled() {
			t.Errorf("got tries %v, settled %t; want one, settled", tries, n.Settled())
		}
		n.SetRoute("", "")
		confirmed(n, "cr_2")
		synctest.Wait()
		if l.credits() != "cr_1" {
			t.Errorf("got %q after the route was removed; want nothing more", l.credits())
		}
	})
}

func TestRouteRetries(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		delays   []time.Duration
		statuses []int
		tries    string // seconds after the event, with the status
	}{
		{"a server error three times", nil, []int{503, 500, 502}, "0:503 30:500 120:502 360:200"},
		{"a permanent server error", nil, []int{503, 503, 503, 503, 200}, "0:503 30:503 120:503 360:503"},
		{"a cut", nil, []int{0}, "0:0 30:200"},
		{"a refusal is final", nil, []int{401}, "0:401"},
		{"a redirect is not followed", nil, []int{307}, "0:307"},
		{"delays of its own", []time.Duration{time.Second}, []int{500, 500}, "0:500 1:500"},
		{"retries off", []time.Duration{}, []int{500}, "0:500"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, _ := routed(t, row.delays, row.statuses...)
				began := time.Now()
				id := confirmed(n, "cr_1")
				time.Sleep(time.Hour)
				var tries []string
				for _, try := range n.Routed(id) {
					tries = append(tries, fmt.Sprintf("%.0f:%d", try.At.Sub(began).Seconds(), try.Status))
				}
				if got := strings.Join(tries, " "); got != row.tries || !n.Settled() {
					t.Errorf("got tries %q, settled %t; want %q", got, n.Settled(), row.tries)
				}
			})
		})
	}
}

func TestRouteLosesDoublesAndDelaysEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, l := routed(t, nil)
		for i, d := range []Delivery{{Lost: true}, {Late: time.Minute}, {Doubled: true}, {}} {
			n.SetDelivery(d)
			confirmed(n, fmt.Sprint("cr_", i))
			synctest.Wait()
		}
		if n.Settled() {
			t.Error("settled while an event is on its way")
		}
		time.Sleep(time.Hour)
		if got, want := l.credits(), "cr_2 cr_2 cr_3 cr_1"; got != want {
			t.Errorf("got %q; want %q", got, want)
		}
		if _, answer := hubCall(t, n, "GET", "/events-cursor", ""); len(answer["events"].([]any)) != 4 {
			t.Errorf("got %v by the cursor; want all four", answer)
		}
	})
}

func TestRouteDoesNotDoubleARejectedEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, l := routed(t, nil, 401)
		n.SetDelivery(Delivery{Doubled: true})
		confirmed(n, "cr_1")
		time.Sleep(time.Hour)
		if l.credits() != "cr_1" {
			t.Errorf("got %q; want one try", l.credits())
		}
	})
}

func TestNotehubCloseEndsDeliveries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, l := routed(t, nil)
		n.SetDelivery(Delivery{Late: time.Hour})
		confirmed(n, "cr_1")
		n.Close()
		confirmed(n, "cr_2")
		time.Sleep(24 * time.Hour)
		if l.credits() != "" || !n.Settled() {
			t.Errorf("got %q, settled %t; want nothing", l.credits(), n.Settled())
		}
	})
}

func TestAddEventOfADisabledDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, l := routed(t, nil)
		n.SetDevice(machine1, func(d *Device) { d.Disabled = true })
		if id := confirmed(n, "cr_1"); id != "" {
			t.Errorf("got event %s of a disabled device; want none", id)
		}
		synctest.Wait()
		if _, answer := hubCall(t, n, "GET", "/events-cursor", ""); l.credits() != "" ||
			len(answer["events"].([]any)) != 0 {
			t.Errorf("got %q and %v; want nothing", l.credits(), answer)
		}
	})
}

func TestListEventsNewestFirst(t *testing.T) {
	t.Parallel()
	n := newHub(t)
	ids := []string{confirmed(n, "cr_1"), confirmed(n, "cr_2"), confirmed(n, "cr_3")}
	for query, want := range map[string]string{
		"sortOrder=desc&limit=1":          ids[2],
		"sortOrder=desc&cursor=" + ids[1]: ids[1] + " " + ids[0],
	} {
		_, answer := hubCall(t, n, "GET", "/events-cursor?"+query, "")
		var got []string
		for _, e := range answer["events"].([]any) {
			got = append(got, fmt.Sprint(e.(map[string]any)["event"]))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v; want %s", query, got, want)
		}
	}
}

func TestRaceNextDelete(t *testing.T) {
	t.Parallel()
	for _, found := range []bool{true, false} {
		n := newHub(t)
		path := "/devices/" + machine1 + "/notes/payment.qi"
		hubCall(t, n, "POST", path, `{"body":{"payment_status":"completed","credit_id":"cr_1"}}`)
		n.RaceNextDelete(machine1, found)
		remove := path + "/" + n.Pending(machine1, creditFile)[0].ID
		want := map[bool]int{true: 200, false: 404}[found]
		if status, answer := hubCall(t, n, "DELETE", remove, ""); status != want {
			t.Errorf("found %t: got %d %v; want %d", found, status, answer, want)
		}
		if note := n.Notes(machine1)[0]; !note.Fetched || note.Deleted != found {
			t.Errorf("found %t: got %+v; want it fetched", found, note)
		}
		if got := n.Pending(machine1, creditFile); len(got) != 0 {
			t.Errorf("found %t: got %+v pending; want none", found, got)
		}
		m := NewMachine(n, MachineConfig{Device: machine1})
		m.Step()
		m.Step()
		if got := m.Starts(); len(got) != 1 || got[0].CreditID != "cr_1" {
			t.Errorf("found %t: got starts %+v; want one, for the machine has the note", found, got)
		}
		if status, _ := hubCall(t, n, "DELETE", remove, ""); status != 404 {
			t.Errorf("found %t: deleting again answered %d; want 404, for there was one race", found, status)
		}
	}
}

// The file of the answers is a setting of the service, so a route has its own files.
func TestRouteOfAnotherNotefile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, l := routed(t, nil)
		say := func(file, credit string) {
			n.AddEvent(machine1, file, map[string]any{"credit_id": credit, "state": "started", "code": ""})
			synctest.Wait()
		}
		n.SetRoute("http://bridge.example/webhook/notehub", "route-token", "washers_ack.qos", "washers_ack.qo")
		say("washers_ack.qos", "cr_1")
		say("payment_ack.qo", "cr_2")
		say("washers_ack.qo", "cr_3")
		if l.credits() != "cr_1 cr_3" || len(n.Answers(machine1)) != 2 {
			t.Errorf("routed %q, %d answers; want cr_1 cr_3, 2", l.credits(), len(n.Answers(machine1)))
		}
		n.SetRoute("", "")
		made := `{"label":"a","http":{"url":"http://bridge.example/webhook/notehub",` +
			`"http_headers":{"Authorization":"Bearer route-token"},"filter":{"type":"include","files":["%s"]}}}`
		if status, _ := hubCall(t, n, "POST", "/routes", fmt.Sprintf(made, "washers_ack.qos")); status != 201 {
			t.Fatalf("the route was answered %d; want 201", status)
		}
		say("washers_ack.qos", "cr_4")
		say("payment_ack.qo", "cr_5")
		if l.credits() != "cr_1 cr_3 cr_4" {
			t.Errorf("routed %q; want cr_1 cr_3 cr_4", l.credits())
		}
		_, got := hubCall(t, n, "GET", "/routes/"+routeUID, "")
		text := fmt.Sprint(got)
		if !strings.Contains(text, "washers_ack.qos") || strings.Contains(text, "payment_ack.qo") {
			t.Errorf("the route is %v; want its own notefile", got)
		}
	})
}
