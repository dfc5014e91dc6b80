package natural_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"notepay/internal/natural"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	sorted := []string{
		"", "1", "2", "10", "Dryer", "dryer", "Dryer 1", "Dryer 2", "Dryer 2b", "Dryer 3 left 9", "Dryer 3 left 10",
		"Dryer 10", "Dryer 010 a", "Dryer 11", "Dryer 99999999999999999999", "Dryer 100000000000000000000",
		"Dryer A", "Washer 0", "Washer 00", "Washer 1.2", "Washer 1.10", "Washer01", "Washer1", "Washer2", "Wäsche",
	}
	mixed := slices.Clone(sorted)
	rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	slices.SortFunc(mixed, natural.Compare)
	if !slices.Equal(mixed, sorted) {
		t.Errorf("sorted\n%s; want\n%s", strings.Join(mixed, "\n"), strings.Join(sorted, "\n"))
	}
	for i, a := range sorted {
		for j, b := range sorted {
			if got, want := natural.Compare(a, b), sign(i-j); got != want {
				t.Errorf("%q is %d to %q; want %d", a, got, b, want)
			}
		}
	}
}

func TestCompareAllocatesNothing(t *testing.T) { // not parallel: allocations are counted
	if n := testing.AllocsPerRun(100, func() { natural.Compare("Wäscher 0012 A", "wäscher 12 B") }); n != 0 {
		t.Errorf("a comparison allocates %v times; want never", n)
	}
}

func sign(n int) int { return min(max(n, -1), 1) }

func FuzzCompare(f *testing.F) {
	f.Add("Washer 2", "Washer 10", "washer 010")
	f.Add("\xff0", "0\x00", "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if natural.Compare(a, b) != -natural.Compare(b, a) {
			t.Errorf("%q and %q are in no order", a, b)
		}
		if natural.Compare(a, b) <= 0 && natural.Compare(b, c) <= 0 && natural.Compare(a, c) > 0 {
			t.Errorf("%q, %q, %q are in no order", a, b, c)
		}
		if natural.Compare(a, b) == 0 && a != b {
			t.Errorf("%q and %q are the same", a, b)
		}
	})
}
