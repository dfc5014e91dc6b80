//go:build linux

package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"
)

// markdown is docs/performance.md.
func (r *report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Performance

Written by `+"`make bench`"+`. Each figure stands beside a baseline that was measured in the same run, in turns with it: the ratio is what to look at, the
rest is this machine. Customers, Stripe, Notehub and notepay all ran on it and shared its processors.

Machine: %s, %d cores; its disk makes 4 KiB durable in %s (median of 1,000 `+"`fdatasync`"+`s of one file); %s; %d s for all, load average before %s.

| what | measured | baseline | ratio | wanted | |
| --- | --- | --- | --- | --- | --- |
`, processor(), runtime.NumCPU(), short(r.sync), runtime.Version(), int(r.took.Seconds()), r.load)
	for _, f := range r.figures {
		verdict := ""
		switch {
		case f.short:
			verdict = "**falls short**"
		case f.wanted != "":
			verdict = "met"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", f.name, f.got, f.baseline, f.ratio, f.wanted, verdict)
	}
	fmt.Fprintf(&b, `
How to read it:

- *Bare handler*: an `+"`http.Server`"+` with the same time limits whose handler writes the same status and headers and looks nothing up. 16 keep-alive connections,
  20,000 scans a round, 15 rounds in turns, the median of the ratios.
- *Plan page*: the page of one plan, in the language that the browser asks for. Its bare template is the same file, executed with the same words by a handler that has
  them ready; 4,000 views a round, 9 rounds in turns.
- *Durable acknowledgement*: signed `+"`checkout.session.completed`"+` events of 1,000 devices; the answer comes after SQLite's commit with `+"`synchronous=FULL`"+`. Meanwhile each
  payment's note is posted to the simulated Notehub, and the result settled by a second commit. 7 rounds, the median of each.
- *Without a store*: the same signature check, decoding, removal of personal data and answer, but nothing is kept and no note is sent.
- *Note on the wire*: from the first byte of the webhook's request to the whole request of the note at Notehub; 1,000 payments, one each 10 ms.
- *Restart*: the binary that ships, from exec to the answer of the first scan. Both vendors answer 503, so what it sells it remembers.
- *Console*: each page as its handler makes it, without the network, the median of 30. The ledger is the largest below: one payment a minute for two years. What no index
  finds (a name or an amount that nobody has) is looked for among the latest 10,000 payments, with a link to look further back.
- *Cold start*: 500 devices without links; Stripe takes 25 creations a second and answers each after 300 ms. A customer's page asks again each 10 ms.
- *Open pages*: each payment changes 7 times, all at once; the pages, and those who read them, are in this process. In turns with it the same event is written to
  the server's end of each connection, with nothing behind it.

## What falls short, and why

- `+"`/pay`"+`: between 0.88 and 0.97 in six runs on a machine with neighbours. The bare handler has one route and looks nothing up. Ours asks the router, and then a device, its plan and its link among 100,000, which no cache of the
  processor holds: two to three microseconds, mostly spent waiting for memory, beside the forty that the server takes for a request.
- *Acknowledgements*: where a disk makes a page durable in a tenth of a millisecond, it is not the disk that is waited for. A payment is a row of fifty columns in
  eighteen indexes, its event and an attempt; SQLite takes some 0.4 ms of a processor for what belongs to one, in two commits, by one goroutine that writes. At one
  connection each acknowledgement also waits for what became of the payment before. What was mended: tables that SQLite built for each check (a third of its work), the
  claim's own commit, and questions to the writer that the readers can answer. What is left is the row itself; to split it would make two truths of one.
  Where a sync takes a millisecond and more, as on most small servers, it is waited for alone, and 64 connections share it.
- *What differs by run*: the table is the last of six runs on a machine with neighbours, and for most figures the best. Webhook to note took 1.4 to 1.9 ms at the median in
  most of them and in parts run alone, and up to 6.7; 99 of 100 were done in 2.5 to 13 ms in most, and in 32, 98 and 234 ms in three, all while the disk was slow.
  5,000 open pages took 183 to 204 MB, and 230 where other parts were measured before them.

## As it grows

One ledger that grows, ten payments for each device; each payment has its event (with a short body) and its attempt. Both vendors answer.

| devices | payments | ledger | start to first redirect | `+"`/pay`"+`, handler alone | webhook, 1 connection | newest 50 payments | the queue's figures | resident | most ever |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
`)
	for _, s := range r.growth {
		fmt.Fprintf(
			&b,
			"| %s | %s | %.0f MB | %s | %s | %s | %s | %s | %.0f MB | %.0f MB |\n",
			thousands(s.devices),
			thousands(s.payments),
			s.disk,
			short(s.first),
			short(s.pay),
			short(s.webhook),
			short(s.page),
			short(s.stats),
			s.memory,
			s.most,
		)
	}
	b.WriteString("\n![Time and memory over the number of devices, both axes logarithmic](performance.svg)\n")
	return b.Bytes()
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// line is one line of a plot: a value for each size.
type line struct {
	name, color string
	value       func(size) float64
}

// plot is docs/performance.svg: times on the left, memory on the right, all axes logarithmic.
func (r *report) plot() []byte {
	var b bytes.Buffer
	b.WriteString(
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 440" font-family="sans-serif" font-size="13"><rect width="960" height="440" fill="#fff"/>` + "\n",
	)
	took := func(of func(size) time.Duration) func(size) float64 {
		return func(s size) float64 { return of(s).Seconds() * 1e6 }
	}
	r.panel(
		&b,
		70,
		420,
		"time",
		-1,
		7,
		[]string{"100 ns", "1 μs", "10 μs", "100 μs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"},
		[]line{
			{"start to first redirect", "#c0392b", took(func(s size) time.Duration { return s.first })},
			{"webhook", "#2471a3", took(func(s size) time.Duration { return s.webhook })},
			{"newest 50 payments", "#1e8449", took(func(s size) time.Duration { return s.page })},
			{"the queue's figures", "#7d3c98", took(func(s size) time.Duration { return s.stats })},
			{"/pay, handler alone", "#b9770e", took(func(s size) time.Duration { return s.pay })},
		},
	)
	r.panel(&b, 600, 230, "memory", 1, 4, []string{"10 MB", "100 MB", "1 GB", "10 GB"}, []line{
		{"the ledger on disk", "#7f8c8d", func(s size) float64 { return s.disk }},
		{"most ever", "#c0392b", func(s size) float64 { return s.most }},
		{"resident", "#2471a3", func(s size) float64 { return s.memory }},
	})
	b.WriteString("</svg>\n")
	return b.Bytes()
}

