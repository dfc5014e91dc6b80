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

const readLink = "GET /v1/payment_links/{id}"

func TestLinkWhoseCreationIsUnclearIsNotCreatedTwice(t *testing.T) {
	t.Parallel()
	lost := sandbox.Outcome{Applied: true} // the connection breaks before the reply
	for name, outcomes := range map[string][]sandbox.Outcome{
		"then a 429":                     {lost, {Status: 429}},
		"then a 500":                     {lost, {Status: 500}},
		"then a 500 that is not stored":  {lost, {Status: 502, Body: "<html>bad gateway</html>"}},
		"then a 409":                     {lost, {Status: 409}},
		"then a 401":                     {lost, {Status: 401}},
		"then no connection":             {lost, {}, {}},
		"then all of them":               {lost, {Status: 429}, {Status: 500}, {}, {Status: 429}, {Status: 503}},
		"a 500 that was applied":         {{Applied: true, Status: 500}},
		"a 500 that was not":             {{Status: 500}, {Status: 500}},
		"a 503 that was applied and 429": {{Applied: true, Status: 503}, {Status: 429}},
		"a 429 first":                    {{Status: 429}, lost, {Status: 429}},
		"a reply cut off":                {{Applied: true, Status: 200, Body: `{"id":"plink_`}, {Status: 429}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Stripe.Next(fixture.CreateLink, outcomes...)
				f.Run()
				f.Pass(20 * time.Minute)
				links := f.Stripe.Links()
				if len(links) != 1 || len(f.Active(fixture.Washer)) != 1 {
					f.Fatalf("%d links were made, active %v; want one", len(links), f.Active(fixture.Washer))
				}
				f.Leads("/pay?device="+fixture.Washer, links[0].URL)
			})
		})
	}
	t.Run("of many machines, while their names change", func(t *testing.T) {
		t.Parallel()
		apptest.InFront(t, nil, func(f *apptest.Front) {
			for n := range 20 {
				f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:m%02d", n), Name: "Old"})
			}
			var outcomes []sandbox.Outcome
			for range 21 {
				outcomes = append(outcomes, lost)
			}
			f.Stripe.Next(fixture.CreateLink, outcomes...)
			f.Run()
			for n := range 20 { // Stripe rejects another description under the same key
				f.Notehub.SetDevice(fmt.Sprintf("dev:m%02d", n), func(d *sandbox.Device) { d.Name = "New" })
			}
			f.AsOperator("/refresh-devices")
			f.Pass(20 * time.Minute)
			if n := len(f.Stripe.Links()); n != 21 {
				f.Errorf("%d links were made; want 21", n)
			}
		})
	})
}

func TestSessionWhoseCreationIsUnclearIsNotCreatedTwice(t *testing.T) {
	t.Parallel()
	const create = "POST /v1/checkout/sessions"
	lost := sandbox.Outcome{Applied: true}
	for name, outcomes := range map[string][]sandbox.Outcome{
		"pressed again":           {lost},
		"then a 429":              {lost, {Status: 429}},
		"then a 409":              {lost, {Status: 409}},
		"then a reply cut off":    {lost, {Applied: true, Status: 200, Body: `{"id":"cs_`}},
		"a 429 and then none":     {{Status: 429}, lost},
		"a gateway's word, twice": {{Applied: true, Status: 502}, {Status: 502}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
				f.Run()
				p := f.Phone()
				to, form := p.Scans()
				f.Stripe.Next(create, outcomes...)
				for range outcomes {
					if w := p.Do("POST", to, form); w.Code == http.StatusSeeOther &&
						!strings.HasPrefix(w.Header().Get("Location"), "/") {
						f.Fatalf("the button leads to %s, without a reply", w.Header().Get("Location"))
					}
					f.Pass(3 * time.Second)
				}
				p.Presses(to, form)
				if n := f.Stripe.SessionsMade(); n != 1 {
					f.Errorf("%d sessions were made; want one", n)
				}
			})
		})
	}
	t.Run("pressed again when its key is of no use any more", func(t *testing.T) {
		t.Parallel()
		apptest.InFront(t, apptest.PerPurchase, func(f *apptest.Front) {
			f.Run()
			p := f.Phone()
			to, form := p.Scans()
			f.Stripe.Next(create, sandbox.Outcome{}) // not applied
			p.Do("POST", to, form)
			f.Pass(5 * time.Minute) // the session would end earlier than Stripe's minimum of 30 minutes
			p.Presses(to, form)
		})
	})
}

