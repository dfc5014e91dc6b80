package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"

	"notepay/internal/sandbox"
)

// smallest is the narrowest phone that pages have to fit.
var smallest = size{"small phone", 320, 568, true}

// TestReading checks how the customers' pages read with text of twice the size, on the narrowest
// phone, from right to left, and by a screen reader.
func TestReading(t *testing.T) {
	t.Parallel()
	// people who need large text set it in their browser
	open(t, newBrowser(t, chromedp.Flag("blink-settings", "defaultFontSize=32")), readers(), "CONFIRM_WITHIN", "1m")
}

func readers() []visitor {
	at := func(path, title string) func(*customer) {
		return func(c *customer) {
			c.page.openRefused(c.url + path)
			c.reads(title)
			c.page.readable(title)
		}
	}
	return []visitor{
		{name: "a machine that runs", pays: true, machine: confirms(), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.readAloud()
			c.page.readable("The machine has started")
			c.page.open(c.url + strings.TrimPrefix(c.address(), c.url) + "/report")
			c.reads("Report a problem")
			c.page.readable("Report a problem")
			c.page.openRefused(c.url + "/pay/" + c.uid + "?again=1")
			c.page.readable("This machine is in use")
		}},
		{name: "a locker", pays: true, machine: confirms(), variables: sells(locker), visit: func(c *customer) {
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.page.readable("The machine has started")
		}},
		{
			name:     "a machine that refuses",
			pays:     true,
			machine:  confirms(),
			behavior: sandbox.Behavior{Refuse: "failed", Code: "E-DOOR"},
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.reads("The machine did not start", "E-DOOR", "€3.50 was refunded")
				c.page.readable("The machine did not start")
			},
		},
		{name: "several plans", variables: sells(warm + "," + delayed + "," + plain), visit: func(c *customer) {
			c.page.open(c.url + "/pay/" + c.uid)
			c.reads("Choose a program")
			c.page.readable("Choose a program")
		}},
		{name: "the door", visit: at("/", "Pay for a machine")},
		{name: "a lost payment", visit: at("/payment/find", "Find your payment")},
		{name: "a way back without paying", visit: at("/payment/cancel", "Nothing was charged")},
		{name: "an unknown machine", visit: at("/pay/dev:999999999999999", "We do not know this machine")},
		{name: "an unknown page", visit: at("/nowhere", "Page not found")},
	}
}

// readable checks the page on the narrowest phone: in the light and in the dark, in English, and in
// Arabic, which the page's own switch chooses and leaves again.
func (b *tab) readable(title string) {
	b.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		b.look(smallest, scheme)
		b.holdsTogether(scheme + " in English")
	}
	b.chooses("ar")
	b.holdsTogether("dark in Arabic")
	b.until(`document.dir === "rtl" && getComputedStyle(document.querySelector("main")).direction === "rtl"`)
	// lines begin at the right edge of the text
	b.until(`(() => {
		const main = document.querySelector("main"), line = document.createRange();
		line.selectNodeContents(document.querySelector("h1"));
		const style = getComputedStyle(main), frame = ["paddingRight", "borderRightWidth"];
		const edge = frame.reduce((at, name) => at - parseFloat(style[name]), main.getBoundingClientRect().right);
		return Math.abs(line.getBoundingClientRect().right - edge) < 3;
	})()`)
	// codes and references keep their direction
	b.until(`[...document.querySelectorAll(".code, #device, #reference, #card")]
		.every(code => getComputedStyle(code).direction === "ltr")`)
	b.until(`/[\u0600-\u06ff]/.test(document.querySelector("h1").textContent)`)
	b.chooses("en")
	b.reads("h1", title)
	b.look(sizes()[0], "light")
}

// chooses clicks a language in the page's switch.
func (b *tab) chooses(language string) {
	b.t.Helper()
	where, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil {
		b.t.Fatalf("where the page is: %v", err)
	}
	b.do("unfold the languages", evaluate(`document.querySelector(".languages").open = true`))
	b.click(fmt.Sprintf(".languages a[hreflang=%q]", language))
	b.until(fmt.Sprintf("document.documentElement.lang === %q && document.readyState === 'complete'", language))
	b.until(fmt.Sprintf("location.href === %q", where))
}

