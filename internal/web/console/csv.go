package console

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
)

// table writes an answer that is saved as a file of comma-separated values. Every cell is quoted,
// and none can be a formula.
type table struct{ out *bufio.Writer }

// startCSV begins an answer that is saved as a file.
func startCSV(w http.ResponseWriter, name string, columns ...string) (*table, error) {
	private(w)
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	t := &table{bufio.NewWriter(w)}
	return t, t.Write(columns)
}

// Write writes a row.
func (t *table) Write(cells []string) error {
	for i, cell := range cells {
		if i > 0 {
			_ = t.out.WriteByte(',') // the writer keeps its first error for the last call
		}
		_, _ = t.out.WriteString(`"` + strings.ReplaceAll(escapeFormula(cell), `"`, `""`) + `"`)
	}
	return t.out.WriteByte('\n')
}

// Flush sends what was written. It returns the first error of all writes.
func (t *table) Flush() error { return t.out.Flush() }

const (
	// separators are what a spreadsheet may take for the end of a cell or row, whatever the quotes
	// say: where the decimal sign is a comma it splits by semicolons, and a quote in the middle of
	// its cell protects nothing.
	separators = ";,|\t\r\n"
	// formulas are what begins a formula; of some spreadsheets also in full width.
	formulas = "=+-@\t\r＝＋－＠"
)

// plainNumber may begin with a minus and is no formula.
var plainNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// escapeFormula keeps a spreadsheet from taking a text, or a part of it behind a separator, for a
// formula: an apostrophe makes it a text.
func escapeFormula(text string) string {
	if plainNumber.MatchString(text) || !strings.ContainsAny(text, formulas) {
		return text
	}
	var safe strings.Builder
	begins := true
	for i, c := range text {
		if begins && strings.ContainsRune(formulas, firstOf(text[i:])) {
			safe.WriteByte('\'')
		}
		safe.WriteRune(c)
		begins = strings.ContainsRune(separators, c)
	}
	return safe.String()
}

// firstOf returns the first character of a cell, behind quotes and spaces that a spreadsheet may
// drop.
func firstOf(text string) rune {
	for _, c := range text {
		if c != '"' && c != ' ' && c != '\u00a0' {
			return c
		}
	}
	return -1
}
