package contract

import (
	"context"
	"fmt"
	"regexp"
	"testing"

	"github.com/chromedp/chromedp"
)

var demoReady = regexp.MustCompile(`Open +(\S+)\s+Pay +(\S+)`)

const (
	goodCard     = "4242 4242 4242 4242"
	declinedCard = "4000 0000 0000 0002"
)

// demo is a running `notepay demo` with its page in a browser.
type demo struct {
	t    *testing.T
	page *tab
	pay  string // address of the washer's sticker
}

func newDemo(t *testing.T, browser context.Context, s size) *demo {
	t.Helper()
	_, found := launch(t, newBell(), map[string]string{"PORT": "0", "DEMO_PORT": "0"}, demoReady, "demo")
	d := &demo{t: t, page: newTab(t, browser, s), pay: found[2]}
	d.page.open(found[1])
	d.page.until(`document.body.dataset.live === "yes" && document.querySelector("#offer-washer b")`)
	return d
}

// scan opens the washer's sticker on a phone, which then shows the checkout.
func (d *demo) scan() (phone *tab) {
	d.t.Helper()
	phone = d.page.opens(func() { d.page.click(".unit.washer a.scan") })
	phone.reads("body", "SIMULATED CHECKOUT")
	return phone
}

// pay enters a card number in the checkout and presses the button.
func pay(phone *tab, card string) {
	phone.t.Helper()
	phone.until(`document.querySelector("#card")`)
	phone.do("type the card", evaluate(fmt.Sprintf("document.querySelector('#card').value = %q", card)))
	phone.click("main form button")
}

// toggle presses a fault's switch and waits until it is on or off.
func (d *demo) toggle(fault string, on bool) {
	d.t.Helper()
	d.page.click("#switch-" + fault)
	d.page.until(fmt.Sprintf(`document.querySelector("#switch-%s").getAttribute("aria-checked") === "%t"`, fault, on))
	d.page.until(fmt.Sprintf(`Boolean(document.querySelector("#banner .banner")) === %t`, on))
}

// calm turns all faults off.
func (d *demo) calm() {
	d.t.Helper()
	d.page.click("#calm")
	d.page.until(`!document.querySelector("#banner .banner") && !document.querySelector("[aria-checked=true]")`)
}

// started waits until the washer has started once, and checks that all parts agree about the only
// payment.
func (d *demo) started() {
	d.t.Helper()
	d.page.reads("#notes-washer .count", "Has started once")
	d.tally(1, 1, 0, 0)
}

// tally waits for the numbers of payments, starts, returned payments and pending payments.
func (d *demo) tally(paid, started, back, due int) {
	d.t.Helper()
	d.page.until(fmt.Sprintf(
		`[...document.querySelectorAll(".tally dd")].map(e => e.innerText).join() === "%d,%d,%d,%d"`,
		paid, started, back, due))
}

// idle checks that no machine has started.
func (d *demo) idle() {
	d.t.Helper()
	d.page.until(`[...document.querySelectorAll(".notes .count")].every(e => e.innerText === "Has not started yet")`)
}

const (
	waitingTitle = "Payment received"
	sentTitle    = "Waiting for the machine"
	startedTitle = "The washer has started"
	doneTitle    = "Finished" // after 40 seconds
)

// follows checks that a customer's page shows the start without a reload.
func follows(phone *tab) {
	phone.t.Helper()
	phone.until(fmt.Sprintf(`[%q, %q].includes(document.querySelector("h1").innerText)`, startedTitle, doneTitle))
}

func TestDemo(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	t.Run("in a browser", func(t *testing.T) { // closed after the last of these subtests
		for _, s := range sizes() {
			t.Run("a paid sticker starts the machine, on a "+s.name, func(t *testing.T) {
				t.Parallel()
				purchase(newDemo(t, browser, s))
			})
			t.Run("a declined card starts nothing and can be replaced, on a "+s.name, func(t *testing.T) {
				t.Parallel()
				decline(newDemo(t, browser, s))
			})
		}
		t.Run("the other pages fit and say nothing to the console", func(t *testing.T) {
			t.Parallel()
			otherPages(t, browser)
		})
		// customers_test.go checks each end on both screens
		for i, f := range append(faults(), moneyFaults()...) {
			s := sizes()[i%len(sizes())]
			t.Run(f.name+", on a "+s.name, func(t *testing.T) {
				t.Parallel()
				f.try(newDemo(t, browser, s))
			})
		}
	})
}

