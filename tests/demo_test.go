package tests

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"time"

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
	pay  string // address that the washer's sticker leads to
}

func newDemo(t *testing.T, browser context.Context, s size) *demo {
	t.Helper()
	_, found := launch(t, newBell(), map[string]string{"PORT": "0", "DEMO_PORT": "0"}, demoReady, "demo")
	d := &demo{t: t, page: newTab(t, browser, s), pay: found[2]}
	d.page.open(found[1])
	d.page.until(`document.body.dataset.live === "yes" && document.querySelector("#offer-washer b")`)
	return d
}

// scan follows the washer's sticker to the checkout, which the phone shows.
func (d *demo) scan() (phone *tab) {
	d.t.Helper()
	phone = d.page.opens(func() { d.page.click(".unit.washer a.scan") })
	phone.reads("body", "SIMULATED CHECKOUT")
	return phone
}

// pay types a card into the checkout and presses the button.
func pay(phone *tab, card string) {
	phone.t.Helper()
	phone.until(`document.querySelector("#card")`)
	phone.do("type the card", evaluate(fmt.Sprintf("document.querySelector('#card').value = %q", card)))
	phone.click("main form button")
}

// money waits until the washer's card says all this of its latest payment. What only time can bring may take longer than the rest.
func (d *demo) money(texts ...string) {
	d.t.Helper()
	for _, text := range texts {
		d.page.untilWithin(patience+time.Minute, fmt.Sprintf("document.querySelector('#payments-washer .payment')?.innerText.includes(%q)", text))
	}
}

// says waits until the live view holds a line with this text.
func (d *demo) says(text string) {
	d.t.Helper()
	d.page.until(fmt.Sprintf(`[...document.querySelectorAll("#lines .line .text")].some(l => l.innerText.includes(%q))`, text))
}

// toggle presses a switch for trouble and waits until it is on, or off.
func (d *demo) toggle(fault string, on bool) {
	d.t.Helper()
	d.page.click("#switch-" + fault)
	d.page.until(fmt.Sprintf(`document.querySelector("#switch-%s").getAttribute("aria-checked") === "%t"`, fault, on))
	d.page.until(fmt.Sprintf(`Boolean(document.querySelector("#banner .banner")) === %t`, on))
}

// started waits until the washer has started once, and holds that all agree about the one payment.
func (d *demo) started() {
	d.t.Helper()
	d.page.reads("#notes-washer .count", "Has started once")
	d.tally(1, 1, 0, 0)
}

// returned waits until the money of the one payment is back, and the card says so.
func (d *demo) returned(texts ...string) {
	d.t.Helper()
	d.money(texts...)
	d.tally(1, 0, 1, 0)
	d.page.reads(".strip", "The customer has the money back")
	d.page.fits()
	d.page.picture("back-" + d.page.size.name)
}

// tally waits for the count of payments, starts, payments given back and those on the way.
func (d *demo) tally(paid, started, back, due int) {
	d.t.Helper()
	d.page.until(fmt.Sprintf(`[...document.querySelectorAll(".tally dd")].map(e => e.innerText).join() === "%d,%d,%d,%d"`, paid, started, back, due))
}

// idle holds that no machine has started so far.
func (d *demo) idle() {
	d.t.Helper()
	d.page.until(`[...document.querySelectorAll(".notes .count")].every(e => e.innerText === "Has not started yet")`)
}

const (
	sentTitle    = "Sent to the machine"
	waitingTitle = "Payment received"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	t.Run("in a browser", func(t *testing.T) { // which is closed after the last of these
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
		for i, f := range faults() {
			s := sizes()[i%len(sizes())]
			t.Run(f.name+", on a "+s.name, func(t *testing.T) {
				t.Parallel()
				d := newDemo(t, browser, s)
				d.toggle(f.fault, true)
				f.run(d)
			})
		}
	})
}

func purchase(d *demo) {
	d.page.fits()
	d.page.picture("demo-" + d.page.size.name)
	phone := d.scan()
	phone.reads("main", "Warm wash")
	phone.fits()
	if phone.size.mobile {
		phone.picture("checkout")
	}
	pay(phone, goodCard)
	phone.reads("h1", sentTitle)
	phone.until(`location.pathname.startsWith("/session/")`)
	phone.fits()
	if phone.size.mobile {
		phone.picture("live-page")
	}
	d.started()
	d.page.until(`document.querySelector("#state-washer").dataset.state === "running"`)
	d.money("$3.50 paid", "says that it started")
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
	phone.reads("h1", sentTitle)
	d.started()
}

// otherPages looks at what customers see who lost their way.
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

