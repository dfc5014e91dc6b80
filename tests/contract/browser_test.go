package contract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// size is a screen size in CSS pixels.
type size struct {
	name          string
	width, height int64
	mobile        bool
}

func sizes() []size {
	return []size{{"phone", 390, 844, true}, {"desktop", 1280, 900, false}}
}

// newBrowser starts a browser and stops it after the test. The browser reaches only this machine,
// so a page that needs another host fails. more are options of this browser.
func newBrowser(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path := os.Getenv("CHROMIUM")
	if path == "" {
		path = "/usr/bin/chromium"
	}
	if _, err := os.Stat(path); err != nil {
		unavailable(t, "Chromium is missing (apt-get install chromium, or name one in CHROMIUM): %v", err)
	}
	options := append(
		chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		// chromedp does not recognize pages restored from that cache
		chromedp.Flag("disable-back-forward-cache", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	process, stop := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(process)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// tab is a page in the browser. An error or a warning in its console fails the test.
type tab struct {
	t        *testing.T
	ctx      context.Context
	size     size
	refusals sync.Map // addresses expected to fail with an error status, which the console reports
}

// newTab opens an empty tab with its own storage.
func newTab(t *testing.T, browser context.Context, s size) *tab {
	t.Helper()
	return attach(t, browser, s, chromedp.WithNewBrowserContext())
}

func attach(t *testing.T, parent context.Context, s size, option chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, option)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, size: s}
	b.listen()
	b.resize(s)
	return b
}

// end is the console message that marks the end of the test. Every earlier message was received
// when it arrives.
const end = "the test is over"

// listen records the console until the test ends.
func (b *tab) listen() {
	messages := chromedp.Console(b.ctx)
	var heard sync.WaitGroup
	heard.Go(func() {
		for m, err := range messages {
			if err != nil || m.Text == end {
				return
			}
			if _, meant := b.refusals.Load(m.URL); meant && strings.HasPrefix(m.Text, "Failed to load resource") {
				continue
			}
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning || m.IsException() {
				b.t.Errorf("the console says %s (%s)", m, m.URL)
			}
		}
	})
	b.t.Cleanup(func() { // before the tab is closed
		b.do("say that the test is over", evaluate("console.log("+fmt.Sprintf("%q", end)+")"))
		heard.Wait()
	})
}

func evaluate(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](expression)
}

func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, waitTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// resize sets the screen size.
func (b *tab) resize(s size) {
	b.t.Helper()
	b.look(s, "light")
}

// look sets the screen size and the color scheme, "light" or "dark". It turns animations off, so
// that pictures are always the same.
func (b *tab) look(s size, scheme string) {
	b.t.Helper()
	options := []chromedp.EmulateViewportOption{}
	if s.mobile {
		options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait,
			chromedp.EmulateScale(2))
	}
	b.do(
		"resize",
		chromedp.EmulateViewport(s.width, s.height, options...),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			features := []*emulation.MediaFeature{
				{Name: "prefers-reduced-motion", Value: "reduce"},
				{Name: "prefers-color-scheme", Value: scheme},
			}
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
			return err
		}),
	)
}

func (b *tab) open(url string) {
	b.t.Helper()
	b.do("open "+url, chromedp.Navigate(url))
}

// speaks sets the browser's language and reloads the page.
func (b *tab) speaks(language string) {
	b.t.Helper()
	b.do("reload the page in "+language, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		headers := network.Headers{"Accept-Language": language}
		_, err := cdp.Call(ctx, t, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers})
		return err
	}), chromedp.Reload())
	b.until(fmt.Sprintf("document.documentElement.lang === %q", language))
}

// openRefused opens a page that responds with an error status.
func (b *tab) openRefused(url string) {
	b.t.Helper()
	b.refusals.Store(url, true)
	b.open(url)
}

func (b *tab) click(selector string) {
	b.t.Helper()
	b.do("click "+selector, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// until waits until an expression is true in the page, even if the page is reloaded meanwhile.
func (b *tab) until(expression string) {
	b.t.Helper()
	b.untilWithin(waitTimeout, expression)
}

// untilWithin is until with a time limit.
func (b *tab) untilWithin(limit time.Duration, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	holds := chromedp.Poll[bool]("Boolean("+expression+")", chromedp.WithPollingInterval(50*time.Millisecond),
		chromedp.WithPollingTimeout(0))
	for {
		_, err := chromedp.Run(ctx, holds)
		if err == nil {
			return
		}
		if _, mistake := errors.AsType[*chromedp.ExceptionError](err); mistake || ctx.Err() != nil {
			shown, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
			b.t.Fatalf("timed out waiting until %s: %v; the page is %s", expression, err, shown)
		}
		// the page was left; the next attempt reports a failure
		_, _ = chromedp.Run(ctx, chromedp.WaitReady(chromedp.CSS("body")))
	}
}

// reads waits until the text of an element contains the text.
func (b *tab) reads(selector, text string) {
	b.t.Helper()
	b.readsWithin(waitTimeout, selector, text)
}

// readsWithin is reads with a time limit. It treats no-break spaces, such as between a number and
// its unit, as spaces.
func (b *tab) readsWithin(limit time.Duration, selector, text string) {
	b.t.Helper()
	b.untilWithin(limit, fmt.Sprintf("document.querySelector(%q)?.innerText.replaceAll('\u00a0', ' ').includes(%q)",
		selector, text))
}

// opens runs act, which opens another tab, and returns that tab. The browser also reports tabs of
// other tests.
func (b *tab) opens(act func()) *tab {
	b.t.Helper()
	self := chromedp.FromContext(b.ctx).Target.TargetID
	opened := chromedp.WaitNewTarget(b.ctx,
		func(info *target.Info) bool { return info.Type == "page" && info.OpenerID == self })
	act()
	select {
	case id, ok := <-opened:
		if !ok {
			b.t.Fatal("the browser is gone")
		}
		return attach(b.t, b.ctx, b.size, chromedp.WithTargetID(id))
	case <-time.After(waitTimeout):
		b.t.Fatal("no other tab was opened")
	}
	return nil
}

// fits checks that the page needs no horizontal scrolling, on this screen and on a narrow phone.
func (b *tab) fits() {
	b.t.Helper()
	for _, s := range append(sizes(), size{"small phone", 320, 568, true}, b.size) { // its own size last
		b.resize(s)
		width, err := chromedp.Run(b.ctx, chromedp.Evaluate[int64]("document.documentElement.scrollWidth"))
		if err != nil {
			b.t.Fatalf("measure the page: %v", err)
		}
		if width > s.width {
			where, _ := chromedp.Run(b.ctx, chromedp.Location())
			b.t.Errorf("%s is %d pixels wide on a %s of %d: it scrolls sideways", where, width, s.name, s.width)
		}
	}
}
