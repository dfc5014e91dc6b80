package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

const (
	makeSession   = "POST /v1/checkout/sessions"
	expireSession = "POST /v1/checkout/sessions/{id}/expire"
)

func perPurchase(s *config.Settings) { s.Checkout = "session" }

// phone is a customer's browser: it keeps its cookies, and calls from an address of its own.
type phone struct {
	f       *front
	cookies []*http.Cookie
	address string
}

func (f *front) phone() *phone { return &phone{f: f, address: "203.0.113.7:40000"} }

func (p *phone) do(method, path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(form))
	r.RemoteAddr = p.address
	r.Header.Set("Accept", browser)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range p.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	p.f.handler.ServeHTTP(w, r)
	if set := w.Result().Cookies(); len(set) > 0 {
		p.cookies = set
	}
	return w
}

var payButton = regexp.MustCompile(`<form action="(/use/[^"]+)" method="post"><input type="hidden" name="price_id" value="([^"]+)">`)

// scans reads the plan page and returns what its first button sends, and where.
func (p *phone) scans() (to, form string) {
	p.f.Helper()
	w := p.do("GET", "/pay?device="+washer, "")
	found := payButton.FindStringSubmatch(w.Body.String())
	if w.Code != http.StatusOK || found == nil {
		p.f.Fatalf("the scan leads to %d %s; want a page with a button", w.Code, w.Body)
	}
	return found[1], "price_id=" + found[2]
}

// presses presses the button, and returns the session that it leads to.
func (p *phone) presses(to, form string) sandbox.Session {
	p.f.Helper()
	w := p.do("POST", to, form)
	if w.Code != http.StatusSeeOther {
		p.f.Fatalf("the button leads to %d %s; want 303", w.Code, w.Body)
	}
	return p.f.sessionAt(w.Header().Get("Location"))
}

func (f *front) sessionAt(address string) sandbox.Session {
	f.Helper()
	session, ok := f.stripe.Session(address[strings.LastIndexByte(address, '/')+1:])
	if !ok {
		f.Fatalf("%q is no session's page", address)
	}
	return session
}

func (f *front) complete(s sandbox.Session, o sandbox.PayOptions) sandbox.Session {
	f.Helper()
	s, err := f.stripe.Pay(s.ID, o)
	if err != nil {
		f.Fatal(err)
	}
	f.pass(time.Second)
	return s
}

func TestAPurchaseThroughASessionOfItsOwn(t *testing.T) {
	t.Parallel()
	for capture, change := range map[string]func(*config.Settings){
		"immediate": perPurchase,
		"on_start":  func(s *config.Settings) { perPurchase(s); s.Capture, s.ConfirmWithin = "on_start", 2*time.Minute },
	} {
		t.Run(capture, func(t *testing.T) {
			t.Parallel()
			inFront(t, change, func(f *front) {
				f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": "30m"} })
				f.run()
				p := f.phone()
				to, form := p.scans()
				if c := p.cookies[0]; !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode {
					f.Errorf("the cookie is %v; want it HttpOnly, Secure and SameSite=Lax", c)
				}
				session := p.presses(to, form+"&amount=1&currency=usd&device_uid=dev:1")
				if session.Amount != 350 || session.Currency != "eur" || session.DeviceUID != washer || session.PriceID != warm || session.PaymentLink != "" ||
					session.Metadata["app"] != "notepay" || session.Metadata["project"] != project || session.Metadata["price_id"] != warm {
					f.Errorf("the session is %+v; want the plan's price and the machine, whatever the form says", session)
				}
				if session.SuccessURL != "https://pay.example.com/payment/success?session_id={CHECKOUT_SESSION_ID}" {
					f.Errorf("afterwards it leads to %s", session.SuccessURL)
				}
				f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Name, p.Metadata = "Very warm wash", map[string]string{"duration": "1m"} })
				session = f.complete(session, sandbox.PayOptions{})
				money := map[string]string{"immediate": "paid", "on_start": "authorized"}[capture]
				f.answers("the payment", f.asOperator("/api/payments/"+session.ID), http.StatusOK, `"money":"`+money+`"`)
				f.answers("as sold", f.asOperator("/api/payments/"+session.ID), http.StatusOK, `"plan":"Warm wash","duration_s":1800,"amount":350`)
				if notes := f.notehub.Notes(washer); len(notes) != 1 {
					f.Errorf("the machine has %d notes; want 1", len(notes))
				}
				if w := p.do("GET", "/payment/success?session_id="+session.ID, ""); w.Code != http.StatusSeeOther {
					f.Errorf("the success page: %d; want 303 to the live page", w.Code)
				}
				if n := len(f.stripe.Links()); n != 0 {
					f.Errorf("%d links were made; want none", n)
				}
			})
		})
	}
}

