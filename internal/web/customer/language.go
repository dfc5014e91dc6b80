package customer

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

//go:embed catalogs/*.json
var catalogueFiles embed.FS

// languages is every language of the pages. Another one is another file in catalogs, named by its
// tag; the tests hold it complete.
var languages = mustRead()

// inEnglish is what is spoken to programs, and to people none of whose languages there is.
const inEnglish = "en"

// catalog are the texts by language, English first.
type catalog struct {
	tags    []language.Tag
	texts   []map[string]string
	matcher language.Matcher
}

// mustRead reads the files that are part of the program; one that is broken fails every test.
func mustRead() *catalog {
	files, err := catalogueFiles.ReadDir("catalogs")
	if err != nil {
		panic(err)
	}
	c := &catalog{}
	for _, f := range files {
		raw, err := catalogueFiles.ReadFile(path.Join("catalogs", f.Name()))
		if err != nil {
			panic(err)
		}
		texts := map[string]string{}
		if err := json.Unmarshal(raw, &texts); err != nil {
			panic(fmt.Errorf("catalogue %s: %w", f.Name(), err))
		}
		tag := strings.TrimSuffix(f.Name(), ".json")
		at := len(c.tags)
		if tag == inEnglish {
			at = 0
		}
		c.tags = slices.Insert(c.tags, at, language.MustParse(tag))
		c.texts = slices.Insert(c.texts, at, texts)
	}
	c.matcher = language.NewMatcher(c.tags)
	return c
}

// Language is how a customer is spoken to: the texts of one language, and numbers as they are
// written where the customer is from.
type Language struct {
	Tag     string // of the texts, for the page's lang attribute
	texts   map[string]string
	numbers *message.Printer
}

// maxLanguageHeader bounds how much of an Accept-Language is read, in bytes; what follows would be
// the least liked anyway.
const maxLanguageHeader = 200

// languageOf is the language that a browser asks for.
func languageOf(r *http.Request) Language {
	wish := r.Header.Get("Accept-Language")
	if len(wish) > maxLanguageHeader {
		wish = wish[:strings.LastIndexByte(wish[:maxLanguageHeader], ',')+1]
	}
	wished, _, _ := language.ParseAcceptLanguage(strings.TrimRight(wish, ",")) // what cannot be read was not asked for
	_, at, _ := languages.matcher.Match(wished...)
	locale := languages.tags[at]
	base, _ := locale.Base()
	for _, w := range wished {
		if b, _ := w.Base(); b == base {
			locale = w // the same language, with the customer's country
			break
		}
	}
	return languages.language(at, locale)
}

func english() Language { return languages.language(0, languages.tags[0]) }

func (c *catalog) language(at int, locale language.Tag) Language {
	return Language{Tag: c.tags[at].String(), texts: c.texts[at], numbers: message.NewPrinter(locale)}
}

// Phrase is something to say, in whatever language: a key of the catalogs, and what its
// placeholders stand for. The zero phrase says nothing.
type Phrase struct {
	Key  string
	with []any // name, value, name, value, ...
}

// phrase makes a phrase. A value is a text, or knows how it is said in a language.
func phrase(key string, with ...any) Phrase { return Phrase{key, with} }

// plain is a phrase of a value alone.
func plain(v translatable) Phrase { return Phrase{with: []any{"", v}} }

// translatable is a value that is written differently in each language.
type translatable interface{ in(l Language) string }

// verbatim is said alike in every language.
type verbatim string

func (v verbatim) in(Language) string { return string(v) }

// Translate says a phrase.
func (l Language) Translate(p Phrase) string {
	if p.Key == "" && len(p.with) == 2 {
		return p.with[1].(translatable).in(l)
	}
	text := l.texts[p.Key]
	for i := 0; i+1 < len(p.with); i += 2 {
		var value string
		switch v := p.with[i+1].(type) {
		case translatable:
			value = v.in(l)
		case string:
			value = v
		}
		text = strings.ReplaceAll(text, "{"+p.with[i].(string)+"}", value)
	}
	return text
}

// T says a text without placeholders.
func (l Language) T(key string) string { return l.texts[key] }

// about is a wait in whole minutes, rounded up: no machine's clock is ours. A long one is in whole
// hours.
type about time.Duration

func (a about) in(l Language) string {
	n := (time.Duration(a) + time.Minute - 1) / time.Minute
	switch {
	case n <= 1:
		return l.T("about.minute")
	case n > 120:
		return l.Translate(phrase("about.hours", "n", strconv.FormatInt(int64((n+30)/60), 10)))
	}
	return l.Translate(phrase("about.minutes", "n", strconv.FormatInt(int64(n), 10)))
}

// length is a length of time as it is sold: "1 h 30 min".
type length time.Duration

func (s length) in(l Language) string {
	d := time.Duration(s)
	var parts []string
	add := func(n time.Duration, key string) {
		if n > 0 {
			parts = append(parts, l.Translate(phrase(key, "n", strconv.FormatInt(int64(n), 10))))
		}
	}
	add(d/time.Hour, "unit.hours")
	add(d%time.Hour/time.Minute, "unit.minutes")
	add(d%time.Minute/time.Second, "unit.seconds")
	return strings.ReplaceAll(strings.Join(parts, " "), " ", noBreak)
}

// noBreak keeps a number and its unit on one line.
const noBreak = "\u00a0"
