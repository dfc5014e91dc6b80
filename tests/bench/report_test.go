//go:build linux

package bench

import (
	"bytes"
	_ "embed" // for page
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"text/template"
	"time"

	"notepay/internal/apptest"
)

// TestBench measures and writes docs/performance.md. It runs under `make bench` on a machine that
// does nothing else. A missed target is marked and fails nothing, because only the reader knows the
// machine.
//
// NOTEPAY_BENCH_PART names the parts to measure, separated by commas. The document keeps the
// figures of the others.
func TestBench(t *testing.T) {
	if os.Getenv("NOTEPAY_BENCH") != "1" {
		t.Skip("takes minutes: set NOTEPAY_BENCH=1, or run make bench")
	}
	r := &report{
		load:     loadAverage(t),
		sync:     median(syncTimes(t, t.TempDir(), 1000, 0)),
		figures:  map[string][]figure{},
		measured: map[string]bool{},
	}
	parts := []struct {
		name     string
		run      func(*testing.T, *report)
		postgres bool
	}{
		{name: "live", run: benchLive}, // first, because it measures memory
		{name: "pay", run: benchPay},
		{name: "plans", run: benchPlans},
		{name: "webhook", run: benchWebhook},
		{name: "wire", run: benchWire},
		{name: "restart", run: benchRestart},
		{name: "cold start", run: benchColdStart},
		{name: "slow clients", run: benchSlow},
		{name: "instances", run: benchInstances, postgres: true},
		{name: "growth", run: benchGrowth},
		{name: "postgres growth", run: benchPostgresGrowth, postgres: true},
	}
	var known []string
	for _, part := range parts {
		known = append(known, part.name)
	}
	requireParts(t, known...)
	for _, part := range parts {
		if !selected(part.name) {
			continue
		}
		if part.postgres && postgresServer() == "" {
			t.Logf("%s is not measured: NOTEPAY_TEST_POSTGRES names no server", part.name)
			continue
		}
		r.part = part.name
		r.measured[part.name] = t.Run(part.name, func(t *testing.T) { part.run(t, r) })
	}
	// The document keeps the figures of a part that failed.
	old, err := os.ReadFile(apptest.InModule(t, "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.markdown(string(old))
	if err == nil {
		err = os.WriteFile(apptest.InModule(t, "docs", "performance.md"), text, 0o644)
	}
	if r.measured["growth"] {
		err = errors.Join(err, os.WriteFile(apptest.InModule(t, "docs", "performance.svg"), r.plot(), 0o644))
	}
	if err != nil {
		t.Error(err)
	}
}

// report holds the measurements of one run.
type report struct {
	load     string              // load average before the run
	sync     time.Duration       // median time of a 4 KiB write with fdatasync
	part     string              // that is being measured
	figures  map[string][]figure // by part
	measured map[string]bool     // parts
	growth   []size
	grown    []size // on PostgreSQL
}

// figure is one measurement with its baseline and its target.
type figure struct {
	name, got, baseline string
	ratio               string
	target              string // "" for none
	missed              bool
}

func (r *report) add(t *testing.T, f figure) {
	t.Helper()
	t.Logf("%s: %s (%s), ratio %s, target %s", f.name, f.got, f.baseline, f.ratio, f.target)
	r.figures[r.part] = append(r.figures[r.part], f)
}

// page is the template of docs/performance.md.
//
//go:embed performance.md.tmpl
var page string

// titles are the headings of the parts in the document.
var titles = []struct{ part, title string }{
	{"live", "Live pages"},
	{"pay", "Scans"},
	{"plans", "Plan pages"},
	{"webhook", "Webhooks"},
	{"wire", "Webhook to note"},
	{"restart", "Restart"},
	{"cold start", "Cold start"},
	{"slow clients", "Slow clients"},
	{"instances", "Several instances"},
	{"console", "Console"},
	{"growth", "By size"},
	{"postgres growth", "By size, on PostgreSQL"},
}

// markdown returns docs/performance.md. The parts that were not measured are those of the old
// document.
func (r *report) markdown(old string) ([]byte, error) {
	sections := map[string]string{}
	for _, one := range titles {
		switch {
		case !r.measured[one.part] && (one.part != "console" || !r.measured["growth"]):
			sections[one.part] = section(old, one.title)
		case one.part == "growth":
			sections[one.part] = r.growthTable(one.title)
		case one.part == "postgres growth":
			sections[one.part] = r.grownTable(one.title)
		default:
			sections[one.part] = r.table(one.title, r.figures[one.part])
		}
	}
	sections["missed"] = missedTargets(sections)
	var b bytes.Buffer
	err := template.Must(template.New("").Parse(page)).Execute(&b, sections)
	return b.Bytes(), err
}

// missedTargets lists the missed targets of all sections, also of those that an earlier run measured.
func missedTargets(sections map[string]string) string {
	var list []string
	for _, one := range titles {
		for row := range strings.Lines(sections[one.part]) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(row), "| "), " | ")
			if len(cells) == 6 && cells[5] == "**missed**" {
				name, got, ratio, target := cells[0], cells[1], cells[3], cells[4]
				list = append(list, fmt.Sprintf("- %s: %s, ratio %s, target %s.", name, got, ratio, target))
			}
		}
	}
	if len(list) == 0 {
		return "None."
	}
	return strings.Join(list, "\n")
}

