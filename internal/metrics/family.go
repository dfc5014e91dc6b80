package metrics

import (
	"fmt"
	"io"
	"strings"

	vm "github.com/VictoriaMetrics/metrics"
)

// family is a metric with its series, one for each combination of label values.
type family struct {
	name, kind, help string
	labels           []string // sorted
	set              *vm.Set
}

// family adds a metric. kind is Prometheus's word for it, and labels are the names of its labels,
// sorted.
func (m *Metrics) family(name, kind, help string, labels ...string) *family {
	f := &family{name, kind, help, labels, vm.NewSet()}
	m.families = append(m.families, f)
	return f
}

// labelValue escapes a label's value as the text format wants it.
var labelValue = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// series returns the name of a series with its labels, whose values are in the order of the names.
func (f *family) series(values ...string) string {
	if len(f.labels) == 0 {
		return f.name
	}
	var b strings.Builder
	b.WriteString(f.name)
	for n, label := range f.labels {
		b.WriteByte("{,"[min(n, 1)])
		b.WriteString(label)
		b.WriteString(`="`)
		_, _ = labelValue.WriteString(&b, values[n]) // a Builder does not fail
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// counter returns the counter with these label values, and creates it at zero.
func (f *family) counter(values ...string) *vm.Counter {
	return f.set.GetOrCreateCounter(f.series(values...))
}

// gauge adds a series whose value is read at each scrape.
func (f *family) gauge(read func() float64, values ...string) {
	f.set.NewGauge(f.series(values...), read)
}

// write writes the metric in the text format. The library writes no help.
func (f *family) write(w io.Writer) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
	f.set.WritePrometheus(w)
}
