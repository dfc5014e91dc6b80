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

// root is the module's directory, to which the patches' paths are relative.
const root = "../.."

// TestMutants: each patch in patches takes one guard away, and then the test that its first line
// names, in go test's own words, must fail. It is one that is there for this guard; for a few it is
// the histories, which have to find such a loss, too. That each patch still applies is always
// checked; the tests run where NOTEPAY_MUTANTS is set, for they take minutes (make mutants).
func TestMutants(t *testing.T) {
	patches, err := filepath.Glob("patches/*.patch")
	if err != nil || len(patches) == 0 {
		t.Fatalf("no patches: %v", err)
	}
	two := make(chan struct{}, 2) // go test itself uses all cores for what it builds
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(filepath.Base(patch), ".patch"), func(t *testing.T) {
			t.Parallel()
			tests, overlay := mutate(t, patch)
			if os.Getenv("NOTEPAY_MUTANTS") == "" {
				return
			}
			two <- struct{}{}
			defer func() { <-two }()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			test := exec.CommandContext(
				ctx,
				"go",
				append(
					[]string{
						"test",
						"-overlay",
						overlay,
						"-vet=off",
						"-count=1",
						"-short",
						"-failfast",
						"-timeout",
						"150s",
					},
					tests...)...)
			test.Dir = root
			test.Env = append(os.Environ(), "NOTEPAY_HISTORIES=40000", "RAPID_NOFAILFILE=1", "RAPID_SHRINKTIME=1ms",
				// for what the tests build themselves
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

// mutate applies a patch to a copy of its file, and returns what go test is asked for and the
// overlay that has it see the copy.
func mutate(t *testing.T, patch string) (tests []string, overlay string) {
	t.Helper()
	raw, err := os.ReadFile(patch)
	if err != nil {
		t.Fatal(err)
	}
	head, diff, _ := strings.Cut(string(raw), "\n")
	tests = strings.Fields(strings.TrimPrefix(head, "tests:"))
	var file, text string
	for _, hunk := range strings.Split(diff, "\n@@") {
		if file == "" { // what stands before the first hunk names the file
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
			t.Fatalf("%s no longer applies: its text stands %d times in %s:\n%s", patch, n, file, before)
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
	return tests, overlay
}

// sides are what a hunk of a unified diff replaces and what by.
func sides(hunk string) (before, after string) {
	_, lines, _ := strings.Cut(hunk, "\n") // the line numbers say nothing that the text does not
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
