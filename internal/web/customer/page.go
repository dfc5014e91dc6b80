// Package web is what people see: the customers' pages and the operator's API.
//
// It promises that no page says more than is known (a machine "started" only when it said so), that
// pages work without JavaScript, speak the customer's language and hold no secret, and that a
// customer never reads an error meant for the log. It knows no vendor and changes no payment; what
// it shows comes from the fleet, the bridge and the ledger. What is said of a payment is decided in
// status.go alone, what of a machine that does not sell in selling.go; the words are in catalogs.
package customer

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// cacheStatic lets browsers keep style sheet and script, which change with the program.
const cacheStatic = "public, max-age=3600"

// Static serves the style sheet and the script.
//
// What is not there goes to missing.
func Static(missing http.Handler) http.Handler {
	files := http.FileServerFS(staticFiles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, err := fs.Stat(staticFiles, strings.TrimPrefix(r.URL.Path, "/")); err != nil || info.IsDir() {
			missing.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", cacheStatic)
		files.ServeHTTP(w, r)
	})
}

// Page is one answer to a person, as HTML for browsers and as plain text, in English, for all else.
type Page struct {
	Status     int
	Title      Phrase
	Text       string // what programs read instead of the title, where the contract says so
	Machine    string // its name, if it is about one
	Lines      []Phrase
	Reload     time.Duration // after which a browser asks again; 0: never
	RetryAfter time.Duration // for the header of that name; 0: none
	Help       bool          // the customer may have to turn to the operator

	Template string   // the inner template; "" for the message alone
	data     any      // of the template
	extra    []string // lines for programs alone
	real     bool     // it is about real money, whatever the key is
	events   string   // where changes of the page are told; "" for nowhere
}

// view is what the templates see.
type view struct {
	Page
	Language
	Brand Brand
	Test  bool
	Data  any
	Body  template.HTML
}

// Events is where changes of the page are told.
func (v view) Events() string { return v.events }

// Seller says who sells, if that is known.
func (v view) Seller() string {
	if v.Brand.Name == "" {
		return ""
	}
	return v.Translate(phrase("plans.seller", "seller", v.Brand.Name))
}

// Check asks the customer to compare the name of the machine.
func (v view) Check() string { return v.Translate(phrase("plans.check", "machine", v.Machine)) }

// Again returns the text of the button that leads to another payment.
func (v view) Again() string { return v.Translate(phrase("frame.again", "machine", v.Machine)) }

// Seconds is after how many a browser asks again.
func (v view) Seconds() int { return int(v.Reload / time.Second) }

// Render answers a request with a page.
func (c *Handler) Render(w http.ResponseWriter, r *http.Request, p Page) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(max(int64((p.RetryAfter+time.Second-1)/time.Second), 1), 10))
	}
	if !wantsHTML(r) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(p.Status)
		_, err := w.Write([]byte(p.text()))
		return err
	}
	v := view{Page: p, Language: languageOf(r), Brand: c.Brand, Test: c.Test && !p.real, Data: p.data}
	body, err := v.inner()
	if err != nil {
		return err
	}
	v.Body = template.HTML(body) // made by html/template
	var whole bytes.Buffer
	if err := pages.ExecuteTemplate(&whole, "frame", v); err != nil {
		return err
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Tag)
	w.WriteHeader(p.Status)
	_, err = w.Write(whole.Bytes())
	return err
}

// inner is the page without its frame.
func (v view) inner() ([]byte, error) {
	name := v.Template
	if name == "" {
		name = "message"
	}
	if r, ok := v.Data.(receipt); ok {
		v.Data = r.in(v.Language)
	}
	var body bytes.Buffer
	body.Grow(4 << 10) // more than most pages have
	err := pages.ExecuteTemplate(&body, name, v)
	return body.Bytes(), err
}

// text is the page for programs: the first line alone for errors (it is the contract's text), the
// lines after it for the rest.
func (p Page) text() string {
	l := english()
	first := p.Text
	if first == "" {
		first = l.Translate(p.Title)
	}
	lines := []string{first}
	if p.Status < 400 {
		for _, line := range p.Lines {
			lines = append(lines, l.Translate(line))
		}
		lines = append(lines, p.extra...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// wantsHTML: browsers name text/html; curl, Stripe and load balancers do not.
func wantsHTML(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
