package customer_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/sandbox"
)

func TestScanRedirectsToTheLink(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:lab_1.a-b", Name: "Lab"})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:0ff", Name: "Dryer 1", Disabled: true})
		f.Run()
		links := map[string]string{}
		for _, l := range f.Stripe.Links() {
			links[l.DeviceUID] = l.URL
		}
		asked := f.Notehub.Count("{any} /{rest...}") + f.Stripe.Count("{any} /{rest...}")
		for _, path := range []string{
			"/pay?device=dev:864475044215258", "/pay?device=dev%3A864475044215258", "/pay?device=DEV:864475044215258",
			"/pay?device=%20dev:864475044215258%0A",
			"/pay?deviceUID=dev:864475044215258", "/pay?device_uid=dev:864475044215258",
			"/pay?device=&deviceUID=dev:864475044215258",
			"/pay?device=dev:864475044215258&product=product:com.example&pin=1234",
			"/pay/dev:864475044215258", "/pay/dev%3A864475044215258", "/pay/DEV%3a864475044215258",
		} {
			f.Leads(path, links[fixture.Washer])
		}
		f.Leads("/pay?device=dev:lab_1.a-b", links["dev:lab_1.a-b"])
		f.Leads("/pay?lang=fr&device="+fixture.Washer, links[fixture.Washer]) // programs choose no language
		w := f.Get("/pay?lang=fr&device="+fixture.Washer, "Accept", "text/html")
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || len(w.Result().Cookies()) != 1 {
			f.Errorf("choosing a language: %d to %q; want 303 with a cookie", w.Code, to)
		} else {
			f.Leads(to, links[fixture.Washer])
		}
		if w := f.Do("HEAD", "/pay?device="+fixture.Washer, ""); w.Code != http.StatusTemporaryRedirect {
			f.Errorf("HEAD: %d; want 307", w.Code)
		}
		for _, path := range []string{
			"/pay", "/pay?device=", "/pay?device=[deviceUID]", "/pay?device=%5BdeviceUID%5D",
			"/pay?deviceUID=[deviceUID]", "/pay/[deviceUID]", "/pay?device=12345", "/pay?device=dev:",
			"/pay?device=dev:a%20b", "/pay?device=dev:%3Cscript%3E", "/pay?device=dev:1/../2", "/pay?device=dev:%00",
			"/pay?device=dev:" + strings.Repeat("1", 65), "/pay?price=price_1", "/pay?%zz",
		} {
			title := "Which machine is it?"
			if given, _ := url.QueryUnescape(path); strings.ContainsAny(given, "[<") {
				title = "This sticker is not set up yet"
			}
			f.Tells(path, http.StatusBadRequest, title, "Missing device parameter", "")
		}
		f.Shows("/pay?device=dev:0ff", http.StatusServiceUnavailable, "This machine is out of service", "")
		if n := f.Notehub.Count("{any} /{rest...}") + f.Stripe.Count("{any} /{rest...}") - asked; n != 0 {
			f.Errorf("the scans cost %d calls to the vendors; want none", n)
		}
	})
}

func TestScanLooksUpAnUnknownDeviceOnceAMinute(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:new", Name: "Dryer 2"})
		// only once, because the next request may know it
		f.Answers("new", f.Get("/pay?device=dev:new"), http.StatusNotFound, "Device not found\n")
		f.Tells("/pay?device=dev:unknown", http.StatusNotFound, "We do not know this machine", "Device not found", "")
		f.Pass(time.Second)
		if n := f.Notehub.Count(fixture.HubDevice); n != 1 {
			f.Errorf("%d look-ups; want one", n)
		}
		f.Leads("/pay?device=dev:new", f.Stripe.Links()[1].URL)
		f.Pass(58 * time.Second)
		f.Tells("/pay?device=dev:unknown", http.StatusNotFound, "We do not know this machine", "Device not found", "")
		f.Pass(time.Second)
		if n := f.Notehub.Count(fixture.HubDevice); n != 1 {
			f.Errorf("%d look-ups within a minute; want one", n)
		}
		for range 20 {
			f.Get("/pay?device=dev:unknown")
		}
		f.Pass(time.Second)
		if n := f.Notehub.Count(fixture.HubDevice); n != 2 {
			f.Errorf("%d look-ups in two minutes; want two", n)
		}
		f.Tells("/pay?device=dev:unknown", http.StatusNotFound, "We do not know this machine", "Device not found", "")
	})
}

