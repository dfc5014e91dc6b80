package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

const hubVariables = "GET /v1/projects/{project}/devices/{device}/environment_variables"

// withoutLimit is a service that is not told what Notehub allows.
func withoutLimit(s *config.Settings) { s.NotehubPerMinute = 0 }

// readAtOnce is a service that is told that Notehub allows many requests, so that all variables are read at once.
func readAtOnce(s *config.Settings) { s.NotehubPerMinute = 6000 }

// ownTerms adds devices whose own variables say something else than the default, behind others that are read before them.
func (f *front) ownTerms(others int) {
	f.stripe.AddPrice(sandbox.Price{ID: "price_timed", Name: "An hour", Currency: "eur", Amount: 500, Active: true})
	for n := range others {
		f.notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:0%03d", n), Name: fmt.Sprintf("Dryer %d", n)})
	}
	f.notehub.AddDevice(sandbox.Device{UID: "dev:a", Name: "Washer A", Variables: map[string]string{"stripe_price_id": "price_timed"}})
	f.notehub.AddDevice(sandbox.Device{UID: "dev:b", Name: "Washer B", Variables: map[string]string{"payment_enabled": "false"}})
}

// prices are those of the links that were ever made for a device.
func (f *front) prices(uid string) (list string) {
	for _, l := range f.stripe.Links() {
		if l.DeviceUID == uid {
			list += l.PriceID + " "
		}
	}
	return strings.TrimSpace(list)
}

// linkOf is the newest link of a device and price.
func (f *front) linkOf(uid, price string) (found sandbox.Link) {
	for _, l := range f.stripe.Links() {
		if l.DeviceUID == uid && l.PriceID == price {
			found = l
		}
	}
	return found
}

func TestVariablesAreReadBeforeAMachineIsSold(t *testing.T) {
	t.Parallel()
	for mode, change := range map[string]func(*config.Settings){
		"links":    withoutLimit,
		"sessions": func(s *config.Settings) { withoutLimit(s); s.Checkout = "session" },
	} {
		t.Run("through "+mode, func(t *testing.T) {
			t.Parallel()
			inFront(t, change, func(f *front) {
				f.ownTerms(10)
				f.run()
				for _, uid := range []string{"dev:a", "dev:b"} {
					for _, path := range []string{"/pay?device=" + uid, "/pay/" + uid, "/use/" + uid} {
						f.shows(path, http.StatusServiceUnavailable, "Just a moment", "2")
					}
					if page := f.get("/pay?device="+uid, "Accept", browser).Body.String(); !strings.Contains(page, `http-equiv="refresh" content="2"`) {
						f.Errorf("the page of %s does not ask again:\n%s", uid, page)
					}
				}
				w := f.do("POST", "/api/create-payment-link", `{"id":"dev:0009","price_id":"`+warm+`"}`, "Authorization", "Bearer "+operatorToken)
				f.answers("create-payment-link", w, http.StatusConflict, `"not_read"`)
				if got := w.Header().Get("Retry-After"); got != "2" {
					f.Errorf("Retry-After %q; want 2", got)
				}
				f.answers("devices", f.asOperator("/api/devices"), http.StatusOK, `"uid":"dev:0008","name":"Dryer 8","state":"not_read"`)

				f.pass(3 * time.Second) // that is how long a customer waits
				if mode == "links" {
					f.leads("/pay?device=dev:a", f.linkOf("dev:a", "price_timed").URL)
					if got := f.prices("dev:a"); got != "price_timed" {
						f.Errorf("links were made for %q; want price_timed alone", got)
					}
					if got := f.prices("dev:b"); got != "" {
						f.Errorf("links were made for %q of a machine that is switched off", got)
					}
				}
				page := f.get("/use/dev:a", "Accept", browser)
				f.answers("the plans", page, http.StatusOK, "€5.00")
				if strings.Contains(page.Body.String(), "€3.50") {
					f.Errorf("the default price is offered:\n%s", page.Body)
				}
				f.shows("/pay?device=dev:b", http.StatusServiceUnavailable, "This machine is not taking payments right now", "")
				w = f.do("POST", "/api/create-payment-link", `{"id":"dev:0009"}`, "Authorization", "Bearer "+operatorToken)
				f.answers("create-payment-link", w, http.StatusCreated, `"url"`)
			})
		})
	}
}

func TestAFirstStartOfTwoHundredMachines(t *testing.T) {
	t.Parallel()
	for _, limit := range []uint{0, 7, 60} {
		t.Run(fmt.Sprintf("with a limit of %d", limit), func(t *testing.T) {
			t.Parallel()
			inFront(t, func(s *config.Settings) { s.NotehubPerMinute = limit }, func(f *front) {
				f.ownTerms(200)
				f.run()
				f.pass(5 * time.Minute)
				waited := time.Duration(0)
				for f.get("/pay?device=dev:a").Code == http.StatusServiceUnavailable && waited < time.Minute {
					f.pass(time.Second)
					waited += time.Second
				}
				if waited > 4*time.Second {
					f.Errorf("a customer waited %v; want a few seconds", waited)
				}
				all := map[uint]time.Duration{0: 70 * time.Minute, 7: 70 * time.Minute, 60: 6 * time.Minute}[limit]
				f.pass(all)
				if n := f.fleet.States()["not_read"]; n != 0 {
					f.Errorf("%d devices are not read %v after the start", n, all)
				}
				most := int(max(limit, 7))
				requests := f.notehub.Requests("{any} /{rest...}")
				for i := range requests {
					n := i
					for n < len(requests) && requests[n].At.Sub(requests[i].At) < time.Minute {
						n++
					}
					if n-i > 2*most { // a burst, and what comes after it
						f.Fatalf("%d calls in a minute; want about %d", n-i, most)
					}
				}
			})
		})
	}
}

