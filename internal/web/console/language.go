package console

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"

	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/web"
)

//go:embed catalogs/*.json
var catalogFiles embed.FS

// lang is a language of the console. The English texts are the keys of its catalog. A text that the
// catalog lacks is shown in English. The zero lang is English.
type lang struct {
	texts map[string]string
	tag   string // "" for English
}

// Tag returns the value of the pages' lang attribute.
func (l lang) Tag() string {
	if l.tag == "" {
		return "en"
	}
	return l.tag
}

// german reports whether dates and numbers are written as in German.
func (l lang) german() bool { return l.tag == "de" }

// languages returns the console's languages with their own names. English is first.
func languages() []struct{ Tag, Name string } {
	return []struct{ Tag, Name string }{{"en", "English"}, {"de", "Deutsch"}}
}

// readLang reads the catalog of a language.
func readLang(tag string) (l lang, err error) {
	if tag == "en" {
		return l, nil
	}
	text, err := catalogFiles.ReadFile("catalogs/" + tag + ".json")
	if err == nil {
		l.tag, err = tag, json.Unmarshal(text, &l.texts)
	}
	if err != nil {
		err = fmt.Errorf("console: texts in %s: %w", tag, err)
	}
	return l, err
}

// T returns a text in the language. values are names and values of its placeholders in braces.
func (l lang) T(english string, values ...string) string {
	text := english
	if own, ok := l.texts[english]; ok {
		text = own
	}
	if len(values) == 0 {
		return text
	}
	pairs := make([]string, 0, len(values))
	for i := 0; i+1 < len(values); i += 2 {
		pairs = append(pairs, "{"+values[i]+"}", values[i+1])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// say returns a message of another package in the language.
func (l lang) say(m message.Message) string {
	return m.In(func(text string) string { return l.T(text) })
}

// pauseReason returns why a machine is paused. The reasons of notepay itself begin with a number, and
// are in the language.
func (l lang) pauseReason(p ledger.Pause) string {
	number, rest, _ := strings.Cut(p.Reason, " ")
	if n, err := strconv.Atoi(number); p.Automatic && err == nil {
		return l.say(message.New("%d "+rest, n))
	}
	return p.Reason
}

// N returns the text for one thing or for n things. Its placeholder for the count is {n}.
func (l lang) N(n int, one, several string) string {
	if n == 1 {
		return l.T(one, "n", "1")
	}
	return l.T(several, "n", fmt.Sprint(n))
}

// money formats an amount in minor units: "3.50 EUR", in German "3,50 EUR".
func (l lang) money(minor int64, currency string) string {
	text := web.Amount(minor, currency)
	if l.german() {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// The layouts of times.
const (
	layoutFull        = "2 Jan 2006 15:04:05"
	layoutDate        = "2 Jan 2006"
	layoutDay         = "2 Jan 15:04"
	layoutClock       = "15:04:05 on 2 Jan"
	layoutWeekday     = "Mon 2 Jan 15:04"
	layoutWeekdayDate = "Mon 2 Jan 2006"
	layoutMinute      = "2 Jan 2006 15:04"
	layoutMonth       = "January 2006"
)

// layout returns a layout as the language writes it.
func (l lang) layout(english string) string {
	if !l.german() {
		return english
	}
	switch english {
	case layoutFull:
		return "02.01.2006 15:04:05"
	case layoutDate, layoutWeekdayDate:
		return "02.01.2006"
	case layoutDay, layoutWeekday:
		return "02.01. 15:04"
	case layoutClock:
		return "15:04:05 am 02.01.2006"
	case layoutMinute:
		return "02.01.2006 15:04"
	case layoutMonth:
		return "01.2006"
	}
	return english
}

// ago formats the time since an event, roughly.
func (l lang) ago(d time.Duration) string {
	if d < 5*time.Second {
		return l.T("just now")
	}
	return l.T("{time} ago", "time", l.roughDuration(d))
}

// exactDuration formats a duration as it is sold: "1 h 15 min".
func exactDuration(d time.Duration) string {
	var parts []string
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / unit.size; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit.name))
			d -= n * unit.size
		}
	}
	return strings.Join(parts, " ")
}

