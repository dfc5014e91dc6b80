package customer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"

	"notepay/internal/terms"
)

var placeholder = regexp.MustCompile(`\{(\w*)\}`)

func placeholders(text string) []string {
	found := placeholder.FindAllString(text, -1)
	slices.Sort(found)
	return found
}

// entries returns the texts of a catalog's file, by key and plural form. A plain text has the form "".
func entries(t *testing.T, tag string) map[string]map[string]string {
	t.Helper()
	raw, err := catalogFiles.ReadFile("catalogs/" + tag + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(tag, err)
	}
	list := map[string]map[string]string{}
	for key, entry := range file {
		list[key] = map[string]string{}
		switch entry := entry.(type) {
		case string:
			list[key][""] = entry
		case map[string]any:
			for form, text := range entry {
				list[key][form], _ = text.(string)
			}
		}
	}
	return list
}

// pluralForms returns the plural forms that CLDR gives a language.
func pluralForms(tag language.Tag) []string {
	forms := map[string]bool{"other": true}
	for n := range count(1000) {
		forms[n.form(Language{tag: tag})] = true
	}
	return slices.Sorted(maps.Keys(forms))
}

func TestCatalogsAreComplete(t *testing.T) {
	t.Parallel()
	english := entries(t, fallback)
	for _, tag := range languages.tags {
		list := entries(t, tag.String())
		country := strings.Contains(tag.String(), "-")
		for key, forms := range english {
			other, ok := list[key]
			if !ok && !country {
				t.Errorf("%s lacks %s", tag, key)
			}
			if !ok {
				continue
			}
			want := []string{""}
			if _, plain := forms[""]; !plain {
				want = pluralForms(tag)
			}
			if got := slices.Sorted(maps.Keys(other)); !slices.Equal(got, want) {
				t.Errorf("%s: %s has the plural forms %q; want %q", tag, key, got, want)
			}
			full := forms[""] + forms["other"]
			for form, text := range other {
				names := placeholders(text)
				if slices.Contains([]string{"zero", "one", "two"}, form) && !slices.Contains(names, "{n}") {
					names = append(names, "{n}") // the form may say the number in words
				}
				if slices.Sort(names); !slices.Equal(names, placeholders(full)) {
					t.Errorf("%s: %s %s has the placeholders %q; want %q", tag, key, form, names, placeholders(full))
				}
				if strings.TrimSpace(text) == "" || strings.TrimSpace(text) != text {
					t.Errorf("%s: %s %s is %q", tag, key, form, text)
				}
				if country && text == forms[form] {
					t.Errorf("%s: %s is as in its language", tag, key)
				}
			}
			if _, plain := forms[""]; plain && strings.Contains(full, "{n}") && !strings.HasPrefix(key, "unit.") {
				t.Errorf("%s has a number and no plural forms", key)
			}
		}
		for key := range list {
			if _, ok := english[key]; !ok {
				t.Errorf("%s has %s, which English lacks", tag, key)
			}
		}
	}
}

// TestCatalogsKeepTypography finds signs that a language writes otherwise.
func TestCatalogsKeepTypography(t *testing.T) {
	t.Parallel()
	wrong := map[string]*regexp.Regexp{
		"fr": regexp.MustCompile(`[^\x{202f}][?!;]|[^\x{a0}\w}]:|\w:|'`),
		"es": regexp.MustCompile(`^[^¿]*\?|^[^¡]*!|'`),
		"ar": regexp.MustCompile(`[,;?%0-9]|'`),
		"":   regexp.MustCompile(`'|"| [?!;:]|\.\.\.`),
	}
	for at, tag := range languages.tags {
		bad := wrong[tag.String()]
		if bad == nil {
			bad = wrong[""]
		}
		for key, text := range languages.texts[at] {
			if found := bad.FindString(placeholder.ReplaceAllString(text, "{x}")); found != "" {
				t.Errorf("%s: %s has %q in %q", tag, key, found, text)
			}
		}
	}
}

func TestPluralsAreThoseOfTheLanguage(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]map[int]string{
		"en": {1: "about a minute", 2: "about 2 minutes"},
		"de": {1: "etwa 1 Minute", 5: "etwa 5 Minuten"},
		"fr": {1: "environ une minute", 2: "environ 2 minutes"},
		"es": {1: "un minuto aproximadamente", 2: "unos 2 minutos"},
		"it": {1: "circa un minuto", 2: "circa 2 minuti"},
		"nl": {1: "ongeveer een minuut", 2: "ongeveer 2 minuten"},
		"pt": {1: "cerca de um minuto", 2: "cerca de 2 minutos"},
		"pl": {
			1: "mniej więcej minutę", 2: "mniej więcej 2 minuty", 5: "mniej więcej 5 minut",
			12: "mniej więcej 12 minut", 22: "mniej więcej 22 minuty",
		},
		"tr": {1: "yaklaşık bir dakika", 2: "yaklaşık 2 dakika"},
		"ar": {
			1: "دقيقة تقريبًا", 2: "دقيقتين تقريبًا", 3: "٣ دقائق تقريبًا", 11: "١١ دقيقة تقريبًا",
			100: "١٠٠ دقيقة تقريبًا",
		},
		"ar-MA": {3: "3 دقائق تقريبًا"}, // the digits of the country
	} {
		for n, text := range want {
			if got := about(time.Duration(n) * time.Minute).in(speaking(tag)); got != text {
				t.Errorf("%d minutes in %s are %q; want %q", n, tag, got, text)
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
	texts := entries(t, fallback)
	for _, kind := range terms.Kinds() {
		for key := range texts {
			if neutral, ok := strings.CutSuffix(key, "."+kind); ok && named[neutral] {
				named[key] = true
			}
		}
	}
	for key := range texts {
		if !named[key] {
			t.Errorf("%s is unused", key)
		}
	}
	for name := range named {
		family, _, _ := strings.Cut(name, ".")
		isKey := slices.ContainsFunc(slices.Collect(maps.Keys(texts)),
			func(k string) bool { return strings.HasPrefix(k, family+".") })
		if _, ok := texts[name]; isKey && !ok && !strings.HasSuffix(name, ".") {
			t.Errorf("%s is used and has no text", name)
		}
	}
}

func TestLanguageOf(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"": "en", "en-US,en;q=0.5": "en", "de": "de", "de-AT,de;q=0.9,en;q=0.8": "de", "fr-FR,de;q=0.5": "fr",
		"ja": "en", "*": "en", "nonsense;;;": "en", "DE-ch": "de",
		"en;q=0.1,de;q=0.9": "de", "ja," + strings.Repeat("xx,", 10_000): "en", strings.Repeat("x", 300): "en",
		"en-GB": "en-GB", "en-AU,en": "en-GB", "en-US,en-GB;q=0.9": "en", "pt-PT": "pt", "pt-BR": "pt", "es-MX": "es",
		"ar-EG": "ar", "pl-PL,en": "pl", "tr": "tr", "nl-BE": "nl", "it-CH": "it", "ja,ko": "en",
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
