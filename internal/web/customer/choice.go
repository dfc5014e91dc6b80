package customer

import (
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"
)

// languageCookie holds the tag of the language that the customer chose. It identifies no person.
const languageCookie = "notepay_language"

// languageParameter is the query parameter with which a page's links choose a language.
const languageParameter = "lang"

// languageCookieLifetime is how long a browser keeps the choice.
const languageCookieLifetime = 365 * 24 * time.Hour

// index returns where the language with the tag is, or -1.
func (c *catalog) index(tag string) int {
	return slices.IndexFunc(c.tags, func(t language.Tag) bool { return t.String() == tag })
}

// switchLinks returns links that choose each language by its own name, sorted by the names.
func (c *catalog) switchLinks() string {
	var links []string
	for at, tag := range c.tags {
		links = append(links, fmt.Sprintf(`%[2]s<a href="?%[3]s=%[1]s" lang="%[1]s" hreflang="%[1]s">%[2]s</a>`,
			tag, c.texts[at]["language.name"], languageParameter))
	}
	slices.Sort(links)
	for i, link := range links {
		links[i] = link[strings.Index(link, "<a"):]
	}
	return strings.Join(links, "\n")
}

// chosenLanguage returns the language in the request's cookie.
func chosenLanguage(r *http.Request) (at int, ok bool) {
	if len(r.Header["Cookie"]) == 0 {
		return 0, false
	}
	cookie, err := r.Cookie(languageCookie)
	if err != nil {
		return 0, false
	}
	at = languages.index(cookie.Value)
	return max(at, 0), at >= 0
}

// handler answers a request, or returns why it cannot.
type handler = func(http.ResponseWriter, *http.Request) error

// Choosing returns a handler that answers requests that choose a language, and passes others to h.
func (c *Handler) Choosing(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if c.chooseLanguage(w, r) {
			return nil
		}
		return h(w, r)
	}
}

// chooseLanguage stores the language that a link of a page chooses, and redirects to the page without
// the choice. It reports whether it has answered the request. Programs get English and no cookie.
func (c *Handler) chooseLanguage(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.RawQuery, languageParameter+"=") || !wantsHTML(r) {
		return false
	}
	query := r.URL.Query()
	tag := query.Get(languageParameter)
	if languages.index(tag) < 0 {
		return false
	}
	http.SetCookie(w, &http.Cookie{
		Name:     languageCookie,
		Value:    tag,
		Path:     "/",
		MaxAge:   int(languageCookieLifetime / time.Second),
		HttpOnly: true,
		Secure:   c.HTTPS,
		SameSite: http.SameSiteLaxMode,
	})
	query.Del(languageParameter)
	to := "/" + strings.TrimLeft(r.URL.EscapedPath(), `/\`) // not to another host
	if len(query) > 0 {
		to += "?" + query.Encode()
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther)
	return true
}

// Switch returns the links to the same page in each language. They keep the page's query.
func (v view) Switch() template.HTML {
	links := languages.links
	if query := v.query; query != "" {
		own := fmt.Sprintf(`href="?%s&amp;`, template.HTMLEscapeString(query))
		links = strings.ReplaceAll(links, `href="?`, own)
	}
	return template.HTML(links) // escaped above
}

// maxKeptQuery bounds the query that the links of the language switch repeat, in bytes. Ours are
// much shorter, and any client can send a long one.
const maxKeptQuery = 500

// queryToKeep returns the query of a page for the links of its language switch.
func queryToKeep(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return ""
	}
	query := r.URL.Query()
	query.Del(languageParameter)
	kept := query.Encode()
	if len(kept) > maxKeptQuery {
		return ""
	}
	return kept
}
