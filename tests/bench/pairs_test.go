//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"notepay/internal/apptest"
)

// TestPairs compares this tree with the commit NOTEPAY_BENCH_BASE. One process measures the release
// binaries of both, in turns and with the same code, so that both meet the same load of the machine.
// Only ratios of one run may be compared.
//
// NOTEPAY_BENCH_PART names the parts, separated by commas, and NOTEPAY_BENCH_ROUNDS the pairs. Each
// figure is printed as a line of JSON that begins with PAIR, and then in a table.
func TestPairs(t *testing.T) {
	base := os.Getenv("NOTEPAY_BENCH_BASE")
	if base == "" {
		t.Skip("takes minutes: set NOTEPAY_BENCH_BASE, or run make bench BASE=commit")
	}
	rounds := 8
	if text := os.Getenv("NOTEPAY_BENCH_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil || rounds < 1 {
			t.Fatalf("NOTEPAY_BENCH_ROUNDS=%q; want a number from 1", text)
		}
	}
	requireParts(t, "webhook", "wire", "pay")
	began, before := time.Now(), loadAverage(t)
	binaries := [2]string{buildCommit(t, base), binary(t)}
	helper := buildBaseline(t)
	parts := []struct {
		name string
		run  func(t *testing.T, binaries [2]string, helper string, rounds int) [2]series
	}{
		{"webhook", pairWebhooks},
		{"wire", pairWire},
		{"pay", pairPay},
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\n| part | figure | %s | this tree | ratio | of the pairs | lowest | highest |\n", base)
	table.WriteString("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, part := range parts {
		if !selected(part.name) {
			continue
		}
		t.Run(part.name, func(t *testing.T) {
			sides := part.run(t, binaries, helper, rounds)
			for _, p := range compared(part.name, sides) {
				line, err := json.Marshal(p)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Printf("PAIR %s\n", line)
				table.WriteString(p.row())
			}
		})
	}
	fmt.Printf("%s\n%d pairs in %d s, load average before %s and after %s\n",
		table.String(), rounds, int(time.Since(began).Seconds()), before, loadAverage(t))
}

// selected reports whether NOTEPAY_BENCH_PART names a part. Without the variable, all parts run.
func selected(part string) bool {
	named := os.Getenv("NOTEPAY_BENCH_PART")
	return named == "" || slices.Contains(strings.Split(named, ","), part)
}

// requireParts fails the test if NOTEPAY_BENCH_PART names a part that it does not measure.
func requireParts(t *testing.T, known ...string) {
	t.Helper()
	for _, name := range unknownParts(os.Getenv("NOTEPAY_BENCH_PART"), known) {
		t.Fatalf("NOTEPAY_BENCH_PART names %q, which %s does not measure. Choose from %s, separated by commas.",
			name, t.Name(), strings.Join(known, ", "))
	}
}

// unknownParts returns the parts in a list that are not known.
func unknownParts(named string, known []string) (unknown []string) {
	if named == "" {
		return nil
	}
	for name := range strings.SplitSeq(named, ",") {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// TestUnknownParts requires a misspelled part to be found, because a run without any part would
// measure nothing and pass.
func TestUnknownParts(t *testing.T) {
	t.Parallel()
	known := []string{"webhook", "cold start"}
	for named, want := range map[string][]string{
		"":                    nil,
		"webhook,cold start":  nil,
		"webhook,wier":        {"wier"},
		"webhook,":            {""},
		"webhook, cold start": {" cold start"},
	} {
		if got := unknownParts(named, known); !slices.Equal(got, want) {
			t.Errorf("unknown parts of %q: %q; want %q", named, got, want)
		}
	}
}

// pair is one figure of both sides.
type pair struct {
	Part   string    `json:"part"`
	Figure string    `json:"figure"`
	Base   float64   `json:"base"`  // median of all rounds
	This   float64   `json:"this"`  // median of all rounds
	Ratio  float64   `json:"ratio"` // of these medians
	Pairs  []float64 `json:"pairs"` // ratio of each round, sorted
}

// compared returns the figures of a part in the order of their names.
func compared(part string, sides [2]series) (list []pair) {
	var names []string
	for name := range sides[0] {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p := pair{Part: part, Figure: name, Base: sides[0].of(name), This: sides[1].of(name)}
		if p.Base == 0 {
			continue // the baselines write nothing
		}
		p.Ratio = p.This / p.Base
		for n := range sides[0][name] {
			if sides[0][name][n] > 0 {
				p.Pairs = append(p.Pairs, sides[1][name][n]/sides[0][name][n])
			}
		}
		slices.Sort(p.Pairs)
		list = append(list, p)
	}
	return list
}

func (p pair) row() string {
	number := func(v float64) string {
		if v >= 100 {
			return fmt.Sprintf("%.0f", v)
		}
		return fmt.Sprintf("%.3g", v)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | **%.2f** | %.2f | %.2f | %.2f |\n",
		p.Part, p.Figure, number(p.Base), number(p.This), p.Ratio,
		quantile(p.Pairs, 0.5), p.Pairs[0], p.Pairs[len(p.Pairs)-1])
}

// inPairs measures both sides in turns. Every other round begins with the other side. The first
// round warms up and does not count.
func inPairs(rounds int, measure func(side int) sample) (sides [2]series) {
	sides = [2]series{{}, {}}
	for n := range rounds + 1 {
		for i := range sides {
			side := (i + n) % 2
			if got := measure(side); n > 0 {
				sides[side].add(got)
			}
		}
	}
	return sides
}

// twoSubjects starts both binaries.
func twoSubjects(t *testing.T, binaries [2]string) (two [2]*subject) {
	t.Helper()
	for i, binary := range binaries {
		two[i] = busy(t, binary, manyDevices)
	}
	return two
}

func pairWebhooks(t *testing.T, binaries [2]string, helper string, rounds int) [2]series {
	two, b := twoSubjects(t, binaries), startBaselines(t, helper)
	return inPairs(rounds, func(side int) sample { return two[side].webhookRound(b) })
}

func pairWire(t *testing.T, binaries [2]string, _ string, rounds int) [2]series {
	two := twoSubjects(t, binaries)
	return inPairs(rounds, func(side int) sample { return two[side].wireRound() })
}

func pairPay(t *testing.T, binaries [2]string, helper string, rounds int) [2]series {
	two, plain := twoSubjects(t, binaries), baselineAt(t, helper, "redirect")
	requests := scansOf(t, manyDevices)
	return inPairs(rounds, func(side int) sample { return two[side].scanRound(plain, requests) })
}

// buildCommit builds the release binary of a commit, with the flags of its own Makefile.
func buildCommit(t *testing.T, commit string) (path string) {
	t.Helper()
	dir := t.TempDir()
	tree, archive := filepath.Join(dir, "tree"), filepath.Join(dir, "tree.tar")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, command := range []*exec.Cmd{
		exec.Command("git", "-C", apptest.InModule(t), "archive", "-o", archive, commit),
		exec.Command("tar", "-x", "-f", archive, "-C", tree),
	} {
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	path = filepath.Join(dir, "notepay")
	apptest.BuildTreeAsShipped(t, tree, path)
	return path
}

// buildBaseline builds the program that serves what notepay is compared with.
func buildBaseline(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "baseline")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./tests/bench/baseline")
	build.Dir = apptest.InModule(t)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}
