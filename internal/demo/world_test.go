package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/sandbox"
)

const (
	pageURL   = "http://demo.example"
	bridgeURL = "http://bridge.example"
)

// world is a demo with a stand-in for the bridge, without sockets, so that it runs in a bubble of
// synctest.
type world struct {
	t        *testing.T
	demo     *Demo
	client   *http.Client // reaches the page and the bridge by their names
	settings map[string]string
	links    map[string]string // URL of each device's Payment Link

	records []record          // what the stand-in says of payments
	paused  map[string]string // and of devices that it does not sell on
	heard   atomic.Int64      // answers of machines that arrived through the route
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, links: make(map[string]string), paused: make(map[string]string)}
	hosts := make(hosts)
	w.client = &http.Client{
		Transport:     hosts,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	w.demo = newDemo(Config{}, w.client)
	w.settings = w.demo.Settings(pageURL)
	hosts["demo.example"] = sandbox.InProcess(w.demo.Handler())
	hosts["bridge.example"] = sandbox.InProcess(w.demo.Watch(w.bridge()))
	w.demo.Connect(bridgeURL)
	for _, m := range w.demo.machines {
		link := w.demo.stripe.AddLink(sandbox.Link{DeviceUID: m.uid, PriceID: m.price.ID, Active: true})
		w.links[m.uid] = link.URL
	}
	t.Cleanup(w.demo.stripe.Close)
	t.Cleanup(w.demo.notehub.Close)
	return w
}

type hosts map[string]http.RoundTripper

func (h hosts) RoundTrip(r *http.Request) (*http.Response, error) { return h[r.URL.Host].RoundTrip(r) }

// bridge answers a scan with the Payment Link and leaves a note for every
// checkout.session.completed, also for a repeat. To operators it says what the test has put into
// the world.
func (w *world) bridge() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pay", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, w.links[r.FormValue("device")], http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("POST /webhook/stripe", func(rw http.ResponseWriter, r *http.Request) {
		var event struct {
			Type string
			Data struct {
				Object struct {
					ID       string
					Metadata map[string]string
				}
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		if event.Type == "checkout.session.completed" {
			_, _ = w.leaveNote(event.Data.Object.Metadata["device_uid"], event.Data.Object.ID)
		}
		_, _ = io.WriteString(rw, `{"received":true}`)
	})
	mux.HandleFunc("POST /webhook/notehub", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+w.settings["NOTEHUB_ROUTE_TOKEN"] {
			http.Error(rw, "no", http.StatusUnauthorized)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.heard.Add(1)
	})
	operator := http.NewServeMux()
	operator.HandleFunc("GET /api/payments", func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(map[string]any{"payments": w.records})
	})
	operator.HandleFunc("GET /api/devices", func(rw http.ResponseWriter, _ *http.Request) {
		devices := []map[string]any{}
		for uid, why := range w.paused {
			devices = append(devices, map[string]any{"uid": uid, "paused": map[string]string{"reason": why}})
		}
		_ = json.NewEncoder(rw).Encode(map[string]any{"devices": devices})
	})
	operator.HandleFunc("POST /api/devices/{uid}/resume",
		func(_ http.ResponseWriter, r *http.Request) { delete(w.paused, r.PathValue("uid")) })
	mux.HandleFunc("/api/", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+w.settings["OPERATOR_TOKEN"] {
			http.Error(rw, "no", http.StatusUnauthorized)
			return
		}
		operator.ServeHTTP(rw, r)
	})
	return mux
}

// leaveNote posts a payment's note as the bridge does and returns the answer's status and
// Retry-After.
func (w *world) leaveNote(device, session string) (string, error) {
	return w.leave(
		device,
		`{"payment_status":"completed","timestamp":1,"session_id":"`+session+`","credit_id":"cr_`+session+`"}`,
	)
}

// leave posts a note with this body.
func (w *world) leave(device, body string) (string, error) {
	answer, err := w.client.PostForm(w.settings["NOTEHUB_AUTH_URL"], url.Values{
		"grant_type": {
			"client_credentials",
		}, "client_id": {w.settings["NOTEHUB_CLIENT_ID"]}, "client_secret": {w.settings["NOTEHUB_CLIENT_SECRET"]},
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return strings.TrimSpace(fmt.Sprint(answer.StatusCode, " ", answer.Header.Get("Retry-After"))), nil
	}
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil {
		return "", err
	}
	r, err := http.NewRequest(http.MethodPost,
		w.settings["NOTEHUB_API_URL"]+"/v1/projects/"+project+"/devices/"+device+"/notes/"+creditFile,
		strings.NewReader(`{"body":`+body+`}`))
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+token.Access)
	r.Header.Set("Content-Type", "application/json")
	posted, err := w.client.Do(r)
	if err != nil {
		return "", err
	}
	_ = posted.Body.Close()
	return fmt.Sprint(posted.StatusCode), nil
}

// get returns the status and body of a page.
func (w *world) get(address string) (int, string, http.Header) {
	w.t.Helper()
	answer, err := w.client.Get(address)
	return w.read(answer, err)
}

func (w *world) read(answer *http.Response, err error) (int, string, http.Header) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.StatusCode, string(body), answer.Header
}

// view is a machine's card as it is now.
func (w *world) view(m *machine) machineView {
	w.demo.mu.Lock()
	defer w.demo.mu.Unlock()
	return w.demo.view(m, time.Now())
}

// strip is what the page says of the latest purchase, and of all.
func (w *world) strip() stripView {
	w.demo.mu.Lock()
	defer w.demo.mu.Unlock()
	return w.demo.strip()
}

// buy scans the sticker, opens the checkout and presses Pay, as a customer does.
func (w *world) buy(m *machine) {
	w.t.Helper()
	_, _, scanned := w.get(bridgeURL + "/pay?device=" + m.uid)
	_, checkout, _ := w.get(scanned.Get("Location"))
	action := regexp.MustCompile(`action="([^"]+)"`).FindStringSubmatch(checkout)
	if action == nil {
		w.t.Fatalf("the checkout of %s has no form", m.name)
	}
	answer, err := w.client.PostForm(pageURL+action[1], url.Values{"card": {"4242 4242 4242 4242"}})
	w.read(answer, err)
	synctest.Wait()
}

// press switches a fault by its form.
func (w *world) press(fault string, on bool) {
	w.t.Helper()
	answer, err := w.client.PostForm(pageURL+"/demo/fault", url.Values{"fault": {fault}, "on": {fmt.Sprint(on)}})
	if status, _, _ := w.read(answer, err); status != http.StatusSeeOther {
		w.t.Fatalf("switch %s = %d; want 303", fault, status)
	}
}
