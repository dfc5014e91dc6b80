package customer

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"
)

//go:embed catalogs/*.json
var catalogFiles embed.FS

// languages holds the texts of all languages. To add a language, add a file to catalogs that is
// named by its tag. The tests check that it is complete. A file whose tag names a country, such as
// en-GB, has only the texts that differ from those of its language.
var languages = mustReadCatalogs()

// fallback is the language for programs, and for people whose languages are missing.
const fallback = "en"

// catalog holds the texts by language. English is first.
type catalog struct {
	tags    []language.Tag
	texts   []texts
	matcher language.Matcher
	links   string // of the language switch, HTML
}

// texts holds the texts of a language by key. A text with a number has a key for each plural form,
// such as about.minutes.few.
type texts map[string]string

// UnmarshalJSON reads a catalog. Each text is a string, or an object of strings by plural form.
func (t *texts) UnmarshalJSON(raw []byte) error {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return err
	}
	*t = make(texts, len(entries))
	for key, entry := range entries {
		if entry[0] == '"' {
			var text string
			if err := json.Unmarshal(entry, &text); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			(*t)[key] = text
			continue
		}
		var forms map[string]string
		if err := json.Unmarshal(entry, &forms); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		for form, text := range forms {
			(*t)[key+"."+form] = text
		}
	}
	return nil
}

// mustReadCatalogs reads the embedded files. It panics if one is broken, so every test fails.
func mustReadCatalogs() *catalog {
	files, err := catalogFiles.ReadDir("catalogs")
	if err != nil {
		panic(err)
	}
	c := &catalog{}
	for _, f := range files {
		tag := strings.TrimSuffix(f.Name(), ".json")
		t, err := readCatalog(tag)
		if err != nil {
			panic(fmt.Errorf("catalog %s: %w", f.Name(), err))
		}
		at := len(c.tags)
		if tag == fallback {
			at = 0
		}
		c.tags = slices.Insert(c.tags, at, language.MustParse(tag))
		c.texts = slices.Insert(c.texts, at, t)
	}
	c.matcher, c.links = language.NewMatcher(c.tags), c.switchLinks()
	return c
}

// readCatalog reads the file of a language. What the file of a country lacks is read from that of its
// language.
func readCatalog(tag string) (texts, error) {
	var t, own texts
	if base, _, ok := strings.Cut(tag, "-"); ok {
		var err error
		if t, err = readCatalog(base); err != nil {
			return nil, err
		}
	}
	raw, err := catalogFiles.ReadFile(path.Join("catalogs", tag+".json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &own); err != nil {
		return nil, err
	}
	if t == nil {
		return own, nil
	}
	maps.Copy(t, own)
	return t, nil
}

// Language is the language of one customer. It holds the texts, and formats numbers as in the
// customer's country.
type Language struct {
	Tag     string // of the texts, for the lang attribute
	texts   texts
	tag     language.Tag // of the texts
	numbers *message.Printer
	zero    rune // the digit 0
}

// maxLanguageHeader bounds how much of an Accept-Language header is read, in bytes. Browsers list
// the least preferred languages last.
const maxLanguageHeader = 200

// languageOf returns the language that the customer chose, or else the one that the browser asks for.
func languageOf(r *http.Request) Language {
	header := r.Header.Get("Accept-Language")
	if len(header) > maxLanguageHeader {
		header = header[:strings.LastIndexByte(header[:maxLanguageHeader], ',')+1]
	}
	preferred, _, _ := language.ParseAcceptLanguage(strings.TrimRight(header, ",")) // none if malformed
	at, chosen := chosenLanguage(r)
	if !chosen {
		_, at, _ = languages.matcher.Match(preferred...)
	}
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
	l := Language{
		Tag:     c.tags[at].String(),
		texts:   c.texts[at],
		tag:     c.tags[at],
		numbers: message.NewPrinter(locale),
		zero:    '0',
	}
	if l.RightToLeft() { // the digits depend on the country
		l.zero, _ = utf8.DecodeRuneInString(l.numbers.Sprint(number.Decimal(0)))
	}
	return l
}

// RightToLeft reports whether the language is written from right to left.
func (l Language) RightToLeft() bool { return l.Tag == "ar" }

// digits writes the digits of a text as the customer's country does.
func (l Language) digits(text string) string {
	if l.zero == '0' {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return l.zero + r - '0'
		}
		return r
	}, text)
}