func TestScanSaysWhySalesAreStopped(t *testing.T) {
	t.Parallel()
	t.Run("the devices were never listed", func(t *testing.T) {
		t.Parallel()
		apptest.InFront(t, nil, func(f *apptest.Front) {
			f.Shows("/pay?device="+fixture.Washer, http.StatusServiceUnavailable, "Starting up", "2")
			page := f.Get("/pay?device="+fixture.Washer, "Accept", apptest.Browser).Body.String()
			if !strings.Contains(page, `http-equiv="refresh" content="2"`) {
				f.Errorf("the page does not ask again:\n%s", page)
			}
			f.Notehub.Always(fixture.HubList, sandbox.Outcome{Status: 500})
			f.Run()
			f.Shows("/pay?device="+fixture.Washer, http.StatusServiceUnavailable, "Starting up", "2")
		})
	})
	t.Run("it has no price", func(t *testing.T) {
		t.Parallel()
		apptest.InFront(t, nil, func(f *apptest.Front) {
			f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Active = false })
			f.Run()
			f.Shows("/pay?device="+fixture.Washer, http.StatusServiceUnavailable, "This machine has no price yet", "60")
		})
	})
	t.Run("its link is not made yet", func(t *testing.T) {
		t.Parallel()
		apptest.InFront(t, nil, func(f *apptest.Front) {
			f.Stripe.Always(fixture.CreateLink, sandbox.Outcome{Status: 503, Body: "{}"})
			f.Run()
			f.Shows("/pay?device="+fixture.Washer, http.StatusServiceUnavailable, "Just a moment", "1")
			page := f.Get("/pay?device="+fixture.Washer, "Accept", apptest.Browser).Body.String()
			if !strings.Contains(page, `http-equiv="refresh" content="1"`) ||
				!strings.Contains(page, "Washer 3") {
				f.Errorf("the page does not ask again, or not for whom:\n%s", page)
			}
			f.Stripe.Clear(fixture.CreateLink)
			f.Pass(2 * time.Minute)
			f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
		})
	})
	t.Run("Notehub refuses us altogether", func(t *testing.T) {
		t.Parallel()
		apptest.InFront(t, nil, func(f *apptest.Front) {
			f.Run()
			f.Buy(sandbox.PayOptions{})
			f.Notehub.Always("{any} /v1/{rest...}", sandbox.Outcome{Status: 403})
			f.Buy(sandbox.PayOptions{})
			f.Pass(time.Minute)
			f.Shows("/pay?device="+fixture.Washer, http.StatusServiceUnavailable,
				"Machines cannot be reached right now", "60")
			f.Notehub.Clear("{any} /v1/{rest...}")
			f.Pass(2 * time.Minute)
			f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
		})
	})
	t.Run("the queue runs late", func(t *testing.T) {
		t.Parallel()
		apptest.InFront(t, nil, func(f *apptest.Front) {
			f.Notehub.Always(fixture.PostNote, sandbox.Outcome{Status: 503})
			f.Run()
			f.Buy(sandbox.PayOptions{})
			f.Pass(4 * time.Minute)
			f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
			f.Pass(2 * time.Minute)
			f.Shows("/pay?device="+fixture.Washer, http.StatusServiceUnavailable,
				"Machines cannot be reached right now", "60")
			f.Notehub.Clear(fixture.PostNote)
			f.Pass(3 * time.Minute) // checks for the last note, then posts again, each after up to 72 s
			f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
			if n := len(f.Notehub.Notes(fixture.Washer)); n != 1 {
				f.Errorf("%d notes; want the one that was late", n)
			}
		})
	})
}