const plotTop, plotHeight = 40.0, 340.0

// panel draws lines between the powers of ten from low to high, one label for each power.
func (r *report) panel(
	b *bytes.Buffer,
	left, width float64,
	title string,
	low, high int,
	labels []string,
	lines []line,
) {
	x := func(devices int) float64 {
		first, last := math.Log10(float64(growthSizes[0])), math.Log10(float64(growthSizes[len(growthSizes)-1]))
		return left + width*(math.Log10(float64(devices))-first)/(last-first)*0.68 // the rest is for the names
	}
	y := func(value float64) float64 {
		return plotTop + plotHeight*(1-(math.Log10(value)-float64(low))/float64(high-low))
	}
	fmt.Fprintf(b, `<text x="%.0f" y="24" font-weight="bold">%s</text>`+"\n", left, title)
	for i, label := range labels {
		at := y(math.Pow10(low + i))
		fmt.Fprintf(
			b,
			`<path d="M%.0f %.1fH%.0f" stroke="#ddd"/><text x="%.0f" y="%.1f" text-anchor="end" fill="#555">%s</text>`+"\n",
			left,
			at,
			x(growthSizes[len(growthSizes)-1]),
			left-6,
			at+4,
			label,
		)
	}
	for _, s := range r.growth {
		at := x(s.devices)
		fmt.Fprintf(
			b,
			`<path d="M%.1f %.0fV%.0f" stroke="#ddd"/><text x="%.1f" y="%.0f" text-anchor="middle" fill="#555">%s</text>`+"\n",
			at,
			plotTop,
			plotTop+plotHeight,
			at,
			plotTop+plotHeight+18,
			thousands(s.devices),
		)
	}
	fmt.Fprintf(
		b,
		`<text x="%.0f" y="%.0f" fill="#555">devices, each with %d payments</text>`+"\n",
		left,
		plotTop+plotHeight+40,
		paymentsPerDevice,
	)
	// From the top down, so that a name that would stand on another moves down.
	last := r.growth[len(r.growth)-1]
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(b.value(last), a.value(last)) })
	lowest := math.Inf(-1)
	for _, l := range lines {
		d := "M"
		var end float64
		for i, s := range r.growth {
			if i > 0 {
				d += "L"
			}
			end = y(l.value(s))
			d += fmt.Sprintf("%.1f %.1f", x(s.devices), end)
		}
		lowest = max(end+4, lowest+15)
		fmt.Fprintf(
			b,
			`<path d="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%.1f" y="%.1f" fill="%s">%s</text>`+"\n",
			d,
			l.color,
			x(growthSizes[len(growthSizes)-1])+8,
			lowest,
			l.color,
			l.name,
		)
	}
}
