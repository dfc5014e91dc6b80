package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

const browser = "text/html,application/xhtml+xml,*/*;q=0.8"

// shows asks as a browser and as a program: both get the status, the browser a page with the title, the program the title as its first line.
func (f *front) shows(path string, status int, title, retryAfter string) {
	f.Helper()
	f.tells(path, status, title, title, retryAfter)
}

// tells is the same where programs read something else.
func (f *front) tells(path string, status int, title, text, retryAfter string) {
	f.Helper()
	for accept, want := range map[string]string{browser: "<h1>" + title + "</h1>", "*/*": text + "\n"} {
		w := f.get(path, "Accept", accept)
		f.answers(path+" for "+accept, w, status, want)
		kind := map[bool]string{true: "text/html; charset=utf-8", false: "text/plain; charset=utf-8"}[accept == browser]
		if got := w.Header().Get("Content-Type"); got != kind {
			f.Errorf("%s for %s: Content-Type %q; want %q", path, accept, got, kind)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			f.Errorf("%s: Cache-Control %q; want no-store", path, got)
		}
		if got := w.Header().Get("Retry-After"); got != retryAfter {
			f.Errorf("%s: Retry-After %q; want %q", path, got, retryAfter)
		}
	}
}

func (f *front) leads(path, to string) {
	f.Helper()
	w := f.get(path)
	if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != to || w.Header().Get("Cache-Control") != "no-store" {
		f.Errorf("%s: %d to %q, Cache-Control %q; want 307 to %q, no-store", path, w.Code, w.Header().Get("Location"), w.Header().Get("Cache-Control"), to)
	}
}

func TestAScanLeadsToTheMachinesLink(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.notehub.AddDevice(sandbox.Device{UID: "dev:lab_1.a-b", Name: "Lab"})
		f.notehub.AddDevice(sandbox.Device{UID: "dev:0ff", Name: "Dryer 1", Disabled: true})
		f.run()
		links := map[string]string{}
		for _, l := range f.stripe.Links() {
			links[l.DeviceUID] = l.URL
		}
		asked := f.notehub.Count("{any} /{rest...}") + f.stripe.Count("{any} /{rest...}")
		for _, path := range []string{
			"/pay?device=dev:864475044215258", "/pay?device=dev%3A864475044215258", "/pay?device=DEV:864475044215258", "/pay?device=%20dev:864475044215258%0A",
			"/pay?deviceUID=dev:864475044215258", "/pay?device_uid=dev:864475044215258", "/pay?device=&deviceUID=dev:864475044215258",
			"/pay?device=dev:864475044215258&product=product:com.example&pin=1234",
			"/pay/dev:864475044215258", "/pay/dev%3A864475044215258", "/pay/DEV%3a864475044215258",
		} {
			f.leads(path, links[washer])
		}
		f.leads("/pay?device=dev:lab_1.a-b", links["dev:lab_1.a-b"])
		if w := f.do("HEAD", "/pay?device="+washer, ""); w.Code != http.StatusTemporaryRedirect {
			f.Errorf("HEAD: %d; want 307", w.Code)
		}
		for _, path := range []string{
			"/pay", "/pay?device=", "/pay?device=[deviceUID]", "/pay?device=%5BdeviceUID%5D", "/pay?deviceUID=[deviceUID]", "/pay/[deviceUID]", "/pay?device=12345", "/pay?device=dev:",
			"/pay?device=dev:a%20b", "/pay?device=dev:%3Cscript%3E", "/pay?device=dev:1/../2", "/pay?device=dev:%00", "/pay?device=dev:" + strings.Repeat("1", 65), "/pay?price=price_1", "/pay?%zz",
		} {
			title := "Which machine is it?"
			if given, _ := url.QueryUnescape(path); strings.ContainsAny(given, "[<") {
				title = "This sticker is not set up yet"
			}
			f.tells(path, http.StatusBadRequest, title, "Missing device parameter", "")
		}
		f.shows("/pay?device=dev:0ff", http.StatusServiceUnavailable, "This machine is out of service", "")
		if n := f.notehub.Count("{any} /{rest...}") + f.stripe.Count("{any} /{rest...}") - asked; n != 0 {
			f.Errorf("the scans cost %d calls to the vendors; want none", n)
		}
	})
}

