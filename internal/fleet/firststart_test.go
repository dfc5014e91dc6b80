package fleet_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

const hubVariables = "GET /v1/projects/{project}/devices/{device}/environment_variables"

// withoutLimit configures a service that does not know Notehub's rate limit.
func withoutLimit(s *config.Settings) { s.NotehubPerMinute = 0 }

// slowVariables delays Notehub's replies, so that no read ends between two requests of the test.
func slowVariables(f *apptest.Front) {
	f.Notehub.Always(hubVariables, sandbox.Outcome{Applied: true, Status: 200, Delay: 200 * time.Millisecond})
}

func TestVariablesAreReadBeforeAMachineIsSold(t *testing.T) {
	t.Parallel()
	for mode, change := range map[string]func(*config.Settings){
		"links":    withoutLimit,
		"sessions": func(s *config.Settings) { withoutLimit(s); s.Checkout = "session" },
	} {
		t.Run("through "+mode, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, change, func(f *apptest.Front) {
				f.OwnTerms(10)
				slowVariables(f)
				f.Run()
				for _, uid := range []string{"dev:a", "dev:b"} {
					for _, path := range []string{"/pay?device=" + uid, "/pay/" + uid, "/use/" + uid} {
						f.Shows(path, http.StatusServiceUnavailable, "Just a moment", "2")
					}
					if page := f.Get("/pay?device="+uid, "Accept", apptest.Browser).Body.String(); !strings.Contains(
						page,
						`http-equiv="refresh" content="2"`,
					) {
						f.Errorf("the page of %s does not ask again:\n%s", uid, page)
					}
				}
				w := f.Do(
					"POST",
					"/api/create-payment-link",
					`{"id":"dev:0009","price_id":"`+fixture.Warm+`"}`,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Answers("create-payment-link", w, http.StatusConflict, `"not_read"`)
				if got := w.Header().Get("Retry-After"); got != "2" {
					f.Errorf("Retry-After %q; want 2", got)
				}
				f.Answers(
					"devices",
					f.AsOperator("/api/devices"),
					http.StatusOK,
					`"uid":"dev:0008","name":"Dryer 8","state":"not_read"`,
				)

				f.Pass(3 * time.Second) // a customer waits this long
				if mode == "links" {
					f.Leads("/pay?device=dev:a", f.LinkOf("dev:a", "price_timed").URL)
					if got := f.Prices("dev:a"); got != "price_timed" {
						f.Errorf("links were made for %q; want price_timed alone", got)
					}
					if got := f.Prices("dev:b"); got != "" {
						f.Errorf("links were made for %q of a machine that is switched off", got)
					}
				}
				page := f.Get("/use/dev:a", "Accept", apptest.Browser)
				f.Answers("the plans", page, http.StatusOK, "€5.00")
				if strings.Contains(page.Body.String(), "€3.50") {
					f.Errorf("the default price is offered:\n%s", page.Body)
				}
				f.Shows(
					"/pay?device=dev:b",
					http.StatusServiceUnavailable,
					"This machine is not taking payments right now",
					"",
				)
				w = f.Do(
					"POST",
					"/api/create-payment-link",
					`{"id":"dev:0009"}`,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Answers("create-payment-link", w, http.StatusCreated, `"url"`)
			})
		})
	}
}

func TestFirstStartOfTwoHundredMachines(t *testing.T) {
	t.Parallel()
	for _, limit := range []uint{0, 7, 60} {
		t.Run(fmt.Sprintf("with a limit of %d", limit), func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, func(s *config.Settings) { s.NotehubPerMinute = limit }, func(f *apptest.Front) {
				f.OwnTerms(200)
				f.Run()
				f.Pass(5 * time.Minute)
				waited := time.Duration(0)
				for f.Get("/pay?device=dev:a").Code == http.StatusServiceUnavailable && waited < time.Minute {
					f.Pass(time.Second)
					waited += time.Second
				}
				if waited > 4*time.Second {
					f.Errorf("a customer waited %v; want a few seconds", waited)
				}
				all := map[uint]time.Duration{0: 70 * time.Minute, 7: 70 * time.Minute, 60: 6 * time.Minute}[limit]
				f.Pass(all)
				if n := f.Fleet.States()["not_read"]; n != 0 {
					f.Errorf("%d devices are not read %v after the start", n, all)
				}
				most := int(max(limit, 7))
				requests := f.Notehub.Requests("{any} /{rest...}")
				for i := range requests {
					n := i
					for n < len(requests) && requests[n].At.Sub(requests[i].At) < time.Minute {
						n++
					}
					if n-i > 2*most { // a burst and the calls after it
						f.Fatalf("%d calls in a minute; want about %d", n-i, most)
					}
				}
			})
		})
	}
}

