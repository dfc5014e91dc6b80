package contract

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// hasPasskeys gives the tab a device that keeps passkeys and checks the person.
func (b *tab) hasPasskeys() {
	b.t.Helper()
	b.do("add a device for passkeys", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{
				Protocol:                    "ctap2",
				Transport:                   "internal",
				HasResidentKey:              true,
				HasUserVerification:         true,
				IsUserVerified:              true,
				AutomaticPresenceSimulation: true,
			},
		})
		return err
	}))
}

func (b *tab) types(selector, text string) {
	b.t.Helper()
	b.do("type into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}

// TestPeople invites a person, who signs in with a passkey of the browser.
func TestPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, nil)
	base := "http://localhost:" + freePort(t)
	w.start("PUBLIC_URL", base, "LISTEN_ADDR", "127.0.0.1:"+base[strings.LastIndex(base, ":")+1:])
	page := newTab(t, newBrowser(t), sizes()[1])
	page.hasPasskeys()
	page.openRefused(base + "/operator/people")
	page.types("#token", operatorToken+kb.Enter)
	page.reads("h1", "People")
	page.types(`form[action="/operator/people"] [name=name]`, "Ada Lovelace")
	page.click(`form[action="/operator/people"] button`)
	page.reads("main", "Send this link to Ada Lovelace")
	page.accessible()
	page.picture("console-people")
	link, err := chromedp.Run(page.ctx,
		chromedp.Evaluate[string](`document.querySelector("main pre").innerText.trim()`))
	if err != nil || !strings.HasPrefix(link, base+"/operator/invite/") {
		t.Fatalf("the link is %q, %v", link, err)
	}

	page.open(link)
	page.reads("h1", "Welcome, Ada Lovelace")
	page.accessible()
	page.click(`[data-passkey=create] button`)
	page.reads("h1", "Today")
	page.reads("nav", "Ada Lovelace")
	page.open(base + "/operator/me")
	page.reads("main", "this browser")
	page.do("unfold", evaluate(`document.querySelectorAll("details").forEach(d => { d.open = true })`))
	page.accessible()
	page.click(`[data-passkey=create] button`)
	page.reads("[data-passkey=create]", "This device has a passkey for you already.")
	page.refusals.Store(base+"/operator", true)
	page.click(".out button")
	page.reads("h1", "Sign in")
	page.accessible()
	page.click(`[data-passkey=get] button`)
	page.reads("h1", "Today")
	page.openRefused(base + "/operator/people")
	page.reads("main", "Your role does not allow this")
	page.open(base + "/operator/audit")
	page.reads("main", "accepted the invitation")
	for _, name := range []string{"operator", "Ada Lovelace"} {
		page.until(fmt.Sprintf(
			`[...document.querySelectorAll("td[data-label=Who]")].some(e => e.innerText === %q)`, name))
	}
}