func TestABrowserHasOneOpenSession(t *testing.T) {
	t.Parallel()
	inFront(t, perPurchase, func(f *front) {
		f.run()
		p := f.phone()
		to, form := p.scans()
		var twice sync.WaitGroup
		for range 2 { // a double tap: neither waits for the other
			twice.Go(func() { p.presses(to, form) })
		}
		twice.Wait()
		first := f.stripe.Sessions()[0]
		to, form = p.scans() // after the way back, and a reload
		if again := p.presses(to, form); again.ID != first.ID || len(f.stripe.Sessions()) != 1 {
			f.Errorf("%d sessions; want the first one again", len(f.stripe.Sessions()))
		}
		if other := f.phone(); true {
			if other.scans(); other.presses(to, form).ID == first.ID {
				f.Error("another browser was led to the same session")
			}
		}
		f.pass(time.Minute)

		f.complete(first, sandbox.PayOptions{NoWebhook: true}) // nobody has told us
		second := p.presses(to, form)
		if second.ID == first.ID {
			f.Error("a complete session was given out again")
		}
		f.pass(22 * time.Minute)
		third := p.presses(to, form)
		if third.ID == second.ID {
			f.Error("a session was given out again that is about to end")
		}
		f.pass(5 * time.Second)
		if s, _ := f.stripe.Session(second.ID); s.Status != "expired" {
			f.Errorf("the one before is %s; want it expired, for the browser has another", s.Status)
		}
		f.stripe.Next(readSession, sandbox.Outcome{Status: 500})
		if again := p.presses(to, form); again.ID != third.ID {
			f.Error("while Stripe did not say how a session stands, another was made")
		}
		f.pass(time.Hour)
		if s, _ := f.stripe.Session(third.ID); s.Status != "expired" {
			f.Errorf("after an hour it is %s; want it expired", s.Status)
		}
		if p.presses(to, form).ID == third.ID {
			f.Error("an expired session was given out again")
		}
	})
}

func TestTheSessionsOfAMachineThatGoesOutOfSaleEnd(t *testing.T) {
	t.Parallel()
	pause := func(f *front) {
		f.answers("pause", f.do("POST", "/api/devices/"+washer+"/pause", "", "Authorization", "Bearer "+operatorToken), http.StatusOK, "")
	}
	for why, happen := range map[string]func(*front){
		"paused": pause,
		"removed": func(f *front) {
			f.notehub.AddDevice(sandbox.Device{UID: "dev:2"})
			f.notehub.RemoveDevice(washer)
			f.refresh()
		},
		"in use": func(f *front) { f.fleet.InUse(washer, time.Time{}) },
		"not sold at this price any more": func(f *front) {
			f.stripe.AddPrice(sandbox.Price{ID: "price_cold", Name: "Cold wash", Currency: "eur", Amount: 250, Active: true})
			f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Active = false })
			f.notehub.SetProjectVariables(map[string]string{"stripe_price_id": "price_cold"})
			f.refresh()
		},
		"paused while Stripe was down":    func(f *front) { f.stripe.Next(expireSession, sandbox.Outcome{Status: 500}); pause(f) },
		"paused while nobody was running": func(f *front) { pause(f); f.stop(); f.closeLedger(); f.open(); f.run() },
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			inFront(t, perPurchase, func(f *front) {
				f.run()
				p := f.phone()
				session := p.presses(p.scans())
				f.pass(10 * time.Second)
				if s, _ := f.stripe.Session(session.ID); s.Status != "open" {
					f.Fatalf("the session is %s while its machine sells; want open", s.Status)
				}
				happen(f)
				f.pass(10 * time.Second)
				if s, _ := f.stripe.Session(session.ID); s.Status != "expired" {
					f.Errorf("the session is %s; want expired", s.Status)
				}
				calls := f.stripe.Count(expireSession)
				f.pass(time.Minute)
				if n := f.stripe.Count(expireSession) - calls; n != 0 {
					f.Errorf("it was ended %d more times", n)
				}
			})
		})
	}
}

// refresh lists the devices again.
func (f *front) refresh() {
	f.Helper()
	f.answers("refresh", f.asOperator("/refresh-devices"), http.StatusOK, "")
}

func TestAPaidSessionIsNotEndedWithTheUseOfItsMachine(t *testing.T) {
	t.Parallel()
	inFront(t, perPurchase, func(f *front) {
		f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": "30m"} })
		f.run()
		p, other := f.phone(), f.phone()
		to, form := p.scans()
		other.scans()
		mine, theirs := p.presses(to, form), other.presses(to, form)
		f.complete(mine, sandbox.PayOptions{})
		f.pass(5 * time.Second)
		if s, _ := f.stripe.Session(theirs.ID); s.Status != "expired" {
			f.Errorf("the other's session is %s; want it expired before it is paid for nothing", s.Status)
		}
		if n := f.stripe.Count(expireSession); n != 1 {
			f.Errorf("%d sessions were to be ended; want the other's alone", n)
		}
	})
}

