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

const readLink = "GET /v1/payment_links/{id}"

// active are the active links of a device.
func (f *front) active(uid string) (ids []string) {
	for _, l := range f.stripe.Links() {
		if l.Active && l.DeviceUID == uid {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

func TestALinkWhoseCreationIsUnclearIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	lost := sandbox.Outcome{Applied: true} // the connection dies behind it
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
			inFront(t, nil, func(f *front) {
				f.stripe.Next(createLink, outcomes...)
				f.run()
				f.pass(20 * time.Minute)
				links := f.stripe.Links()
				if len(links) != 1 || len(f.active(washer)) != 1 {
					f.Fatalf("%d links were made, active %v; want one", len(links), f.active(washer))
				}
				f.leads("/pay?device="+washer, links[0].URL)
			})
		})
	}
	t.Run("of many machines, while their names change", func(t *testing.T) {
		t.Parallel()
		inFront(t, nil, func(f *front) {
			for n := range 20 {
				f.notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:m%02d", n), Name: "Old"})
			}
			var outcomes []sandbox.Outcome
			for range 21 {
				outcomes = append(outcomes, lost)
			}
			f.stripe.Next(createLink, outcomes...)
			f.run()
			for n := range 20 { // another description under the same key is refused by Stripe
				f.notehub.SetDevice(fmt.Sprintf("dev:m%02d", n), func(d *sandbox.Device) { d.Name = "New" })
			}
			f.asOperator("/refresh-devices")
			f.pass(20 * time.Minute)
			if n := len(f.stripe.Links()); n != 21 {
				f.Errorf("%d links were made; want 21", n)
			}
		})
	})
}

func TestASessionWhoseCreationIsUnclearIsNotMadeTwice(t *testing.T) {
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
			inFront(t, perPurchase, func(f *front) {
				f.run()
				p := f.phone()
				to, form := p.scans()
				f.stripe.Next(create, outcomes...)
				for range outcomes {
					if w := p.do("POST", to, form); w.Code == http.StatusSeeOther && !strings.HasPrefix(w.Header().Get("Location"), "/") {
						f.Fatalf("the button leads to %s, without a reply", w.Header().Get("Location"))
					}
					f.pass(3 * time.Second)
				}
				p.presses(to, form)
				if n := f.stripe.SessionsMade(); n != 1 {
					f.Errorf("%d sessions were made; want one", n)
				}
			})
		})
	}
	t.Run("pressed again when its key is of no use any more", func(t *testing.T) {
		t.Parallel()
		inFront(t, perPurchase, func(f *front) {
			f.run()
			p := f.phone()
			to, form := p.scans()
			f.stripe.Next(create, sandbox.Outcome{}) // not applied
			p.do("POST", to, form)
			f.pass(5 * time.Minute) // the session's end is now less than the 30 minutes ahead that Stripe wants
			p.presses(to, form)
		})
	})
}

func TestALinkThatWasClosedInTheDashboard(t *testing.T) {
	t.Parallel()
	quiet := func(s *config.Settings) { s.StripeWebhookSecret = config.WebhooksOff }
	for name, c := range map[string]struct {
		change func(*config.Settings)
		close  func(f *front, id string)
		reopen func(f *front, id string)
		within time.Duration
		says   string
	}{
		"deactivated, with webhooks": {nil, func(f *front, id string) { f.stripe.SetLink(id, false, 0) }, func(f *front, id string) { f.stripe.SetLink(id, true, 0) },
			2 * time.Second, "was deactivated in Stripe"},
		"deactivated, without webhooks": {quiet, func(f *front, id string) { f.stripe.SetLink(id, false, 0) }, func(f *front, id string) { f.stripe.SetLink(id, true, 0) },
			5*time.Minute + 2*time.Second, "was deactivated in Stripe"},
		"deactivated, and no event says so": {nil, func(f *front, id string) {
			f.stripe.SetDelivery(sandbox.Delivery{Lost: true})
			f.stripe.Always("GET /v1/events", sandbox.Outcome{Status: 200, Body: `{"object":"list","data":[],"has_more":false,"url":"/v1/events"}`})
			f.stripe.SetLink(id, false, 0)
		}, func(f *front, id string) { f.stripe.SetLink(id, true, 0) }, 15*time.Minute + 2*time.Second, "was deactivated in Stripe"},
		"limited to one payment, which is made": {nil, func(f *front, id string) {
			f.stripe.SetLink(id, true, 1)
			f.pass(2 * time.Second)
			f.leads("/pay?device="+washer, f.stripe.Links()[0].URL)
			f.buy(sandbox.PayOptions{})
		}, func(f *front, id string) { f.stripe.SetLink(id, true, 5) }, 2 * time.Second, "limited to 1 payments"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, c.change, func(f *front) {
				f.run()
				link := f.stripe.Links()[0]
				f.leads("/pay?device="+washer, link.URL)
				c.close(f, link.ID)
				f.pass(c.within)
				closed := func(when string) {
					f.Helper()
					f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "This machine is not taking payments right now", "")
					f.answers("devices "+when, f.asOperator("/api/devices"), http.StatusOK, `"state":"link_closed"`)
					f.answers("devices "+when, f.asOperator("/api/devices"), http.StatusOK, c.says)
					w := f.do("POST", "/api/create-payment-link", `{"id":"`+washer+`"}`, "Authorization", "Bearer "+operatorToken)
					f.answers("create-payment-link "+when, w, http.StatusConflict, `"link_closed"`)
					if n := len(f.stripe.Links()); n != 1 {
						f.Errorf("%s there are %d links; want the one that was closed", when, n)
					}
				}
				closed("at once")
				f.pass(31 * time.Minute)
				closed("after refreshes")
				f.restarted(nil)
				f.pass(31 * time.Minute)
				closed("after a restart")
				c.reopen(f, link.ID)
				f.pass(16 * time.Minute)
				f.leads("/pay?device="+washer, link.URL)
			})
		})
	}
}