func TestAnUnknownDeviceIsLookedUpOnceAMinuteForAll(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		f.notehub.AddDevice(sandbox.Device{UID: "dev:new", Name: "Dryer 2"})
		f.answers("new", f.get("/pay?device=dev:new"), http.StatusNotFound, "Device not found\n") // once: it may be known by the next
		f.tells("/pay?device=dev:unknown", http.StatusNotFound, "We do not know this machine", "Device not found", "")
		f.pass(time.Second)
		if n := f.notehub.Count(hubDevice); n != 1 {
			f.Errorf("%d look-ups; want one", n)
		}
		f.leads("/pay?device=dev:new", f.stripe.Links()[1].URL)
		f.pass(58 * time.Second)
		f.tells("/pay?device=dev:unknown", http.StatusNotFound, "We do not know this machine", "Device not found", "")
		f.pass(time.Second)
		if n := f.notehub.Count(hubDevice); n != 1 {
			f.Errorf("%d look-ups within a minute; want one", n)
		}
		for range 20 {
			f.get("/pay?device=dev:unknown")
		}
		f.pass(time.Second)
		if n := f.notehub.Count(hubDevice); n != 2 {
			f.Errorf("%d look-ups in two minutes; want two", n)
		}
		f.tells("/pay?device=dev:unknown", http.StatusNotFound, "We do not know this machine", "Device not found", "")
	})
}

func TestWhyAMachineDoesNotSell(t *testing.T) {
	t.Parallel()
	t.Run("the devices were never listed", func(t *testing.T) {
		t.Parallel()
		inFront(t, nil, func(f *front) {
			f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "Starting up", "2")
			if page := f.get("/pay?device="+washer, "Accept", browser).Body.String(); !strings.Contains(page, `http-equiv="refresh" content="2"`) {
				f.Errorf("the page does not ask again:\n%s", page)
			}
			f.notehub.Always(hubList, sandbox.Outcome{Status: 500})
			f.run()
			f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "Starting up", "2")
		})
	})
	t.Run("it has no price", func(t *testing.T) {
		t.Parallel()
		inFront(t, nil, func(f *front) {
			f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Active = false })
			f.run()
			f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "This machine has no price yet", "60")
		})
	})
	t.Run("its link is not made yet", func(t *testing.T) {
		t.Parallel()
		inFront(t, nil, func(f *front) {
			f.stripe.Always(createLink, sandbox.Outcome{Status: 503, Body: "{}"})
			f.run()
			f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "Just a moment", "1")
			if page := f.get("/pay?device="+washer, "Accept", browser).Body.String(); !strings.Contains(page, `http-equiv="refresh" content="1"`) || !strings.Contains(page, "Washer 3") {
				f.Errorf("the page does not ask again, or not for whom:\n%s", page)
			}
			f.stripe.Clear(createLink)
			f.pass(2 * time.Minute)
			f.leads("/pay?device="+washer, f.stripe.Links()[0].URL)
		})
	})
	t.Run("Notehub refuses us altogether", func(t *testing.T) {
		t.Parallel()
		inFront(t, nil, func(f *front) {
			f.run()
			f.buy(sandbox.PayOptions{})
			f.notehub.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 403})
			f.buy(sandbox.PayOptions{})
			f.pass(time.Minute)
			f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "Machines cannot be reached right now", "60")
			f.notehub.Clear("{any} /v1/{rest...}")
			f.pass(2 * time.Minute)
			f.leads("/pay?device="+washer, f.stripe.Links()[0].URL)
		})
	})
	t.Run("the queue runs late", func(t *testing.T) {
		t.Parallel()
		inFront(t, nil, func(f *front) {
			f.notehub.Always(postNote, sandbox.Outcome{Status: 503})
			f.run()
			f.buy(sandbox.PayOptions{})
			f.pass(4 * time.Minute)
			f.leads("/pay?device="+washer, f.stripe.Links()[0].URL)
			f.pass(2 * time.Minute)
			f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "Machines cannot be reached right now", "60")
			f.notehub.Clear(postNote)
			f.pass(3 * time.Minute) // a look for the last post and then the post, each after up to 72 s
			f.leads("/pay?device="+washer, f.stripe.Links()[0].URL)
			if n := len(f.notehub.Notes(washer)); n != 1 {
				f.Errorf("%d notes; want the one that was late", n)
			}
		})
	})
}

