package prose

import (
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFile     = 600 // lines of a Go file
	maxUntested = 100 // lines of a package that may be without a test in its folder
)

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	walk(t, ".go", func(path, text string) {
		if lines := strings.Count(text, "\n"); lines > maxFile {
			t.Errorf("%s: %d lines; at most %d", path, lines, maxFile)
		}
	})
}

func TestTestsAreBesideTheirSubject(t *testing.T) {
	t.Parallel()
	lines, tested := map[string]int{}, map[string]bool{}
	walk(t, ".go", func(path, text string) {
		dir := filepath.Dir(path)
		if !strings.HasSuffix(path, "_test.go") {
			lines[dir] += strings.Count(text, "\n")
			return
		}
		tested[dir] = true
		if dir == "." && path != "main_test.go" {
			t.Errorf("%s: the only test in the root is main_test.go", path)
		}
	})
	for dir, n := range lines {
		if n > maxUntested && !tested[dir] {
			t.Errorf("%s: %d lines without a test in their folder", dir, n)
		}
	}
}
