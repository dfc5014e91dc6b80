//go:build linux

package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// line is one line of a plot: a value for each size.
type line struct {
	name, color string
	value       func(size) float64
}

// plot returns docs/performance.svg with times on the left and memory on the right. All axes are
// logarithmic.
func (r *report) plot() []byte {
	var b bytes.Buffer
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 440" font-family="sans-serif"`)
	b.WriteString(` font-size="13"><rect width="960" height="440" fill="#fff"/>` + "\n")
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
			{"queue statistics", "#7d3c98", took(func(s size) time.Duration { return s.stats })},
			{"/pay, handler alone", "#b9770e", took(func(s size) time.Duration { return s.pay })},
		},
	)
	r.panel(&b, 600, 230, "memory", 1, 4, []string{"10 MB", "100 MB", "1 GB", "10 GB"}, []line{
		{"the ledger on disk", "#7f8c8d", func(s size) float64 { return s.disk }},
		{"peak", "#c0392b", func(s size) float64 { return s.peak }},
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
		return left + width*(math.Log10(float64(devices))-first)/(last-first)*0.68 // leaves room for the names
	}
	y := func(value float64) float64 {
		return plotTop + plotHeight*(1-(math.Log10(value)-float64(low))/float64(high-low))
	}
	fmt.Fprintf(b, `<text x="%.0f" y="24" font-weight="bold">%s</text>`+"\n", left, title)
	for i, label := range labels {
		at := y(math.Pow10(low + i))
		fmt.Fprintf(
			b,
			`<path d="M%.0f %.1fH%.0f" stroke="#ddd"/>`+
				`<text x="%.0f" y="%.1f" text-anchor="end" fill="#555">%s</text>`+"\n",
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
			`<path d="M%.1f %.0fV%.0f" stroke="#ddd"/>`+
				`<text x="%.1f" y="%.0f" text-anchor="middle" fill="#555">%s</text>`+"\n",
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
	// The names are placed from the top down, so that one that would cover another moves down.
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
