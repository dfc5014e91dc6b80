package demo

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rsc.io/qr"

	"notepay/internal/sandbox"
)

func TestPurchaseLightsUpEveryStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		washer := w.demo.machines[0]
		steps := func() (done string) {
			v := w.strip()
			for _, s := range v.Steps {
				if s.Done {
					done += s.Key + " "
				}
			}
			return done + v.Machine
		}
		if got, want := steps(), ""; got != want {
			t.Errorf("before anything = %q; want %q", got, want)
		}
		w.get(bridgeURL + "/pay?device=" + washer.uid)
		if got, want := steps(), "scan Washer 3"; got != want {
			t.Errorf("after the scan = %q; want %q", got, want)
		}
		time.Sleep(time.Second) // fake time
		w.buy(washer)
		if got, want := steps(), "scan pay webhook note Washer 3"; got != want {
			t.Errorf("after the payment = %q; want %q", got, want)
		}
		if got := w.strip(); got.Paid != 1 || got.Due != 1 || got.Started != 0 {
			t.Errorf("after the payment the count is %+v; want one payment on the way", got)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.demo.Run(ctx) }()
		time.Sleep(1500 * time.Millisecond)
		if got, want := steps(), "scan pay webhook note start Washer 3"; got != want {
			t.Errorf("after the machine's fetch = %q; want %q", got, want)
		}
		if got := w.strip(); got.Paid != 1 || got.Due != 0 || got.Started != 1 {
			t.Errorf("at the end the count is %+v; want one payment, one start", got)
		}
		_, page, _ := w.get(pageURL + "/")
		for _, want := range []string{"Washing, 40 s left", "Has started once", "machine started", "$3.50", "credit_id",
			"the Notecard of Washer 3 fetches the note", "Washer 3 starts"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page does not say %q", want)
			}
		}
		time.Sleep(time.Minute)
		if v := w.view(washer); v.State != "idle" {
			t.Errorf("a minute later the washer is %s; want idle", v.State)
		}
		w.demo.stripe.Refund(w.demo.stripe.Sessions()[0].ID, 0)
		if got := w.strip(); !got.Back || got.Returned != 1 {
			t.Errorf("after a refund the count is %+v; want it refunded", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
		if err := w.demo.Run(t.Context()); err == nil {
			t.Error("a second Run = nil; want an error")
		}
	})
}

func TestSwitches(t *testing.T) {
	t.Parallel()
	// Each row acts with its switch on, then with it off, and reports the result.
	note := func(w *world) string {
		began, before := time.Now(), len(w.demo.notehub.Notes(""))
		status, err := w.leaveNote(w.demo.machines[0].uid, fmt.Sprint("cs_", before))
		if err != nil {
			status = "cut"
		}
		return fmt.Sprintf("%s, %d new, %s", status, len(w.demo.notehub.Notes(""))-before, time.Since(began))
	}
	purchase := func(wait time.Duration) func(*world) string {
		return func(w *world) string {
			link, before := w.links[w.demo.machines[1].uid], w.demo.stripe.Events()
			if _, err := w.demo.stripe.Pay(link, sandbox.PayOptions{EventsFirst: "only-session"}); err != nil {
				w.t.Fatal(err)
			}
			time.Sleep(wait)
			synctest.Wait()
			return fmt.Sprintf("%d deliveries", w.demo.stripe.Events()[len(before)].Deliveries)
		}
	}
	fetch := func(w *world) string {
		before := len(w.demo.machines[2].host.Starts())
		if _, err := w.leaveNote(w.demo.machines[2].uid, fmt.Sprint("cs_", time.Now().UnixNano())); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.demo.step()
		return fmt.Sprintf("%d starts", len(w.demo.machines[2].host.Starts())-before)
	}
	for _, test := range []struct {
		fault   string
		do      func(*world) string
		on, off string
	}{
		{"notehub-down", note, "503, 0 new, 0s", "200, 1 new, 0s"},
		{"notehub-slow", note, "200, 1 new, 6s", "200, 1 new, 0s"}, // a token and a note
		{"notehub-lost", note, "cut, 1 new, 0s", "200, 1 new, 0s"},
		{"notehub-limit", note, "429 5, 0 new, 0s", "200, 1 new, 0s"},
		{"webhook-lost", purchase(time.Minute), "0 deliveries", "1 deliveries"},
		{"webhook-doubled", purchase(0), "2 deliveries", "1 deliveries"},
		{"webhook-late", purchase(9 * time.Second), "0 deliveries", "1 deliveries"},
		{"webhook-late", purchase(11 * time.Second), "1 deliveries", "1 deliveries"},
		{"offline-charger", fetch, "0 starts", "2 starts"}, // and the waiting one
		{"refuses-charger", fetch, "0 starts", "1 starts"},
		{"silent-charger", fetch, "0 starts", "1 starts"},
		{"late-charger", fetch, "1 starts", "1 starts"},
		{"twice-charger", fetch, "1 starts", "1 starts"},
		// it stored the other one before the power failed
		{"power-charger", fetch, "0 starts", "2 starts"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.press(test.fault, true)
				if got := test.do(w); got != test.on {
					t.Errorf("on: %s; want %s", got, test.on)
				}
				if _, page, _ := w.get(pageURL + "/"); !strings.Contains(page, "Trouble is on:") {
					t.Error("on: the page has no banner")
				}
				w.press(test.fault, false)
				if got := test.do(w); got != test.off {
					t.Errorf("off: %s; want %s", got, test.off)
				}
				if _, page, _ := w.get(pageURL + "/"); strings.Contains(page, "Trouble is on:") {
					t.Error("off: the page has a banner")
				}
			})
		})
	}
}

func TestCalmTurnsEverySwitchOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, f := range w.demo.faults() {
			w.press(f.Key, true)
		}
		if got, want := len(w.demo.trouble().On), len(w.demo.faults()); got != want {
			t.Errorf("%d are on; want %d", got, want)
		}
		if got := w.post("/demo/calm", nil); got != http.StatusSeeOther {
			t.Errorf("switch all off = %d; want 303", got)
		}
		if got := w.demo.trouble().On; got != nil {
			t.Errorf("still on: %v", got)
		}
		if status, err := w.leaveNote(w.demo.machines[0].uid, "cs_1"); status != "200" || err != nil {
			t.Errorf("a note = %s, %v; want 200", status, err)
		}
		w.demo.step()
		if got := len(w.demo.machines[0].host.Starts()); got != 1 {
			t.Errorf("%d starts; want 1", got)
		}
	})
}

func TestCardShowsARepeatedNoteAsIgnored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		// the stand-in posts a note for each
		w.press("webhook-doubled", true)
		// the last machine keeps no ids
		for i, want := range map[int]string{1: "repeat after started, 1 starts", 3: "started after started, 2 starts"} {
			m := w.demo.machines[i]
			w.buy(m)
			w.demo.step()
			v := w.view(m)
			if len(v.Notes) != 2 {
				t.Fatalf("%s shows %d notes; want 2", m.name, len(v.Notes))
			}
			if got := fmt.Sprintf("%s after %s, %d starts", v.Notes[0].State, v.Notes[1].State, v.Starts); got != want {
				t.Errorf("%s shows %s; want %s", m.name, got, want)
			}
		}
	})
}

// post submits a form with some headers and returns the status.
func (w *world) post(path string, form url.Values, headers ...string) int {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodPost, pageURL+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := w.client.Do(r)
	status, _, _ := w.read(answer, err)
	return status
}

func TestActions(t *testing.T) {
	t.Parallel()
	on := url.Values{"fault": {"notehub-down"}, "on": {"true"}}
	for _, test := range []struct {
		name, path string
		form       url.Values
		headers    []string
		want       int
	}{
		{"a switch leads back to the page", "/demo/fault", on, nil, http.StatusSeeOther},
		{"a browser's own form is accepted", "/demo/fault", on,
			[]string{"Sec-Fetch-Site", "same-origin"}, http.StatusSeeOther},
		{"a form of another site is refused", "/demo/fault", on, []string{"Sec-Fetch-Site", "cross-site"},
			http.StatusForbidden},
		{"another origin is refused", "/demo/calm", nil, []string{"Origin", "https://elsewhere.example"},
			http.StatusForbidden},
		{"a switch that does not exist is not found", "/demo/fault", url.Values{"fault": {"x"}},
			nil, http.StatusNotFound},
		{"an action that does not exist is not found", "/demo/x", nil, nil, http.StatusNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if got := w.post(test.path, test.form, test.headers...); got != test.want {
					t.Errorf("POST %s = %d; want %d", test.path, got, test.want)
				}
				if got := w.demo.trouble().On != nil; got != (test.want == http.StatusSeeOther) {
					t.Errorf("something is on: %t", got)
				}
			})
		})
	}
}

