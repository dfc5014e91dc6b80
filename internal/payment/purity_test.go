package payment

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestPackageIsPure checks that time, randomness and I/O are left to the callers. So a change has
// the same result in the program, in a retried transaction and in the histories.
func TestPackageIsPure(t *testing.T) {
	t.Parallel()
	impure := []string{
		"context", "crypto/rand", "database/sql", "io", "log", "log/slog", "math/rand", "math/rand/v2",
		"net", "net/http", "os", "sync", "sync/atomic", "notepay/internal/ledger",
	}
	forbidden := map[string]bool{}
	for _, path := range impure {
		forbidden[path] = true
	}
	clock := map[string]bool{
		"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true, "NewTimer": true,
		"NewTicker": true, "Tick": true,
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			switch {
			case err != nil || forbidden[path]:
				t.Errorf("%s imports %s; want no clock, randomness or I/O in this package", name, i.Path.Value)
			case path == "time" && i.Name != nil:
				t.Errorf("%s imports time as %s, which hides calls of time.Now", name, i.Name)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && clock[s.Sel.Name] {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s: time.%s; want the time as a parameter", fset.Position(s.Pos()), s.Sel.Name)
				}
			}
			return true
		})
	}
}
