package checkout_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
	"notepay/internal/stripeapi"
)

const (
	makeSession   = "POST /v1/checkout/sessions"
	expireSession = "POST /v1/checkout/sessions/{id}/expire"
)

func TestSessionOfAPurchase(t *testing.T) {
	t.Parallel()
	for capture, change := range map[string]func(*config.Settings){
		"immediate": apptest.PerPurchase,
		"on_start": func(s *config.Settings) {
			apptest.PerPurchase(s)
			s.Capture, s.ConfirmWithin = "on_start", 2*time.Minute
		},
	} {
		t.Run(capture, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, change, func(f *apptest.Front) {
				f.Stripe.SetPrice(
					fixture.Warm,
					func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": "30m"} },
				)
				f.Run()
				p := f.Phone()
				to, form := p.Scans()
				if c := p.Cookies[0]; !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode {
					f.Errorf("the cookie is %v; want it HttpOnly, Secure and SameSite=Lax", c)
				}
				session := p.Presses(to, form+"&amount=1&currency=usd&device_uid=dev:1")
				if session.Amount != 350 || session.Currency != "eur" || session.DeviceUID != fixture.Washer ||
					session.PriceID != fixture.Warm ||
					session.PaymentLink != "" ||
					session.Metadata["app"] != "notepay" ||
					session.Metadata["project"] != fixture.Project ||
					session.Metadata["price_id"] != fixture.Warm {
					f.Errorf(
						"the session is %+v; want the plan's price and the machine, whatever the form says",
						session,
					)
				}
				if session.SuccessURL != "https://pay.example.com/payment/success?session_id={CHECKOUT_SESSION_ID}" {
					f.Errorf("afterwards it leads to %s", session.SuccessURL)
				}
				f.Stripe.SetPrice(
					fixture.Warm,
					func(p *sandbox.Price) {
						p.Name, p.Metadata = "Very warm wash", map[string]string{"duration": "1m"}
					},
				)
				session = f.Complete(session, sandbox.PayOptions{})
				money := map[string]string{"immediate": "paid", "on_start": "authorized"}[capture]
				f.Answers(
					"the payment",
					f.AsOperator("/api/payments/"+session.ID),
					http.StatusOK,
					`"money":"`+money+`"`,
				)
				f.Answers(
					"as sold",
					f.AsOperator("/api/payments/"+session.ID),
					http.StatusOK,
					`"plan":"Warm wash","duration_s":1800,"amount":350`,
				)
				if notes := f.Notehub.Notes(fixture.Washer); len(notes) != 1 {
					f.Errorf("the machine has %d notes; want 1", len(notes))
				}
				if w := p.Do("GET", "/payment/success?session_id="+session.ID, ""); w.Code != http.StatusSeeOther {
					f.Errorf("the success page: %d; want 303 to the live page", w.Code)
				}
				if n := len(f.Stripe.Links()); n != 0 {
					f.Errorf("%d links were made; want none", n)
				}
			})
		})
	}
}

func TestURLKeepsOneOpenSessionForABrowser(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
		f.Run()
		p := f.Phone()
		to, form := p.Scans()
		var twice sync.WaitGroup
		for range 2 { // a double tap
			twice.Go(func() { p.Presses(to, form) })
		}
		twice.Wait()
		first := f.Stripe.Sessions()[0]
		to, form = p.Scans() // the customer goes back and reloads
		if again := p.Presses(to, form); again.ID != first.ID || len(f.Stripe.Sessions()) != 1 {
			f.Errorf("%d sessions; want the first one again", len(f.Stripe.Sessions()))
		}
		if other := f.Phone(); true {
			if other.Scans(); other.Presses(to, form).ID == first.ID {
				f.Error("another browser was led to the same session")
			}
		}
		f.Pass(time.Minute)

		f.Complete(first, sandbox.PayOptions{NoWebhook: true}) // notepay does not know yet
		second := p.Presses(to, form)
		if second.ID == first.ID {
			f.Error("a complete session was returned again")
		}
		f.Pass(22 * time.Minute)
		third := p.Presses(to, form)
		if third.ID == second.ID {
			f.Error("a session was given out again that is about to end")
		}
		f.Pass(5 * time.Second)
		if s, _ := f.Stripe.Session(second.ID); s.Status != "expired" {
			f.Errorf("the one before is %s; want it expired, for the browser has another", s.Status)
		}
		f.Stripe.Next(fixture.ReadSession, sandbox.Outcome{Status: 500})
		if again := p.Presses(to, form); again.ID != third.ID {
			f.Error("while the state of a session was unknown, another was made")
		}
		f.Pass(time.Hour)
		if s, _ := f.Stripe.Session(third.ID); s.Status != "expired" {
			f.Errorf("after an hour it is %s; want it expired", s.Status)
		}
		if p.Presses(to, form).ID == third.ID {
			f.Error("an expired session was given out again")
		}
	})
}