func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.buy(w.demo.machines[0])
		status, page, header := w.get(pageURL + "/")
		if status != http.StatusOK {
			t.Fatalf("GET / = %d; want 200", status)
		}
		if got := header.Get("Content-Security-Policy"); !strings.Contains(got, "script-src 'self'") ||
			strings.Contains(got, "unsafe") {
			t.Errorf("Content-Security-Policy = %q; want own scripts only", got)
		}
		for _, never := range []string{`<style`, ` style="`, `<script>`, ` onclick=`, `javascript:`} {
			if strings.Contains(page, never) {
				t.Errorf("the page has %s, which its policy forbids", never)
			}
		}
		for _, found := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1) {
			address := strings.ReplaceAll(found[1], "&amp;", "&")
			if strings.HasPrefix(address, bridgeURL+"/pay?device=dev:") {
				continue
			}
			if !strings.HasPrefix(address, "/") {
				t.Errorf("the page refers to %s", address)
			} else if status, _, _ := w.get(pageURL + address); status != http.StatusOK {
				t.Errorf("GET %s = %d; want 200", address, status)
			}
		}
		if !strings.Contains(page, "No money moves") {
			t.Error("the page does not say that no money moves")
		}
	})
}

func TestStickerLeadsToTheBridge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, picture, header := w.get(pageURL + "/demo/sticker/locker.svg")
		if got := header.Get("Content-Type"); got != "image/svg+xml" {
			t.Errorf("Content-Type = %s; want image/svg+xml", got)
		}
		var svg struct {
			ViewBox string `xml:"viewBox,attr"`
			Path    struct {
				D string `xml:"d,attr"`
			} `xml:"path"`
		}
		if err := xml.Unmarshal([]byte(picture), &svg); err != nil {
			t.Fatal(err)
		}
		want, err := qr.Encode(bridgeURL+"/pay?device="+w.demo.machines[1].uid, qr.M)
		if err != nil {
			t.Fatal(err)
		}
		if side := want.Size + 8; svg.ViewBox != fmt.Sprintf("0 0 %d %d", side, side) {
			t.Errorf("viewBox = %s; want %d modules and a quiet zone of 4", svg.ViewBox, want.Size)
		}
		black := make(map[[2]int]bool)
		for run := range strings.SplitSeq(strings.TrimSuffix(svg.Path.D, "z"), "z") {
			var x, y, length, back int
			if _, err := fmt.Sscanf(run, "M%d %dh%dv1h-%d", &x, &y, &length, &back); err != nil || length != back {
				t.Fatalf("%q is no run of modules: %v", run, err)
			}
			for i := range length {
				black[[2]int{x + i - 4, y - 4}] = true
			}
		}
		for y := range want.Size {
			for x := range want.Size {
				if black[[2]int{x, y}] != want.Black(x, y) {
					t.Fatalf("module %d,%d is wrong", x, y)
				}
			}
		}
		if status, _, _ := w.get(pageURL + "/demo/sticker/nothing.svg"); status != http.StatusNotFound {
			t.Errorf("a sticker of nothing = %d; want 404", status)
		}
	})
}

func TestTestCardsDoWhatThePageSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, card := range testCards() {
			_, err := w.demo.stripe.Pay(w.links[w.demo.machines[0].uid], sandbox.PayOptions{Method: card.Number})
			if got, want := err == nil, strings.HasPrefix(card.Effect, "pays"); got != want {
				t.Errorf("%s %s, but paying it gave %v", card.Number, card.Effect, err)
			}
		}
	})
}

func TestPageBeforeConnect(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	answer := httptest.NewRecorder()
	d.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	if page := answer.Body.String(); !strings.Contains(page, "notepay is still starting") ||
		strings.Contains(page, "Scan it here") {
		t.Error("the page has stickers that lead nowhere")
	}
}

func TestSettingsPointAtTheHandler(t *testing.T) {
	t.Parallel()
	d := New(Config{})
	s := d.Settings("http://127.0.0.1:3001/")
	for name, want := range map[string]string{
		"STRIPE_SECRET_KEY":     "sk_test_.{20,}",
		"STRIPE_PRICE_ID":       "price_.+",
		"STRIPE_WEBHOOK_SECRET": "whsec_.{20,}",
		"NOTEHUB_CLIENT_ID":     ".+",
		"NOTEHUB_CLIENT_SECRET": ".{20,}",
		"NOTEHUB_PROJECT_UID":   "app:.+",
		"STRIPE_API_URL":        "http://127.0.0.1:3001",
		"NOTEHUB_API_URL":       "http://127.0.0.1:3001/notehub",
		"NOTEHUB_AUTH_URL":      "http://127.0.0.1:3001/notehub/oauth2/token",
	} {
		if !regexp.MustCompile("^" + want + "$").MatchString(s[name]) {
			t.Errorf("%s = %q; want %s", name, s[name], want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/v1/prices/"+s["STRIPE_PRICE_ID"], nil)
	r.Header.Set("Authorization", "Bearer "+s["STRIPE_SECRET_KEY"])
	answer := httptest.NewRecorder()
	d.Handler().ServeHTTP(answer, r)
	if answer.Code != http.StatusOK {
		t.Errorf("the price = %d; want 200", answer.Code)
	}
}
