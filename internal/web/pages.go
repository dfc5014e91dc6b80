// Package web is what people see: the customers' pages and the operator's API.
//
// It promises that no page says more than is known (a machine "started" only when it said so), that pages work without
// JavaScript and hold no secret, and that a customer never reads an error meant for the log. It knows no vendor and changes no
// payment; what it shows comes from the fleet, the bridge and the ledger.
package web

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// Static serves the style sheet.
func Static() http.Handler {
	files := http.FileServerFS(staticFiles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		files.ServeHTTP(w, r)
	})
}

// Page is one answer to a person, as HTML for browsers and as plain text for all else.
type Page struct {
	Status     int
	Title      string
	Machine    string        // its name, if it is about one
	Lines      []string      // the message
	Hint       string        // what to do next
	Reload     int           // seconds after which a browser asks again; 0: never
	RetryAfter time.Duration // for the header of that name; 0: none
	Test       bool          // nothing here is real money

	template string // the inner template and its data; "" for the message alone
	data     any
}

// Write answers a request with the page.
func (p Page) Write(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", retryAfter(p.RetryAfter))
	}
	if !wantsHTML(r) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(p.Status)
		_, err := w.Write([]byte(p.text()))
		return err
	}
	inner, data := "message", any(p)
	if p.template != "" {
		inner, data = p.template, p.data
	}
	var body, whole bytes.Buffer
	if err := pages.ExecuteTemplate(&body, inner, data); err != nil {
		return err
	}
	err := pages.ExecuteTemplate(&whole, "frame", struct {
		Page
		Body template.HTML
	}{p, template.HTML(body.String())}) // made by the same html/template a line above
	if err != nil {
		return err
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.Status)
	_, err = w.Write(whole.Bytes())
	return err
}

// text is the page for programs: the title alone for errors (it is the contract's text), the lines after it for the rest.
func (p Page) text() string {
	lines := append([]string{p.Title}, p.Lines...)
	if p.Status >= 400 {
		lines = lines[:1]
	}
	return strings.Join(lines, "\n") + "\n"
}

func retryAfter(d time.Duration) string {
	seconds := int64((d + time.Second - 1) / time.Second)
	return formatInt(max(seconds, 1))
}

// wantsHTML: browsers name text/html; curl, Stripe and load balancers do not.
func wantsHTML(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