func TestMachineWhoseVariablesCannotBeReadIsNotSold(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, withoutLimit, func(f *apptest.Front) {
		f.OwnTerms(0)
		f.Notehub.Always(hubVariables, sandbox.Outcome{Status: 503})
		f.Run()
		for range 300 {
			f.Shows("/pay?device=dev:a", http.StatusServiceUnavailable, "Just a moment", "2")
			f.Pass(time.Second)
		}
		if n := f.Notehub.Count(hubVariables); n > 40 {
			f.Errorf("%d reads in five minutes of a customer's waiting; want few", n)
		}
		f.Notehub.Clear(hubVariables)
		f.Pass(2 * time.Minute)
		f.Get("/pay?device=dev:a")
		f.Pass(2 * time.Second)
		f.Leads("/pay?device=dev:a", f.LinkOf("dev:a", "price_timed").URL)

		// The known variables stay valid, also after a restart.
		f.Notehub.Always("{any} /{rest...}", sandbox.Outcome{Status: 503})
		f.Restarted(nil)
		f.Leads("/pay?device=dev:a", f.LinkOf("dev:a", "price_timed").URL)
		f.Pass(time.Hour)
		f.Leads("/pay?device=dev:a", f.LinkOf("dev:a", "price_timed").URL)
		if got := f.Prices("dev:a"); got != "price_timed" {
			f.Errorf("links were made for %q; want price_timed alone", got)
		}
	})
	for _, route := range []string{
		"GET /v1/projects/{project}/environment_variables", "GET /v1/projects/{project}/fleets",
	} {
		apptest.InFront(t, nil, func(f *apptest.Front) {
			f.Notehub.SetProjectVariables(map[string]string{"payment_enabled": "false"})
			f.Notehub.Always(route, sandbox.Outcome{Status: 403, Body: `{"err":"no permission"}`})
			f.Run()
			f.Pass(10 * time.Minute)
			f.Shows("/pay?device="+fixture.Washer, http.StatusServiceUnavailable, "Just a moment", "2")
			if n := len(f.Stripe.Links()); n != 0 {
				f.Errorf("%d links were made", n)
			}
			f.Notehub.Clear(route)
			f.Pass(time.Minute)
			f.Shows(
				"/pay?device="+fixture.Washer,
				http.StatusServiceUnavailable,
				"This machine is not taking payments right now",
				"",
			)
		})
	}
}

// A record of a fleet that cannot be read is no evidence that the fleet sets nothing. The fleet keeps
// the variables of the ledger, also if the first reading of a process meets the record.
func TestFleetWhoseRecordCannotBeReadKeepsItsVariables(t *testing.T) {
	t.Parallel()
	for name, record := range map[string]string{
		"without a UID":      `{"uid":null,"label":"North","environment_variables":{"payment_enabled":"false"}}`,
		"without variables":  `{"uid":"fleet:north","label":"North","environment_variables":[]}`,
		"that is not listed": ``,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fleets := sandbox.Outcome{Status: 200, Body: `{"fleets":[` + record + `]}`}
			join := func(f *apptest.Front) {
				f.Notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) { d.Fleets = []string{"fleet:north"} })
			}
			scan := "/pay?device=" + fixture.Washer
			apptest.InFront(t, withoutLimit, func(f *apptest.Front) {
				join(f)
				f.Notehub.AddFleet("fleet:north", "North", map[string]string{"payment_enabled": "false"})
				f.Run()
				f.Pass(time.Minute)
				f.Shows(scan, http.StatusServiceUnavailable, "This machine is not taking payments right now", "")
				f.Notehub.Always(fixture.HubFleets, fleets)
				f.Restarted(nil)
				f.Pass(time.Hour)
				if record == "" {
					f.Leads(scan, f.LinkOf(fixture.Washer, fixture.Warm).URL)
					return
				}
				f.Shows(scan, http.StatusServiceUnavailable, "This machine is not taking payments right now", "")
				f.Notehub.Clear(fixture.HubFleets)
				f.Notehub.AddFleet("fleet:north", "North", nil)
				f.Pass(time.Hour)
				f.Leads(scan, f.LinkOf(fixture.Washer, fixture.Warm).URL)
			})
			if record == "" {
				return
			}
			apptest.InFront(t, withoutLimit, func(f *apptest.Front) { // the first start
				join(f)
				f.Notehub.Always(fixture.HubFleets, fleets)
				f.Run()
				f.Pass(time.Hour)
				f.Shows(scan, http.StatusServiceUnavailable, "Just a moment", "2")
				if n := len(f.Stripe.Links()); n != 0 {
					f.Errorf("%d links were made; want none", n)
				}
				f.Notehub.Clear(fixture.HubFleets)
				f.Notehub.AddFleet("fleet:north", "North", nil)
				f.Pass(time.Hour)
				f.Leads(scan, f.LinkOf(fixture.Washer, fixture.Warm).URL)
			})
		})
	}
}

