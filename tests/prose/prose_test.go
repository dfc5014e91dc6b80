// Package prose checks how the project is written: the rules of STYLE.md that a machine can hold.
//
// It promises that no comment, page, catalog or document uses a banned word or opening, that no Go line is longer than
// 120 columns and no line of a document longer than 160. It does not know whether a sentence is true or clear.
package prose

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

const (
	maxCode = 120 // columns of a Go line, where a tab counts as tabWidth
	maxDoc  = 160 // characters of a line in a document
	maxCell = 120 // characters of a table's cell

	tabWidth = 4
)

// banned are words of the old dialect, with what to write instead.
var banned = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\banew\b`), "again"},
	{regexp.MustCompile(`(?i)\bmend(s|ed|ing)?\b`), "fix, repair"},
	{regexp.MustCompile(`(?i)\bfor ever\b`), "never expires, forever"},
	{regexp.MustCompile(`(?i)\bsmall letters?\b`), "lower case"},
	{regexp.MustCompile(`(?i)\blet(s|ting)? go\b`), "release"},
	{regexp.MustCompile(`(?i)\b(give|gives|gave|given|giving) back\b`), "refund, return"},
	{regexp.MustCompile(`(?i)\b(take|takes|took|taken|taking) in\b(?: what| that| where| which| how)`), "apply"},
	{regexp.MustCompile(`(?i)\b(hear|hears|heard) of\b`), "receive"},
	{regexp.MustCompile(`(?i)\b(come|comes|came) to\b`), "result in, return, reach"},
	{regexp.MustCompile(`(?i)\b(stand|stands|stood) in\b`), "be in"},
	{regexp.MustCompile(`(?i)\b(nobody|somebody|whoever|whosoever)\b`), "name the actor"},
	{regexp.MustCompile(`(?i)\bof (whom|whose)\b`), "an active clause"},
	{regexp.MustCompile(`(?i)\b(colour|honour|favour|behaviour|cancelled|cancelling|catalogue|licence|centre|grey)s?\b`),
		"US spelling"},
	{regexp.MustCompile(`(?i)\b(recognise|authorise|initialise|normalise|serialise)(s|d|r|rs)?\b`),
		"US spelling"},
}

// opening is how no function's comment begins: it says what the function is, and not what it does.
var opening = regexp.MustCompile(`^\w+ (?:is|are|was) (?:what|who|whom|whose|why|how|when|whether|where)\b`)

func TestGoComments(t *testing.T) {
	t.Parallel()
	set := token.NewFileSet()
	walk(t, ".go", func(path, text string) {
		file, err := parser.ParseFile(set, path, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range file.Comments {
			check(t, place(set, group.Pos()), group.Text())
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Doc != nil && opening.MatchString(f.Doc.Text()) {
				t.Errorf("%s: begin with the name and a verb: %.60q", place(set, f.Pos()), f.Doc.Text())
			}
		}
	})
}

func TestGoLines(t *testing.T) {
	t.Parallel()
	walk(t, ".go", func(path, text string) {
		for n, line := range strings.Split(text, "\n") {
			if width := len([]rune(line)) + strings.Count(line, "\t")*(tabWidth-1); width > maxCode {
				t.Errorf("%s:%d: %d columns; at most %d", path, n+1, width, maxCode)
			}
		}
	})
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	walk(t, ".md", func(path, text string) {
		code := false
		for n, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				code = !code
			}
			if code {
				continue
			}
			where := fmt.Sprintf("%s:%d", path, n+1)
			if length := len([]rune(line)); length > maxDoc && !strings.HasPrefix(line, "|") {
				t.Errorf("%s: %d characters; at most %d", where, length, maxDoc)
			}
			if strings.HasPrefix(line, "|") {
				for cell := range strings.SplitSeq(line, "|") {
					if length := len([]rune(strings.TrimSpace(cell))); length > maxCell {
						t.Errorf("%s: a cell of %d characters; at most %d", where, length, maxCell)
					}
				}
			}
			if path != "STYLE.md" { // it names what is banned
				check(t, where, line)
			}
		}
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	walk(t, ".html", func(path, text string) {
		for n, line := range strings.Split(text, "\n") {
			check(t, fmt.Sprintf("%s:%d", path, n+1), line)
		}
	})
}

func TestCatalogs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(root, "internal/web/customer/catalogs/en.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var texts map[string]any
	if err := json.Unmarshal(raw, &texts); err != nil {
		t.Fatal(err)
	}
	for key, text := range texts {
		check(t, "en.json: "+key, fmt.Sprint(text))
	}
}

// check reports the banned words of a text.
func check(t *testing.T, where, text string) {
	t.Helper()
	for _, b := range banned {
		if found := b.pattern.FindString(text); found != "" {
			t.Errorf("%s: %q; write: %s", where, found, b.instead)
		}
	}
}

// walk calls f with each file of the project that has an extension.
func walk(t *testing.T, extension string, f func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		skipped := strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata"
		if entry.IsDir() && path != root && skipped {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(path) != extension || strings.HasSuffix(path, "prose_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f(relative, string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// place returns where a comment is, relative to the project.
func place(set *token.FileSet, pos token.Pos) string {
	at := set.Position(pos)
	return fmt.Sprintf("%s:%d", at.Filename, at.Line)
}