func TestEachMachineSaysWhyItDoesNotSell(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.OfflineAfter = 30 * time.Minute }, func(f *front) {
		now := time.Now()
		machine := func(uid string, change func(*sandbox.Device)) {
			d := sandbox.Device{UID: uid, Name: "Machine " + uid[len("dev:"):], LastActivity: now}
			change(&d)
			f.notehub.AddDevice(d)
		}
		machine(washer, func(*sandbox.Device) {})
		machine("dev:0ff", func(d *sandbox.Device) { d.Disabled = true })
		machine("dev:nopay", func(d *sandbox.Device) { d.Variables = map[string]string{"PAYMENT_ENABLED": "false"} })
		machine("dev:silent", func(d *sandbox.Device) { d.LastActivity = now.Add(-time.Hour) })
		machine("dev:never", func(d *sandbox.Device) { d.LastActivity = time.Time{} })
		machine("dev:noprice", func(d *sandbox.Device) { d.Variables = map[string]string{"stripe_price_id": "price_none"} })
		for _, uid := range []string{"dev:closed", "dev:mute", "dev:busy", "dev:open-end"} {
			machine(uid, func(*sandbox.Device) {})
		}
		f.run()
		f.pass(4 * time.Minute)
		f.fleet.Paused(ledger.Pause{DeviceUID: "dev:closed", Reason: "vandals: see ticket 7", By: "anna", At: time.Now()})
		f.fleet.Paused(ledger.Pause{DeviceUID: "dev:mute", Reason: "unconfirmed", By: "notepay", At: time.Now(), Automatic: true})
		f.pass(time.Second) // for their links to be deactivated
		f.fleet.InUse("dev:busy", time.Now().Add(25*time.Minute+500*time.Millisecond))
		f.fleet.InUse("dev:open-end", time.Time{})
		asked := f.notehub.Count("{any} /{rest...}") + f.stripe.Count("{any} /{rest...}")
		for uid, want := range map[string]struct{ title, retryAfter string }{
			"dev:0ff":      {"This machine is out of service", ""},
			"dev:nopay":    {"This machine is not taking payments right now", ""},
			"dev:closed":   {"This machine is closed right now", ""},
			"dev:mute":     {"This machine is not responding", ""},
			"dev:silent":   {"This machine is offline", ""},
			"dev:never":    {"This machine is offline", ""},
			"dev:busy":     {"This machine is in use", "1501"},
			"dev:open-end": {"This machine is in use", ""},
			"dev:noprice":  {"This machine has no price yet", "60"},
		} {
			f.shows("/pay?device="+uid, http.StatusServiceUnavailable, want.title, want.retryAfter)
			page := f.get("/pay?device="+uid, "Accept", browser).Body.String()
			if !strings.Contains(page, "Nothing was charged for this scan.") || !strings.Contains(page, "Machine "+uid[len("dev:"):]) || strings.Contains(page, "vandals") {
				f.Errorf("%s: the page does not say that nothing was charged, or not for whom, or tells what is for the operator:\n%s", uid, page)
			}
		}
		f.answers("busy", f.get("/pay?device=dev:busy", "Accept", browser), http.StatusServiceUnavailable, "about 26 minutes")
		if n := f.notehub.Count("{any} /{rest...}") + f.stripe.Count("{any} /{rest...}") - asked; n != 0 {
			f.Errorf("the scans cost %d calls to the vendors; want none", n)
		}
		f.fleet.Free("dev:busy")
		f.fleet.Resumed("dev:closed")
		f.pass(time.Second)
		for _, uid := range []string{washer, "dev:busy", "dev:closed"} {
			if w := f.get("/pay?device=" + uid); w.Code != http.StatusTemporaryRedirect {
				f.Errorf("%s: %d; want 307", uid, w.Code)
			}
		}
	})
}

