// Package mutants checks that a test fails for each guard that a patch removes. It does not know what
// the guards protect.
package mutants

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// root is the module's directory. Paths in patches are relative to it.
const root = "../.."

// TestMutants requires a test to fail for each patch in patches, which removes one guard. The first
// line of the patch has the arguments of go test. Most name the test of this guard, and a few the
// histories. If the line begins with "postgres:", the tests get a PostgreSQL server. The tests run
// only if NOTEPAY_MUTANTS is set, because they take minutes (make mutants). Without it, TestMutants
// checks that each patch applies.
func TestMutants(t *testing.T) {
	patches, err := filepath.Glob("patches/*.patch")
	if err != nil || len(patches) == 0 {
		t.Fatalf("no patches: %v", err)
	}
	two := make(chan struct{}, 2) // go test uses all cores to build
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) {
			t.Parallel()
			tests, postgres, overlay := mutate(t, patch)
			if os.Getenv("NOTEPAY_MUTANTS") == "" {
				return
			}
			two <- struct{}{}
			defer func() { <-two }()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			args := []string{"test", "-overlay", overlay, "-vet=off", "-count=1", "-short", "-failfast"}
			args = append(args, "-timeout", "150s")
			args = append(args, tests...)
			test := exec.CommandContext(ctx, "go", args...)
			if postgres {
				test = exec.CommandContext(ctx, "tests/postgres.sh", append([]string{"go"}, args...)...)
			}
			test.Dir = root
			test.Env = append(os.Environ(), "NOTEPAY_HISTORIES=40000", "RAPID_NOFAILFILE=1", "RAPID_SHRINKTIME=1ms",
				// for builds by the tests
				"GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
			out, err := test.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("%v passes: this guard is not tested", tests)
			case !strings.Contains(string(out), "--- FAIL") && !strings.Contains(string(out), "panic: "):
				t.Errorf("the tests did not run, so they prove nothing: %v\n%s", err, out)
			}
		})
	}
}

// mutate applies a patch to a copy of its file. It returns the arguments of go test, whether the
// tests need PostgreSQL, and the overlay that replaces the file by the copy.
func mutate(t *testing.T, patch string) (tests []string, postgres bool, overlay string) {
	t.Helper()
	raw, err := os.ReadFile(patch)
	if err != nil {
		t.Fatal(err)
	}
	head, diff, _ := strings.Cut(string(raw), "\n")
	head, postgres = strings.CutPrefix(head, "postgres:")
	tests = strings.Fields(strings.TrimPrefix(head, "tests:"))
	var file, text string
	for _, hunk := range strings.Split(diff, "\n@@") {
		if file == "" { // the header names the file
			_, name, _ := strings.Cut(hunk, "\n+++ b/")
			file = strings.TrimSpace(name)
			original, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				t.Fatal(err)
			}
			text = string(original)
			continue
		}
		before, after := sides(hunk)
		if n := strings.Count(text, before); n != 1 {
			t.Fatalf("%s no longer applies: its text occurs %d times in %s:\n%s", patch, n, file, before)
		}
		text = strings.Replace(text, before, after, 1)
	}
	dir := t.TempDir()
	mutant := filepath.Join(dir, filepath.Base(file))
	absolute, err := filepath.Abs(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {absolute: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	for name, content := range map[string][]byte{mutant: []byte(text), overlay: list} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(fmt.Errorf("write the mutant: %w", err))
		}
	}
	return tests, postgres, overlay
}

// sides returns the text before and after a hunk of a unified diff.
func sides(hunk string) (before, after string) {
	_, lines, _ := strings.Cut(hunk, "\n") // the line numbers are not needed
	if !strings.HasSuffix(lines, "\n") {
		lines += "\n"
	}
	for line := range strings.Lines(lines) {
		switch line[0] {
		case '-':
			before += line[1:]
		case '+':
			after += line[1:]
		case ' ':
			before, after = before+line[1:], after+line[1:]
		}
	}
	return before, after
}