// section returns the section of a document that has a title, without the empty line at its end.
func section(document, title string) string {
	_, text, found := strings.Cut(document, "\n### "+title+"\n")
	if !found {
		return "### " + title + "\n\nNot measured yet."
	}
	text, _, _ = strings.Cut(text, "\n#")
	return "### " + title + "\n" + strings.TrimRight(text, "\n")
}

// heading returns the beginning of a measured section.
func (r *report) heading(title string) string {
	const text = "### %s\n\n%s, %d cores, %s.\n" +
		"4 KiB were durable in %s, and the load average was %s before the run.\n\n"
	return fmt.Sprintf(text, title, processor(), runtime.NumCPU(), runtime.Version(), short(r.sync), r.load)
}

// table returns the section of a part.
func (r *report) table(title string, figures []figure) string {
	rows := []string{"| what | measured | baseline | ratio | target | |", "| --- | --- | --- | --- | --- | --- |"}
	for _, f := range figures {
		verdict := ""
		switch {
		case f.missed:
			verdict = "**missed**"
		case f.target != "":
			verdict = "met"
		}
		rows = append(rows, "| "+cells(f.name, f.got, f.baseline, f.ratio, f.target, verdict)+" |")
	}
	return r.heading(title) + strings.Join(rows, "\n")
}

// growthTable returns the section of the growing ledger.
func (r *report) growthTable(title string) string {
	rows := []string{
		"| devices | payments | ledger | start to first redirect | `/pay` handler | webhook, 1 connection " +
			"| newest 50 payments | queue statistics | resident | peak |",
		"| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
	}
	for _, s := range r.growth {
		rows = append(rows, "| "+cells(
			thousands(s.devices), thousands(s.payments), wholeMB(s.disk),
			short(s.first), short(s.pay), short(s.webhook), short(s.page), short(s.stats),
			wholeMB(s.memory), wholeMB(s.peak),
		)+" |")
	}
	return r.heading(title) + strings.Join(rows, "\n")
}

// cells joins the cells of a table's row.
func cells(list ...string) string { return strings.Join(list, " | ") }

func wholeMB(mb float64) string { return fmt.Sprintf("%.0f MB", mb) }

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// TestPage requires docs/performance.md to have the text of its template, and the template to
// render measured parts and keep the others.
func TestPage(t *testing.T) {
	t.Parallel()
	written, err := os.ReadFile(apptest.InModule(t, "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(page) {
		if !strings.Contains(text, "{{") && !strings.Contains(string(written), text) {
			t.Errorf("docs/performance.md lacks the line %q of its template", text)
		}
	}
	r := report{
		figures:  map[string][]figure{"pay": {{name: "a figure", got: "1 s", target: "< 1 s", missed: true}}},
		growth:   []size{{devices: 1000}},
		measured: map[string]bool{"pay": true, "growth": true},
	}
	const old = "# Old\n\n### Scans\n\n| old scans |\n\n### Live pages\n\n| old pages |\n\n" +
		"### Restart\n\n| an old figure | 2 s | - | 3 | ≤ 1 s | **missed** |\n" +
		"| a met one | 1 s | - | 3 | ≤ 1 s | met |\n\n## Next\n"
	rendered, err := r.markdown(old)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"\n| a figure | 1 s |  |  | < 1 s | **missed** |\n\n": true,
		"\n| 1,000 | 0 | 0 MB | ":                             true,
		"\n- a figure: 1 s, ratio , target < 1 s.\n":          true,
		"\n- an old figure: 2 s, ratio 3, target ≤ 1 s.\n":    true,
		"a met one: ": false,
		"\n### Live pages\n\n| old pages |\n\n### Scans\n": true,
		"old scans": false,
		"\n### Cold start\n\nNot measured yet.\n": true,
	} {
		if strings.Contains(string(rendered), text) != want {
			t.Errorf("the page holds %q: %v; want %v\n%s", text, !want, want, rendered)
		}
	}
	again, err := (&report{}).markdown(string(rendered))
	if err != nil || !bytes.Equal(again, rendered) {
		t.Errorf("a run that measures nothing changes the page to\n%s\n%v", again, err)
	}
}
