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

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"bell": func(label, told string) any { return struct{ Label, Told string }{label, told} },
}).ParseFS(pageFiles, "pages/*.html"))

// cacheStatic lets browsers keep style sheet and script, which change only with the program.
const cacheStatic = "public, max-age=3600"

// Static serves the style sheet and the script. It passes requests for other files to missing.
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

// Page is one answer: HTML for browsers, plain English text for programs.
type Page struct {
	Status     int
	Title      Message
	Text       string // replaces the title for programs, where the contract says so
	Machine    string // the machine's name, "" if the page is about none
	Lines      []Message
	Reload     time.Duration // after which a browser reloads; 0: never
	RetryAfter time.Duration // of the Retry-After header; 0: none
	Help       bool          // show the operator's contact

	Template string   // the inner template; "" for the message alone
	data     any      // of the template
	extra    []string // lines for programs only
	links    []link   // where else the customer can go
	retry    string   // address of the page's button, "" for none
	again    Message  // label of the button
	notice   Message  // what the customer just did, zero for nothing
	next     string   // where the page leads once the machine is free, "" if it does not wait for that
	livemode bool     // about real money, even if the current key is a test key
	events   string   // address of the page's event stream, "" for none
}

// link leads to another page.
type link struct {
	To    string
	Label Message
}

// view is the data of the templates.
type view struct {
	Page
	Language
	Brand Brand
	Test  bool
	Data  any
	Body  template.HTML
	query string // of the request
	zone  *time.Location
	now   time.Time
}

// Events returns the address of the page's event stream, or "".
func (v view) Events() string { return v.events }

// Seller returns the line that names the seller, or "".
func (v view) Seller() string {
	if v.Brand.Name == "" {
		return ""
	}
	return v.Translate(msg("plans.seller", "seller", v.Brand.Name))
}

// Check returns the line that asks the customer to compare the machine's name.
func (v view) Check() string { return v.Translate(msg("plans.check", "machine", v.Machine)) }

// Retry returns the address of the page's button, or "".
func (v view) Retry() string { return v.retry }

// Again returns the label of the page's button.
func (v view) Again() string { return v.Translate(v.again) }

// Refresh returns when and where a browser without the script goes on.
func (v view) Refresh() string {
	if v.next == "" {
		return strconv.Itoa(v.Seconds())
	}
	return strconv.Itoa(v.Seconds()) + "; url=" + v.next
}

// Notice returns what the customer just did, or "".
func (v view) Notice() string { return v.Translate(v.notice) }

// Next returns where the page leads once the machine is free, or "".
func (v view) Next() string { return v.next }

// Links returns where else the customer can go.
func (v view) Links() []link { return v.links }

// Seconds returns the seconds after which a browser reloads, 0 for never.
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
	v := view{
		Page:     p,
		Language: languageOf(r),
		Brand:    c.Brand,
		Test:     c.Test && !p.livemode,
		Data:     p.data,
		query:    queryToKeep(r),
		zone:     c.zone(),
		now:      c.now(),
	}
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

// inner renders the page without its frame.
func (v view) inner() ([]byte, error) {
	name := v.Template
	if name == "" {
		name = "message"
	}
	if r, ok := v.Data.(receipt); ok {
		v.Data = r.in(v.Language)
	}
	var body bytes.Buffer
	body.Grow(4 << 10) // more than most pages need
	err := pages.ExecuteTemplate(&body, name, v)
	return body.Bytes(), err
}

// text returns the page for programs. An error page has only its first line, which is contract.
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

// wantsHTML reports whether the client accepts HTML by name, as browsers do. curl, Stripe and load
// balancers do not.
func wantsHTML(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
