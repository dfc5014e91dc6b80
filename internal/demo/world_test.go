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

// world is a demo with a stand-in for notepay. It uses no sockets, so that it runs in fake time.
type world struct {
	t        *testing.T
	demo     *Demo
	client   *http.Client // reaches the page and the stand-in by name
	settings map[string]string
	links    map[string]string // URL of each device's Payment Link

	records []record          // payments that the stand-in returns
	paused  map[string]string // reasons of the devices that it does not sell on
	heard   atomic.Int64      // number of machines' answers received through the route
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

// bridge returns the stand-in. It answers a scan with the Payment Link, and posts a note for every
// checkout.session.completed, even a repeated one. Its operator's API returns the records in the
// world.
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

// leaveNote posts a payment's note as notepay does. It returns the status and Retry-After.
func (w *world) leaveNote(device, session string) (string, error) {
	return w.leave(device,
		`{"payment_status":"completed","timestamp":1,"session_id":"`+session+`","credit_id":"`+creditOf(session)+`"}`)
}

// creditOf returns a credit id that firmware can remember.
func creditOf(session string) string {
	return "cr_" + strings.ToLower(session[max(0, len(session)-16):])
}

// leave posts a note with this body.
func (w *world) leave(device, body string) (string, error) {
	answer, err := w.client.PostForm(w.settings["NOTEHUB_AUTH_URL"], url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {w.settings["NOTEHUB_CLIENT_ID"]},
		"client_secret": {w.settings["NOTEHUB_CLIENT_SECRET"]},
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

// get returns the status, the body and the headers of a page.
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

// view returns a machine's card.
func (w *world) view(m *machine) machineView {
	w.demo.mu.Lock()
	defer w.demo.mu.Unlock()
	return w.demo.view(m, time.Now())
}

// strip returns the page's strip: the latest purchase and the counts.
func (w *world) strip() stripView {
	w.demo.mu.Lock()
	defer w.demo.mu.Unlock()
	return w.demo.strip()
}

// buy scans the sticker, opens the checkout and pays.
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

// press turns a fault on or off through its form.
func (w *world) press(fault string, on bool) {
	w.t.Helper()
	answer, err := w.client.PostForm(pageURL+"/demo/fault", url.Values{"fault": {fault}, "on": {fmt.Sprint(on)}})
	if status, _, _ := w.read(answer, err); status != http.StatusSeeOther {
		w.t.Fatalf("switch %s = %d; want 303", fault, status)
	}
}