func TestRunExpiresTheSessionsOfAMachineThatStopsSelling(t *testing.T) {
	t.Parallel()
	pause := func(f *apptest.Front) {
		f.Answers(
			"pause",
			f.Do("POST", "/api/devices/"+fixture.Washer+"/pause", "", "Authorization", "Bearer "+apptest.OperatorToken),
			http.StatusOK,
			"",
		)
	}
	for why, happen := range map[string]func(*apptest.Front){
		"paused": pause,
		"removed": func(f *apptest.Front) {
			f.Notehub.AddDevice(sandbox.Device{UID: "dev:2"})
			f.Notehub.RemoveDevice(fixture.Washer)
			f.Refresh()
		},
		"in use": func(f *apptest.Front) { f.Fleet.InUse(fixture.Washer, time.Time{}) },
		"not sold at this price any more": func(f *apptest.Front) {
			f.Stripe.AddPrice(sandbox.Price{
				ID: "price_cold", Name: "Cold wash", Currency: "eur", Amount: 250, Active: true,
			})
			f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Active = false })
			f.Notehub.SetProjectVariables(map[string]string{"stripe_price_id": "price_cold"})
			f.Refresh()
		},
		"paused while Stripe was down": func(f *apptest.Front) {
			f.Stripe.Next(expireSession, sandbox.Outcome{Status: 500})
			pause(f)
		},
		"paused while notepay was not running": func(f *apptest.Front) {
			pause(f)
			f.Stop()
			f.CloseLedger()
			f.Open()
			f.Run()
		},
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
				f.Run()
				p := f.Phone()
				session := p.Presses(p.Scans())
				f.Pass(10 * time.Second)
				if s, _ := f.Stripe.Session(session.ID); s.Status != "open" {
					f.Fatalf("the session is %s while its machine sells; want open", s.Status)
				}
				happen(f)
				f.Pass(10 * time.Second)
				if s, _ := f.Stripe.Session(session.ID); s.Status != "expired" {
					f.Errorf("the session is %s; want expired", s.Status)
				}
				calls := f.Stripe.Count(expireSession)
				f.Pass(time.Minute)
				if n := f.Stripe.Count(expireSession) - calls; n != 0 {
					f.Errorf("it was ended %d more times", n)
				}
			})
		})
	}
}

func TestRunDoesNotExpireAPaidSession(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
		f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": "30m"} })
		f.Run()
		p, other := f.Phone(), f.Phone()
		to, form := p.Scans()
		other.Scans()
		mine, theirs := p.Presses(to, form), other.Presses(to, form)
		f.Complete(mine, sandbox.PayOptions{})
		f.Pass(5 * time.Second)
		if s, _ := f.Stripe.Session(theirs.ID); s.Status != "expired" {
			f.Errorf("the other's session is %s; want it expired before it is paid for nothing", s.Status)
		}
		if n := f.Stripe.Count(expireSession); n != 1 {
			f.Errorf("%d sessions were to be ended; want the other's alone", n)
		}
	})
}

