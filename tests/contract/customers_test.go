package contract

import (
	"strings"
	"testing"
	"time"

	"notepay/internal/sandbox"
	"notepay/internal/uid"
)

// TestCustomers checks the pages that customers see: before they pay, and on the payment's page at
// each of its ends.
func TestCustomers(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	t.Run("of machines", func(t *testing.T) {
		t.Run("that confirm", func(t *testing.T) {
			t.Parallel()
			open(t, browser, confirming(), "CONFIRM_WITHIN", "1m")
		})
		t.Run("that confirm, with money held until then", func(t *testing.T) {
			t.Parallel()
			open(t, browser, holding(), "CONFIRM_WITHIN", "1m", "CAPTURE", "on_start")
		})
		t.Run("that do not confirm", func(t *testing.T) {
			t.Parallel()
			open(t, browser, delivering())
		})
		t.Run("that are opened with a code", func(t *testing.T) {
			t.Parallel()
			open(t, browser, openers(), "CONFIRM_WITHIN", "1m")
		})
		t.Run("that are paid for at a session for each purchase", func(t *testing.T) {
			t.Parallel()
			s := newShop(t, browser, buyers())
			s.run("CHECKOUT", "session", "CONFIRM_WITHIN", "1m")
			s.visited(t)
			t.Run("while Stripe makes no session", func(t *testing.T) { s.customers[0].enters(t).isTurnedAway() })
		})
		t.Run("while a vendor is in trouble", func(t *testing.T) {
			t.Parallel()
			troubled(t, browser)
		})
		t.Run("that do not sell", func(t *testing.T) {
			t.Parallel()
			open(t, browser, closed(), "CONFIRM_WITHIN", "1m", "OFFLINE_AFTER", "1h")
		})
	})
}

func closed() []visitor {
	looksAt := func(picture, path, title string, says ...string) func(*customer) {
		return func(c *customer) {
			c.page.openRefused(c.url + path)
			c.sees(picture, title, says...)
		}
	}
	return []visitor{
		{name: "one that runs", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.page.open(c.url + "/pay/" + c.uid) // the payer is led back
			c.sees("", "The machine has started")
			c.page.openRefused(c.url + "/pay/" + c.uid + "?again=1")
			c.sees("in-use", "This machine is in use", "It is free again in about 40 minutes.")
		}},
		{name: "one that is offline", silent: 48 * time.Hour, offline: true, visit: func(c *customer) {
			c.scans("", "This machine is offline", "Nothing was charged for this scan.")
		}},
		{name: "one that is disabled at Notehub", disabled: true, visit: func(c *customer) {
			c.scans("", "This machine is out of service", "Nothing was charged for this scan.")
		}},
		{
			name:      "one that is out of sale",
			variables: map[string]string{"payment_enabled": "false"},
			visit: func(c *customer) {
				c.scans("", "This machine is not taking payments right now", "Nothing was charged for this scan.")
			},
		},
		{name: "one without a price", variables: sells("price_of_nothing"), visit: func(c *customer) {
			c.scans("", "This machine has no price yet", "The operator has to set one first.")
		}},
		{name: "one that is paused", visit: func(c *customer) {
			c.operator("/api/devices/"+c.uid+"/pause", `{"reason":"the door is broken"}`)
			c.scans("", "This machine is closed right now", "Nothing was charged for this scan.")
		}},
		{name: "one that is not known", visit: looksAt("", "/pay/dev:999999999999999", "We do not know this machine")},
		{name: "none at all", visit: looksAt("", "/pay", "Which machine is it?")},
		{
			name:  "a sticker whose template was not filled in",
			visit: looksAt("", "/pay?device=[deviceUID]", "This sticker is not set up yet"),
		},
		{
			name: "a payment that is not known",
			visit: looksAt("", "/session/00000000000000000000000000000000", "Payment not found",
				"right after you paid"),
		},
		{name: "a way back without a payment", visit: looksAt("", "/payment/success", "Payment not found")},
		{name: "a way back without paying", visit: looksAt("", "/payment/cancel", "Nothing was charged")},
		{name: "the door", visit: looksAt("", "/", "Pay for a machine", "Code on the machine")},
		{name: "several plans", variables: sells(warm + "," + delayed + "," + plain), visit: func(c *customer) {
			c.page.open(c.url + "/pay/" + c.uid)
			c.sees("plans", "Choose a program", "Warm wash", "You then have 20 min to get it ready",
				"For washed clothes.")
		}},
		{name: "a short code", variables: sells(warm + "," + plain), visit: func(c *customer) {
			c.page.open(c.url + "/")
			code := strings.ToLower(uid.ShowCode(uid.Code(c.uid)[:uid.MinCode]))
			c.page.do("type the code", evaluate(`document.getElementById("device").value = "`+code+`"; undefined`))
			c.page.click("form button")
			c.reads("Choose a program", "Warm wash")
		}},
		{name: "one plan, looked at before", visit: func(c *customer) {
			c.page.open(c.url + "/use/" + c.uid)
			c.sees("", "Ready for your payment", "Warm wash", "Lasts 40 min", "Sold by Wash & Go.")
		}},
	}
}