func TestPaymentForAMachineThatWasNotReadWaitsForItsVariables(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, withoutLimit, func(f *apptest.Front) {
		f.OwnTerms(10)
		metadata := func(uid string) map[string]string {
			return map[string]string{
				"app":        "notepay",
				"project":    fixture.Project,
				"device_uid": uid,
				"price_id":   fixture.Warm,
			}
		}
		link := f.Stripe.AddLink(
			sandbox.Link{
				DeviceUID:      "dev:a",
				PriceID:        fixture.Warm,
				Active:         true,
				Metadata:       metadata("dev:a"),
				IntentMetadata: metadata("dev:a"),
			},
		)
		f.Stripe.AddLink(
			sandbox.Link{
				DeviceUID:      "dev:0009",
				PriceID:        fixture.Warm,
				Active:         true,
				Metadata:       metadata("dev:0009"),
				IntentMetadata: metadata("dev:0009"),
			},
		)
		off := f.Stripe.AddLink(
			sandbox.Link{
				DeviceUID:      "dev:b",
				PriceID:        fixture.Warm,
				Active:         true,
				Metadata:       metadata("dev:b"),
				IntentMetadata: metadata("dev:b"),
			},
		)
		slowVariables(f)
		f.Run()
		for _, l := range f.Stripe.Links() {
			if !l.Active {
				f.Errorf("the link of %s was deactivated before it is known what it sells", l.DeviceUID)
			}
		}
		f.Shows("/pay?device=dev:0009", http.StatusServiceUnavailable, "Just a moment", "2")
		for _, l := range []sandbox.Link{link, off} {
			if _, err := f.Stripe.Pay(l.URL, sandbox.PayOptions{}); err != nil {
				f.Fatal(err)
			}
		}
		f.Pass(10 * time.Second)
		if n := len(f.Notehub.Notes("dev:a")); n != 1 {
			f.Errorf("%d notes; want one: what was sold is honored", n)
		}
		if n := len(f.Notehub.Notes("dev:b")); n != 0 {
			f.Errorf("%d notes at a machine that is switched off; want none", n)
		}
		f.Answers("payments", f.AsOperator("/api/payments?device=dev:b"), http.StatusOK, `"reason":"not_selling"`)
	})
}

func TestLifetimeInAVariableKeepsTheRulesOfTheSetting(t *testing.T) {
	t.Parallel()
	nothing := func(*config.Settings) {}
	confirm := func(s *config.Settings) { s.ConfirmWithin = time.Hour }
	poll := func(s *config.Settings) { s.StripeWebhookSecret = config.WebhooksOff }
	for name, c := range map[string]struct {
		change   func(*config.Settings)
		variable string
		want     time.Duration // from the payment until the note expires
		problem  string
	}{
		"too short":                         {nothing, "1s", 10 * time.Minute, "at least 10s"},
		"unlimited while machines confirm":  {confirm, "0", 10 * time.Minute, "CONFIRM_WITHIN"},
		"shorter than the polling interval": {poll, "1m", 10 * time.Minute, "POLL_INTERVAL"},
		"valid":                             {nothing, "5m", 5 * time.Minute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, c.change, func(f *apptest.Front) {
				f.Notehub.SetDevice(
					fixture.Washer,
					func(d *sandbox.Device) { d.Variables = map[string]string{"credit_lifetime": c.variable} },
				)
				f.Run()
				session := f.Buy(sandbox.PayOptions{})
				f.Get("/payment/success?session_id=" + session.ID) // needed if webhooks are off
				f.Pass(2 * time.Second)
				p := f.Paid(session.ID)
				if got := p.ExpiresAt.Sub(p.PaidAt); got != c.want {
					f.Errorf("the credit lives for %v; want %v", got, c.want)
				}
				f.Stands(session.ID, apptest.Ending{Funds: payment.Paid, Delivery: payment.Sent})
				devices := f.AsOperator("/api/devices").Body.String()
				if c.problem == "" != strings.Contains(devices, `"problems":[]`) ||
					!strings.Contains(devices, c.problem) {
					f.Errorf("want the problem %q:\n%s", c.problem, devices)
				}
			})
		})
	}
}