// roughDuration formats a duration in its largest unit: "3 minutes". In German it follows a
// preposition, so "vor 3 Tagen".
func (l lang) roughDuration(d time.Duration) string {
	switch {
	case d < time.Minute:
		return l.N(int(d/time.Second), "{n} second", "{n} seconds")
	case d < 2*time.Hour:
		return l.N(int(d/time.Minute), "{n} minute", "{n} minutes")
	case d < 48*time.Hour:
		return l.N(int(d/time.Hour), "{n} hour", "{n} hours")
	default:
		return l.N(int(d/(24*time.Hour)), "{n} day", "{n} days")
	}
}

const (
	// languageCookie holds the tag of the language that the operator chose.
	languageCookie = "notepay_console_language"
	// languageCookieLifetime is how long a browser keeps the choice.
	languageCookieLifetime = 365 * 24 * time.Hour
	// maxLanguageHeader bounds how much of an Accept-Language header is read, in bytes.
	maxLanguageHeader = 200
)

// langOf returns the language that the operator chose, or else the one that the browser asks for.
func (c *Console) langOf(r *http.Request) lang {
	if cookie, err := r.Cookie(languageCookie); err == nil {
		if l, ok := c.langs[cookie.Value]; ok {
			return l
		}
	}
	header := r.Header.Get("Accept-Language")
	if len(header) > maxLanguageHeader {
		header = header[:strings.LastIndexByte(header[:maxLanguageHeader], ',')+1]
	}
	preferred, _, _ := language.ParseAcceptLanguage(strings.TrimRight(header, ",")) // none if malformed
	for _, tag := range preferred {
		base, _ := tag.Base()
		if l, ok := c.langs[base.String()]; ok {
			return l
		}
	}
	return lang{}
}

// chooseLanguage stores the language of a link of the footer, and leads back to its page.
func (c *Console) chooseLanguage(w http.ResponseWriter, r *http.Request) error {
	tag := r.PathValue("tag")
	if _, ok := c.langs[tag]; !ok {
		return c.problem(w, r, http.StatusNotFound, "Page not found.")
	}
	cookie := c.cookie(r, languageCookie, tag, languageCookieLifetime)
	cookie.SameSite = http.SameSiteLaxMode
	http.SetCookie(w, cookie)
	private(w)
	http.Redirect(w, r, localPath(r.URL.Query().Get("back")), http.StatusSeeOther)
	return nil
}

// languageLink is a link that chooses a language.
type languageLink struct {
	Tag, Name string
	Here      bool // it is the language of the page
}

// languageLinks returns the links of the footer.
func languageLinks(l lang) (links []languageLink) {
	for _, one := range languages() {
		links = append(links, languageLink{one.Tag, one.Name, one.Tag == l.Tag()})
	}
	return links
}

// parsePages parses the templates in a language, by the names of their pages.
func (c *Console) parsePages(l lang) (map[string]*template.Template, error) {
	read := func(t *template.Template, name string) (*template.Template, error) {
		source, err := pageFiles.ReadFile("pages/" + name)
		if err != nil {
			return nil, err
		}
		return t.Parse(mapTexts(string(source), func(text string) string { return l.T(text) }))
	}
	frame, err := read(template.New("").Funcs(c.functions(l)), "frame.html")
	if err != nil {
		return nil, err
	}
	files, err := pageFiles.ReadDir("pages")
	if err != nil {
		return nil, err
	}
	pages := make(map[string]*template.Template, len(files))
	for _, file := range files {
		if file.Name() == "frame.html" {
			continue
		}
		one, err := frame.Clone()
		if err == nil {
			one, err = read(one, file.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		pages[strings.TrimSuffix(file.Name(), ".html")] = one
	}
	return pages, nil
}