// holdsTogether checks that the page needs no horizontal scrolling, and that codes are in one piece.
func (b *tab) holdsTogether(how string) {
	b.t.Helper()
	const measure = `JSON.stringify({
		wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
		out: [...document.querySelectorAll("body *")].filter(e => !e.closest(".unseen, .skip, svg") &&
			(e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1))
			.map(e => e.tagName + "." + e.className),
		broken: [...document.querySelectorAll(".code [aria-hidden], .count, .price")].filter(e => {
			if (/\s/.test(e.textContent)) return false; // words may be on several lines
			const line = document.createRange();
			line.selectNodeContents(e);
			return new Set([...line.getClientRects()].map(r => Math.round(r.top))).size > 1;
		}).map(e => e.textContent),
	})`
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](measure))
	var found struct {
		Wide        int64
		Out, Broken []string
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &found)
	}
	if err != nil {
		b.t.Fatalf("measure the page: %v", err)
	}
	if found.Wide > 0 || len(found.Broken) > 0 {
		b.t.Errorf("%s, %s: %d pixels too wide, outside %v, in pieces %v",
			b.title(), how, found.Wide, found.Out, found.Broken)
	}
}

// readAloud checks what a screen reader reads on the live page, from its start to its end.
func (c *customer) readAloud() {
	c.t.Helper()
	got := c.page.spoken()
	want := []string{
		"RootWebArea The machine has started", "StaticText Wash & Go", "StaticText Test mode: no real money",
		"main", "StaticText Washer 1", "status", "heading The machine has started",
		"StaticText The display on the machine counts.", "timer", "StaticText Time left: ",
		"list", "StaticText Payment received", "StaticText Sent to the machine",
		"StaticText The machine confirmed its start", "StaticText Ends about",
		"term Program", "StaticText Warm wash", "term Amount", "StaticText €3.50", "term Date",
		"term Machine", "StaticText Washer 1", "term Sold by", "term Address", "term Tax",
		"term Reference", "StaticText cr_", "link It did not start?",
		"contentinfo", "link help@wash.example", "link Legal notice", "link Privacy", "link Terms",
		"DisclosureTriangle Language: English (US)",
	}
	at, headings := 0, 0
	for _, line := range got {
		if at < len(want) && strings.HasPrefix(line, strings.TrimSpace(want[at])) {
			at++
		}
		if strings.HasPrefix(line, "heading") {
			headings++
		}
		if strings.ContainsAny(line, "✓!") { // the marks of the steps
			c.t.Errorf("a screen reader reads %q", line)
		}
	}
	if at < len(want) || headings != 1 {
		c.t.Errorf("a screen reader reads %d headings, and not %q in its place:\n%s",
			headings, strings.Join(want[at:], ", "), strings.Join(got, "\n"))
	}
}

// spoken returns the roles and names of the page's accessibility tree, in the order of reading.
func (b *tab) spoken() (lines []string) {
	b.t.Helper()
	var tree accessibility.GetFullAXTreeResult
	b.do("read the accessibility tree", chromedp.Func(func(ctx context.Context, t *chromedp.Target) (err error) {
		tree, err = cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		return err
	}))
	text := func(v *accessibility.Value) (s string) {
		if v != nil {
			_ = json.Unmarshal(v.Value, &s) // what is no text is not read
		}
		return s
	}
	nodes := map[accessibility.NodeID]*accessibility.Node{}
	for _, n := range tree.Nodes {
		nodes[n.NodeID] = n
	}
	var read func(accessibility.NodeID)
	read = func(id accessibility.NodeID) {
		n := nodes[id]
		if n == nil {
			return
		}
		if line := strings.TrimSpace(text(n.Role) + " " + text(n.Name)); !n.Ignored && text(n.Role) != "InlineTextBox" {
			lines = append(lines, line)
		}
		for _, child := range n.ChildIDs {
			read(child)
		}
	}
	read(tree.Nodes[0].NodeID)
	return slices.Compact(lines)
}

// large checks on the narrowest phone that the page needs no horizontal scrolling with text of twice
// the size.
func (b *tab) large(how string) {
	b.t.Helper()
	own := b.size
	b.look(smallest, "light")
	b.do("enlarge", evaluate(`document.documentElement.style.fontSize = "200%"`))
	b.holdsTogether("text of twice the size, " + how)
	b.do("reduce", evaluate(`document.documentElement.style.fontSize = ""`))
	b.look(own, "light")
}
