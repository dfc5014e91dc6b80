package contract

import (
	"net/http"
	"slices"

	"github.com/chromedp/chromedp"

	"notepay/internal/sandbox"
)

// buyers returns visitors where each purchase gets a Checkout Session of its own.
func buyers() []visitor {
	return []visitor{
		// The first visitor buys nothing, so their machine is free for the last one.
		{name: "one who goes back", machine: confirms(), visit: func(c *customer) {
			c.finds("Ready for your payment")
			c.presses()
			c.page.click("main .note a")
			c.sees("", "Nothing was charged", "You left before paying.")
			c.sessions(1)
		}},
		{name: "one who pays", machine: confirms(), visit: func(c *customer) {
			c.finds("Ready for your payment", "Warm wash", "you get your money back automatically")
			c.presses()
			pay(c.page, goodCard)
			c.follows()
			c.sees("", "The machine has started", "€3.50")
			c.sessions(1)
		}},
		{
			name:      "one who pays for one plan of several",
			variables: sells(warm + "," + cold + "," + delayed),
			machine:   confirms(),
			visit: func(c *customer) {
				c.finds("Choose a program", "Cold wash", "Overnight wash")
				c.page.click("main li:nth-child(2) button")
				c.page.reads("body", "SIMULATED CHECKOUT")
				c.page.reads("h1", "Cold wash")
				pay(c.page, goodCard)
				c.follows()
				c.reads("The machine has started", "Cold wash")
			},
		},
		{name: "one who presses the button twice", machine: confirms(), visit: func(c *customer) {
			c.finds("Ready for your payment")
			c.page.do("tap twice", chromedp.DoubleClick(chromedp.CSS("main form button")))
			c.page.reads("body", "SIMULATED CHECKOUT")
			first := c.address()
			c.goesBack()
			c.presses()
			if again := c.address(); again != first {
				c.t.Errorf("the button leads to %s after the way back; want the session of before, %s", again, first)
			}
			c.page.open(c.url + "/pay/" + c.uid)
			c.presses()
			if again := c.address(); again != first {
				c.t.Errorf("the button leads to %s after another scan; want the session of before, %s", again, first)
			}
			c.sessions(1)
			(&customer{shop: c.shop, uid: c.uid}).enters(c.t).presses() // on another phone
			c.sessions(2)
		}},
		{name: "one who presses the button too often", machine: confirms(), visit: func(c *customer) {
			c.page.refusals.Store(c.url+"/use/"+c.uid, true)
			for language, title := range map[string]string{"en": "Too many attempts", "de": "Zu viele Versuche"} {
				c.page.open(c.url + "/pay/" + c.uid)
				c.page.speaks(language)
				c.page.do("press many times", chromedp.Evaluate[chromedp.Void](`(async form => {
					const body = new URLSearchParams(new FormData(form))
					for (let i = 0; i < 60; i++)
						if ((await fetch(form.action, {method: "POST", body, redirect: "manual"})).status === 429)
							return
				})(document.querySelector("main form"))`, chromedp.EvalAwaitPromise))
				c.page.click("main form button")
				c.looks("", title)
			}
			c.sessions(1)
		}},
	}
}

// finds scans the sticker and waits for a page with a button.
func (c *customer) finds(title string, says ...string) {
	c.t.Helper()
	c.page.open(c.url + "/pay/" + c.uid)
	c.sees("", title, says...)
}

// presses presses the button of the only plan and follows the redirect to the checkout. It scans
// the sticker first if needed.
func (c *customer) presses() {
	c.t.Helper()
	if c.address() == "about:blank" {
		c.page.open(c.url + "/pay/" + c.uid)
	}
	c.page.click("main form button")
	c.page.reads("body", "SIMULATED CHECKOUT")
}

// sessions checks how many sessions were created for the customer's machine.
func (c *customer) sessions(want int) {
	c.t.Helper()
	made := slices.DeleteFunc(c.stripe.Sessions(), func(s sandbox.Session) bool { return s.DeviceUID != c.uid })
	if len(made) != want {
		c.t.Errorf("%d sessions were made; want %d", len(made), want)
	}
}

// isTurnedAway checks a purchase while Stripe creates no session, and another one a moment later.
func (c *customer) isTurnedAway() {
	c.stripe.Always("POST /v1/checkout/sessions", sandbox.Outcome{Status: http.StatusInternalServerError})
	c.page.refusals.Store(c.url+"/use/"+c.uid, true)
	for language, title := range map[string]string{"en": "The payment page did not open",
		"de": "Die Bezahlseite ließ sich nicht öffnen"} {
		c.page.open(c.url + "/pay/" + c.uid)
		c.page.speaks(language)
		c.page.click("main form button")
		c.looks("", title)
	}
	c.stripe.Clear("POST /v1/checkout/sessions")
	c.goesBack()
	c.presses()
}

// goesBack returns to the page of the plans.
func (c *customer) goesBack() {
	c.t.Helper()
	c.page.do("go back", evaluate("history.back()"))
	c.page.until(`location.pathname.startsWith("/pay/") && document.querySelector("main form button")`)
}
