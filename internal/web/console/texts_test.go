package console

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestMapTexts(t *testing.T) {
	t.Parallel()
	german := map[string]string{
		"Hello":                "Hallo",
		"{1} of {2}":           "{2}, davon {1}",
		"Stripe’s page":        "Seite von Stripe",
		"Name & <code>":        "Name",
		"Paid":                 "Bezahlt <ja>",
		"until about":          "bis etwa",
		"notepay check":        "falsch",
		"checkout.session":     "falsch",
		"Since {1}, for today": "Heute seit {1}",
		"Action":               "{{.Secret}}",
	}
	for source, want := range map[string]string{
		`<p>Hello</p>`:                               `<p>Hallo</p>`,
		`<p> Hello </p>`:                             `<p> Hallo </p>`,
		"<p>\nHello\n</p>":                           "<p>\nHallo\n</p>",
		`<p>{{.A}} of {{.B}}</p>`:                    `<p>{{.B}}, davon {{.A}}</p>`,
		`<p>Stripe&rsquo;s page</p>`:                 `<p>Seite von Stripe</p>`,
		`{{if .X}}Paid{{else}}Unknown &amp; {{end}}`: `{{if .X}}Bezahlt &lt;ja&gt;{{else}}Unknown &amp; {{end}}`,
		`<code>notepay check</code>`:                 `<code>notepay check</code>`,
		`<input placeholder="Hello" name="Hello">`:   `<input placeholder="Hallo" name="Hello">`,
		`<tr{{if gt .N 1}} class="x"{{end}}>Hello`:   `<tr{{if gt .N 1}} class="x"{{end}}>Hallo`,
		`Since {{at .T}}, for today`:                 `Heute seit {{at .T}}`,
		`{{template "x" "Hello"}}`:                   `{{template "x" "Hello"}}`,
		`<p>Action</p>`:                              `<p>Action</p>`,
		`<b>{{.N}}</b>, {{.M}}`:                      `<b>{{.N}}</b>, {{.M}}`,
	} {
		got := mapTexts(source, func(text string) string {
			if own, ok := german[text]; ok {
				return own
			}
			return text
		})
		if got != want {
			t.Errorf("%s became %s; want %s", source, got, want)
		}
	}
}

// A text that the German catalog lacks is shown in English and listed in testdata/untranslated.txt.
// A translation replaces its line there.
func TestGermanIsComplete(t *testing.T) {
	t.Parallel()
	german, err := readLang("de")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadFile("testdata/untranslated.txt")
	if err != nil {
		t.Fatal(err)
	}
	open := strings.Split(strings.TrimSpace(string(listed)), "\n")
	shown, literals := shownTexts(t)
	for _, text := range shown {
		_, translated := german.texts[text]
		if known := slices.Contains(open, text); translated == known {
			t.Errorf("%q: translated %v, listed as untranslated %v; translate it in catalogs/de.json, "+
				"or list it in testdata/untranslated.txt", text, translated, known)
		}
	}
	for _, text := range open {
		if text != "" && !slices.Contains(shown, text) {
			t.Errorf("testdata/untranslated.txt lists %q, which no page shows", text)
		}
	}
	placeholder := regexp.MustCompile(`{\w+}`)
	verb := regexp.MustCompile(`%(?:\[([0-9])\])?([0-9.]*[a-z])`)
	for text, own := range german.texts {
		if !slices.Contains(shown, text) && !slices.Contains(literals, text) {
			t.Errorf("catalogs/de.json translates %q, which no page shows", text)
		}
		want, got := placeholder.FindAllString(text, -1), placeholder.FindAllString(own, -1)
		for i, match := range verb.FindAllStringSubmatch(text, -1) {
			want = append(want, strconv.Itoa(i+1)+match[2])
		}
		for i, match := range verb.FindAllStringSubmatch(own, -1) {
			got = append(got, cmp.Or(match[1], strconv.Itoa(i+1))+match[2])
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%q has the placeholders %v, and its translation %v", text, want, got)
		}
	}
}