func TestTheMachinesOwnPlansAreSold(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.stripe.AddPrice(sandbox.Price{ID: "price_cold", Name: "Cold wash", Currency: "eur", Amount: 250, Active: true})
		f.stripe.AddPrice(sandbox.Price{ID: "price_blog", Name: "Too cheap", Currency: "usd", Amount: 5, Active: true})
		f.stripe.AddPrice(sandbox.Price{ID: "price_locker", Name: "Locker", Description: "Holds a suitcase", Currency: "eur", Amount: 400, Active: true, Metadata: map[string]string{"access_code": "true", "duration": "30m"}})
		f.notehub.AddFleet("fleet:1", "Basement", map[string]string{"Stripe_Price_ID": "price_cold,price_blog"})
		f.notehub.AddDevice(sandbox.Device{UID: "dev:cellar", Name: "Washer 9", Fleets: []string{"fleet:1"}})
		f.notehub.AddDevice(sandbox.Device{UID: "dev:locker", Name: "Locker 1", Fleets: []string{"fleet:1"}, Variables: map[string]string{"stripe_price_id": "price_locker"}})
		f.run()
		f.pass(2 * time.Minute)
		for uid, price := range map[string]string{washer: warm, "dev:cellar": "price_cold", "dev:locker": "price_locker"} {
			sold := ""
			for _, l := range f.stripe.Links() {
				if l.Active && l.DeviceUID == uid {
					sold += l.PriceID
					f.leads("/pay?device="+uid, l.URL)
				}
			}
			if sold != price {
				f.Errorf("%s has active links for %q; want %s alone", uid, sold, price)
			}
		}
		if plan := f.fleet.Device("dev:locker").Offers[0].Plan; !plan.AccessCode || plan.Duration != 30*time.Minute || plan.Description != "Holds a suitcase" {
			f.Errorf("plan %+v; want an access code, half an hour and its description", plan)
		}
		if p := f.fleet.Problems(); len(p) != 1 || p[0].Devices != 1 || !strings.Contains(p[0].Text, "price_blog") {
			f.Errorf("problems %+v; want the price that is too small", p)
		}
	})
}

func TestSeveralPlansAreAPage(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.StripePriceID = warm + ",price_cold" }, func(f *front) {
		f.stripe.AddPrice(sandbox.Price{ID: "price_cold", Name: "Cold <wash>", Currency: "jpy", Amount: 300, Active: true})
		f.run()
		f.shows("/pay?device="+washer, http.StatusOK, "Choose a program", "")
		text, page := f.get("/pay/"+washer).Body.String(), f.get("/pay/"+washer, "Accept", browser).Body.String()
		for _, l := range f.stripe.Links() {
			want := map[string]string{warm: "Warm wash, €3.50: ", "price_cold": "Cold <wash>, ¥300: "}[l.PriceID] + l.URL
			if !strings.Contains(text, want) {
				f.Errorf("the text lacks %q:\n%s", want, text)
			}
			if !strings.Contains(page, `href="`+l.URL+`"`) {
				f.Errorf("the page does not lead to %s:\n%s", l.URL, page)
			}
		}
		if strings.Contains(page, "<wash>") || !strings.Contains(page, "Washer 3") {
			f.Errorf("the page does not escape a name, or does not say for which machine:\n%s", page)
		}
	})
}

func TestTheSuccessPageLeadsToTheLivePage(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		session := f.order(sandbox.PayOptions{})
		w := f.get("/payment/success?session_id=" + session.ID)
		live := w.Header().Get("Location")
		if w.Code != http.StatusSeeOther || !strings.HasPrefix(live, "/session/") || len(live) != len("/session/")+32 || w.Header().Get("Cache-Control") != "no-store" {
			f.Fatalf("%d to %q; want 303 to the live page", w.Code, live)
		}
		f.shows(live, http.StatusOK, "Payment received", "")
		if n := f.stripe.Count(readSession); n != 0 {
			f.Errorf("%d reads of Stripe for a payment that is known; want none", n)
		}
		for _, path := range []string{"/session/", "/session/x", "/session/" + strings.Repeat("0", 32), "/session/" + strings.ToUpper(live[len("/session/"):]), live + "0", live + "/more"} {
			f.answers(path, f.get(path, "Accept", browser), http.StatusNotFound, "")
		}
		f.shows("/session/"+strings.Repeat("0", 32), http.StatusNotFound, "Payment not found", "")

		f.pass(29 * time.Minute)
		if w := f.get("/payment/success?session_id=" + session.ID); w.Code != http.StatusSeeOther {
			f.Errorf("after 29 minutes %d; want 303", w.Code)
		}
		f.pass(time.Minute)
		path := "/payment/success?session_id=" + session.ID
		f.shows(path, http.StatusOK, "Payment received", "")
		f.answers("the receipt", f.get(path), http.StatusOK, payment.CreditID(session.ID))
		if strings.Contains(f.get(path, "Accept", browser).Body.String(), live[len("/session/"):]) {
			f.Errorf("the receipt tells the token of the live page")
		}
	})
}

