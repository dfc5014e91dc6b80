package uid_test

import (
	"fmt"
	"strings"
	"testing"

	"notepay/internal/uid"
)

// A code is printed on stickers, so its derivation must never change.
func TestCodeIsStable(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"dev:864475044215258": "C7-HK-NF-3J",
		"dev:864475040000003": "CX-33-4G-JG",
	} {
		if got := uid.ShowCode(uid.Code(key)); got != want {
			t.Errorf("%s has the code %s; want %s", key, got, want)
		}
	}
}

func TestParseCode(t *testing.T) {
	t.Parallel()
	code := uid.Code("dev:864475044215258")
	for given, want := range map[string]string{
		code:                                    code,
		uid.ShowCode(code):                      code,
		strings.ToLower(uid.ShowCode(code[:4])): code[:4],
		" w3 7f ":                               "W37F",
		"w3\u20117f":                            "W37F",
		"W3-7F-QK":                              "W37FQK",
		"\u2068W3-7F\u2069":                     "W37F", // as an Arabic text isolates it
		"Ｗ３－７Ｆ":                                 "W37F", // of a CJK keyboard
		"W\u0663-\u06f7F.":                      "W37F", // with Arabic and Persian digits
		"(W3-7F)\u200b":                         "W37F",
		"W3":                                    "",
		"W3-7":                                  "",
		"W3-7F-QK-AC-DD":                        "",
		"W0-7F":                                 "",
		"":                                      "",
		"864475044215258":                       "",
		strings.Repeat("-", 100) + "W37F":       "",
	} {
		if got, ok := uid.ParseCode(given); got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v; want %q", given, got, ok, want)
		}
	}
}

func TestCodesAreSpread(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for i := range 1000 {
		seen[uid.Code(fmt.Sprintf("dev:86447504%07d", i))[:uid.MinCode]]++
	}
	if len(seen) < 990 {
		t.Errorf("1000 devices have %d short codes; want almost all different", len(seen))
	}
}

func TestParseStartCode(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"K7QM4-6XPDA": "K7QM46XPDA", "k7qm4 6xpda": "K7QM46XPDA", "K7QM4-6XPDA\u2069": "K7QM46XPDA",
		"K7QM4-6XPDA.": "K7QM46XPDA",
		"Ｋ７ＱＭ４－６ＸＰＤＡ":  "K7QM46XPDA", "K\u0667QM\u0664-\u0666XPDA": "K7QM46XPDA",
		"K7QM4-6XPD": "", "K7QM4-6XPD0": "", "K7QM4/6XPDA": "",
	} {
		if got, ok := uid.ParseStartCode(given); got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v; want %q", given, got, ok, want)
		}
	}
}