func TestURLLimitsPresses(t *testing.T) {
	t.Parallel()
	apptest.InFront(
		t,
		func(s *config.Settings) { apptest.PerPurchase(s); apptest.ReadAtOnce(s) },
		func(f *apptest.Front) {
			for _, uid := range []string{"dev:2", "dev:3", "dev:4", "dev:5", "dev:6", "dev:7", "dev:8"} {
				f.Notehub.AddDevice(sandbox.Device{UID: uid})
			}
			f.Run()
			p := f.Phone()
			to, form := p.Scans()
			refused := func(what string, w *httptest.ResponseRecorder) {
				f.Helper()
				f.Answers(what, w, http.StatusTooManyRequests, "<h1>Too many attempts</h1>")
				if n, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || n < 1 || n > 20 {
					f.Errorf("%s: Retry-After %q; want some seconds", what, w.Header().Get("Retry-After"))
				}
			}
			for range 6 {
				p.Presses(to, form)
			}
			refused("one browser", p.Do("POST", to, form))
			f.Pass(10 * time.Second)
			p.Presses(to, form)

			// Strangers press without loading a page, from the address that all clients share
			// behind a proxy.
			made := f.Stripe.Count(makeSession)
			stranger := func(to, form string) *httptest.ResponseRecorder {
				return (&apptest.Phone{F: f, Address: p.Address}).Do("POST", to, form)
			}
			for range 40 {
				stranger(to, form)
			}
			if n := f.Stripe.Count(makeSession) - made; n > 5 {
				f.Errorf("%d sessions were made for one machine at once; want 5 at most", n)
			}
			refused("a stranger at one machine", stranger(to, form))
			for range 500 {
				stranger(to, "price_id=price_none")
			}
			if w := stranger("/use/dev:2", form); w.Code != http.StatusSeeOther {
				f.Errorf("another machine: %d; want 303", w.Code)
			}
			for i := range 100 { // at all machines, with invented names
				q := &apptest.Phone{
					F:       f,
					Address: p.Address,
					Cookies: []*http.Cookie{
						{
							Name:  "notepay_browser",
							Value: "AAAAAAAAAAAAAAAAAAAAAAAAAA." + strings.Repeat(strconv.Itoa(i%10), 32),
						},
					},
				}
				q.Do("POST", "/use/dev:"+strconv.Itoa(2+i%7), form)
			}
			if n := f.Stripe.Count(makeSession) - made; n > 12 {
				f.Errorf("%d sessions were made in a moment; want 12 at most", n)
			}
			for _, uid := range []string{fixture.Washer, "dev:2", "dev:8"} { // customers load the page first
				q := &apptest.Phone{F: f, Address: p.Address}
				q.Do("GET", "/use/"+uid, "")
				if w := q.Do("POST", "/use/"+uid, form); w.Code != http.StatusSeeOther {
					f.Errorf("a customer at %s while strangers press: %d; want 303", uid, w.Code)
				}
			}

			// A client that loads a page for each press uses up the sessions of one machine only.
			made = f.Stripe.Count(makeSession)
			for range 40 {
				q := &apptest.Phone{F: f, Address: p.Address}
				q.Do("GET", "/use/dev:3", "")
				q.Do("POST", "/use/dev:3", form)
			}
			if n := f.Stripe.Count(makeSession) - made; n != 10 {
				f.Errorf("%d sessions were made for one machine at once; want 10", n)
			}
			q := &apptest.Phone{F: f, Address: p.Address}
			q.Do("GET", "/use/dev:4", "")
			if w := q.Do("POST", "/use/dev:4", form); w.Code != http.StatusSeeOther {
				f.Errorf("a customer at another machine: %d; want 303", w.Code)
			}

			// The next page replaces a name of an earlier process.
			old := &apptest.Phone{
				F:       f,
				Address: p.Address,
				Cookies: []*http.Cookie{{Name: "notepay_browser", Value: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}},
			}
			if old.Do("GET", "/use/dev:5", ""); old.Cookies[0].Value == "ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
				f.Error("a name of an earlier process was kept")
			}
		},
	)
}

func TestPayButtonOfAnOldPage(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
		f.Run()
		p := f.Phone()
		for _, form := range []string{"price_id=price_old", "price_id=", "", "%zz", "price_id=price_warm%00"} {
			if w := p.Do("POST", "/use/"+fixture.Washer, form); w.Code != http.StatusSeeOther ||
				w.Header().Get("Location") != "/use/"+fixture.Washer {
				f.Errorf("%q: %d to %q; want 303 to the plans", form, w.Code, w.Header().Get("Location"))
			}
		}
		f.Answers(
			"no device",
			p.Do("POST", "/use/dev:1", "price_id="+fixture.Warm),
			http.StatusNotFound,
			"We do not know this machine",
		)
		f.Fleet.Paused(ledger.Pause{DeviceUID: fixture.Washer, At: time.Now()})
		f.Answers(
			"paused",
			p.Do("POST", "/use/"+fixture.Washer, "price_id="+fixture.Warm),
			http.StatusServiceUnavailable,
			"This machine is closed",
		)
		if n := f.Stripe.Count(makeSession); n != 0 {
			f.Errorf("%d sessions; want none", n)
		}
	})
}