func TestScanSaysWhyAMachineDoesNotSell(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) { s.OfflineAfter = 30 * time.Minute }, func(f *apptest.Front) {
		now := time.Now()
		machine := func(uid string, change func(*sandbox.Device)) {
			d := sandbox.Device{UID: uid, Name: "Machine " + uid[len("dev:"):], LastActivity: now}
			change(&d)
			f.Notehub.AddDevice(d)
		}
		machine(fixture.Washer, func(*sandbox.Device) {})
		machine("dev:0ff", func(d *sandbox.Device) { d.Disabled = true })
		machine("dev:nopay", func(d *sandbox.Device) { d.Variables = map[string]string{"PAYMENT_ENABLED": "false"} })
		machine("dev:silent", func(d *sandbox.Device) { d.LastActivity = now.Add(-time.Hour) })
		machine("dev:never", func(d *sandbox.Device) { d.LastActivity = time.Time{} })
		machine("dev:noprice",
			func(d *sandbox.Device) { d.Variables = map[string]string{"stripe_price_id": "price_none"} })
		for _, uid := range []string{"dev:closed", "dev:mute", "dev:busy", "dev:open-end"} {
			machine(uid, func(*sandbox.Device) {})
		}
		f.Run()
		f.Pass(4 * time.Minute)
		f.Fleet.Paused(
			ledger.Pause{DeviceUID: "dev:closed", Reason: "vandals: see ticket 7", By: "anna", At: time.Now()},
		)
		f.Fleet.Paused(
			ledger.Pause{DeviceUID: "dev:mute", Reason: "unconfirmed", By: "notepay", At: time.Now(), Automatic: true},
		)
		f.Pass(time.Second) // until their links are deactivated
		f.Fleet.InUse("dev:busy", time.Now().Add(25*time.Minute+500*time.Millisecond))
		f.Fleet.InUse("dev:open-end", time.Time{})
		asked := f.Notehub.Count("{any} /{rest...}") + f.Stripe.Count("{any} /{rest...}")
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
			f.Shows("/pay?device="+uid, http.StatusServiceUnavailable, want.title, want.retryAfter)
			page := f.Get("/pay?device="+uid, "Accept", apptest.Browser).Body.String()
			if !strings.Contains(page, "Nothing was charged for this scan.") ||
				!strings.Contains(page, "Machine "+uid[len("dev:"):]) ||
				strings.Contains(page, "vandals") {
				f.Errorf("%s: the page lacks the charge or the machine, or tells what is for the operator:\n%s", uid,
					page)
			}
		}
		f.Answers("busy", f.Get("/pay?device=dev:busy", "Accept", apptest.Browser), http.StatusServiceUnavailable,
			"about 26 minutes")
		if n := f.Notehub.Count("{any} /{rest...}") + f.Stripe.Count("{any} /{rest...}") - asked; n != 0 {
			f.Errorf("the scans cost %d calls to the vendors; want none", n)
		}
		f.Fleet.Free("dev:busy")
		f.Fleet.Resumed("dev:closed")
		f.Pass(time.Second)
		for _, uid := range []string{fixture.Washer, "dev:busy", "dev:closed"} {
			if w := f.Get("/pay?device=" + uid); w.Code != http.StatusTemporaryRedirect {
				f.Errorf("%s: %d; want 307", uid, w.Code)
			}
		}
	})
}

func TestScanSellsTheMachinesOwnPlans(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Stripe.AddPrice(
			sandbox.Price{ID: "price_cold", Name: "Cold wash", Currency: "eur", Amount: 250, Active: true},
		)
		f.Stripe.AddPrice(sandbox.Price{ID: "price_blog", Name: "Too cheap", Currency: "usd", Amount: 5, Active: true})
		f.Stripe.AddPrice(sandbox.Price{
			ID:          "price_locker",
			Name:        "Locker",
			Description: "Holds a suitcase",
			Currency:    "eur",
			Amount:      400,
			Active:      true,
			Metadata:    map[string]string{"access_code": "true", "duration": "30m"},
		})
		f.Notehub.AddFleet("fleet:1", "Basement", map[string]string{"Stripe_Price_ID": "price_cold,price_blog"})
		f.Notehub.AddDevice(sandbox.Device{UID: "dev:cellar", Name: "Washer 9", Fleets: []string{"fleet:1"}})
		f.Notehub.AddDevice(sandbox.Device{
			UID:       "dev:locker",
			Name:      "Locker 1",
			Fleets:    []string{"fleet:1"},
			Variables: map[string]string{"stripe_price_id": "price_locker"},
		})
		f.Run()
		f.Pass(2 * time.Minute)
		for uid, price := range map[string]string{
			fixture.Washer: fixture.Warm, "dev:cellar": "price_cold", "dev:locker": "price_locker",
		} {
			sold := ""
			for _, l := range f.Stripe.Links() {
				if l.Active && l.DeviceUID == uid {
					sold += l.PriceID
					f.Leads("/pay?device="+uid, l.URL)
				}
			}
			if sold != price {
				f.Errorf("%s has active links for %q; want %s alone", uid, sold, price)
			}
		}
		if plan := f.Fleet.Device("dev:locker").Offers[0].Plan; !plan.AccessCode || plan.Duration != 30*time.Minute ||
			plan.Description != "Holds a suitcase" {
			f.Errorf("plan %+v; want an access code, half an hour and its description", plan)
		}
		p := f.Fleet.Problems()
		if len(p) != 1 || p[0].Devices != 1 || !strings.Contains(p[0].Text.String(), "price_blog") {
			f.Errorf("problems %+v; want the price that is too small", p)
		}
	})
}

