package contract

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"notepay/internal/sandbox"
)

// Prices of the shop, in addition to those of every world.
const (
	short   = "price_short"   // ends at once
	delayed = "price_delayed" // starts later
	plain   = "price_plain"   // has no duration
	locker  = "price_locker"  // has an access code
	hook    = "price_hook"    // has an access code and ends soon
)

// shop is a notepay with a machine for each customer, and a browser. Machines answer through
// Notehub's route.
type shop struct {
	*world
	p         *program
	url       string // address for customers and Stripe, which is a proxy
	browser   context.Context
	links     map[string]string // by device
	visitors  []visitor
	customers []*customer
}

// visitor is a customer with a machine of their own.
type visitor struct {
	name      string
	variables map[string]string // variables of the machine's fleet at Notehub
	silent    time.Duration     // time since the machine's last activity
	disabled  bool              // disabled at Notehub
	machine   sandbox.MachineConfig
	behavior  sandbox.Behavior
	offline   bool
	pays      bool // the machine sells one plan
	visit     func(*customer)
}

// customer is a visitor of a shop.
type customer struct {
	*shop
	t       *testing.T
	uid     string
	machine *sandbox.Machine
	page    *tab
	session sandbox.Session
}

func uidOf(i int) string { return fmt.Sprintf("dev:8644750440%05d", i) }

// open runs a shop for these visitors. They come independently of each other, once all machines
// sell.
func open(t *testing.T, browser context.Context, visitors []visitor, settings ...string) {
	s := newShop(t, browser, visitors)
	s.run(settings...)
	s.visited(t)
}

// newShop returns a shop whose notepay does not run yet.
func newShop(t *testing.T, browser context.Context, visitors []visitor) *shop {
	w := newWorld(t, nil, nil)
	for _, p := range []sandbox.Price{
		{ID: short, Name: "Quick rinse", Amount: 150, Metadata: map[string]string{"duration": "2s"}},
		{ID: delayed, Name: "Overnight wash", Amount: 480,
			Metadata: map[string]string{"duration": "90m", "delayed_start": "20m"}},
		{ID: plain, Name: "Spin only", Description: "For washed clothes.", Amount: 120},
		{ID: locker, Name: "Locker for a day", Amount: 400,
			Metadata: map[string]string{"duration": "24h", "access_code": "true"}},
		{ID: hook, Name: "Cloakroom", Amount: 100,
			Metadata: map[string]string{"duration": "20s", "access_code": "true"}},
	} {
		p.Currency, p.Active = "eur", true
		w.stripe.AddPrice(p)
	}
	running, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	s := &shop{world: w, browser: browser, links: map[string]string{}, visitors: visitors}
	s.url = serve(t, http.HandlerFunc(s.forward), nil)
	for i, v := range visitors {
		c := &customer{shop: s, uid: uidOf(i)}
		device := sandbox.Device{
			UID:          c.uid,
			Name:         machineName(i, v),
			LastActivity: time.Now().Add(-v.silent),
			Disabled:     v.disabled,
		}
		if v.variables != nil { // fleet variables are read in one call before the first link is made
			device.Fleets = []string{"fleet:" + c.uid}
			w.notehub.AddFleet(device.Fleets[0], device.Name, v.variables)
		}
		w.notehub.AddDevice(device)
		v.machine.Device, v.machine.Every = c.uid, 200*time.Millisecond
		c.machine = sandbox.NewMachine(w.notehub, v.machine)
		c.machine.SetBehavior(v.behavior)
		c.machine.SetOnline(!v.offline)
		go c.machine.Run(running)
		s.customers = append(s.customers, c)
	}
	return s
}

// forward passes a request to notepay, like a reverse proxy.
func (s *shop) forward(w http.ResponseWriter, r *http.Request) {
	to, err := url.Parse(s.p.url)
	if err != nil {
		s.Errorf("%s: %v", s.p.url, err)
		return
	}
	quiet := log.New(io.Discard, "", 0) // for customers that leave before the response
	(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, ErrorLog: quiet}).ServeHTTP(w, r)
}