func TestOurOwnDeactivationIsNotTheDashboards(t *testing.T) {
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
			inFront(t, nil, func(f *front) {
				f.run()
				link := f.stripe.Links()[0]
				f.stripe.Next(update, outcome)
				f.do("POST", "/api/devices/"+washer+"/pause", `{"reason":"dirty"}`, "Authorization", "Bearer "+operatorToken)
				f.pass(500 * time.Millisecond)
				f.do("POST", "/api/devices/"+washer+"/resume", ``, "Authorization", "Bearer "+operatorToken)
				f.pass(3 * time.Minute)
				f.leads("/pay?device="+washer, link.URL)
				if got := f.active(washer); len(got) != 1 {
					f.Errorf("active links %v; want one", got)
				}

				f.stripe.Next(update, outcome)
				f.do("POST", "/api/devices/"+washer+"/pause", `{"reason":"dirty"}`, "Authorization", "Bearer "+operatorToken)
				f.pass(500 * time.Millisecond)
				f.restarted(nil)
				f.pass(time.Minute)
				f.do("POST", "/api/devices/"+washer+"/resume", ``, "Authorization", "Bearer "+operatorToken)
				f.pass(16 * time.Minute)
				f.leads("/pay?device="+washer, link.URL)
				if n := len(f.stripe.Links()); n != 1 {
					f.Errorf("%d links; want one", n)
				}
			})
		})
	}
}

func TestAPriceOrProductThatWasPutAwayIsNotSold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change   func(*sandbox.Price)
		back     func(*sandbox.Price)
		says     string
		webhooks bool
	}{
		"a price, with webhooks":      {func(p *sandbox.Price) { p.Active = false }, func(p *sandbox.Price) { p.Active = true }, "is not active", true},
		"a price, without webhooks":   {func(p *sandbox.Price) { p.Active = false }, func(p *sandbox.Price) { p.Active = true }, "is not active", false},
		"a product, with webhooks":    {func(p *sandbox.Price) { p.Archived = true }, func(p *sandbox.Price) { p.Archived = false }, "archived", true},
		"a product, without webhooks": {func(p *sandbox.Price) { p.Archived = true }, func(p *sandbox.Price) { p.Archived = false }, "archived", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFront(t, nil, func(f *front) {
				f.run()
				within := 2 * time.Second
				if !c.webhooks {
					f.stripe.SetDelivery(sandbox.Delivery{Lost: true})
					within = 15 * time.Minute
				}
				f.stripe.SetPrice(warm, c.change)
				f.pass(within)
				f.shows("/pay?device="+washer, http.StatusServiceUnavailable, "This machine has no price yet", "60")
				f.answers("devices", f.asOperator("/api/devices"), http.StatusOK, c.says)
				if got := f.active(washer); got != nil {
					f.Errorf("active links %v; want none", got)
				}
				f.stripe.SetPrice(warm, c.back)
				f.pass(within)
				f.leads("/pay?device="+washer, f.stripe.Links()[0].URL)
			})
		})
	}
}

func TestAChangedNameIsShownAtOnce(t *testing.T) {
	t.Parallel()
	inFront(t, nil, func(f *front) {
		f.run()
		f.stripe.SetPrice(warm, func(p *sandbox.Price) { p.Name = "Very warm wash" })
		f.pass(2 * time.Second)
		f.answers("the plans", f.get("/use/"+washer, "Accept", browser), http.StatusOK, "Very warm wash")
		read := f.stripe.Count(readLink)
		f.pass(time.Hour)
		if n := f.stripe.Count(readLink) - read; n != 0 {
			f.Errorf("%d reads of a link that nobody changed", n)
		}
	})
}

func TestALongNameIsCutToStripesLimit(t *testing.T) {
	t.Parallel()
	for mode, change := range map[string]func(*config.Settings){"link": nil, "session": perPurchase} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			inFront(t, change, func(f *front) {
				long := "price_" + strings.Repeat("x", 200)
				f.stripe.AddPrice(sandbox.Price{ID: long, Name: strings.Repeat("ä", 3000), Currency: "eur", Amount: 400, Active: true})
				f.notehub.SetDevice(washer, func(d *sandbox.Device) {
					d.Name, d.Variables = strings.Repeat("W", 1500), map[string]string{"stripe_price_id": long}
				})
				f.run()
				f.pass(2 * time.Second)
				if mode == "session" {
					p := f.phone()
					p.presses(p.scans())
					return
				}
				f.leads("/pay?device="+washer, f.stripe.Links()[0].URL)
				session := f.buy(sandbox.PayOptions{})
				f.pass(2 * time.Second)
				f.stands(session.ID, ending{money: payment.Paid, machine: payment.Sent})
			})
		})
	}
}
