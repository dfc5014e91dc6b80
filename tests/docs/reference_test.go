package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"notepay/internal/config"
	"notepay/internal/problem"
	"notepay/internal/stripeapi"
)

// section returns the lines below a heading of a document, up to the next one.
func section(t *testing.T, document, heading string) (list []line) {
	t.Helper()
	_, rest, found := strings.Cut(read(t, document), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", document, heading)
	}
	for _, l := range lines(rest) {
		if l.fence == "" && strings.HasPrefix(l.text, "#") {
			break
		}
		list = append(list, l)
	}
	return list
}

// column returns the words in backticks of the first cells below a heading of a document.
func column(t *testing.T, document, heading string) (words []string) {
	t.Helper()
	for _, l := range section(t, document, heading) {
		if cells := strings.Split(l.text, "|"); l.fence == "" && len(cells) > 2 {
			for _, m := range span.FindAllStringSubmatch(cells[1], -1) {
				words = append(words, m[1])
			}
		}
	}
	return words
}

// wantSame reports what one of two lists has and the other has not.
func wantSame(t *testing.T, what string, documented, known []string) {
	t.Helper()
	for _, name := range known {
		if !slices.Contains(documented, name) {
			t.Errorf("%s: %s is not documented", what, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(known, name) {
			t.Errorf("%s: %s is documented and does not exist", what, name)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	wantSame(t, "settings", column(t, "docs/reference.md", "## Settings"), config.Names())
	first, _, _ := strings.Cut(read(t, ".env.example"), "# --- Where")
	for _, name := range []string{"PUBLIC_URL", "OPERATOR_TOKEN", "SUPPORT_CONTACT", "CONFIRM_WITHIN"} {
		if !strings.Contains(first, "\n"+name+"=") {
			t.Errorf("%s is not in the first part of .env.example", name)
		}
		if !slices.Contains(column(t, "README.md", "### Settings"), name) {
			t.Errorf("the README does not name %s", name)
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	wantSame(t, "problems", column(t, "docs/reference.md", "### Problems"), problem.Codes())
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	series := regexp.MustCompile(`"(notepay_[a-z_]+)"`)
	var known []string
	for _, name := range files(t, func(name string) bool {
		return isGo(name) && strings.Contains(name, "metrics") && !strings.HasSuffix(name, "_test.go")
	}) {
		for _, m := range series.FindAllStringSubmatch(read(t, name), -1) {
			known = append(known, m[1])
		}
	}
	wantSame(t, "metrics", column(t, "docs/reference.md", "## Metrics"), known)
}

// values returns the string constants in the packages of the core that belong together with one of
// them: those of its type, or, where it has none, those of its declaration.
func values(t *testing.T, one string) (all []string) {
	t.Helper()
	type constant struct{ kind, value string }
	var list []constant
	set := token.NewFileSet()
	for _, name := range files(t, func(name string) bool {
		core := []string{"internal/payment", "internal/ledger", "internal/bridge", "internal/fleet"}
		return isGo(name) && !strings.HasSuffix(name, "_test.go") && slices.Contains(core, path.Dir(name))
	}) {
		file, err := parser.ParseFile(set, name, read(t, name), parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			declaration, ok := d.(*ast.GenDecl)
			if !ok || declaration.Tok != token.CONST {
				continue
			}
			for _, spec := range declaration.Specs {
				value := spec.(*ast.ValueSpec)
				kind := set.Position(declaration.Pos()).String()
				if of, ok := value.Type.(*ast.Ident); ok {
					kind = of.Name
				}
				for _, v := range value.Values {
					literal, ok := v.(*ast.BasicLit)
					if !ok || literal.Kind != token.STRING {
						continue
					}
					text, err := strconv.Unquote(literal.Value)
					if err != nil {
						t.Fatal(err)
					}
					if text != "" {
						list = append(list, constant{kind, text})
					}
				}
			}
		}
	}
	n := slices.IndexFunc(list, func(c constant) bool { return c.value == one })
	if n < 0 {
		t.Fatalf("no constant is %q", one)
	}
	for _, c := range list {
		if c.kind == list[n].kind {
			all = append(all, c.value)
		}
	}
	return all
}

// TestWords requires reference.md to explain every word of the API.
func TestWords(t *testing.T) {
	t.Parallel()
	for heading, one := range map[string]string{
		"### money":         "releasing",
		"### machine":       "queued",
		"### reason":        "recall_unclear",
		"### Device states": "payments_off",
	} {
		wantSame(t, heading, column(t, "docs/reference.md", heading), values(t, one))
	}
	wantSame(t, "### attention", column(t, "docs/reference.md", "### attention"),
		append(values(t, "amount_mismatch"), values(t, "twins")...))
}

// TestRoutes requires reference.md to name every route. The console's are its own.
func TestRoutes(t *testing.T) {
	t.Parallel()
	reference := read(t, "docs/reference.md")
	route := regexp.MustCompile(`\b(?:handle|operator|mux\.Handle)\("(?:GET|POST) (/[^"]*)"`)
	found := 0
	for _, name := range files(t, func(name string) bool {
		return isGo(name) && !strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(name, "tests/") &&
			!strings.HasPrefix(name, "internal/sandbox/") && !strings.HasPrefix(name, "internal/demo/")
	}) {
		for _, m := range route.FindAllStringSubmatch(read(t, name), -1) {
			found++
			if strings.HasPrefix(m[1], "/operator/") || strings.HasPrefix(m[1], "/static/") {
				continue
			}
			given := strings.Replace(m[1], "{$}", "", 1)
			action := path.Base(given) // of the second of two that share a line
			if !strings.Contains(reference, given+"`") && !strings.Contains(reference, given+"?") &&
				!strings.Contains(reference, "`/"+action+"`") {
				t.Errorf("docs/reference.md does not name %s, a route of %s", m[1], name)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d routes were found", found)
	}
}

// TestVariables requires CONTRIBUTING.md to name every environment variable of the tests, and no
// other.
func TestVariables(t *testing.T) {
	t.Parallel()
	variable := regexp.MustCompile(`\bNOTEPAY_[A-Z_]*[A-Z]\b`)
	var known []string
	for _, name := range files(t, func(name string) bool {
		ofTests := strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "tests/") || name == "Makefile"
		ofC := strings.HasPrefix(name, "tests/firmware/")
		return isCode(name) && ofTests && !ofC || name == "packaging/deb_test.sh"
	}) {
		for _, v := range variable.FindAllString(read(t, name), -1) {
			if !slices.Contains(known, v) && v != "NOTEPAY_TEST" {
				known = append(known, v)
			}
		}
	}
	var documented []string
	for _, v := range variable.FindAllString(read(t, "CONTRIBUTING.md"), -1) {
		if !slices.Contains(documented, v) {
			documented = append(documented, v)
		}
	}
	slices.Sort(documented)
	wantSame(t, "variables of the tests", documented, known)
}

func TestWebhookEvents(t *testing.T) {
	t.Parallel()
	var documented []string
	for _, l := range section(t, "docs/reference.md", "## Webhook events") {
		if l.fence != "" {
			documented = append(documented, l.text)
		}
	}
	wantSame(t, "webhook events", documented, stripeapi.EventTypes())
}