// Digits returns the Unicode name of the digits for scripts, or "" where browsers need none.
func (l Language) Digits() string {
	switch {
	case !l.RightToLeft():
		return ""
	case l.zero == '\u0660':
		return "arab"
	}
	return "latn"
}

// Direction returns the attribute of a page that is written from right to left, or "".
func (l Language) Direction() template.HTMLAttr {
	if l.RightToLeft() {
		return `dir="rtl"`
	}
	return ""
}

// Code returns the attribute of a code or reference, which is written from left to right in every
// language, or "" where that needs no attribute.
func (l Language) Code() template.HTMLAttr {
	if l.RightToLeft() {
		return `dir="ltr"`
	}
	return ""
}

// isolate keeps a name or a code together in a text of the other direction.
func (l Language) isolate(name string) string {
	if !l.RightToLeft() || name == "" {
		return name
	}
	return "\u2068" + name + "\u2069"
}

// Message is a text in no language yet: a key of the catalogs, and the values of its placeholders.
// The zero Message translates to "".
type Message struct {
	Key  string
	args []any // name, value, name, value, ...
}

// msg returns a message. Each value is a name that is the same in every language, or localized.
func msg(key string, args ...any) Message { return Message{key, args} }

// msgOf returns a message that consists of a value.
func msgOf(v localized) Message { return Message{args: []any{"", v}} }

// same reports whether the message is the same in every language.
func (m Message) same() bool {
	if m.Key != "" || len(m.args) != 2 {
		return false
	}
	_, ok := m.args[1].(literal)
	return ok
}

// localized is a value with a form in each language.
type localized interface{ in(l Language) string }

// literal is a text that is the same in every language.
type literal string

func (v literal) in(Language) string { return string(v) }

// count is a number of things. It chooses the plural form of the text that it is in.
type count int64

func (n count) in(l Language) string { return l.digits(strconv.FormatInt(int64(n), 10)) }

// form returns the plural form of a language for the number, as catalogs name it.
func (n count) form(l Language) string {
	switch plural.Cardinal.MatchPlural(l.tag, int(n), 0, 0, 0, 0) {
	case plural.Zero:
		return "zero"
	case plural.One:
		return "one"
	case plural.Two:
		return "two"
	case plural.Few:
		return "few"
	case plural.Many:
		return "many"
	}
	return "other"
}

// Translate returns the text of a message.
func (l Language) Translate(m Message) string {
	if m.Key == "" && len(m.args) == 2 {
		return m.args[1].(localized).in(l)
	}
	text, plain := l.texts[m.Key]
	for i := 0; i+1 < len(m.args); i += 2 {
		var value string
		switch v := m.args[i+1].(type) {
		case count:
			value = v.in(l)
			if !plain {
				text = l.texts[m.Key+"."+v.form(l)]
			}
		case localized:
			value = v.in(l)
		case string:
			value = l.isolate(v)
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
	n := count(max(a.shown()/time.Minute, 1))
	if time.Duration(a) > 2*time.Hour {
		return l.Translate(msg("about.hours", "n", n/60))
	}
	return l.Translate(msg("about.minutes", "n", n))
}

// shown returns the wait as it is rounded for the page.
func (a about) shown() time.Duration {
	n := (time.Duration(a) + time.Minute - 1) / time.Minute
	if n > 120 {
		n = (n + 30) / 60 * 60
	}
	return n * time.Minute
}

// duration is a length of time that is shown exactly, as it is sold: "1 h 30 min".
type duration time.Duration

func (exact duration) in(l Language) string {
	d := time.Duration(exact)
	var parts []string
	add := func(n time.Duration, key string) {
		if n > 0 {
			parts = append(parts, l.Translate(msg(key, "n", count(n))))
		}
	}
	add(d/time.Hour, "unit.hours")
	add(d%time.Hour/time.Minute, "unit.minutes")
	add(d%time.Minute/time.Second, "unit.seconds")
	return strings.ReplaceAll(strings.Join(parts, " "), " ", noBreak)
}

// noBreak keeps a number and its unit on one line.
const noBreak = "\u00a0"