func TestTheButtonPressedTooOften(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { perPurchase(s); readAtOnce(s) }, func(f *front) {
		for _, uid := range []string{"dev:2", "dev:3", "dev:4", "dev:5", "dev:6", "dev:7", "dev:8"} {
			f.notehub.AddDevice(sandbox.Device{UID: uid})
		}
		f.run()
		p := f.phone()
		to, form := p.scans()
		refused := func(what string, w *httptest.ResponseRecorder) {
			f.Helper()
			f.answers(what, w, http.StatusTooManyRequests, "<h1>Too many attempts</h1>")
			if n, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || n < 1 || n > 20 {
				f.Errorf("%s: Retry-After %q; want some seconds", what, w.Header().Get("Retry-After"))
			}
		}
		for range 6 {
			p.presses(to, form)
		}
		refused("one browser", p.do("POST", to, form))
		f.pass(10 * time.Second)
		p.presses(to, form)

		// Strangers press without having loaded a page, from the address that is everybody's behind a proxy.
		made := f.stripe.Count(makeSession)
		stranger := func(to, form string) *httptest.ResponseRecorder {
			return (&phone{f: f, address: p.address}).do("POST", to, form)
		}
		for range 40 {
			stranger(to, form)
		}
		if n := f.stripe.Count(makeSession) - made; n > 5 {
			f.Errorf("%d sessions were made for one machine at once; want 5 at most", n)
		}
		refused("a stranger at one machine", stranger(to, form))
		for range 500 {
			stranger(to, "price_id=price_none")
		}
		if w := stranger("/use/dev:2", form); w.Code != http.StatusSeeOther {
			f.Errorf("another machine: %d; want 303", w.Code)
		}
		for i := range 100 { // for all machines, with names of their own making
			q := &phone{f: f, address: p.address, cookies: []*http.Cookie{{Name: "notepay_browser", Value: "AAAAAAAAAAAAAAAAAAAAAAAAAA." + strings.Repeat(strconv.Itoa(i%10), 32)}}}
			q.do("POST", "/use/dev:"+strconv.Itoa(2+i%7), form)
		}
		if n := f.stripe.Count(makeSession) - made; n > 12 {
			f.Errorf("%d sessions were made in a moment; want 12 at most", n)
		}
		for _, uid := range []string{washer, "dev:2", "dev:8"} { // customers load the page first
			q := &phone{f: f, address: p.address}
			q.do("GET", "/use/"+uid, "")
			if w := q.do("POST", "/use/"+uid, form); w.Code != http.StatusSeeOther {
				f.Errorf("a customer at %s while strangers press: %d; want 303", uid, w.Code)
			}
		}

		// Who loads a page for each press can use up what there is of one machine, and of no other.
		made = f.stripe.Count(makeSession)
		for range 40 {
			q := &phone{f: f, address: p.address}
			q.do("GET", "/use/dev:3", "")
			q.do("POST", "/use/dev:3", form)
		}
		if n := f.stripe.Count(makeSession) - made; n != 10 {
			f.Errorf("%d sessions were made for one machine at once; want 10", n)
		}
		q := &phone{f: f, address: p.address}
		q.do("GET", "/use/dev:4", "")
		if w := q.do("POST", "/use/dev:4", form); w.Code != http.StatusSeeOther {
			f.Errorf("a customer at another machine: %d; want 303", w.Code)
		}

		// A name of an earlier process is replaced with the next page.
		old := &phone{f: f, address: p.address, cookies: []*http.Cookie{{Name: "notepay_browser", Value: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}}}
		if old.do("GET", "/use/dev:5", ""); old.cookies[0].Value == "ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
			f.Error("a name of an earlier process was kept")
		}
	})
}

func TestAButtonOfAnOldPage(t *testing.T) {
	t.Parallel()
	inFront(t, perPurchase, func(f *front) {
		f.run()
		p := f.phone()
		for _, form := range []string{"price_id=price_old", "price_id=", "", "%zz", "price_id=price_warm%00"} {
			if w := p.do("POST", "/use/"+washer, form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/use/"+washer {
				f.Errorf("%q: %d to %q; want 303 to the plans", form, w.Code, w.Header().Get("Location"))
			}
		}
		f.answers("no device", p.do("POST", "/use/dev:1", "price_id="+warm), http.StatusNotFound, "We do not know this machine")
		f.fleet.Paused(ledger.Pause{DeviceUID: washer, At: time.Now()})
		f.answers("paused", p.do("POST", "/use/"+washer, "price_id="+warm), http.StatusServiceUnavailable, "This machine is closed")
		if n := f.stripe.Count(makeSession); n != 0 {
			f.Errorf("%d sessions; want none", n)
		}
	})
}