func TestAMachineWhoseVariablesCannotBeReadIsNotSold(t *testing.T) {
	t.Parallel()
	inFront(t, withoutLimit, func(f *front) {
		f.ownTerms(0)
		f.notehub.Always(hubVariables, sandbox.Outcome{Status: 503})
		f.run()
		for range 300 {
			f.shows("/pay?device=dev:a", http.StatusServiceUnavailable, "Just a moment", "2")
			f.pass(time.Second)
		}
		if n := f.notehub.Count(hubVariables); n > 40 {
			f.Errorf("%d reads in five minutes of a customer's waiting; want few", n)
		}
		f.notehub.Clear(hubVariables)
		f.pass(2 * time.Minute)
		f.get("/pay?device=dev:a")
		f.pass(2 * time.Second)
		f.leads("/pay?device=dev:a", f.linkOf("dev:a", "price_timed").URL)

		f.notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: 503}) // what was known holds, also after a restart
		f.restarted(nil)
		f.leads("/pay?device=dev:a", f.linkOf("dev:a", "price_timed").URL)
		f.pass(time.Hour)
		f.leads("/pay?device=dev:a", f.linkOf("dev:a", "price_timed").URL)
		if got := f.prices("dev:a"); got != "price_timed" {
			f.Errorf("links were made for %q; want price_timed alone", got)
		}
	})
	for _, route := range []string{"GET /v1/projects/{project}/environment_variables", "GET /v1/projects/{project}/fleets"} {
		inFront(t, nil, func(f *front) {
			f.notehub.SetProjectVariables(map[string]string{"payment_enabled": "false"})
			f.notehub.Always(route, sandbox.Outcome{Status: 403, Body: `{"err":"no permission"}`})
			f.run()
			f.pass(10 * time.Minute)
			f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "Just a moment", "2")
			if n := len(f.stripe.Links()); n != 0 {
				f.Errorf("%d links were made", n)
			}
			f.notehub.Clear(route)
			f.pass(time.Minute)
			f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "This machine is not taking payments right now", "")
		})
	}
}

func TestAPaymentForAMachineThatWasNotReadWaitsForItsVariables(t *testing.T) {
	t.Parallel()
	inFront(t, withoutLimit, func(f *front) {
		f.ownTerms(10)
		metadata := func(uid string) map[string]string {
			return map[string]string{"app": "notepay", "project": project, "device_uid": uid, "price_id": warm}
		}
		link := f.stripe.AddLink(sandbox.Link{DeviceUID: "dev:a", PriceID: warm, Active: true, Metadata: metadata("dev:a"), IntentMetadata: metadata("dev:a")})
		f.stripe.AddLink(sandbox.Link{DeviceUID: "dev:0009", PriceID: warm, Active: true, Metadata: metadata("dev:0009"), IntentMetadata: metadata("dev:0009")})
		off := f.stripe.AddLink(sandbox.Link{DeviceUID: "dev:b", PriceID: warm, Active: true, Metadata: metadata("dev:b"), IntentMetadata: metadata("dev:b")})
		f.run()
		for _, l := range f.stripe.Links() {
			if !l.Active {
				f.Errorf("the link of %s was deactivated before it is known what it sells", l.DeviceUID)
			}
		}
		f.shows("/pay?device=dev:0009", http.StatusServiceUnavailable, "Just a moment", "2")
		for _, l := range []sandbox.Link{link, off} {
			if _, err := f.stripe.Pay(l.URL, sandbox.PayOptions{}); err != nil {
				f.Fatal(err)
			}
		}
		f.pass(10 * time.Second)
		if n := len(f.notehub.Notes("dev:a")); n != 1 {
			f.Errorf("%d notes; want one: what was sold is honored", n)
		}
		if n := len(f.notehub.Notes("dev:b")); n != 0 {
			f.Errorf("%d notes at a machine that is switched off; want none", n)
		}
		f.answers("payments", f.asOperator("/api/payments?device=dev:b"), http.StatusOK, `"reason":"not_selling"`)
	})
}

func TestALifetimeInAVariableKeepsTheRulesOfTheSetting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change   func(*config.Settings)
		variable string
		want     time.Duration // from the payment until the note expires
		problem  string
	}{
		"too short":                        {func(*config.Settings) {}, "1s", 10 * time.Minute, "at least 10s"},
		"for ever where machines confirm":  {func(s *config.Settings) { s.ConfirmWithin = time.Hour }, "0", 10 * time.Minute, "CONFIRM_WITHIN"},
		"shorter than payments are polled": {func(s *config.Settings) { s.StripeWebhookSecret = config.WebhooksOff }, "1m", 10 * time.Minute, "POLL_INTERVAL"},
		"one that is possible":             {func(*config.Settings) {}, "5m", 5 * time.Minute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, c.change, func(f *front) {
				f.notehub.SetDevice(washer, func(d *sandbox.Device) { d.Variables = map[string]string{"credit_lifetime": c.variable} })
				f.run()
				session := f.buy(sandbox.PayOptions{})
				f.get("/payment/success?session_id=" + session.ID) // where webhooks are off
				f.pass(2 * time.Second)
				p := f.paid(session.ID)
				if got := p.ExpiresAt.Sub(p.PaidAt); got != c.want {
					f.Errorf("the credit lives for %v; want %v", got, c.want)
				}
				f.stands(session.ID, ending{money: payment.Paid, machine: payment.Sent})
				devices := f.asOperator("/api/devices").Body.String()
				if c.problem == "" != strings.Contains(devices, `"problems":[]`) || !strings.Contains(devices, c.problem) {
					f.Errorf("want the problem %q:\n%s", c.problem, devices)
				}
			})
		})
	}
}