func TestTheSuccessPageKnowsWhatIsNoSession(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		for _, id := range []string{"", "x", "{CHECKOUT_SESSION_ID}", "cs_test_", "cs_test_short", "cs_test_a1/../b", "cs_demo_a1234567890", "pi_1234567890", "cs_test_" + strings.Repeat("a", 201), "cs_test_a1234567890%0A"} {
			f.shows("/payment/success?session_id="+id, http.StatusNotFound, "Payment not found", "")
		}
		f.shows("/payment/success", http.StatusNotFound, "Payment not found", "")
		f.shows("/payment/cancel", http.StatusOK, "Nothing was charged", "")
		f.shows("/", http.StatusOK, "Pay for a machine", "")
		if n := f.stripe.Count("{any} /{rest...}"); n != 0 {
			f.Errorf("%d calls to Stripe; want none", n)
		}
	})
}

func TestTheSuccessPageAsksStripeWhenTheWebhookIsLate(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		session := f.order(sandbox.PayOptions{NoWebhook: true})
		f.stripe.Next(readSession, sandbox.Outcome{Applied: true, Status: 200, Delay: time.Second})
		var asked sync.WaitGroup
		for range 20 {
			asked.Go(func() {
				if w := f.get("/payment/success?session_id=" + session.ID); w.Code != http.StatusSeeOther {
					f.Errorf("%d %s; want 303", w.Code, w.Body)
				}
			})
		}
		asked.Wait()
		if n := f.stripe.Count(readSession); n != 1 {
			f.Errorf("20 who asked together caused %d reads; want one", n)
		}
		f.answers("the payment", f.asOperator("/api/payments/"+session.ID), http.StatusOK, `"machine":"queued"`)
	})
}

func TestAReceiptLeadsToStripesOwn(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		page := func(o sandbox.PayOptions) string {
			return f.get(f.livePage(f.order(o)), "Accept", browser).Body.String()
		}
		if strings.Contains(page(sandbox.PayOptions{NoWebhook: true}), "/receipts/") { // at https://buy.test, which is not Stripe's
			f.Errorf("the page leads to a receipt that is not Stripe's")
		}
		f.stripe.SetBaseURL(f.settings.StripeAPIURL)
		if strings.Contains(page(sandbox.PayOptions{}), "/receipts/") {
			f.Errorf("the page leads to a receipt before Stripe was asked for the charge")
		}
		_, link, found := strings.Cut(page(sandbox.PayOptions{NoWebhook: true}), `<dd><a href="http://stripe.test`)
		path, rest, _ := strings.Cut(link, `"`)
		if !found || !strings.HasPrefix(rest, ` target="_blank" rel="noreferrer">`) {
			f.Fatalf("the page does not lead to the receipt: %s", link)
		}
		w := httptest.NewRecorder()
		f.stripe.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		f.answers("the receipt", w, http.StatusOK, "Receipt.")
	})
}

func TestAddressesOfStripesPages(t *testing.T) {
	t.Parallel()
	s := &stripeapi.Client{Origin: "http://127.0.0.1:12111"}
	for address, its := range map[string]bool{
		"https://pay.stripe.com/receipts/payment/CAcQ": true, "http://127.0.0.1:12111/receipts/ch_1": true, "": false, "/receipts/1": false,
		"http://pay.stripe.com/receipts/1": false, "https://stripe.com.example.com/": false, "https://notstripe.com/": false, "javascript:alert(1)//.stripe.com": false,
		"http://127.0.0.1:12112/": false, "https://pay.stripe.com\n/": false, "https://x@evil.example.com/.stripe.com": false,
	} {
		if got := s.Page(address); got != "" != its || (its && got != address) {
			t.Errorf("%q became %q; is it Stripe's: %v", address, got, its)
		}
	}
}

func TestTheSuccessPageAsksStripeTwiceASecondForAll(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		id := func(n int) string { return fmt.Sprintf("/payment/success?session_id=cs_test_unknown%08d", n) }
		f.answers("first", f.get(id(1)), http.StatusNotFound, "Payment not found")
		f.answers("second", f.get(id(2)), http.StatusNotFound, "Payment not found")
		f.shows(id(3), http.StatusServiceUnavailable, "Just a moment", "2")
		if n := f.stripe.Count(readSession); n != 2 {
			f.Errorf("%d reads; want two", n)
		}
		f.pass(500 * time.Millisecond)
		f.answers("half a second later", f.get(id(3)), http.StatusNotFound, "Payment not found")
		f.answers("and at once again", f.get(id(4)), http.StatusServiceUnavailable, "Just a moment")
		if n := f.stripe.Count(readSession); n != 3 {
			f.Errorf("%d reads; want three", n)
		}
	})
}

