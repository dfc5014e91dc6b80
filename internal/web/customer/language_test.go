package customer

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var placeholder = regexp.MustCompile(`\{(\w*)\}`)

func placeholders(text string) []string {
	found := placeholder.FindAllString(text, -1)
	slices.Sort(found)
	return found
}

func TestCatalogsAreComplete(t *testing.T) {
	t.Parallel()
	first := languages.texts[0]
	for at, texts := range languages.texts {
		for key, text := range first {
			other, ok := texts[key]
			if !ok {
				t.Errorf("%s lacks %s", languages.tags[at], key)
			} else if !slices.Equal(placeholders(text), placeholders(other)) {
				t.Errorf("%s: %s has the placeholders %q; want %q", languages.tags[at], key, placeholders(other),
					placeholders(text))
			}
			if strings.TrimSpace(other) == "" || strings.TrimSpace(other) != other {
				t.Errorf("%s: %s is %q", languages.tags[at], key, other)
			}
		}
		for key := range texts {
			if _, ok := first[key]; !ok {
				t.Errorf("%s has %s, which English lacks", languages.tags[at], key)
			}
		}
	}
}

// TestCatalogsMatchTheCode compares the keys of the catalogs with those in the source. The keys of
// reasons are composed at run time.
func TestCatalogsMatchTheCode(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	key := regexp.MustCompile(`"([a-z]+\.[a-z_.]+)"`)
	for _, name := range append(files, "pages/frame.html") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range key.FindAllStringSubmatch(string(source), -1) {
			named[found[1]] = true
		}
	}
	for _, reason := range reasons {
		named["failed."+reason] = true
	}
	for key := range languages.texts[0] {
		if !named[key] {
			t.Errorf("%s is unused", key)
		}
	}
	for name := range named {
		family, _, _ := strings.Cut(name, ".")
		isKey := slices.ContainsFunc(slices.Collect(keys(languages.texts[0])),
			func(k string) bool { return strings.HasPrefix(k, family+".") })
		if _, ok := languages.texts[0][name]; isKey && !ok && !strings.HasSuffix(name, ".") {
			t.Errorf("%s is used and has no text", name)
		}
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestLanguageOf(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"": "en", "en-US,en;q=0.5": "en", "de": "de", "de-AT,de;q=0.9,en;q=0.8": "de", "fr-FR,de;q=0.5": "de",
		"ja": "en", "*": "en", "nonsense;;;": "en", "DE-ch": "de",
		"en;q=0.1,de;q=0.9": "de", "fr," + strings.Repeat("xx,", 10_000): "en", strings.Repeat("x", 300): "en",
		"de," + strings.Repeat("fr;q=0.1,", 100): "de",
	} {
		if got := speaking(header).Tag; got != want {
			t.Errorf("%.40q is spoken to in %s; want %s", header, got, want)
		}
	}
}

func TestDurationsAreInWholeUnits(t *testing.T) {
	t.Parallel()
	en, de := speaking("en"), speaking("de")
	for d, want := range map[time.Duration][2]string{
		0: {"about a minute", "etwa 1 Minute"}, time.Second: {"about a minute", "etwa 1 Minute"},
		time.Minute:        {"about a minute", "etwa 1 Minute"},
		61 * time.Second:   {"about 2 minutes", "etwa 2 Minuten"},
		25*time.Minute + 1: {"about 26 minutes", "etwa 26 Minuten"},
		2 * time.Hour:      {"about 120 minutes", "etwa 120 Minuten"},
		2*time.Hour + 1:    {"about 2 hours", "etwa 2 Stunden"},
		150 * time.Minute:  {"about 3 hours", "etwa 3 Stunden"}, 24 * time.Hour: {"about 24 hours", "etwa 24 Stunden"},
	} {
		if got := [2]string{about(d).in(en), about(d).in(de)}; got != want {
			t.Errorf("a wait of %v is %q; want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration][2]string{
		30 * time.Minute: {"30 min", "30 Min."}, 90 * time.Minute: {"1 h 30 min", "1 Std. 30 Min."},
		45 * time.Second: {"45 s", "45 Sek."}, 2 * time.Hour: {"2 h", "2 Std."},
		24*time.Hour + 61*time.Second: {"24 h 1 min 1 s", "24 Std. 1 Min. 1 Sek."},
	} {
		if got := [2]string{
			strings.ReplaceAll(duration(d).in(en), noBreak, " "), strings.ReplaceAll(duration(d).in(de), noBreak, " "),
		}; got != want {
			t.Errorf("%v is %q; want %q", d, got, want)
		}
	}
}
