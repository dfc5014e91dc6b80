package packaging

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// listed is a package, as go list describes it.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	ImportMap               map[string]string
}

// TestTypesOnA32BitMachine checks the types of the program as the compiler for armv7 does, without
// compiling it. An int has 32 bits there, so a constant may not fit.
func TestTypesOnA32BitMachine(t *testing.T) {
	t.Parallel()
	c := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps",
		"-json=ImportPath,Dir,Export,GoFiles,ImportMap", ".")
	c.Dir = "../.."
	c.Stderr = t.Output()
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	var ours []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if p.ImportPath == "notepay" || strings.HasPrefix(p.ImportPath, "notepay/") {
			ours = append(ours, p)
		}
	}
	if len(ours) < 30 {
		t.Fatalf("%d packages; want those of the program", len(ours))
	}
	fset := token.NewFileSet()
	compiled := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	for _, p := range ours {
		var files []*ast.File
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		config := types.Config{
			Importer: mapped{compiled, p.ImportMap},
			Sizes:    types.SizesFor("gc", "arm"),
			Error: func(err error) {
				if !strings.Contains(err.Error(), "cannot use math.MaxInt ") { // which is that of this machine here
					t.Error(err)
				}
			},
		}
		_, _ = config.Check(p.ImportPath, fset, files, nil) // Error has each error
	}
}

// mapped imports a package under the path that it was compiled with.
type mapped struct {
	types.Importer
	paths map[string]string
}

func (m mapped) Import(path string) (*types.Package, error) {
	if to := m.paths[path]; to != "" {
		path = to
	}
	return m.Importer.Import(path)
}