func TestTheSuccessPageWhileStripeIsDown(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		session := f.order(sandbox.PayOptions{NoWebhook: true})
		for _, o := range []sandbox.Outcome{{Status: 500}, {}, {Status: 429}, {Status: 403}, {Status: 404, Body: proxyPage}, {Delay: time.Hour}} {
			f.stripe.Always(readSession, o)
			f.shows("/payment/success?session_id="+session.ID, http.StatusServiceUnavailable, "Just a moment", "2")
			f.stripe.Clear(readSession)
			f.pass(time.Minute)
		}
		if !strings.Contains(f.logs.String(), `msg="request failed" route="GET /payment/success"`) {
			f.Errorf("log %s; want the failure", f.logs)
		}
		if w := f.get("/payment/success?session_id=" + session.ID); w.Code != http.StatusSeeOther {
			f.Errorf("when Stripe is back %d; want 303", w.Code)
		}
	})
}

func TestTheSuccessPageOfASessionThatIsNoPaymentOfOurs(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		unpaid := f.order(sandbox.PayOptions{Unpaid: true, NoWebhook: true})
		open, err := f.stripe.Open(f.stripe.Links()[0].ID)
		if err != nil {
			f.Fatal(err)
		}
		foreign := f.stripe.PaySession(map[string]string{"shop": "1"}, 500, "eur", sandbox.PayOptions{NoWebhook: true})
		for name, id := range map[string]string{"unpaid": unpaid.ID, "open": open.ID, "foreign": foreign.ID} {
			f.answers(name, f.get("/payment/success?session_id="+id), http.StatusNotFound, "Payment not found")
			f.pass(time.Second)
		}
		f.answers("payments", f.asOperator("/api/payments"), http.StatusOK, `{"payments":[],"next_cursor":""}`)
	})
}

func TestAScannedMachinesLinkIsMadeBeforeAllOthers(t *testing.T) {
	t.Parallel()
	inFront(t, readAtOnce, func(f *front) {
		for i := range 100 {
			f.notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:z%03d", i)})
		}
		f.run() // for a second: time for a fourth of the links
		const last = "dev:z099"
		f.shows("/pay?device="+last, http.StatusServiceUnavailable, "Just a moment", "1")
		f.pass(200 * time.Millisecond)
		if n := len(f.stripe.Links()); n > 60 {
			f.Fatalf("%d links by now; want most of them still to be made", n)
		}
		if w := f.get("/pay?device=" + last); w.Code != http.StatusTemporaryRedirect {
			f.Errorf("%d; want 307, before the links of those who wait for nothing", w.Code)
		}
	})
}

func TestThePlanPageIsThereForOnePlanToo(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) {
		s.BrandName, s.BrandColor, s.SupportContact = "Riverside Laundry", "#0b6b4f", "+49 30 1234"
	}, func(f *front) {
		f.stripe.SetPrice(warm, func(p *sandbox.Price) {
			p.Description, p.Metadata = "40 degrees", map[string]string{"duration": "60m", "delayed_start": "5m"}
		})
		f.run()
		link := f.stripe.Links()[0].URL
		for language, want := range map[string][]string{
			"en": {"<h1>Ready for your payment</h1>", "Washer 3", "Warm wash", "€3.50", "40 degrees", "Lasts 1\u00a0h", "You then have 5\u00a0min", "within 10\u00a0min", "Riverside Laundry", "tel:&#43;49301234", `href="` + link + `"`, "/static/brand.css", "Test mode"},
			"de": {"<h1>Bereit zum Bezahlen</h1>", "Washer 3", "3,50\u00a0€ bezahlen", "Dauer: 1\u00a0Std.", "innerhalb von 10\u00a0Min.", "Fragen?", `href="` + link + `"`, "Testmodus"},
		} {
			w := f.get("/use/"+washer, "Accept", browser, "Accept-Language", language)
			for _, text := range want {
				f.answers("in "+language, w, http.StatusOK, text)
			}
		}
		f.answers("for programs", f.get("/use/"+washer), http.StatusOK, "Warm wash, €3.50: "+link+"\n")
		f.answers("the colour", f.get("/static/brand.css"), http.StatusOK, "--accent: #0b6b4f")
		f.tells("/use/dev:1", http.StatusNotFound, "We do not know this machine", "Device not found", "")
		f.tells("/use/[deviceUID]", http.StatusBadRequest, "This sticker is not set up yet", "Missing device parameter", "")
		f.fleet.InUse(washer, time.Now().Add(11*time.Minute+time.Second))
		f.shows("/use/"+washer, http.StatusServiceUnavailable, "This machine is in use", "661")
		f.answers("in German", f.get("/use/"+washer, "Accept", browser, "Accept-Language", "de"), http.StatusServiceUnavailable, "Sie ist in etwa 12 Minuten wieder frei.")
	})
}

