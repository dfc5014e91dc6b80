package contract

import (
	"os"
	"strings"

	"github.com/chromedp/chromedp"
)

// accessible checks a page with axe-core, and checks that it needs no horizontal scrolling. It uses
// a phone and a desktop, in light and in dark.
func (b *tab) accessible() {
	b.t.Helper()
	b.fits()
	size := b.size
	for _, s := range sizes() {
		for _, scheme := range []string{"light", "dark"} {
			b.look(s, scheme)
			b.judged(s.name + " in " + scheme)
		}
	}
	b.look(size, "light")
}

// judged checks that axe-core finds no violation in the page as it is shown now, on the named
// screen.
func (b *tab) judged(screen string) {
	b.t.Helper()
	for _, violation := range b.violations() {
		b.t.Errorf("%s on a %s: %s", b.title(), screen, violation)
	}
}

// violations returns what axe-core finds in the page as it is shown now. The page's content
// security policy does not apply to code that DevTools evaluates. If the page was reloaded
// meanwhile, the check runs again.
func (b *tab) violations() (found []string) {
	b.t.Helper()
	const run = `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v =>
		v.id + ", " + v.help + ": " + v.nodes.map(n => n.target.join(" ") + " (" +
			n.any.concat(n.all, n.none).map(c => c.message).join("; ") + ")").join(" and ")))`
	var err error
	for range 5 {
		b.loadAxe()
		if found, err = chromedp.Run(b.ctx, chromedp.Evaluate[[]string](run, chromedp.EvalAwaitPromise)); err == nil {
			return found
		}
	}
	b.t.Fatalf("run axe-core in %s: %v", b.title(), err)
	return nil
}

// loadAxe loads axe-core into the page unless it is loaded, because it is half a megabyte.
func (b *tab) loadAxe() {
	b.t.Helper()
	if there, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean(window.axe)")); err == nil && there {
		return
	}
	const file = "axe/node_modules/axe-core/axe.min.js"
	axe, err := os.ReadFile(file)
	if err != nil {
		unavailable(b.t, "axe-core is missing (install it with npm ci --ignore-scripts in tests/contract/axe): %v", err)
	}
	b.do("load axe-core", evaluate(string(axe)))
}

// title returns the title of the tab.
func (b *tab) title() string {
	title, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.title + ", " + location.pathname`))
	if err != nil {
		return "a page without a title: " + err.Error()
	}
	return strings.TrimSpace(title)
}
