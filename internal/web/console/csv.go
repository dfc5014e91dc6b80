package console

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
)

// table writes a CSV file. It quotes every cell, and escapes formulas.
type table struct{ out *bufio.Writer }

// startCSV begins an answer that browsers save as a file.
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
			_ = t.out.WriteByte(',') // Flush returns the first error
		}
		_, _ = t.out.WriteString(`"` + strings.ReplaceAll(escapeFormula(cell), `"`, `""`) + `"`)
	}
	return t.out.WriteByte('\n')
}

// Flush sends the buffered rows. It returns the first error of all writes.
func (t *table) Flush() error { return t.out.Flush() }

const (
	// separators may end a cell or row in a spreadsheet, even within quotes. Where the decimal sign
	// is a comma, spreadsheets split by semicolons, and a quote within such a cell protects nothing.
	separators = ";,|\t\r\n"
	// formulas may begin a formula, in some spreadsheets also in full width.
	formulas = "=+-@\t\r＝＋－＠"
)

// plainNumber matches numbers. They may begin with a minus, and are no formulas.
var plainNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// escapeFormula prevents CSV injection. It puts an apostrophe before each formula, at the beginning
// of the text and behind separators, because spreadsheets then show a text.
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

// firstOf returns the first character of a cell. It skips quotes and spaces, because spreadsheets
// may drop them.
func firstOf(text string) rune {
	for _, c := range text {
		if c != '"' && c != ' ' && c != '\u00a0' {
			return c
		}
	}
	return -1
}
