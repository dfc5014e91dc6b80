package contract

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"notepay/internal/sandbox"
)

const (
	dryer  = "dev:864475044215260"
	kettle = "dev:864475044215261"

	longName = "Kettle in the waiting room on the second floor, left"
)

// wholeStickers is true if no part of a sticker is outside of its frame.
const wholeStickers = `[...document.querySelectorAll(".sticker")].every(s => {
	const label = s.getBoundingClientRect();
	return [...s.querySelectorAll(".code, .print")].every(part => {
		const at = part.getBoundingClientRect();
		return at.top > label.top && at.left > label.left && at.bottom < label.bottom && at.right < label.right;
	});
})`

// operator is an operator at the console of a notepay with some payments.
type operator struct {
	*world
	p      *program
	t      *testing.T
	page   *tab
	clicks int

	started, refused, disputed sandbox.Session
}

// irons returns devices that are used only at the end. They exist from the start, because a new
// device waits for the next listing.
func irons() []string { return []string{"dev:864475044215271", "dev:864475044215272"} }

// newOperator returns an operator with a washer that runs, a dryer that refused and a charger with
// a disputed payment. A kettle and irons have no payments yet.
func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{world: newWorld(t, nil, nil), t: t}
	o.notehub.AddDevice(sandbox.Device{UID: charger, Name: "Charger A", LastActivity: time.Now()})
	o.notehub.AddDevice(sandbox.Device{UID: dryer, Name: "Dryer 1", LastActivity: time.Now()})
	o.notehub.AddDevice(sandbox.Device{UID: kettle, Name: longName, LastActivity: time.Now()})
	for n, uid := range irons() {
		o.notehub.AddDevice(sandbox.Device{UID: uid, Name: fmt.Sprintf("Iron %d", n+1), LastActivity: time.Now()})
	}
	running, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	for _, uid := range append(irons(), washer, charger, dryer, kettle) {
		m := sandbox.NewMachine(o.notehub,
			sandbox.MachineConfig{Device: uid, Confirms: true, Every: 200 * time.Millisecond})
		if uid == dryer {
			m.SetBehavior(sandbox.Behavior{Refuse: "failed", Code: "E-DOOR"})
		}
		go m.Run(running)
	}
	o.p = o.start("NOTEHUB_REQUESTS_PER_MINUTE", "6000", "CONFIRM_WITHIN", "1m", "NOTEHUB_ROUTE_TOKEN", webhookSecret,
		"SUPPORT_CONTACT", "help@wash.example")
	o.notehub.SetRoute(o.p.url+"/webhook/notehub", webhookSecret)
	t.Cleanup(o.notehub.Close)

	// Stripe shows the card only in a session that is read, not in the webhook.
	o.started = o.buy(o.selling(o.p, washer), sandbox.PayOptions{NoWebhook: true})
	o.p.get("/payment/success?session_id=" + o.started.ID)
	o.refused = o.buy(o.selling(o.p, dryer), sandbox.PayOptions{})
	o.disputed = o.buy(o.selling(o.p, charger), sandbox.PayOptions{})
	o.p.payment(o.started.ID, `"machine":"started"`)
	o.p.payment(o.refused.ID, `"money":"refunded"`)
	o.p.payment(o.disputed.ID, `"machine":"started"`)
	o.stripe.Dispute(o.disputed.ID)
	o.p.payment(o.disputed.ID, `"money":"disputed"`)
	o.page = newTab(t, newBrowser(t), sizes()[1])
	return o
}

func (o *operator) click(selector string) {
	o.t.Helper()
	o.clicks++
	o.page.click(selector)
}