func TestStripeMakesNoSession(t *testing.T) {
	t.Parallel()
	inFront(t, perPurchase, func(f *front) {
		f.run()
		p := f.phone()
		to, form := p.scans()
		for _, o := range []sandbox.Outcome{{Status: 500}, {Status: 429, Header: http.Header{"Retry-After": {"7"}}}, {Delay: time.Hour}} {
			f.stripe.Next(makeSession, o)
			w := p.do("POST", to, form)
			f.answers("the button", w, http.StatusServiceUnavailable, "<h1>The payment page did not open</h1>")
			if w.Header().Get("Retry-After") == "" {
				f.Error("no Retry-After")
			}
			f.pass(time.Minute)
		}
		if s := p.presses(to, form); s.Status != "open" {
			f.Errorf("afterwards the session is %s", s.Status)
		}
		metrics := f.get("/metrics").Body.String()
		for outcome, n := range map[string]int{"done": 1, "wait": 1, "unclear": 2, "refused": 0} {
			if line := fmt.Sprintf("\nnotepay_session_creations_total{outcome=%q} %d\n", outcome, n); !strings.Contains(metrics, line) {
				f.Errorf("the metrics lack %s", line)
			}
		}
	})
}

func TestLinksGiveWayToSessionsAndComeBack(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		restart := func(checkout string) {
			f.stop()
			f.closeLedger()
			f.settings.Checkout = checkout
			f.open()
			if checkout == "session" { // before anybody was asked
				f.phone().scans()
			}
			f.run()
		}
		restart("session")
		if links := f.stripe.Links(); len(links) != 1 || links[0].Active {
			f.Errorf("links %+v; want the old one, deactivated", links)
		}
		f.answers("health", f.get("/health"), http.StatusOK, `"links":0`)
		f.answers("for programs", f.get("/use/"+washer), http.StatusOK, "Warm wash, €3.50: POST price_id=price_warm to /use/"+washer)
		f.answers("own front ends", f.do("POST", "/api/create-payment-link", `{"id":"`+washer+`"}`, "Authorization", "Bearer "+operatorToken), http.StatusCreated, `"url":"https://pay.example.com/use/`+washer+`"`)
		p := f.phone()
		p.presses(p.scans())
		restart("session") // what was sold is known at once
		restart("link")
		f.leads("/pay?device="+washer, f.stripe.Links()[0].URL)
		f.answers("no button", f.do("POST", "/use/"+washer, url.Values{"price_id": {warm}}.Encode()), http.StatusMethodNotAllowed, "")
		synctest.Wait()
	})
}

func TestWhatStandsOnTheCardsStatement(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Washer 3": "WASHER 3", "Wäscherei Süd 12": "WASCHEREI", "Locker *<7>\"'": "LOCKER 7", "": "", "12": "", "洗濯機": "", "  a\tb  ": "A B", "Dryer-No.1 left": "DRYER-NO.1",
	} {
		got := stripeapi.StatementSuffix(ledger.Device{Name: name})
		if (got == nil) != (want == "") || got != nil && *got != want {
			t.Errorf("%q: %v; want %q", name, got, want)
		}
	}
}

func TestASessionIsMadeWithExactlyTheseParameters(t *testing.T) {
	t.Parallel()
	inFront(t, func(s *config.Settings) { perPurchase(s); s.Capture, s.ConfirmWithin = "on_start", 2*time.Minute }, func(f *front) {
		f.run()
		p := f.phone()
		to, pressed := p.scans()
		now := time.Now()
		p.presses(to, pressed)
		form, err := url.ParseQuery(string(f.stripe.Requests(makeSession)[0].Body))
		if err != nil {
			f.Fatal(err)
		}
		want := url.Values{
			"mode": {"payment"}, "line_items[0][price]": {warm}, "line_items[0][quantity]": {"1"}, "payment_method_types[0]": {"card"},
			"success_url": {"https://pay.example.com/payment/success?session_id={CHECKOUT_SESSION_ID}"}, "cancel_url": {"https://pay.example.com/payment/cancel"},
			"expires_at":                       {strconv.FormatInt(now.Add(31*time.Minute).Unix(), 10)},
			"payment_intent_data[description]": {"Washer 3: Warm wash"}, "payment_intent_data[statement_descriptor_suffix]": {"WASHER 3"},
			"payment_intent_data[capture_method]": {"manual"},
		}
		for name, value := range map[string]string{"app": "notepay", "project": project, "device_uid": washer, "price_id": warm, "capture": "manual"} {
			want.Set("metadata["+name+"]", value)
			want.Set("payment_intent_data[metadata]["+name+"]", value)
		}
		if form.Encode() != want.Encode() {
			f.Errorf("parameters %v; want %v", form, want)
		}
	})
}
