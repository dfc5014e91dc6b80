package contract

import (
	"bytes"
	"image/png"
	"strings"

	"github.com/chromedp/chromedp"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"notepay/internal/sandbox"
)

// openers returns visitors whose machines are doors and lockers. Their access code is shown only
// while it opens something.
func openers() []visitor {
	return []visitor{
		{name: "a locker", pays: true, machine: confirms(), variables: sells(locker), visit: func(c *customer) {
			c.page.open(c.url + "/use/" + c.uid)
			c.sees("", "Ready for your payment", "Locker for a day")
			c.showsNoCode()
			c.pay(sandbox.PayOptions{})
			c.reads("The machine has started")
			c.showsCode()
			c.sees("access-code", "The machine has started", "Your code for the machine", "Time left")
			c.page.look(c.page.size, "dark")
			c.showsCode()
			c.page.look(c.page.size, "light")

			// the page without the code
			c.page.open(strings.Replace(c.address(), "/access/", "/session/", 1))
			c.sees("", "The machine has started", "Show my code")
			c.showsNoCode()
			c.page.click("#code a.button")
			c.page.reads("#code", "Your code for the machine")
			c.showsCode()
		}},
		{
			name:      "a locker that cannot be reached yet",
			pays:      true,
			machine:   confirms(),
			offline:   true,
			variables: sells(locker),
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.sees("", "Waiting for the machine", "Your code for the machine")
				c.showsCode()
				c.operator("/api/payments/"+c.session.ID+"/end", "{}")
				c.sees("", "The machine did not start",
					"The operator ended this before the machine could start.", "€4.00 was refunded")
				c.showsNoCode()
			},
		},
		{
			name:      "a locker whose time ends",
			pays:      true,
			machine:   confirms(),
			variables: sells(hook),
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.reads("The machine has started")
				c.showsCode()
				c.sees("", "Finished", "All done. Thank you!")
				c.showsNoCode()
				c.page.open(c.address())
				c.reads("Finished")
				c.showsNoCode()
			},
		},
		{
			name:      "a locker whose money goes back",
			pays:      true,
			machine:   confirms(),
			variables: sells(locker),
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.reads("The machine has started")
				c.showsCode()
				c.stripe.Refund(c.session.ID, 0)
				c.sees("", "Ended early", "€4.00 was refunded")
				c.showsNoCode()
			},
		},
		{
			name:      "a locker that is jammed",
			pays:      true,
			machine:   confirms(),
			behavior:  sandbox.Behavior{Refuse: "failed", Code: "E-JAM"},
			variables: sells(locker),
			visit: func(c *customer) {
				c.pay(sandbox.PayOptions{})
				c.sees("", "The machine did not start", "E-JAM", "€4.00 was refunded")
				c.showsNoCode()
			},
		},
	}
}

// address returns the address of the tab.
func (c *customer) address() string {
	c.t.Helper()
	address, err := chromedp.Run(c.page.ctx, chromedp.Location())
	if err != nil {
		c.t.Fatalf("where the page is: %v", err)
	}
	return address
}

// showsCode checks that the page shows the code that the machine received, in digits and as a QR
// code.
func (c *customer) showsCode() {
	c.t.Helper()
	notes := c.notehub.Notes(c.uid)
	if len(notes) == 0 {
		c.t.Fatal("the machine was sent no note")
	}
	code, _ := notes[0].Body["code"].(string)
	shown, err := chromedp.Run(c.page.ctx, chromedp.Text(chromedp.CSS("#code .code [aria-hidden]")))
	if err != nil {
		c.t.Fatalf("read the code: %v", err)
	}
	if drawn := c.page.decoded("#code svg"); len(code) != 6 || shown != code || drawn != code {
		c.t.Errorf("the page shows the code %q and draws %q; the machine was sent %q", shown, drawn, code)
	}
}

// showsNoCode checks that the page has no place for a code and contains none of the codes that the
// machine received.
func (c *customer) showsNoCode() {
	c.t.Helper()
	c.page.until(`!document.querySelector("#code .code, #code svg")`)
	page, err := chromedp.Run(c.page.ctx, chromedp.Evaluate[string]("document.documentElement.outerHTML"))
	if err != nil {
		c.t.Fatalf("read the page: %v", err)
	}
	for _, note := range c.notehub.Notes(c.uid) {
		if code, _ := note.Body["code"].(string); code != "" && strings.Contains(page, code) {
			c.t.Errorf("the page still shows the code %s: %s", code, page)
		}
	}
}

// decoded returns the content of the QR code in an element of the page. The decoder is not the
// library that drew it.
func (b *tab) decoded(selector string) string {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.ScreenshotScale(chromedp.CSS(selector), 2))
	if err != nil {
		b.t.Fatalf("picture of %s: %v", selector, err)
	}
	image, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		b.t.Fatalf("picture of %s: %v", selector, err)
	}
	bits, err := gozxing.NewBinaryBitmapFromImage(image)
	if err != nil {
		b.t.Fatalf("picture of %s: %v", selector, err)
	}
	result, err := qrcode.NewQRCodeReader().Decode(bits, nil)
	if err != nil {
		return "nothing: " + err.Error()
	}
	return result.GetText()
}