// fault is a switch for trouble, and what then happens to a purchase.
type fault struct {
	fault, name string
	run         func(*demo)
}

func faults() []fault {
	arrives := func(d *demo, phone *tab) {
		phone.reads("h1", sentTitle)
		d.started()
	}
	// waits: the payment is held while the switch is on, and arrives once it is off.
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
	calm := func(d *demo) {
		d.page.click("#calm")
		d.page.until(`!document.querySelector("#banner .banner") && !document.querySelector("[aria-checked=true]")`)
	}
	heard := func(n int) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#lines .line")].filter(l => l.querySelector(".text").innerText.includes("checkout.session.completed") && l.innerText.includes("200")).length === %d`, n)
	}
	return []fault{
		{"notehub-down", "with Notehub down a payment waits until it is up", waits(calm)},
		{"notehub-limit", "with too many requests to Notehub a payment waits", waits(off("notehub-limit"))},
		{"notehub-slow", "with a slow Notehub a payment arrives late", func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			phone.reads("h1", waitingTitle)
			arrives(d, phone)
			d.toggle("notehub-slow", false)
		}},
		{"notehub-lost", "a note whose reply is lost starts the machine once", func(d *demo) {
			phone := d.scan()
			pay(phone, goodCard)
			phone.reads("h1", waitingTitle) // nobody knows whether it was stored
			d.started()                     // but it was
			d.toggle("notehub-lost", false)
			arrives(d, phone)
		}},
		{"webhook-lost", "a payment whose webhook is lost is found when the customer comes back", func(d *demo) {
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
			d.started()
		}},
		{"offline-washer", "a machine that stays offline has its note recalled, and the money goes back", func(d *demo) {
			pay(d.scan(), goodCard)
			d.returned("$3.50 refunded", "the note was recalled")
			d.says("recalls the note for Washer 3")
			d.page.reads("#notes-washer", "was recalled")
			d.toggle("offline-washer", false)
			d.idle()
		}},
		{"refuses-washer", "a machine that refuses says why, and the money goes back", func(d *demo) {
			pay(d.scan(), goodCard)
			d.returned("$3.50 refunded", "the machine refused: E-DOOR")
			d.says("Washer 3 answers: failed E-DOOR")
			d.says("gives the money back")
			d.idle()
		}},
		{"silent-washer", "a machine that says nothing does not keep the money", func(d *demo) {
			pay(d.scan(), goodCard)
			d.returned("$3.50 refunded", "said nothing in time", "a person must look")
			d.idle()
		}},
		{"power-washer", "a machine whose power fails starts once it is back", func(d *demo) {
			pay(d.scan(), goodCard)
			d.page.reads("#state-washer", "No power")
			d.idle()
			d.toggle("power-washer", false)
			d.started()
			d.money("$3.50 paid", "says that it started")
		}},
		{"late-washer", "an answer that comes late is in time", func(d *demo) {
			pay(d.scan(), goodCard)
			d.started()
			d.money("$3.50 paid", "says that it started")
		}},
		{"route-lost", "answers that the route loses are read before money goes back", func(d *demo) {
			pay(d.scan(), goodCard)
			d.started()
			d.money("$3.50 paid", "the machine")
			d.says("reads what machines answered")
			d.money("$3.50 paid", "has done it")
			d.tally(1, 1, 0, 0)
		}},
		{"refund-fails", "a refund that fails is left to a person, who makes it by hand", func(d *demo) {
			d.page.click("#switch-refuses-washer")
			pay(d.scan(), goodCard)
			d.money("$3.50 refund failed", "a person must look")
			d.tally(1, 0, 0, 1)
			calm(d)
			d.page.click("#payments-washer summary")
			d.page.click("#payments-washer [value=refund]")
			d.returned("$3.50 refunded", "the machine refused: E-DOOR")
		}},
		{"route-doubled", "a dispute that is won leaves a payment that can be refunded by hand", func(d *demo) {
			pay(d.scan(), goodCard)
			d.started()
			d.money("$3.50 paid", "says that it started")
			d.page.click("#payments-washer summary")
			d.page.click("#payments-washer [value=dispute]")
			d.money("$3.50 disputed", "a person must look")
			d.page.until(`document.querySelector("#payments-washer details").open`)
			d.page.click("#payments-washer [value=won]")
			d.money("$3.50 paid")
			d.page.click("#payments-washer [value=refund]")
			d.returned("$3.50 refunded", "given back by hand")
			d.page.reads("#notes-washer", "told it: refunded")
			d.page.reads("#state-washer", "Idle")
		}},
	}
}
