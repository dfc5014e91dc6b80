// Package docs checks that whatever the documents name exists, and that they name whatever they
// have to.
//
// It does not know whether a sentence is true.
package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// planned returns paths and make targets that documents describe ahead of the code. When all of
// them exist, the test asks to delete this list.
func planned() []string { return nil }

// foreign returns words in backticks that are names of other programs or examples, and not ours.
func foreign() []string {
	return []string{
		"TestDeleteNote", "maxX", "minX", "xTimeout", "xInterval", // examples of STYLE.md
		"imperative", "openssl", "systemctl", "wget", "nano", "docker", "purge", "allowed_signers", "mnt",
		"ReadWritePaths",
		"staging", "sites", "proxy_buffering", "proxy_http_version", "websecure", "letsencrypt", // of proxies
		"litestream",                                  // another program
		"T171500Z",                                    // a time in a file's name
		"NORMAL",                                      // of SQLite, which is not used
		"TOKEN",                                       // a placeholder
		"shared_buffers", "synchronous_standby_names", // of PostgreSQL
		"CONCURRENTLY", "pg_index", "indisvalid", // of PostgreSQL
		"server_login_retry", // of pgbouncer
	}
}

// read returns the text of a file, by its path below the root.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// files returns the paths below the root that match, without those of other programs.
func files(t *testing.T, match func(name string) bool) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "node_modules", "bin"}, d.Name()) {
			return filepath.SkipDir
		}
		name, err := filepath.Rel(root, p)
		if name = filepath.ToSlash(name); err == nil && d.Type().IsRegular() && match(name) {
			names = append(names, name)
		}
		return err
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("%d files: %v", len(names), err)
	}
	return names
}

// documents returns every document.
func documents(t *testing.T) []string {
	return files(t, func(name string) bool { return strings.HasSuffix(name, ".md") })
}

// isCode reports whether a file may define what documents name.
func isCode(name string) bool {
	base := path.Base(name)
	kinds := []string{".go", ".sql", ".html", ".js", ".css", ".json", ".yml", ".sh", ".patch"}
	kinds = append(kinds, ".c", ".cpp", ".h", ".ino") // of the firmware
	others := []string{"Makefile", "run", "go.mod", ".env.example", ".gitignore"}
	return !strings.HasPrefix(name, "tests/docs/") &&
		(slices.Contains(kinds, path.Ext(name)) || slices.Contains(others, base))
}

// isGo reports whether a file is code of the program or its tests, and not of this one.
func isGo(name string) bool {
	return path.Ext(name) == ".go" && !strings.HasPrefix(name, "tests/docs/")
}

// line is a line of a document.
type line struct {
	number int
	text   string
	fence  string // the language of the code block that it is in, "text" for none, "" outside
}

// lines returns the lines of a document, without the fences.
func lines(document string) (list []line) {
	fence := ""
	for n, text := range strings.Split(document, "\n") {
		if language, found := strings.CutPrefix(text, "```"); found {
			if fence != "" {
				fence = ""
			} else if fence = language; fence == "" {
				fence = "text"
			}
			continue
		}
		list = append(list, line{n + 1, text, fence})
	}
	return list
}

var (
	span   = regexp.MustCompile("`([^`]+)`")
	word   = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)|<img src="([^"]+)"`)
	isPath = regexp.MustCompile(`^\.?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/?$`)
)

// TestNames requires every word in backticks to occur in the code.
func TestNames(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, name := range files(t, isCode) {
		for _, w := range word.FindAllString(read(t, name), -1) {
			known[strings.Trim(w, "_")] = true
		}
	}
	for _, w := range foreign() {
		known[w] = true
	}
	for _, name := range documents(t) {
		for _, l := range lines(read(t, name)) {
			if l.fence != "" {
				continue
			}
			for _, s := range span.FindAllStringSubmatch(l.text, -1) {
				if isFile(s[1]) {
					continue
				}
				for _, w := range word.FindAllString(s[1], -1) {
					if w = strings.Trim(w, "_"); len(w) > 2 && !known[w] {
						t.Errorf("%s:%d: %q is nowhere in the code", name, l.number, w)
					}
				}
			}
		}
	}
}

// isFile reports whether a span in backticks is a path of ours.
func isFile(s string) bool {
	if !isPath.MatchString(s) {
		return false
	}
	top, _, nested := strings.Cut(s, "/")
	if nested {
		return slices.Contains([]string{"internal", "tests", "docs", "tools", "testdata", ".ci"}, top)
	}
	return slices.Contains([]string{".go", ".sql", ".md", ".yml", ".sh"}, path.Ext(s))
}

// exists reports whether a path is there, seen from the root or from a folder below it.
func exists(name string, folders ...string) bool {
	for _, folder := range append(folders, ".") {
		if _, err := os.Stat(filepath.Join(root, folder, name)); err == nil {
			return true
		}
	}
	return false
}