// shownTexts returns the texts of the templates and of the program that pages show, and all literals
// of the program.
func shownTexts(t *testing.T) (shown, literals []string) {
	t.Helper()
	pages, err := filepath.Glob("pages/*.html")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	argument := regexp.MustCompile(`template "reason" "([^"]+)"|nav \$ "[^"]*" "[^"]*" "([^"]+)"`)
	for _, page := range pages {
		source, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		mapTexts(string(source), func(text string) string {
			shown = append(shown, text)
			return text
		})
		for _, match := range argument.FindAllStringSubmatch(string(source), -1) {
			shown = append(shown, match[1]+match[2])
		}
	}
	inspect := func(file string, textsOf func(ast.Node) []string) {
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				literals = append(literals, literal(e))
			}
			shown = append(shown, textsOf(n)...)
			return true
		})
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		inspect(file, textsIn)
	}
	err = filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		inspect(path, messagesIn)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	shown = slices.DeleteFunc(shown, func(text string) bool { return text == "" })
	slices.Sort(shown)
	return slices.Compact(shown), literals
}

// verbs are those of package fmt.
var verbs = regexp.MustCompile(`%[0-9.]*[a-z]`)

// messagesIn returns the texts of messages that a node of another package makes, and the names of checks.
func messagesIn(n ast.Node) (texts []string) {
	switch n := n.(type) {
	case *ast.CallExpr:
		name := ""
		switch f := n.Fun.(type) {
		case *ast.SelectorExpr:
			if from, ok := f.X.(*ast.Ident); ok && from.Name == "message" {
				name = f.Sel.Name
			}
		case *ast.Ident:
			name = f.Name
		}
		at, makes := map[string]int{
			"New": 0, "ok": 0, "skipped": 0, "fix": 0, "wrong": 0, "failed": 1, "warned": 1,
		}[name]
		if makes && at < len(n.Args) {
			texts = append(texts, literal(n.Args[at]))
		}
	case *ast.CompositeLit:
		if len(n.Elts) == 2 {
			if f, ok := n.Elts[1].(*ast.SelectorExpr); ok {
				if r, ok := f.X.(*ast.Ident); ok && r.Name == "r" {
					texts = append(texts, literal(n.Elts[0]))
				}
			}
		}
	}
	return slices.DeleteFunc(texts, func(text string) bool {
		return !letters.MatchString(verbs.ReplaceAllString(text, ""))
	})
}

// wordFunctions are the functions whose results are texts.
var wordFunctions = regexp.MustCompile(`(Words|^auditVerb|^notStarted|^confirmationOutcome|^Word)$`)

// textsIn returns the texts that a node of the program passes to pages.
func textsIn(n ast.Node) (texts []string) {
	switch n := n.(type) {
	case *ast.CallExpr:
		argumentsOf := map[string][]int{"T": {0}, "N": {1, 2}, "problem": {3}, "askForToken": {3}}
		if f, ok := n.Fun.(*ast.SelectorExpr); ok {
			for _, i := range argumentsOf[f.Sel.Name] {
				if i < len(n.Args) {
					texts = append(texts, literal(n.Args[i]))
				}
			}
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && (key.Name == "Title" || key.Name == "Problem" || key.Name == "Text") {
			texts = append(texts, literal(n.Value))
		}
	case *ast.CompositeLit:
		if kind, ok := n.Type.(*ast.Ident); ok && len(n.Elts) > 0 && kind.Name == "word" {
			texts = append(texts, literal(n.Elts[0]))
		} else if ok && len(n.Elts) > 0 && kind.Name == "indicator" {
			texts = append(texts, literal(n.Elts[0]), literal(n.Elts[len(n.Elts)-1]))
		}
	case *ast.FuncDecl:
		if wordFunctions.MatchString(n.Name.Name) {
			ast.Inspect(n.Body, func(inner ast.Node) bool {
				switch inner := inner.(type) {
				case *ast.ReturnStmt:
					for _, e := range inner.Results {
						texts = append(texts, literal(e))
					}
				case *ast.AssignStmt:
					for _, e := range inner.Rhs {
						texts = append(texts, literal(e))
					}
				}
				return true
			})
		}
	}
	return texts
}

// literal returns the value of an expression of literals, or "".
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ := strconv.Unquote(e.Value)
			return text
		}
	case *ast.BinaryExpr:
		if x, y := literal(e.X), literal(e.Y); e.Op == token.ADD && x != "" && y != "" {
			return x + y
		}
	}
	return ""
}