func TestScanShowsSeveralPlans(t *testing.T) {
	t.Parallel()
	apptest.InFront(
		t,
		func(s *config.Settings) { s.StripePriceID = fixture.Warm + ",price_cold" },
		func(f *apptest.Front) {
			f.Stripe.AddPrice(
				sandbox.Price{ID: "price_cold", Name: "Cold <wash>", Currency: "jpy", Amount: 300, Active: true},
			)
			f.Run()
			f.Shows("/pay?device="+fixture.Washer, http.StatusOK, "Choose a program", "")
			text := f.Get("/pay/" + fixture.Washer).Body.String()
			page := f.Get("/pay/"+fixture.Washer, "Accept", apptest.Browser).Body.String()
			for _, l := range f.Stripe.Links() {
				want := map[string]string{
					fixture.Warm: "Warm wash, €3.50: ", "price_cold": "Cold <wash>, ¥300: ",
				}[l.PriceID] + l.URL
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
		},
	)
}

func TestScanCreatesItsLinkFirst(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, apptest.ReadAtOnce, func(f *apptest.Front) {
		for i := range 100 {
			f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:z%03d", i)})
		}
		f.Run() // for one second, in which notepay creates a quarter of the links
		const last = "dev:z099"
		f.Shows("/pay?device="+last, http.StatusServiceUnavailable, "Just a moment", "1")
		f.Pass(200 * time.Millisecond)
		if n := len(f.Stripe.Links()); n > 60 {
			f.Fatalf("%d links by now; want most of them still to be made", n)
		}
		if w := f.Get("/pay?device=" + last); w.Code != http.StatusTemporaryRedirect {
			f.Errorf("%d; want 307, before the links of those who wait for nothing", w.Code)
		}
	})
}

func TestPlansOfOnePlan(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, func(s *config.Settings) {
		s.BrandName, s.BrandColor, s.SupportContact = "Riverside Laundry", "#0b6b4f", "+49 30 1234"
	}, func(f *apptest.Front) {
		f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) {
			p.Description, p.Metadata = "40 degrees", map[string]string{"duration": "60m", "delayed_start": "5m"}
		})
		f.Run()
		link := f.Stripe.Links()[0].URL
		for language, want := range map[string][]string{
			"en": {
				"<h1>Ready for your payment</h1>", "Washer 3", "Warm wash", "€3.50", "40 degrees", "Lasts 1\u00a0h",
				"You then have 5\u00a0min", "within 10\u00a0min", "Riverside Laundry", "tel:&#43;49301234",
				`href="` + link + `"`, "/static/brand.css", "Test mode",
			},
			"de": {
				"<h1>Bereit zum Bezahlen</h1>", "Washer 3", "3,50\u00a0€ bezahlen", "Dauer: 1\u00a0Std.",
				"innerhalb von 10\u00a0Min.", "Fragen?", `href="` + link + `"`, "Testmodus",
			},
		} {
			w := f.Get("/use/"+fixture.Washer, "Accept", apptest.Browser, "Accept-Language", language)
			for _, text := range want {
				f.Answers("in "+language, w, http.StatusOK, text)
			}
		}
		f.Answers("for programs", f.Get("/use/"+fixture.Washer), http.StatusOK, "Warm wash, €3.50: "+link+"\n")
		f.Answers("the color", f.Get("/static/brand.css"), http.StatusOK, "--accent: #0b6b4f")
		f.Tells("/use/dev:1", http.StatusNotFound, "We do not know this machine", "Device not found", "")
		f.Tells("/use/[deviceUID]", http.StatusBadRequest, "This sticker is not set up yet", "Missing device parameter",
			"")
		f.Fleet.InUse(fixture.Washer, time.Now().Add(11*time.Minute+time.Second))
		f.Shows("/use/"+fixture.Washer, http.StatusServiceUnavailable, "This machine is in use", "661")
		f.Answers("in German", f.Get("/use/"+fixture.Washer, "Accept", apptest.Browser, "Accept-Language", "de"),
			http.StatusServiceUnavailable, "Wieder frei in etwa 12 Minuten.")
	})
}
