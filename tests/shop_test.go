package tests

import (
	"context"
	"fmt"
	"net/http"
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