func TestLinkClosedInTheDashboardStaysClosed(t *testing.T) {
	t.Parallel()
	quiet := func(s *config.Settings) { s.StripeWebhookSecret = config.WebhooksOff }
	deactivate := func(f *apptest.Front, id string) { f.Stripe.SetLink(id, false, 0) }
	activate := func(f *apptest.Front, id string) { f.Stripe.SetLink(id, true, 0) }
	for name, c := range map[string]struct {
		change func(*config.Settings)
		close  func(f *apptest.Front, id string)
		reopen func(f *apptest.Front, id string)
		within time.Duration
		says   string
	}{
		"deactivated, with webhooks": {
			close:  deactivate,
			reopen: activate,
			within: 2 * time.Second,
			says:   "was deactivated in Stripe",
		},
		"deactivated, without webhooks": {
			change: quiet,
			close:  deactivate,
			reopen: activate,
			within: 5*time.Minute + 2*time.Second,
			says:   "was deactivated in Stripe",
		},
		"deactivated, and no event says so": {
			close: func(f *apptest.Front, id string) {
				f.Stripe.SetDelivery(sandbox.Delivery{Lost: true})
				f.Stripe.Always("GET /v1/events", sandbox.Outcome{
					Status: 200,
					Body:   `{"object":"list","data":[],"has_more":false,"url":"/v1/events"}`,
				})
				deactivate(f, id)
			},
			reopen: activate,
			within: 15*time.Minute + 2*time.Second,
			says:   "was deactivated in Stripe",
		},
		"limited to one payment, which is made": {
			close: func(f *apptest.Front, id string) {
				f.Stripe.SetLink(id, true, 1)
				f.Pass(2 * time.Second)
				f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
				f.Buy(sandbox.PayOptions{})
			},
			reopen: func(f *apptest.Front, id string) { f.Stripe.SetLink(id, true, 5) },
			within: 2 * time.Second,
			says:   "limited to 1 payments",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, c.change, func(f *apptest.Front) {
				f.Run()
				link := f.Stripe.Links()[0]
				f.Leads("/pay?device="+fixture.Washer, link.URL)
				c.close(f, link.ID)
				f.Pass(c.within)
				closed := func(when string) {
					f.Helper()
					f.Shows(
						"/pay?device="+fixture.Washer,
						http.StatusServiceUnavailable,
						"This machine is not taking payments right now",
						"",
					)
					f.Answers("devices "+when, f.AsOperator("/api/devices"), http.StatusOK, `"state":"link_closed"`)
					f.Answers("devices "+when, f.AsOperator("/api/devices"), http.StatusOK, c.says)
					w := f.Do(
						"POST",
						"/api/create-payment-link",
						`{"id":"`+fixture.Washer+`"}`,
						"Authorization",
						"Bearer "+apptest.OperatorToken,
					)
					f.Answers("create-payment-link "+when, w, http.StatusConflict, `"link_closed"`)
					if n := len(f.Stripe.Links()); n != 1 {
						f.Errorf("%s there are %d links; want the one that was closed", when, n)
					}
				}
				closed("at once")
				f.Pass(31 * time.Minute)
				closed("after refreshes")
				f.Restarted(nil)
				f.Pass(31 * time.Minute)
				closed("after a restart")
				c.reopen(f, link.ID)
				f.Pass(16 * time.Minute)
				f.Leads("/pay?device="+fixture.Washer, link.URL)
			})
		})
	}
}

