package upstream

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"Washer", 10, "Washer"},
		{"Washer", 6, "Washer"},
		{"Washer", 5, "Wash…"},
		{"Wäscherei", 3, "Wä…"},
		{"洗濯機洗濯機", 4, "洗濯機…"},
		{"ab cd", 4, "ab…"},
		{"We\u0301lo", 3, "W…"}, // the accent and its letter are cut together
		{"", 3, ""},
	} {
		got := Cut(c.text, c.limit)
		if got != c.want || utf8.RuneCountInString(got) > c.limit {
			t.Errorf("%q cut to %d is %q; want %q", c.text, c.limit, got, c.want)
		}
	}
	if got := Cut(strings.Repeat("W", 1500), 1000); utf8.RuneCountInString(got) != 1000 {
		t.Errorf("%d characters; want 1000", utf8.RuneCountInString(got))
	}
}
