package tests

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/sandbox"
)

// TestCustomers looks at what customers see of a payment at each of its ends, on the page that follows it.
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
		t.Run("that do not sell", func(t *testing.T) {
			t.Parallel()
			open(t, browser, closed(), "CONFIRM_WITHIN", "1m", "OFFLINE_AFTER", "1h")
		})
	})
}

func confirming() []visitor {
	return []visitor{
		{name: "started", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("live-page", "The machine has started", "Time left", "Machine confirmed its start", "€3.50")
		}},
		{name: "started later", pays: true, machine: confirms(), variables: sells(delayed), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine has confirmed", "It begins in about 20 minutes")
		}},
		{name: "done", pays: true, machine: confirms(), variables: sells(short), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "Finished", "This session is over.")
		}},
		{name: "free of charge", pays: true, machine: confirms(), variables: sells(plain), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{Free: true})
			c.sees("", "The machine has started", "There is nothing to pay for this.")
		}},
		{name: "recalled", pays: true, machine: confirms(), offline: true, variables: soon(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine did not start", "did not pick up your payment in time", "€3.50 was refunded", "You can try again")
			c.pay(sandbox.PayOptions{}) // the second in a row
			c.reads("The machine did not start")
			c.scans("This machine did not answer lately", "You have not been charged.")
		}},
		{name: "refused", pays: true, machine: confirms(), behaviour: sandbox.Behaviour{Refuse: "failed", Code: "E-DOOR"}, visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("money-back", "The machine did not start", "reported that it could not start", "E-DOOR", "€3.50 was refunded")
		}},
		{name: "refused by Notehub", pays: true, machine: confirms(), visit: func(c *customer) {
			c.notehub.Always(notesOf(c.uid), sandbox.Outcome{Status: http.StatusBadRequest, Body: `{"err":"this note is not liked"}`})
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine did not start", "could not be passed on", "€3.50 was refunded")
		}},
		{name: "expired", pays: true, machine: confirms(), variables: soon(), visit: func(c *customer) {
			c.notehub.Always(notesOf(c.uid), sandbox.Outcome{Status: http.StatusBadRequest, Body: `{"err":"a maximum of 100 notes may be pending for device"}`})
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine did not start", "did not reach the machine in time", "€3.50 was refunded")
		}},
		{name: "unconfirmed", pays: true, machine: confirms(), behaviour: sandbox.Behaviour{Refuse: "failed", Silent: true}, variables: soon(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine has your payment", "waiting for it to confirm")
			c.sees("", "We do not know whether the machine started", "did not confirm its start", "€3.50 was refunded", "help@wash.example")
		}},
		{name: "busy", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine did not start", "was in use already", "€3.50 was refunded")
		}},
		{name: "on its way", pays: true, machine: confirms(), offline: true, visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "Sent to the machine", "You may close this page")
			c.machine.SetOnline(true)
			c.reads("The machine has started")
		}},
		{name: "given back by the operator", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.operator("/api/payments/"+c.session.ID+"/refund", "{}")
			c.sees("", "The machine has started", "€3.50 was refunded")
		}},
		{name: "given back at Stripe", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.stripe.Refund(c.session.ID, 0)
			c.sees("", "Ended early", "It was ended because the payment was given back.", "€3.50 was refunded")
		}},
		{name: "given back in part", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.operator("/api/payments/"+c.session.ID+"/refund", `{"amount":100}`)
			c.sees("", "The machine has started", "€1.00 of €3.50 was given back.")
		}},
		{name: "ended by the operator", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.operator("/api/payments/"+c.session.ID+"/end", "{}")
			c.sees("", "Ended early", "The operator ended it.")
		}},
		{name: "disputed", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.stripe.Dispute(c.session.ID)
			c.sees("", "The machine has started", "Your bank has asked for the money back")
			c.stripe.CloseDispute(c.session.ID, false)
			c.sees("", "The machine has started", "Your bank has decided")
		}},
	}
}