func TestLinkDeactivatedByNotepayIsReactivated(t *testing.T) {
	t.Parallel()
	const update = "POST /v1/payment_links/{id}"
	for name, outcome := range map[string]sandbox.Outcome{
		"seen":              {Applied: true, Status: 200},
		"its reply is lost": {Applied: true},
		"a 500 behind it":   {Applied: true, Status: 500},
		"not applied":       {Status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Run()
				link := f.Stripe.Links()[0]
				f.Stripe.Next(update, outcome)
				f.Do(
					"POST",
					"/api/devices/"+fixture.Washer+"/pause",
					`{"reason":"dirty"}`,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Pass(500 * time.Millisecond)
				f.Do(
					"POST",
					"/api/devices/"+fixture.Washer+"/resume",
					``,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Pass(3 * time.Minute)
				f.Leads("/pay?device="+fixture.Washer, link.URL)
				if got := f.Active(fixture.Washer); len(got) != 1 {
					f.Errorf("active links %v; want one", got)
				}

				f.Stripe.Next(update, outcome)
				f.Do(
					"POST",
					"/api/devices/"+fixture.Washer+"/pause",
					`{"reason":"dirty"}`,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Pass(500 * time.Millisecond)
				f.Restarted(nil)
				f.Pass(time.Minute)
				f.Do(
					"POST",
					"/api/devices/"+fixture.Washer+"/resume",
					``,
					"Authorization",
					"Bearer "+apptest.OperatorToken,
				)
				f.Pass(16 * time.Minute)
				f.Leads("/pay?device="+fixture.Washer, link.URL)
				if n := len(f.Stripe.Links()); n != 1 {
					f.Errorf("%d links; want one", n)
				}
			})
		})
	}
}

func TestArchivedPriceOrProductIsNotSold(t *testing.T) {
	t.Parallel()
	deactivate := func(p *sandbox.Price) { p.Active = false }
	activate := func(p *sandbox.Price) { p.Active = true }
	archive := func(p *sandbox.Price) { p.Archived = true }
	restore := func(p *sandbox.Price) { p.Archived = false }
	for name, c := range map[string]struct {
		change   func(*sandbox.Price)
		back     func(*sandbox.Price)
		says     string
		webhooks bool
	}{
		"a price, with webhooks":      {deactivate, activate, "is not active", true},
		"a price, without webhooks":   {deactivate, activate, "is not active", false},
		"a product, with webhooks":    {archive, restore, "archived", true},
		"a product, without webhooks": {archive, restore, "archived", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, nil, func(f *apptest.Front) {
				f.Run()
				within := 2 * time.Second
				if !c.webhooks {
					f.Stripe.SetDelivery(sandbox.Delivery{Lost: true})
					within = 15 * time.Minute
				}
				f.Stripe.SetPrice(fixture.Warm, c.change)
				f.Pass(within)
				f.Shows(
					"/pay?device="+fixture.Washer,
					http.StatusServiceUnavailable,
					"This machine has no price yet",
					"60",
				)
				f.Answers("devices", f.AsOperator("/api/devices"), http.StatusOK, c.says)
				if got := f.Active(fixture.Washer); got != nil {
					f.Errorf("active links %v; want none", got)
				}
				f.Stripe.SetPrice(fixture.Warm, c.back)
				f.Pass(within)
				f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
			})
		})
	}
}

func TestProductNameChangeIsShownAtOnce(t *testing.T) {
	t.Parallel()
	apptest.InFront(t, nil, func(f *apptest.Front) {
		f.Run()
		f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Name = "Very warm wash" })
		f.Pass(2 * time.Second)
		f.Answers(
			"the plans",
			f.Get("/use/"+fixture.Washer, "Accept", apptest.Browser),
			http.StatusOK,
			"Very warm wash",
		)
		read := f.Stripe.Count(readLink)
		f.Pass(time.Hour)
		if n := f.Stripe.Count(readLink) - read; n != 0 {
			f.Errorf("%d reads of a link without changes", n)
		}
	})
}

func TestLongNameIsCutToStripesLimit(t *testing.T) {
	t.Parallel()
	for mode, change := range map[string]func(*config.Settings){"link": nil, "session": apptest.PerPurchase} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			apptest.InFront(t, change, func(f *apptest.Front) {
				long := "price_" + strings.Repeat("x", 200)
				f.Stripe.AddPrice(
					sandbox.Price{
						ID:       long,
						Name:     strings.Repeat("ä", 3000),
						Currency: "eur",
						Amount:   400,
						Active:   true,
					},
				)
				f.Notehub.SetDevice(fixture.Washer, func(d *sandbox.Device) {
					d.Name, d.Variables = strings.Repeat("W", 1500), map[string]string{"stripe_price_id": long}
				})
				f.Run()
				f.Pass(2 * time.Second)
				if mode == "session" {
					p := f.Phone()
					p.Presses(p.Scans())
					return
				}
				f.Leads("/pay?device="+fixture.Washer, f.Stripe.Links()[0].URL)
				session := f.Buy(sandbox.PayOptions{})
				f.Pass(2 * time.Second)
				f.Stands(session.ID, apptest.Ending{Funds: payment.Paid, Delivery: payment.Sent})
			})
		})
	}
}