// run starts notepay and waits until the paying visitors' machines sell.
func (s *shop) run(settings ...string) {
	s.Helper()
	logo := filepath.Join(s.TempDir(), "logo.svg")
	drawing := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4.5" cy="4.5" r="4"/></svg>`
	if err := os.WriteFile(logo, []byte(drawing), 0o600); err != nil {
		s.Fatal(err)
	}
	common := []string{
		"NOTEHUB_REQUESTS_PER_MINUTE", "6000",
		"BRAND_NAME", "Wash & Go",
		"BRAND_LOGO", logo,
		"SUPPORT_CONTACT", "help@wash.example",
		"SELLER_ADDRESS", "Wash & Go Ltd, 1 Long-Winded Street, 12345 Anytown",
		"TAX_LINE", "incl. 19% VAT, DE123456789",
		"IMPRINT_URL", "https://wash.example/imprint",
		"PRIVACY_URL", "https://wash.example/privacy",
		"TERMS_URL", "https://wash.example/terms",
		"NOTEHUB_ROUTE_TOKEN", webhookSecret,
		"PUBLIC_URL", s.url,
	}
	s.p = s.start(append(common, settings...)...)
	s.notehub.SetRoute(s.p.url+"/webhook/notehub", webhookSecret)
	s.Cleanup(s.notehub.Close)
	for i, v := range s.visitors {
		if v.pays {
			s.links[uidOf(i)] = s.selling(s.p, uidOf(i)) // before a fault of one device delays all
		}
	}
}

// visited runs all visits and returns after the last one.
func (s *shop) visited(t *testing.T) {
	t.Run("visited", func(t *testing.T) {
		for i, v := range s.visitors {
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				v.visit(s.customers[i].enters(t))
			})
		}
	})
}

// enters gives a customer their own browser storage.
func (c *customer) enters(t *testing.T) *customer {
	c.t, c.page = t, newTab(t, c.browser, sizes()[0])
	return c
}

// machineName returns the name of a visitor's machine at Notehub.
func machineName(i int, v visitor) string {
	if v.variables["stripe_price_id"] == locker {
		return fmt.Sprintf("Locker %d", i+1)
	}
	return fmt.Sprintf("Washer %d", i+1)
}

// pay pays at the link and checks the page that Stripe redirects to.
func (c *customer) pay(o sandbox.PayOptions) {
	c.t.Helper()
	c.paysAt(c.opensCheckout(), o)
}

// opensCheckout opens the checkout page of a session without paying.
func (c *customer) opensCheckout() sandbox.Session {
	c.t.Helper()
	session, err := c.stripe.Open(c.links[c.uid])
	if err != nil {
		c.t.Fatalf("open the checkout: %v", err)
	}
	return session
}

// paysAt pays for a session and checks the page that Stripe redirects to.
func (c *customer) paysAt(session sandbox.Session, o sandbox.PayOptions) {
	c.t.Helper()
	c.completes(session, o)
	c.comesBack()
	c.follows()
}

// completes pays for a session.
func (c *customer) completes(session sandbox.Session, o sandbox.PayOptions) {
	c.t.Helper()
	paid, err := c.stripe.Pay(session.ID, o)
	if err != nil {
		c.t.Fatalf("pay: %v", err)
	}
	c.session = paid
}

// comesBack follows Stripe's redirect. While many customers return at once, the page first shows
// "just a moment".
func (c *customer) comesBack() {
	c.t.Helper()
	c.page.openRefused(c.url + "/payment/success?session_id=" + c.session.ID)
}

// follows waits for the page of a payment.
func (c *customer) follows() {
	c.t.Helper()
	c.page.until(`/^\/(session|access)\//.test(location.pathname)`)
}

// reads waits until the page has this title and contains all these texts, without a reload.
func (c *customer) reads(title string, says ...string) {
	c.t.Helper()
	c.page.readsWithin(waitTimeout+time.Minute, "h1", title)
	for _, text := range says {
		c.page.readsWithin(waitTimeout+time.Minute, "main", text)
	}
}

// looks is reads, followed by a check that the page is accessible. It saves a picture if the name
// is not empty.
func (c *customer) looks(picture, title string, says ...string) {
	c.t.Helper()
	c.reads(title, says...)
	c.page.accessible()
	c.page.picture(picture)
}

// sees is looks, followed by a check of the page in German.
func (c *customer) sees(picture, title string, says ...string) {
	c.t.Helper()
	c.looks(picture, title, says...)
	c.page.speaks("de")
	c.page.fits()
	c.page.judged("phone in German")
	c.page.speaks("en")
}

// scans opens the sticker and checks the page that says why nothing is sold.
func (c *customer) scans(picture, title string, says ...string) {
	c.t.Helper()
	c.page.openRefused(c.url + "/pay/" + c.uid)
	c.sees(picture, title, says...)
}

// operator calls the operator's API.
func (c *customer) operator(path, body string) {
	c.t.Helper()
	if status, _, answer := c.p.post(path, body, "Authorization", "Bearer "+operatorToken); status != http.StatusOK {
		c.t.Fatalf("post %s: %d %s", path, status, answer)
	}
}

// soon returns the variables of a device with a short credit lifetime.
func soon() map[string]string { return map[string]string{"credit_lifetime": "10s"} }

func sells(price string) map[string]string { return map[string]string{"stripe_price_id": price} }

func confirms() sandbox.MachineConfig {
	return sandbox.MachineConfig{Confirms: true, MaxRun: 48 * time.Hour}
}