// types enters text in a field; "\r" is the Enter key.
func (o *operator) types(selector, text string) {
	o.t.Helper()
	o.page.do("type into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}

// presses opens the form of a button, enters a reason if there is one, and presses the button.
func (o *operator) presses(path, reason string) {
	o.t.Helper()
	form := fmt.Sprintf(`form[action$=%q]`, path)
	o.click("details:has(" + form + ") > summary")
	if reason != "" {
		o.types(form+" [name=reason]", reason)
	}
	o.click(form + " button")
}

// sees opens a page of the console, unfolds everything and checks that it is accessible. It checks
// that the page fits with text of twice the size, also in German.
func (o *operator) sees(path, title string) {
	o.t.Helper()
	o.page.open(o.p.url + path)
	o.page.reads("h1", title)
	const unfold = `document.querySelectorAll("details").forEach(d => { d.open = true })`
	o.page.do("unfold", evaluate(unfold))
	o.page.accessible()
	o.page.large("in English")
	o.page.speaks("de")
	o.page.do("unfold", evaluate(unfold))
	o.page.fits()
	o.page.large("in German")
	o.page.speaks("en")
}

func TestOperators(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	o.page.openRefused(o.p.url + "/operator")
	o.page.reads("h1", "Sign in")
	o.page.accessible()
	o.page.refusals.Store(o.p.url+"/operator/sign-in", true)
	o.types("#token", "not the token"+kb.Enter)
	o.page.reads("[role=alert]", "This is not the operator token.")
	o.types("#token", operatorToken+kb.Enter)
	o.page.reads("h1", "Today")

	steps := []struct {
		name string
		run  func(*operator)
	}{
		{"every page of the console can be used by everybody", (*operator).looksAtAll},
		{"a customer's call is settled in three clicks", (*operator).settlesACall},
		{"a payment is found by its day and amount, and refunded in part", (*operator).refundsAPart},
		{"a machine is paused with a reason, and put on sale again", (*operator).pauses},
		{"stickers lead to their machines", (*operator).printsStickers},
		{"changes appear without a reload, and leave an open form alone", (*operator).watches},
		{"without a token the console is closed", (*operator).hasNoToken},
	}
	for _, s := range steps { // sequential, because there is one operator
		t.Run(s.name, func(t *testing.T) {
			o.t, o.page.t = t, t
			defer func() { o.page.t = o.T }()
			s.run(o)
		})
	}
}

// looksAtAll opens each page. The pictures show what happened so far.
func (o *operator) looksAtAll() {
	o.page.open(o.p.url + "/operator")
	o.page.reads("main", "Needs attention")
	o.page.picture("console-today")
	o.page.open(o.p.url + "/operator/payments/" + o.refused.ID)
	o.page.reads("main", "Why the machine did not start")
	o.page.picture("payment-story")
	for path, title := range map[string]string{
		"/operator":                            "Today",
		"/operator/payments":                   "Payments",
		"/operator/payments/" + o.started.ID:   "Payment cr_",
		"/operator/payments/" + o.refused.ID:   "Payment cr_",
		"/operator/payments/" + o.disputed.ID:  "Payment cr_",
		"/operator/payments?q=nothing+of+that": "Payments",
		"/operator/devices":                    "Machines",
		"/operator/devices/" + washer:          "Washer 3",
		"/operator/events":                     "Stripe events",
		"/operator/events/" + o.event():        "Event evt_",
		"/operator/stickers":                   "Stickers",
		"/operator/audit":                      "Audit log",
		"/operator/revenue":                    "Revenue",
		"/operator/setup":                      "Setup",
	} {
		o.sees(path, title)
	}
	o.page.refusals.Store(o.p.url+"/operator/payments/cr_0000000000000000", true)
	o.sees("/operator/payments/cr_0000000000000000", "That did not work")
	o.page.open(o.p.url + "/operator/setup")
	o.page.click(`form[action="/operator/setup"] button`)
	o.page.until(`document.querySelector("main [role=status]")`) // the last part of the page
	o.page.accessible()
}

// event returns the id of an event that notepay stored.
func (o *operator) event() string {
	_, _, body := o.p.get("/api/stripe-events", "Authorization", "Bearer "+operatorToken)
	return regexp.MustCompile(`evt_\w+`).FindString(body)
}

// settlesACall handles a customer's call: "I paid just now with the card that ends in 4242, and it
// did not wash."
func (o *operator) settlesACall() {
	o.page.open(o.p.url + "/operator/payments")
	o.clicks = 0
	o.types("#q", "4242 Washer 3"+kb.Enter)
	o.page.until(`location.search.includes("4242") && document.querySelectorAll("tbody tr").length === 1`)
	o.click("tbody a")
	o.page.reads("h1", "Payment cr_")
	o.presses("/refund", "")
	o.page.until(`document.querySelector("[role=status]")`) // the result message
	if o.clicks != 3 {
		o.t.Errorf("it took %d clicks; want 3", o.clicks)
	}
	o.p.payment(o.started.ID, `"money":"refunded"`)
	o.page.open(o.p.url + "/operator/payments/" + o.started.ID)
	o.page.reads("main", "refunded")
	o.click(`details:has(form[action$="/code"]) > summary`)
	o.click(`form[action$="/code"] button`)
	o.page.reads("h1", "Code for a free start")
	o.page.accessible()
	o.sees("/operator/audit?subject="+o.credit(o.started), "Audit log")
	o.page.reads("main", "refund")
}

// credit returns the reference of a session's payment.
func (o *operator) credit(s sandbox.Session) string {
	_, _, body := o.p.get("/api/payments/"+s.ID, "Authorization", "Bearer "+operatorToken)
	return regexp.MustCompile(`cr_\w+`).FindString(body)
}

func (o *operator) refundsAPart() {
	session := o.buy(o.selling(o.p, kettle), sandbox.PayOptions{})
	o.p.payment(session.ID, `"machine":"started"`)
	o.page.open(o.p.url + "/operator/payments")
	o.types("#q", time.Now().Format(time.DateOnly)+" 3.50 EUR Kettle"+kb.Enter)
	o.page.until(`location.search.includes("3.50") && document.querySelectorAll("tbody tr").length === 1`)
	o.click("tbody a")
	o.page.reads("h1", "Payment cr_")
	o.click(`details:has(form[action$="/refund"]) > summary`)
	o.types(`form[action$="/refund"] [name=amount]`, "1.20")
	o.types(`form[action$="/refund"] [name=reason]`, "the water was cold"+kb.Enter)
	o.p.payment(session.ID, `"refunded_amount":120`)
	if _, _, refunded, _ := o.stripe.Money(session.ID); refunded != 120 {
		o.t.Errorf("Stripe refunded %d; want 120", refunded)
	}
}

// watches leaves the first page open while customers pay.
func (o *operator) watches() {
	link := func(s sandbox.Session) string {
		return fmt.Sprintf(`main a[href="/operator/payments/%s"]`, o.credit(s))
	}
	idle := irons()
	trouble := func() sandbox.Session {
		session := o.buy(o.selling(o.p, idle[0]), sandbox.PayOptions{})
		idle = append(idle[1:], idle[0])
		o.p.payment(session.ID, `"machine":"started"`)
		o.stripe.Dispute(session.ID)
		o.p.payment(session.ID, `"money":"disputed"`)
		return session
	}
	o.page.open(o.p.url + "/operator")
	o.page.do("mark the page", evaluate(`window.same = true`))
	first := trouble()
	o.page.until(fmt.Sprintf("window.same && document.querySelector('%s')", link(first)))

	form := fmt.Sprintf(`form[action="/operator/payments/%s/end"]`, o.credit(first))
	o.click("details:has(" + form + ") > summary")
	o.types(form+" [name=reason]", "half a sent")
	o.page.do("listen", evaluate(`window.updates = 0;
		new EventSource("/operator/live").addEventListener("changed", () => window.updates++)`))
	second := trouble()
	o.page.until("window.updates > 0")
	o.types(form+" [name=reason]", "ence")
	o.page.until(fmt.Sprintf(
		`document.querySelector('%s [name=reason]').value === "half a sentence" && !document.querySelector('%s')`,
		form, link(second)))
	o.click("details:has(" + form + ") > summary") // folded, and left so
	o.page.do("leave the form", evaluate(`document.activeElement.blur()`))
	o.page.until(fmt.Sprintf("window.same && document.querySelector('%s')", link(second)))
	hide := func(hidden bool) {
		o.page.do("hide or show the window", evaluate(fmt.Sprintf(
			`Object.defineProperty(document, "hidden", { configurable: true, get: () => %v });
			document.dispatchEvent(new Event("visibilitychange"))`, hidden)))
	}
	hide(true)
	status, _, answer := o.p.post("/api/payments/"+first.ID+"/end", "{}", "Authorization", "Bearer "+operatorToken)
	if status != http.StatusOK {
		o.t.Fatalf("end: %d %s", status, answer)
	}
	third := trouble() // with the machine that is free again
	hide(false)
	o.page.until(fmt.Sprintf("window.same && document.querySelector('%s')", link(third)))
}

func (o *operator) pauses() {
	const reason = "the drum squeaks, the seal of the door leaks, and the mechanic comes on Thursday, " +
		"because the part has to be ordered first"
	o.page.open(o.p.url + "/operator/devices/" + dryer)
	o.presses("/pause", reason)
	o.page.reads("main", reason)
	o.sees("/operator/devices/"+dryer, "Dryer 1")
	o.sees("/operator/devices?q=Dryer", "Machines")
	o.page.until(`document.querySelector(".machines .what a").getClientRects().length === 1`) // "Dryer 1" in a line
	if status, _, body := o.p.get("/pay/"+dryer, "Accept", "text/html"); status != http.StatusServiceUnavailable ||
		strings.Contains(body, reason) {
		o.t.Errorf("a paused machine answers %d %s; want 503, and nothing of the operator's reason", status, body)
	}
	o.sees("/operator", "Today")
	o.page.reads("main", reason)
	o.page.click(`form[action$="/resume"] button`)
	o.page.until(`!document.querySelector('form[action$="/resume"]')`)
	o.selling(o.p, dryer)
}

// printsStickers prints each sheet of stickers and decodes each sticker. The decoder is not the
// library that drew it.
func (o *operator) printsStickers() {
	uids := map[string]string{"Washer 3": washer, "Charger A": charger, "Dryer 1": dryer, longName: kettle}
	for n, uid := range irons() {
		uids[fmt.Sprintf("Iron %d", n+1)] = uid
	}
	const a4, letter = "595 x 842", "612 x 792" // points
	for layout, paper := range map[string]string{
		"a4-large":      a4,
		"a4-medium":     a4,
		"a4-small":      a4,
		"letter-large":  letter,
		"letter-medium": letter,
		"letter-small":  letter,
	} {
		o.page.open(o.p.url + "/operator/stickers?layout=" + layout)
		o.page.reads("h1", "Stickers")
		if layout == "a4-large" {
			o.page.picture("stickers")
		}
		if got := o.printed(); got != paper {
			o.t.Errorf("%s prints on sheets of %s points; want one of %s", layout, got, paper)
		}
		o.page.until(fmt.Sprintf(`document.querySelectorAll(".%s .sticker").length === %d`, layout, len(uids)))
		o.page.until(wholeStickers)
		seen := map[string]bool{}
		for i := range len(uids) {
			sticker := fmt.Sprintf(".sticker:nth-child(%d)", i+1)
			name, err := chromedp.Run(o.page.ctx, chromedp.Text(chromedp.CSS(sticker+" .print > b")))
			if err != nil {
				o.t.Fatalf("read the name on sticker %d of %s: %v", i+1, layout, err)
			}
			want := "https://pay.example.com/pay/" + uids[name]
			if got := o.page.decoded(sticker + " .code"); got != want || seen[name] {
				o.t.Errorf("the sticker of %q on %s leads to %q; want %q, once", name, layout, got, want)
			}
			seen[name] = true
		}
	}
}

// hasNoToken opens the console of another notepay, whose operator has not set a token.
func (o *operator) hasNoToken() {
	p := o.start("OPERATOR_TOKEN", "", "DATABASE_URL", filepath.Join(o.t.TempDir(), "notepay.db"))
	for _, path := range []string{"/operator", "/operator/payments"} {
		o.page.openRefused(p.url + path)
		o.page.reads("h1", "The console is closed")
		o.page.reads("main", "Set OPERATOR_TOKEN to a secret")
		o.page.accessible()
		o.page.until(`!document.querySelector("main form, main input, nav")`) // there is nothing to try
	}
}

// printed returns the paper size of each printed sheet of the page, in points.
func (o *operator) printed() string {
	o.t.Helper()
	file, err := chromedp.Run(o.page.ctx,
		chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize(), chromedp.PDFPrintBackground()))
	if err != nil {
		o.t.Fatalf("print: %v", err)
	}
	var sheets []string
	for _, box := range regexp.MustCompile(`/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]`).FindAllSubmatch(file, -1) {
		width, _ := strconv.ParseFloat(string(box[1]), 64)
		height, _ := strconv.ParseFloat(string(box[2]), 64)
		sheets = append(sheets, fmt.Sprintf("%.0f x %.0f", width, height))
	}
	return strings.Join(sheets, ", ")
}
