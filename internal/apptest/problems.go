package apptest

import (
	"encoding/json"
	"slices"
	"strings"
)

// HasProblem wants a problem in /health, on the console's first page and in the metrics; or wants
// it not to be there.
func (f *Front) HasProblem(code, says string, there bool) {
	f.Helper()
	var health struct {
		Status   string
		Problems []string
	}
	w := f.Get("/health")
	if err := json.Unmarshal(w.Body.Bytes(), &health); err != nil {
		f.Fatal(err)
	}
	told := slices.ContainsFunc(health.Problems, func(text string) bool { return strings.Contains(text, says) })
	if told != there || (there && health.Status != "degraded") {
		f.Errorf("/health says %s; want %q in its problems: %v", w.Body, says, there)
	}
	if page := f.Browser().Shows("/operator"); strings.Contains(page, says) != there {
		f.Errorf("the console's first page tells %q: %v; want %v", says, !there, there)
	}
	line := "\nnotepay_problem{code=\"" + code + "\"} " + map[bool]string{true: "1", false: "0"}[there] + "\n"
	if metrics := f.Get("/metrics").Body.String(); !strings.Contains(metrics, line) {
		f.Errorf("the metrics lack %s", line)
	}
}
