package console

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"

	"notepay/internal/web"
)

// bom begins a file, so that spreadsheets read it as UTF-8.
const bom = "\ufeff"

// semicolonLayout is the value of layout for spreadsheets whose language has a decimal comma. They
// split a file at semicolons.
const semicolonLayout = "semicolon"

// table writes a CSV file. It quotes every cell, and escapes formulas.
type table struct {
	out       *bufio.Writer
	semicolon bool // separates cells by semicolons, and decimals by a comma
}

// startFile begins an answer that browsers save as a CSV file.
func startFile(w http.ResponseWriter, name string) *bufio.Writer {
	private(w)
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	out := bufio.NewWriter(w)
	_, _ = out.WriteString(bom) // Flush returns the first error of all writes
	return out
}

// startCSV begins a file with its header.
func startCSV(w http.ResponseWriter, name string, semicolon bool, columns ...string) (*table, error) {
	t := &table{startFile(w, name), semicolon}
	return t, t.Write(columns)
}

// csvLayout reads the layout that a download asks for.
func csvLayout(r *http.Request) (semicolon bool, problem string) {
	switch r.URL.Query().Get("layout") {
	case "", "all":
		return false, ""
	case semicolonLayout:
		return true, ""
	}
	return false, "There is no such layout."
}

// figure formats an amount in minor units as a cell.
func (t *table) figure(minor int64, currency string) string {
	text := web.Figure(minor, currency)
	if t.semicolon {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// Write writes a row.
func (t *table) Write(cells []string) error {
	separator := byte(',')
	if t.semicolon {
		separator = ';'
	}
	for i, cell := range cells {
		if i > 0 {
			_ = t.out.WriteByte(separator) // Flush returns the first error
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
var plainNumber = regexp.MustCompile(`^-?[0-9]+([.,][0-9]+)?$`)

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
