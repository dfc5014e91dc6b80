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
var catalogFiles embed.FS

// languages holds the texts of all languages. To add a language, add a file to catalogs that is
// named by its tag. The tests check that it is complete.
var languages = mustReadCatalogs()

// fallback is the language for programs, and for people whose languages are missing.
const fallback = "en"

// catalog holds the texts by language. English is first.
type catalog struct {
	tags    []language.Tag
	texts   []map[string]string
	matcher language.Matcher
}

// mustReadCatalogs reads the embedded files. It panics if one is broken, so every test fails.
func mustReadCatalogs() *catalog {
	files, err := catalogFiles.ReadDir("catalogs")
	if err != nil {
		panic(err)
	}
	c := &catalog{}
	for _, f := range files {
		raw, err := catalogFiles.ReadFile(path.Join("catalogs", f.Name()))
		if err != nil {
			panic(err)
		}
		texts := map[string]string{}
		if err := json.Unmarshal(raw, &texts); err != nil {
			panic(fmt.Errorf("catalog %s: %w", f.Name(), err))
		}
		tag := strings.TrimSuffix(f.Name(), ".json")
		at := len(c.tags)
		if tag == fallback {
			at = 0
		}
		c.tags = slices.Insert(c.tags, at, language.MustParse(tag))
		c.texts = slices.Insert(c.texts, at, texts)
	}
	c.matcher = language.NewMatcher(c.tags)
	return c
}

// Language is the language of one customer. It holds the texts, and formats numbers as in the
// customer's country.
type Language struct {
	Tag     string // of the texts, for the lang attribute
	texts   map[string]string
	numbers *message.Printer
}

// maxLanguageHeader bounds how much of an Accept-Language header is read, in bytes. Browsers list
// the least preferred languages last.
const maxLanguageHeader = 200

// languageOf returns the language that a browser asks for.
func languageOf(r *http.Request) Language {
	header := r.Header.Get("Accept-Language")
	if len(header) > maxLanguageHeader {
		header = header[:strings.LastIndexByte(header[:maxLanguageHeader], ',')+1]
	}
	preferred, _, _ := language.ParseAcceptLanguage(strings.TrimRight(header, ",")) // none if malformed
	_, at, _ := languages.matcher.Match(preferred...)
	locale := languages.tags[at]
	base, _ := locale.Base()
	for _, tag := range preferred {
		if b, _ := tag.Base(); b == base {
			locale = tag // the same language, with the customer's country
			break
		}
	}
	return languages.language(at, locale)
}

func english() Language { return languages.language(0, languages.tags[0]) }

func (c *catalog) language(at int, locale language.Tag) Language {
	return Language{Tag: c.tags[at].String(), texts: c.texts[at], numbers: message.NewPrinter(locale)}
}

// Message is a text in no language yet: a key of the catalogs, and the values of its placeholders.
// The zero Message translates to "".
type Message struct {
	Key  string
	args []any // name, value, name, value, ...
}

// msg returns a message. Each value is a string or localized.
func msg(key string, args ...any) Message { return Message{key, args} }

// msgOf returns a message that consists of a value.
func msgOf(v localized) Message { return Message{args: []any{"", v}} }

// localized is a value with a form in each language.
type localized interface{ in(l Language) string }

// literal is a text that is the same in every language.
type literal string

func (v literal) in(Language) string { return string(v) }

// Translate returns the text of a message.
func (l Language) Translate(m Message) string {
	if m.Key == "" && len(m.args) == 2 {
		return m.args[1].(localized).in(l)
	}
	text := l.texts[m.Key]
	for i := 0; i+1 < len(m.args); i += 2 {
		var value string
		switch v := m.args[i+1].(type) {
		case localized:
			value = v.in(l)
		case string:
			value = v
		}
		text = strings.ReplaceAll(text, "{"+m.args[i].(string)+"}", value)
	}
	return text
}

// T returns a text without placeholders.
func (l Language) T(key string) string { return l.texts[key] }

// about is a wait that is shown in whole minutes, rounded up, or in hours if it is long. It is not
// exact, because the machine's clock may differ from ours.
type about time.Duration

func (a about) in(l Language) string {
	n := (time.Duration(a) + time.Minute - 1) / time.Minute
	switch {
	case n <= 1:
		return l.T("about.minute")
	case n > 120:
		return l.Translate(msg("about.hours", "n", strconv.FormatInt(int64((n+30)/60), 10)))
	}
	return l.Translate(msg("about.minutes", "n", strconv.FormatInt(int64(n), 10)))
}

// duration is a length of time that is shown exactly, as it is sold: "1 h 30 min".
type duration time.Duration

func (exact duration) in(l Language) string {
	d := time.Duration(exact)
	var parts []string
	add := func(n time.Duration, key string) {
		if n > 0 {
			parts = append(parts, l.Translate(msg(key, "n", strconv.FormatInt(int64(n), 10))))
		}
	}
	add(d/time.Hour, "unit.hours")
	add(d%time.Hour/time.Minute, "unit.minutes")
	add(d%time.Minute/time.Second, "unit.seconds")
	return strings.ReplaceAll(strings.Join(parts, " "), " ", noBreak)
}

// noBreak keeps a number and its unit on one line.
const noBreak = "\u00a0"