func TestALinkForTheOperatorsOwnFrontEnd(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { s.StripePriceID = warm + ",price_cold" }, func(f *front) {
		f.stripe.AddPrice(sandbox.Price{ID: "price_cold", Name: "Cold wash", Currency: "eur", Amount: 250, Active: true})
		asks := func(body string, header ...string) *httptest.ResponseRecorder {
			return f.do("POST", "/api/create-payment-link", body, append([]string{"Authorization", "Bearer " + operatorToken}, header...)...)
		}
		f.answers("before the devices were read", asks(`{"id":"`+washer+`"}`), http.StatusConflict, `"code":"not_loaded"`)
		f.run()
		links := map[string]string{}
		for _, l := range f.stripe.Links() {
			links[l.PriceID] = l.URL
		}
		answer := func(url string) string { return `{"data":{"url":"` + url + `"},"message":"Payment link created"}` }
		f.answers("the first plan", asks(`{"id":"`+washer+`"}`), http.StatusCreated, answer(links[warm]))
		f.answers("another", asks(`{"id":"DEV:864475044215258","price_id":"price_cold"}`), http.StatusCreated, answer(links["price_cold"]))
		f.answers("a price of the caller's", asks(`{"id":"`+washer+`","amount":1,"currency":"usd"}`), http.StatusCreated, answer(links[warm]))
		f.answers("without the token", f.do("POST", "/api/create-payment-link", `{"id":"`+washer+`"}`), http.StatusUnauthorized, `"code":"unauthorized"`)
		f.answers("no such device", asks(`{"id":"dev:1"}`), http.StatusNotFound, `"code":"not_found"`)
		f.answers("no such price", asks(`{"id":"`+washer+`","price_id":"price_none"}`), http.StatusNotFound, `"code":"no_such_price"`)
		f.answers("no device", asks(`{}`), http.StatusBadRequest, `"code":"bad_id"`)
		f.answers("no JSON", asks(`id=1`), http.StatusBadRequest, `"code":"bad_body"`)
		f.answers("too much", asks(`{"id":"`+strings.Repeat("x", 2<<20)+`"}`), http.StatusRequestEntityTooLarge, `"code":"too_large"`)
		f.fleet.InUse(washer, time.Time{})
		f.answers("in use", asks(`{"id":"`+washer+`"}`), http.StatusConflict, `"code":"in_use"`)
		f.fleet.Free(washer)
		f.fleet.Paused(ledger.Pause{DeviceUID: washer, Reason: "vandals", By: "anna", At: time.Now()})
		w := asks(`{"id":"` + washer + `"}`)
		f.answers("paused", w, http.StatusConflict, `"code":"paused"`)
		if strings.Contains(w.Body.String(), "vandals") {
			f.Errorf("%s; want no word of what is for the operator", w.Body)
		}
	})
}

func TestTheLivePageSpeaksTheCustomersLanguage(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		page := f.livePage(f.order(sandbox.PayOptions{}))
		f.answers("German", f.get(page, "Accept", browser, "Accept-Language", "de-AT,de;q=0.9,en;q=0.5"), http.StatusOK, "<h1>Zahlung erhalten</h1>")
		f.answers("neither", f.get(page, "Accept", browser, "Accept-Language", "ja"), http.StatusOK, "<h1>Payment received</h1>")
		html := f.get(page, "Accept", browser).Body.String()
		for _, part := range []string{`data-events="` + page + `/events"`, `<noscript><meta http-equiv="refresh" content="2"></noscript>`, `role="status"`, `src="/static/live.js"`} {
			if !strings.Contains(html, part) {
				f.Errorf("the live page lacks %s:\n%s", part, html)
			}
		}
	})
}