func TestURLWhileStripeFails(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
		f.Run()
		p := f.Phone()
		to, form := p.Scans()
		for _, o := range []sandbox.Outcome{
			{Status: 500},
			{Status: 429, Header: http.Header{"Retry-After": {"7"}}},
			{Delay: time.Hour},
		} {
			f.Stripe.Next(makeSession, o)
			w := p.Do("POST", to, form)
			f.Answers("the button", w, http.StatusServiceUnavailable, "<h1>The payment page did not open</h1>")
			if w.Header().Get("Retry-After") == "" {
				f.Error("no Retry-After")
			}
			f.Pass(time.Minute)
		}
		if s := p.Presses(to, form); s.Status != "open" {
			f.Errorf("afterwards the session is %s", s.Status)
		}
		metrics := f.Get("/metrics").Body.String()
		for outcome, n := range map[string]int{"done": 1, "wait": 1, "unclear": 2, "refused": 0} {
			line := fmt.Sprintf("\nnotepay_session_creations_total{outcome=%q} %d\n", outcome, n)
			if !strings.Contains(metrics, line) {
				f.Errorf("the metrics lack %s", line)
			}
		}
	})
}

func TestCheckoutSettingSwitchesLinksAndSessions(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		restart := func(checkout string) {
			f.Stop()
			f.CloseLedger()
			f.Settings.Checkout = checkout
			f.Open()
			if checkout == "session" { // before any vendor is called
				f.Phone().Scans()
			}
			f.Run()
		}
		restart("session")
		if links := f.Stripe.Links(); len(links) != 1 || links[0].Active {
			f.Errorf("links %+v; want the old one, deactivated", links)
		}
		f.Answers("health", f.Get("/health"), http.StatusOK, `"links":0`)
		f.Answers(
			"for programs",
			f.Get("/use/"+fixture.Washer),
			http.StatusOK,
			"Warm wash, €3.50: POST price_id=price_warm to /use/"+fixture.Washer,
		)
		f.Answers(
			"own front ends",
			f.Do(
				"POST",
				"/api/create-payment-link",
				`{"id":"`+fixture.Washer+`"}`,
				"Authorization",
				"Bearer "+apptest.OperatorToken,
			),
			http.StatusCreated,
			`"url":"https://pay.example.com/use/`+fixture.Washer+`"`,
		)
		p := f.Phone()
		p.Presses(p.Scans())
		restart("session") // the plans are known at once
		restart("link")
		f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
		f.Answers(
			"no button",
			f.Do("POST", "/use/"+fixture.Washer, url.Values{"price_id": {fixture.Warm}}.Encode()),
			http.StatusMethodNotAllowed,
			"",
		)
		synctest.Wait()
	})
}

func TestStatementSuffix(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Washer 3": "WASHER 3", "Wäscherei Süd 12": "WASCHEREI", "Locker *<7>\"'": "LOCKER 7",
		"": "", "12": "", "洗濯機": "", "  a\tb  ": "A B", "Dryer-No.1 left": "DRYER-NO.1",
	} {
		got := stripeapi.StatementSuffix(ledger.Device{Name: name})
		if (got == nil) != (want == "") || got != nil && *got != want {
			t.Errorf("%q: %v; want %q", name, got, want)
		}
	}
}

func TestCreateSessionSendsExactlyTheseParameters(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) {
		apptest.PerPurchase(s)
		s.Capture, s.ConfirmWithin = "on_start", 2*time.Minute
	}, func(f *apptest.Front) {
		f.Run()
		p := f.Phone()
		to, pressed := p.Scans()
		now := time.Now()
		p.Presses(to, pressed)
		form, err := url.ParseQuery(string(f.Stripe.Requests(makeSession)[0].Body))
		if err != nil {
			f.Fatal(err)
		}
		want := url.Values{
			"mode":                    {"payment"},
			"line_items[0][price]":    {fixture.Warm},
			"line_items[0][quantity]": {"1"},
			"payment_method_types[0]": {"card"},
			"success_url": {
				"https://pay.example.com/payment/success?session_id={CHECKOUT_SESSION_ID}",
			},
			"cancel_url": {"https://pay.example.com/payment/cancel?device=dev%3A864475044215258"},
			"custom_text[submit][message]": {
				"You are paying for Washer 3. You are not charged until the machine has started.",
			},
			"expires_at":                                       {strconv.FormatInt(now.Add(31*time.Minute).Unix(), 10)},
			"payment_intent_data[description]":                 {"Washer 3: Warm wash"},
			"payment_intent_data[statement_descriptor_suffix]": {"WASHER 3"},
			"payment_intent_data[capture_method]":              {"manual"},
		}
		for name, value := range map[string]string{
			"app": "notepay", "project": fixture.Project, "device_uid": fixture.Washer,
			"price_id": fixture.Warm, "capture": "manual",
		} {
			want.Set("metadata["+name+"]", value)
			want.Set("payment_intent_data[metadata]["+name+"]", value)
		}
		if form.Encode() != want.Encode() {
			f.Errorf("parameters %v; want %v", form, want)
		}
	})
}