func purchase(d *demo) {
	d.page.accessible()
	d.page.picture("demo-" + d.page.size.name)
	phone := d.scan()
	phone.reads("main", "Warm wash")
	phone.accessible()
	if phone.size.mobile {
		phone.picture("checkout")
	}
	pay(phone, goodCard)
	follows(phone)
	phone.until(`location.pathname.startsWith("/session/")`)
	phone.fits()
	d.started()
	d.page.until(`document.querySelector("#state-washer").dataset.state === "running"`)
	d.money("$3.50 paid", "reported its start")
	d.page.until(`document.querySelectorAll(".step.done").length === 5`)
	d.page.fits()
	if !d.page.size.mobile {
		d.page.picture("running")
	}
}

func decline(d *demo) {
	phone := d.scan()
	pay(phone, declinedCard)
	phone.reads("#problem", "declined")
	d.tally(0, 0, 0, 0)
	d.idle()
	pay(phone, goodCard)
	follows(phone)
	d.started()
}

// otherPages checks the pages for customers at a wrong address.
func otherPages(t *testing.T, browser context.Context) {
	d := newDemo(t, browser, sizes()[0])
	base := regexp.MustCompile(`^http://[^/]+`).FindString(d.pay)
	for path, title := range map[string]string{
		"/":               "Pay for a machine",
		"/payment/cancel": "Nothing was charged",
	} {
		d.page.open(base + path)
		d.page.reads("h1", title)
		d.page.fits()
	}
	d.page.open(base + "/")
	d.page.do("type the machine's code", chromedp.SetValue(chromedp.CSS("#device"), "dev:864475040000003"))
	d.page.click("main form button")
	d.page.reads("body", "SIMULATED CHECKOUT")
}

// fault is a switch of the demo and its effect on a purchase.
type fault struct {
	fault, name string
	run         func(*demo)
}

func (f fault) try(d *demo) {
	d.toggle(f.fault, true)
	f.run(d)
}

func faults() []fault {
	arrives := func(d *demo, phone *tab) {
		follows(phone)
		d.started()
	}
	// waits returns a check that the payment waits while the switch is on, and arrives once it is
	// off.
	waits := func(switchOff func(*demo)) func(*demo) {
		return func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			phone.reads("h1", waitingTitle)
			d.tally(1, 0, 0, 1)
			d.idle()
			switchOff(d)
			arrives(d, phone)
		}
	}
	off := func(fault string) func(*demo) { return func(d *demo) { d.toggle(fault, false) } }
	heard := func(n int) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#lines .line")].filter(l =>
			l.querySelector(".text").innerText.includes("checkout.session.completed") &&
			l.innerText.includes("200")).length === %d`, n)
	}
	return []fault{
		{"notehub-down", "with Notehub down a payment waits until it is up", waits((*demo).calm)},
		{"notehub-limit", "with too many requests to Notehub a payment waits", waits(off("notehub-limit"))},
		{"notehub-slow", "with a slow Notehub a payment arrives late", func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			arrives(d, phone) // the machine may report it before Notehub has responded
			d.toggle("notehub-slow", false)
		}},
		{"notehub-lost", "a note whose reply is lost starts the machine once", func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			arrives(d, phone) // the note was stored, although the response was lost
			d.toggle("notehub-lost", false)
		}},
		{"webhook-lost", "a payment whose webhook is lost is found when the customer returns", func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			arrives(d, phone)
			d.page.until(heard(0))
			d.toggle("webhook-lost", false)
		}},
		{"webhook-doubled", "a webhook that comes twice starts the machine once", func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			d.page.until(heard(2))
			arrives(d, phone)
			d.toggle("webhook-doubled", false)
		}},
		{"webhook-late", "a webhook that comes after the customer starts nothing twice", func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			arrives(d, phone)
			d.page.until(heard(1))
			d.started()
			d.toggle("webhook-late", false)
		}},
		{"offline-washer", "a machine that is offline starts when it is back", func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			phone.reads("h1", sentTitle)
			d.page.reads("#notes-washer", "waits at Notehub")
			d.idle()
			d.toggle("offline-washer", false)
			arrives(d, phone)
		}},
	}
}
