package tests

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"notepay/internal/sandbox"
)

// Prices of the shop, beside those of every world.
const (
	short   = "price_short"   // over at once
	delayed = "price_delayed" // begins later
	plain   = "price_plain"   // has no duration
)

// shop is a notepay with a machine for each customer, and a browser. Machines answer through Notehub's route.
type shop struct {
	*world
	p       *program
	browser context.Context
	links   map[string]string // by device
}

// visitor is a customer and the machine in front of them. Its name is the machine's, too.
type visitor struct {
	name      string
	variables map[string]string // of the machine's fleet at Notehub
	silent    time.Duration     // since the machine was heard from
	disabled  bool              // at Notehub
	machine   sandbox.MachineConfig
	behaviour sandbox.Behaviour
	offline   bool
	pays      bool // the machine sells one thing
	visit     func(*customer)
}

// customer is a visitor in the shop.
type customer struct {
	*shop
	t       *testing.T
	uid     string
	machine *sandbox.Machine
	page    *tab
	session sandbox.Session
}

func uidOf(i int) string { return fmt.Sprintf("dev:8644750440%05d", i) }

// open runs a shop for these visitors. Each comes on their own, when all machines sell.
func open(t *testing.T, browser context.Context, visitors []visitor, settings ...string) {
	w := newWorld(t, nil, nil)
	w.stripe.AddPrice(sandbox.Price{ID: short, Name: "Quick rinse", Currency: "eur", Amount: 150, Active: true, Metadata: map[string]string{"duration": "2s"}})
	w.stripe.AddPrice(sandbox.Price{ID: delayed, Name: "Overnight wash", Currency: "eur", Amount: 480, Active: true,
		Metadata: map[string]string{"duration": "90m", "delayed_start": "20m"}})
	w.stripe.AddPrice(sandbox.Price{ID: plain, Name: "Spin only", Description: "For what is washed already.", Currency: "eur", Amount: 120, Active: true})
	running, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	s := &shop{world: w, browser: browser, links: map[string]string{}}
	var customers []*customer
	for i, v := range visitors {
		c := &customer{shop: s, uid: uidOf(i)}
		device := sandbox.Device{UID: c.uid, Name: machineName(i), LastActivity: time.Now().Add(-v.silent), Disabled: v.disabled}
		if v.variables != nil { // those of a fleet are read in one call before the first link is made
			device.Fleets = []string{"fleet:" + c.uid}
			w.notehub.AddFleet(device.Fleets[0], device.Name, v.variables)
		}
		w.notehub.AddDevice(device)
		v.machine.Device, v.machine.Every = c.uid, 200*time.Millisecond
		c.machine = sandbox.NewMachine(w.notehub, v.machine)
		c.machine.SetBehaviour(v.behaviour)
		c.machine.SetOnline(!v.offline)
		go c.machine.Run(running)
		customers = append(customers, c)
	}
	s.p = w.start(append([]string{"BRAND_NAME", "Wash & Go", "SUPPORT_CONTACT", "help@wash.example", "NOTEHUB_ROUTE_TOKEN", webhookSecret}, settings...)...)
	w.notehub.SetRoute(s.p.url+"/webhook/notehub", webhookSecret)
	t.Cleanup(w.notehub.Close)
	for i, v := range visitors {
		if v.pays {
			s.links[uidOf(i)] = w.selling(s.p, uidOf(i)) // before one of them is in trouble, which may hold up all
		}
	}
	t.Run("visited", func(t *testing.T) { // and closed after the last of them
		for i, v := range visitors {
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				customers[i].t, customers[i].page = t, newTab(t, browser, sizes()[0])
				v.visit(customers[i])
			})
		}
	})
}

func machineName(i int) string { return fmt.Sprintf("Washer %d", i+1) }

// pay pays, and looks at the page that Stripe leads back to.
func (c *customer) pay(o sandbox.PayOptions) {
	c.t.Helper()
	session, err := c.stripe.Pay(c.links[c.uid], o)
	if err != nil {
		c.t.Fatalf("pay: %v", err)
	}
	c.session = session
	c.page.openRefused(c.p.url + "/payment/success?session_id=" + session.ID) // where many come back at once: "just a moment"
	c.page.until(`location.pathname.startsWith("/session/")`)
}

// reads waits until the page has this title and says all this, without being loaded anew.
func (c *customer) reads(title string, says ...string) {
	c.t.Helper()
	c.page.readsWithin(patience+time.Minute, "h1", title)
	for _, text := range says {
		c.page.readsWithin(patience+time.Minute, "main", text)
	}
}

// sees is reads, of a page that everybody can use, and that German words do not make too wide. It is kept as a picture if it has a name.
func (c *customer) sees(picture, title string, says ...string) {
	c.t.Helper()
	c.reads(title, says...)
	c.page.accessible()
	c.page.picture(picture)
	c.page.speaks("de")
	c.page.fits()
	c.page.speaks("en")
}

// scans follows the sticker to a page that says why nothing is sold.
func (c *customer) scans(title string, says ...string) {
	c.t.Helper()
	c.page.openRefused(c.p.url + "/pay/" + c.uid)
	c.sees("", title, says...)
}

// operator calls the operator's API.
func (c *customer) operator(path, body string) {
	c.t.Helper()
	if status, _, answer := c.p.post(path, body, "Authorization", "Bearer "+operatorToken); status != http.StatusOK {
		c.t.Fatalf("post %s: %d %s", path, status, answer)
	}
}

// soon are the variables of a device whose credits do not live long.
func soon() map[string]string { return map[string]string{"credit_lifetime": "2s"} }

func sells(price string) map[string]string { return map[string]string{"stripe_price_id": price} }

func confirms() sandbox.MachineConfig { return sandbox.MachineConfig{Confirms: true} }

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
			c.page.openRefused(c.p.url + path)
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
			c.page.open(c.p.url + "/pay/" + c.uid)
			c.sees("plans", "Choose a plan", "Warm wash", "Starts 20 min after the payment", "For what is washed already.")
		}},
		{name: "one plan, looked at before", visit: func(c *customer) {
			c.page.open(c.p.url + "/use/" + c.uid)
			c.sees("", "Ready for your payment", "Warm wash", "Lasts 40 min", "Sold by Wash & Go.")
		}},
	}
}
