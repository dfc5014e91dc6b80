package console

import (
	"encoding/csv"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestEscapeFormula(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "Washer 3": "Washer 3", "+49": "'+49", "-x": "'-x", "@x": "'@x",
		"3.50": "3.50", "-3.50": "-3.50", "-3,50": "-3,50", "-12": "-12", "a-b=c": "a-b=c",
		"2026-11-21T02:00:00Z": "2026-11-21T02:00:00Z",
		"=1+1":                 "'=1+1", "+1": "'+1", "-1+1": "'-1+1", "@SUM(1)": "'@SUM(1)", "\t=1": "'\t'=1",
		"\r=1":   "'\r'=1",
		"＝1+1":   "'＝1+1",
		"x;=1+1": "x;'=1+1", "x; =1+1": "x;' =1+1", `x;"=1+1"`: `x;'"=1+1"`, `"=1+1`: `'"=1+1`, "x;y;@z": "x;y;'@z",
		"x\n=1": "x\n'=1", "x\r\n-1+2": "x\r\n'-1+2",
		"x\t+1": "x\t'+1", "x,=1": "x,'=1", "x|=1": "x|'=1", ";;=1": ";;'=1", "a;b": "a;b", "1;-2": "1;'-2",
	} {
		if got := escapeFormula(text); got != want {
			t.Errorf("%q becomes %q; want %q", text, got, want)
		}
	}
}

// A spreadsheet that splits by commas must read each cell unchanged. One that splits by another
// separator must find no formula.
func TestTableQuotesEveryCell(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	cells := []string{"plain", "", `say "hi"`, "a;=HYPERLINK(1)", "=1+1", "3.50", "two\nlines", "x;\"=1\""}
	out, err := startCSV(w, "x.csv", false, "one", "two")
	if err == nil {
		err = out.Write(cells)
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(w.Body.String(), "\ufeff\"one\",\"two\"\n\"plain\",\"\",") {
		t.Errorf("%s; want a byte order mark and every cell quoted", w.Body)
	}
	for _, part := range strings.FieldsFunc(
		w.Body.String(), func(c rune) bool { return strings.ContainsRune(";\n\t", c) },
	) {
		if first := strings.TrimLeft(part, `" `); strings.ContainsAny(first[:min(1, len(first))], "=+-@") {
			t.Errorf("split by something else, %q is a formula", part)
		}
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(w.Body.String(), bom)))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%q, %v; want two rows", rows, err)
	}
	for i, cell := range rows[1] {
		if cell != escapeFormula(cells[i]) {
			t.Errorf("cell %q; want %q", cell, escapeFormula(cells[i]))
		}
	}
}

func FuzzEscapeFormula(f *testing.F) {
	for _, text := range []string{"=1", "x;=1", "-1", "a\r\n@b", `;"=1"`, "\xff=1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := escapeFormula(text)
		if plainNumber.MatchString(got) {
			return
		}
		for _, part := range strings.FieldsFunc(got, func(c rune) bool { return strings.ContainsRune(separators, c) }) {
			if first := strings.TrimLeft(part, "\" \u00a0"); first != "" && strings.ContainsAny(first[:1], "=+-@") {
				t.Errorf("%q becomes %q, which holds a formula", text, got)
			}
		}
	})
}