func holding() []visitor {
	return []visitor{
		{name: "held and taken", pays: true, machine: confirms(), offline: true, visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "Sent to the machine", "€3.50 is reserved on your card and not charged.")
			c.machine.SetOnline(true)
			c.sees("", "The machine has started", "Time left")
		}},
		{name: "held and released", pays: true, machine: confirms(), behaviour: sandbox.Behaviour{Refuse: "failed", Code: "E-DOOR"}, visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine did not start", "You were not charged. The reservation of €3.50 was cancelled.")
		}},
		{name: "a refund that the bank refuses", pays: true, machine: confirms(), visit: func(c *customer) {
			c.stripe.SetRefunds(sandbox.RefundsFail) // nobody else here has money to be given back
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.p.payment(c.session.ID, `"money":"paid"`)
			c.operator("/api/payments/"+c.session.ID+"/refund", "{}")
			c.sees("", "The machine has started", "The refund of €3.50 failed", "help@wash.example")
		}},
	}
}

func delivering() []visitor {
	return []visitor{
		{name: "fetched", pays: true, variables: soon(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.sees("", "The machine has your payment", "It does not tell us when it starts.", "help@wash.example")
		}},
		{name: "delivery unclear", pays: true, variables: soon(), visit: func(c *customer) {
			c.notehub.Always(notesOf(c.uid), sandbox.Outcome{}) // cut, and never there
			c.pay(sandbox.PayOptions{})
			c.sees("", "Payment received", "We are passing it on to the machine.")
			c.sees("", "We do not know whether the machine started", "You paid €3.50.", "help@wash.example")
		}},
	}
}

// notesOf is the request by which a device is sent its notes.
func notesOf(uid string) string { return strings.Replace(postNote, "{device}", uid, 1) }

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
			c.scans("This machine is in use", "It is free again in about 40 minutes.", "You have not been charged.")
		}},
		{name: "one that is offline", silent: 48 * time.Hour, offline: true, visit: func(c *customer) {
			c.scans("This machine is offline", "You have not been charged.")
		}},
		{name: "one that is disabled at Notehub", disabled: true, visit: func(c *customer) {
			c.scans("This machine is out of service", "You have not been charged.")
		}},
		{name: "one that is out of sale", variables: map[string]string{"payment_enabled": "false"}, visit: func(c *customer) {
			c.scans("This machine takes no payments at the moment", "You have not been charged.")
		}},
		{name: "one that is paused", visit: func(c *customer) {
			c.operator("/api/devices/"+c.uid+"/pause", `{"reason":"the door is broken"}`)
			c.scans("This machine is closed at the moment", "You have not been charged.")
		}},
		{name: "one that is not known", visit: looksAt("", "/pay/dev:999999999999999", "We do not know this machine")},
		{name: "none at all", visit: looksAt("", "/pay", "Which machine is it?")},
		{name: "a sticker whose template was not filled in", visit: looksAt("", "/pay?device=[deviceUID]", "This sticker is not set up yet")},
		{name: "a payment that is not known", visit: looksAt("", "/session/00000000000000000000000000000000", "Payment not found", "Stripe led you to")},
		{name: "a way back without a payment", visit: looksAt("", "/payment/success", "Payment not found")},
		{name: "a way back without paying", visit: looksAt("", "/payment/cancel", "Nothing was charged")},
		{name: "the door", visit: looksAt("", "/", "Pay for a machine", "Code on the machine")},
		{name: "several plans", variables: sells(warm + "," + delayed + "," + plain), visit: func(c *customer) {
			c.page.open(c.url + "/pay/" + c.uid)
			c.sees("plans", "Choose a plan", "Warm wash", "Starts 20 min after the payment", "For what is washed already.")
		}},
		{name: "one plan, looked at before", visit: func(c *customer) {
			c.page.open(c.url + "/use/" + c.uid)
			c.sees("", "Ready for your payment", "Warm wash", "Lasts 40 min", "Sold by Wash & Go.")
		}},
	}
}
