package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// inbox is a webhook endpoint. It remembers the events it received, and answers with a list of
// statuses, then with 200.
type inbox struct {
	mu       sync.Mutex
	statuses []int
	types    []string
	bodies   [][]byte
	headers  []string
	times    []time.Time
}

func (i *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	var event struct{ Type string }
	_ = json.Unmarshal(body, &event)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.types, i.bodies = append(i.types, event.Type), append(i.bodies, body)
	i.headers, i.times = append(i.headers, r.Header.Get("Stripe-Signature")), append(i.times, time.Now())
	if len(i.statuses) > 0 {
		status := i.statuses[0]
		i.statuses = i.statuses[1:]
		if status/100 == 3 {
			w.Header().Set("Location", "http://elsewhere.example/")
		}
		w.WriteHeader(status)
	}
}

func (i *inbox) seen() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.types)
}

// verify checks a Stripe-Signature header as Stripe's documentation describes, without the code
// under test.
func verify(t *testing.T, header string, body []byte, secret string) (at string, valid bool) {
	t.Helper()
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(part, "=")
		if name == "t" {
			at = value
		}
		if name != "v1" {
			continue
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(at))
		mac.Write([]byte("."))
		mac.Write(body)
		given, err := hex.DecodeString(value)
		if err != nil {
			t.Errorf("got signature %q: %v", value, err)
		}
		valid = valid || hmac.Equal(given, mac.Sum(nil))
	}
	return at, valid
}

func TestWebhooksAreSignedWithEverySecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, got, link := payable(t, StripeConfig{})
		s.SetEndpoint("http://bridge.example/webhook/stripe", "whsec_old", "whsec_new")
		if _, err := s.Pay(link.ID, PayOptions{EventsFirst: "only-session"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for secret, want := range map[string]bool{"whsec_old": true, "whsec_new": true, "whsec_other": false} {
			at, valid := verify(t, got.headers[0], got.bodies[0], secret)
			if valid != want || at != fmt.Sprint(time.Now().Unix()) {
				t.Errorf("%s: got valid %t at %s; want %t now", secret, valid, at, want)
			}
		}
		if _, valid := verify(t, got.headers[0], append([]byte(" "), got.bodies[0]...), "whsec_old"); valid {
			t.Error("another body has the same signature")
		}
		if _, valid := verify(t, s.Sign([]byte("x"), "whsec_a", time.Unix(1, 0)), []byte("x"), "whsec_a"); !valid {
			t.Error("Sign made a header that does not verify")
		}
		var event object
		if err := json.Unmarshal(got.bodies[0], &event); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			"object":                          "event",
			"api_version":                     "2026-08-26.dahlia",
			"livemode":                        "false",
			"data.object.metadata.device_uid": machine1,
		} {
			if got := at(event, path); got != want {
				t.Errorf("%s: got %s; want %s", path, got, want)
			}
		}
	})
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	seconds := func(n ...int) string { return fmt.Sprint(n) }
	for _, row := range []struct {
		name     string
		delays   []time.Duration
		delivery Delivery
		statuses []int
		after    string // seconds after the payment of each attempt
		acked    bool
		settled  bool
	}{
		{"accepted at once", nil, Delivery{}, nil, seconds(0), true, true},
		{"retried until accepted", nil, Delivery{}, []int{500, 503, 404, 200}, seconds(0, 1, 3, 8), true, true},
		{"a redirect is a failure and not followed", nil, Delivery{}, []int{301, 308}, seconds(0, 1, 3), true, true},
		{"given up after its delays", []time.Duration{time.Second}, Delivery{}, []int{500, 500, 500},
			seconds(0, 1), false, true},
		{"a redirect is not an acceptance", []time.Duration{}, Delivery{}, []int{308}, seconds(0), false, true},
		{"no retries at all", []time.Duration{}, Delivery{}, []int{500}, seconds(0), false, true},
		{"still tried after five minutes", nil, Delivery{}, slices.Repeat([]int{500}, 50),
			seconds(0, 1, 3, 8, 18, 48, 108, 168, 228, 288), false, false},
		{"lost", nil, Delivery{Lost: true}, nil, seconds(), false, true},
		{"late", nil, Delivery{Late: 90 * time.Second}, nil, seconds(90), true, true},
		{"doubled", nil, Delivery{Doubled: true}, []int{500}, seconds(0, 1, 1), true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, got, link := payable(t, StripeConfig{RetryDelays: row.delays})
				got.statuses = row.statuses
				s.SetDelivery(row.delivery)
				began := time.Now()
				if _, err := s.Pay(link.ID, PayOptions{EventsFirst: "only-session"}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				after := []int{}
				for _, at := range got.times {
					after = append(after, int(at.Sub(began).Seconds()))
				}
				event := s.Events()[0]
				if fmt.Sprint(after) != row.after || event.Acked != row.acked || event.Deliveries != len(after) ||
					s.Settled() != row.settled {
					t.Errorf("got tries after %v, acked %t, %d deliveries, settled %t; want %+v", after, event.Acked,
						event.Deliveries, s.Settled(), row)
				}
				_, undelivered, _ := stripeCall(t, s, "GET /v1/events",
					"delivery_success=false&type=checkout.session.completed")
				if found := at(undelivered, "data.0.id") == event.ID; found == row.acked {
					t.Errorf("got it among the undelivered: %t; want %t", found, !row.acked)
				}
			})
		})
	}
}

func TestSendDeliversALostEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, got, link := payable(t, StripeConfig{})
		s.SetEndpoint("")
		if _, err := s.Pay(link.ID, PayOptions{}); err != nil {
			t.Fatal(err)
		}
		event := s.Events()[0]
		if _, err := s.Send(event.ID); err == nil {
			t.Error("sent to nowhere; want an error")
		}
		s.SetEndpoint("http://bridge.example/webhook/stripe", "whsec_1")
		time.Sleep(time.Hour)
		if len(got.seen()) != 0 {
			t.Errorf("got %v for what happened before there was an endpoint; want nothing", got.seen())
		}
		if status, err := s.Send(event.ID); status != 200 || err != nil {
			t.Errorf("got %d, %v; want 200", status, err)
		}
		if at, valid := verify(t, got.headers[0], got.bodies[0], "whsec_1"); !valid ||
			at != fmt.Sprint(time.Now().Unix()) {
			t.Errorf("got %s; want it freshly signed", got.headers[0])
		}
		if event = s.Events()[0]; !event.Acked || event.Deliveries != 1 {
			t.Errorf("got %+v; want it delivered once", event)
		}
		if _, err := s.Send("evt_0"); err == nil {
			t.Error("an unknown event was sent; want an error")
		}
	})
}

func TestEndpointOfTheAPIHasItsOwnVersionAndTypes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, got, link := payable(t, StripeConfig{})
		s.SetEndpoint("")
		_, made, _ := stripeCall(t, s, "POST /v1/webhook_endpoints",
			"url=http://bridge.example/&enabled_events[]=payment_intent.succeeded&api_version=2025-08-27.basil")
		secret := at(made, "secret")
		if _, err := s.Pay(link.ID, PayOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if types := got.seen(); fmt.Sprint(types) != "[payment_intent.succeeded]" ||
			!strings.Contains(string(got.bodies[0]), "2025-08-27.basil") {
			t.Fatalf("got %v; want one event in version basil", types)
		}
		if _, valid := verify(t, got.headers[0], got.bodies[0], secret); !valid {
			t.Error("the endpoint's secret does not verify")
		}
		path := "/v1/webhook_endpoints/" + at(made, "id")
		if _, seen, _ := stripeCall(t, s, "GET "+path, ""); at(seen, "secret") != "<nil>" {
			t.Errorf("got %v; want no secret shown again", seen)
		}
		stripeCall(t, s, "POST "+path, "disabled=true")
		if _, err := s.Pay(link.ID, PayOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := len(got.seen()); got != 1 {
			t.Errorf("got %d deliveries; want none to a disabled endpoint", got-1)
		}
		stripeCall(t, s, "DELETE "+path, "")
		if _, list, _ := stripeCall(t, s, "GET /v1/webhook_endpoints", ""); fmt.Sprint(list["data"]) != "[]" {
			t.Errorf("got %v; want no endpoints", list)
		}
	})
}