// TestPaths requires every path and link in the documents to lead somewhere.
func TestPaths(t *testing.T) {
	t.Parallel()
	anchors := map[string][]string{}
	for _, name := range documents(t) {
		for _, l := range lines(read(t, name)) {
			if heading, found := strings.CutPrefix(strings.TrimLeft(l.text, "#"), " "); found && l.fence == "" &&
				strings.HasPrefix(l.text, "#") {
				anchors[name] = append(anchors[name], anchor(heading))
			}
		}
	}
	for _, name := range documents(t) {
		folder := "" // of the files in a table
		for _, l := range lines(read(t, name)) {
			if l.fence != "" {
				continue
			}
			if rest, found := strings.CutPrefix(l.text, "| file in `"); found {
				folder, _, _ = strings.Cut(rest, "`")
			} else if !strings.HasPrefix(l.text, "|") {
				folder = ""
			}
			for _, s := range span.FindAllStringSubmatch(l.text, -1) {
				if isFile(s[1]) && !slices.Contains(planned(), s[1]) && !exists(s[1], path.Dir(name), folder) {
					t.Errorf("%s:%d: there is no %s", name, l.number, s[1])
				}
			}
			for _, m := range link.FindAllStringSubmatch(l.text, -1) {
				target, fragment, _ := strings.Cut(m[1]+m[2], "#")
				if strings.Contains(target, "://") {
					continue
				}
				file := name
				if target != "" {
					file = path.Join(path.Dir(name), target)
				}
				if !exists(file) {
					t.Errorf("%s:%d: the link to %s leads nowhere", name, l.number, target)
				} else if fragment != "" && !slices.Contains(anchors[file], fragment) {
					t.Errorf("%s:%d: %s has no heading %q", name, l.number, file, fragment)
				}
			}
		}
	}
}

// anchor returns the fragment under which a heading is found.
func anchor(heading string) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case r == ' ', r == '-':
			return '-'
		case r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z':
			return r
		}
		return -1
	}, strings.ToLower(strings.TrimSpace(heading)))
	return kept
}

// TestPlannedIsNeeded asks to delete the list of what is planned when all of it is there.
func TestPlannedIsNeeded(t *testing.T) {
	t.Parallel()
	missing := slices.DeleteFunc(planned(), func(name string) bool {
		if target, found := strings.CutPrefix(name, "make "); found {
			return slices.Contains(targets(t), target)
		}
		return exists(name)
	})
	if len(planned()) > 0 && len(missing) == 0 {
		t.Error("all that was planned is there: let planned return nil")
	}
}

// targets returns the targets of the Makefile.
func targets(t *testing.T) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		names = append(names, m[1])
	}
	return names
}

// TestTargets requires every make target in the documents to exist, and CONTRIBUTING.md to name
// all.
func TestTargets(t *testing.T) {
	t.Parallel()
	call := regexp.MustCompile(`\bmake ([a-z]+)\b`)
	for _, name := range documents(t) {
		for _, l := range lines(read(t, name)) {
			said := []string{l.text}
			if l.fence == "" {
				said = span.FindAllString(l.text, -1)
			}
			for _, s := range said {
				for _, m := range call.FindAllStringSubmatch(s, -1) {
					if !slices.Contains(targets(t), m[1]) && !slices.Contains(planned(), m[0]) {
						t.Errorf("%s:%d: the Makefile has no target %s", name, l.number, m[1])
					}
				}
			}
		}
	}
	contributing := read(t, "CONTRIBUTING.md")
	for _, target := range targets(t) {
		if target != "demo" && !strings.Contains(contributing, "make "+target) {
			t.Errorf("CONTRIBUTING.md does not name make %s", target)
		}
	}
}

// TestAssumptions requires every id of an assumption in code and documents to be in vendors.md,
// once.
func TestAssumptions(t *testing.T) {
	t.Parallel()
	defined := map[string]int{}
	definition := regexp.MustCompile(`(?m)^- \*\*([QU]\d+)\.\*\* `)
	for _, m := range definition.FindAllStringSubmatch(read(t, "docs/vendors.md"), -1) {
		if defined[m[1]]++; defined[m[1]] > 1 {
			t.Errorf("docs/vendors.md defines %s twice", m[1])
		}
	}
	if len(defined) == 0 {
		t.Fatal("docs/vendors.md defines no assumption")
	}
	id := regexp.MustCompile(`\b[QU]\d{1,2}\b`)
	for _, name := range files(t, func(name string) bool { return isGo(name) || strings.HasSuffix(name, ".md") }) {
		for n, text := range strings.Split(read(t, name), "\n") {
			if isGo(name) {
				_, comment, found := strings.Cut(text, "//")
				if text = comment; !found {
					continue
				}
			}
			for _, cited := range id.FindAllString(text, -1) {
				if defined[cited] == 0 {
					t.Errorf("%s:%d: %s is not in docs/vendors.md", name, n+1, cited)
				}
			}
		}
	}
}

const (
	maxLine = 160 // characters
	maxCell = 120
)

// sentenceEnd finds a sentence that another follows on the same line.
var sentenceEnd = regexp.MustCompile("[.!?][)\"”]?\\*{0,2} +[A-Z`\\[]")

// label begins a line with a list marker or a word in bold, which is no sentence of its own.
var label = regexp.MustCompile(`^\s*(?:[-*>] |\d+\. |#+ (?:\d+\. )?)?(?:\*\*[^*]+\.\*\* )?`)

// TestLines requires short lines and cells, and one sentence a line.
func TestLines(t *testing.T) {
	t.Parallel()
	for _, name := range documents(t) {
		for _, l := range lines(read(t, name)) {
			length := len([]rune(l.text))
			switch {
			case strings.HasPrefix(l.text, "<img"): // its alternative text cannot be broken
			case length > maxLine:
				t.Errorf("%s:%d: %d characters; want at most %d", name, l.number, length, maxLine)
			case l.fence != "":
			case strings.HasPrefix(l.text, "|"):
				for cell := range strings.SplitSeq(l.text, "|") {
					if n := len([]rune(strings.TrimSpace(cell))); n > maxCell {
						t.Errorf("%s:%d: a cell of %d characters; want at most %d", name, l.number, n, maxCell)
					}
				}
			case sentenceEnd.MatchString(span.ReplaceAllString(label.ReplaceAllString(l.text, ""), "`x`")):
				t.Errorf("%s:%d: two sentences on a line: %s", name, l.number, l.text)
			}
		}
	}
}
