// Package console is the operator's console in a browser: what needs attention first, with the
// buttons that settle it.
//
// It promises that nobody sees or changes anything without having signed in with the operator
// token, that a change is made only by a form of its own pages and once for each press of a button,
// that every page works without JavaScript, and that what it says of a payment is what is recorded.
// It decides nothing: what may be done with a payment are the bridge's pure functions, and it knows
// no vendor but the addresses of Stripe's Dashboard.
package console

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/problem"
	"notepay/internal/web"
)

// Config is what a console needs. All fields are required, but PublicURL and Support.
type Config struct {
	Ledger    *ledger.Ledger
	Bridge    *bridge.Bridge
	Fleet     *fleet.Fleet
	Log       *slog.Logger
	Token     string                       // of the operator; "" closes the console
	PublicURL string                       // what stickers lead to, https://pay.example.com; "" for no stickers
	Support   string                       // whom customers ask, printed on stickers
	Test      bool                         // the key moves no real money
	Lifetime  time.Duration                // of credits
	Zone      *time.Location               // in which days begin and times are shown
	Vitals    func(context.Context) Vitals // how the service is
	Live      *web.Hub                     // with it ends what takes its time

	// Check looks for each thing that is known to go wrong with the settings, and tells of each as
	// it is known, in one goroutine. It changes nothing, and what it finds holds no secret.
	Check    func(ctx context.Context, found func(Finding))
	Problems func() []problem.Problem // what is wrong with the whole service; nil: nothing ever is
}

// Vitals is how the service itself is.
type Vitals struct {
	Stripe, Notehub string    // why the vendor cannot be reached, "" if it can
	WebhooksOff     bool      // Stripe's events are polled
	Webhook         time.Time // when the last was accepted since the start; zero: none was
	Store           error     // why payments cannot be recorded
}

// Console serves the console. It is safe for concurrent use.
type Console struct {
	Config
	templates map[string]*template.Template
	origins   *http.CrossOriginProtection
	signIns   *signIns
	checks    checks
	roster    deviceIndex
	pages     atomic.Int64 // live ones that are open
}

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed console.css
var styleSheet []byte

//go:embed live.js
var liveScript []byte

// New makes a console.
func New(c Config) (*Console, error) {
	console := &Console{
		Config:    c,
		templates: map[string]*template.Template{},
		origins:   http.NewCrossOriginProtection(),
		signIns:   newSignIns(),
	}
	if c.PublicURL != "" { // a proxy may change the host, so that the request's origin seems foreign
		public, err := url.Parse(c.PublicURL)
		if err == nil {
			err = console.origins.AddTrustedOrigin(public.Scheme + "://" + public.Host)
		}
		if err != nil {
			return nil, fmt.Errorf("console: trust PUBLIC_URL: %w", err)
		}
	}
	frame, err := template.New("").Funcs(console.functions()).ParseFS(pageFiles, "pages/frame.html")
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	names, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	for _, name := range names {
		one, err := frame.Clone()
		if err == nil {
			one, err = one.ParseFS(pageFiles, name)
		}
		if err != nil {
			return nil, fmt.Errorf("console: %w", err)
		}
		console.templates[strings.TrimSuffix(path.Base(name), ".html")] = one
	}
	return console, nil
}

type handler = func(http.ResponseWriter, *http.Request) error

// Register names every route of the console to handle.
func (c *Console) Register(handle func(pattern string, h handler)) {
	page := func(pattern string, h handler) { handle("GET "+pattern, c.requireSignIn(h)) }
	button := func(pattern string, h handler) { handle("POST "+pattern, c.requireForm(h)) }

	handle("GET /operator/console.css", asset("text/css; charset=utf-8", styleSheet))
	handle("GET /operator/live.js", asset("text/javascript; charset=utf-8", liveScript))
	handle("POST /operator/sign-in", c.signIn)
	button("/operator/sign-out", c.signOut)

	page("/operator", c.today)
	page("/operator/live", c.live)
	page("/operator/devices", c.devices)
	button("/operator/devices/{uid}/pause", c.pause)
	button("/operator/devices/{uid}/resume", c.resume)
	button("/operator/devices/{uid}/start", c.start)
	button("/operator/refresh", c.refresh)
	page("/operator/payments", c.payments)
	page("/operator/payments.csv", c.paymentsCSV)
	page("/operator/payments/{id}", c.payment)
	button("/operator/payments/{id}/retry", c.retry)
	button("/operator/payments/{id}/refund", c.refund)
	button("/operator/payments/{id}/end", c.end)
	page("/operator/events", c.events)
	page("/operator/events/{id}", c.event)
	page("/operator/stickers", c.stickers)
	page("/operator/stickers/{uid}", c.sticker)
	page("/operator/audit", c.audit)
	page("/operator/audit.csv", c.auditCSV)
	page("/operator/setup", c.setup)
	button("/operator/setup", c.runChecks)
	page("/operator/", func(w http.ResponseWriter, r *http.Request) error {
		return c.problem(w, r, http.StatusNotFound, "Page not found.")
	})
}

// asset serves a file of the pages, also to those who have not signed in.
func asset(kind string, file []byte) handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, err := w.Write(file)
		return err
	}
}

// view is what the frame of a page needs to know.
type view struct {
	Title   string
	Nav     string // which link of the navigation leads here
	Status  int    // HTTP; 0 for 200
	Problem string // why something could not be done
	Live    bool   // it is shown anew when something has changed, in browsers that run its script
	Data    any    // of the page within the frame

	// What write fills in.
	SignedIn, Test bool
	Zone           string
	Done           string // what was just done
	Once           string // makes a second press of the same button harmless
	Back           string // where a button leads back to
}

// write answers with a page.
func (c *Console) write(w http.ResponseWriter, r *http.Request, name string, v view) error {
	var whole bytes.Buffer
	if err := c.templates[name].ExecuteTemplate(&whole, "frame", c.framed(r, name, v)); err != nil {
		return err
	}
	c.begin(w, v)
	_, err := w.Write(whole.Bytes())
	return err
}

// writePieces answers with a page whose content takes its time. What cannot be shown any more is in
// the log.
func (c *Console) writePieces(w http.ResponseWriter, r *http.Request, name string, v view) error {
	c.begin(w, v)
	if err := c.templates[name].ExecuteTemplate(w, "frame", c.framed(r, name, v)); err != nil &&
		r.Context().Err() == nil {
		return err
	}
	return nil
}

// framed is a view with what its frame needs.
func (c *Console) framed(r *http.Request, name string, v view) view {
	v.Test, v.Zone = c.Test, zoneName(c.Zone, time.Now())
	v.Done, v.Once, v.Back = doneWords(r.URL.Query().Get("done")), newFormToken(), backTo(r)
	v.SignedIn = name != "sign-in"
	return v
}

// begin sends the headers of a page.
func (c *Console) begin(w http.ResponseWriter, v view) {
	private(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(max(v.Status, http.StatusOK))
}

// private sets the headers of everything that is only for who has signed in.
func private(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set(
		"Content-Security-Policy",
		"default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	)
	h.Set(
		"Referrer-Policy",
		"same-origin",
	) // with none at all, browsers name no origin for forms, and each would seem to be another site's
}

// problem answers with a page that only says why there is no other.
func (c *Console) problem(w http.ResponseWriter, r *http.Request, status int, text string) error {
	return c.write(w, r, "problem", view{Title: "That did not work", Status: status, Problem: text})
}

// backTo is the page that a request asked for, without the note of what was just done. Of a button
// it is what the form says.
func backTo(r *http.Request) string {
	if r.Method == http.MethodPost {
		return localPath(r.PostFormValue("back"))
	}
	q := r.URL.Query()
	q.Del("done")
	if len(q) == 0 {
		return r.URL.Path
	}
	return r.URL.Path + "?" + q.Encode()
}

// localPath is a path of the console, whatever was given.
func localPath(given string) string {
	u, err := url.Parse(given)
	if err != nil || u.IsAbs() || u.Host != "" || (u.Path != "/operator" && !strings.HasPrefix(u.Path, "/operator/")) ||
		path.Clean(u.Path) != u.Path {
		return "/operator"
	}
	return u.RequestURI()
}

// goBack leads back to the page on which a button was pressed, which then says what was done.
func goBack(w http.ResponseWriter, r *http.Request, done string) error {
	back := localPath(r.PostFormValue("back"))
	u, err := url.Parse(back)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("done", done)
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
	return nil
}

func (c *Console) functions() template.FuncMap {
	return template.FuncMap{
		"money":   web.Amount,
		"at":      func(t time.Time) template.HTML { return c.at(t, "2 Jan 2006 15:04:05") },
		"clock":   func(t time.Time) template.HTML { return c.at(t, "15:04:05") },
		"ago":     func(t time.Time) string { return ago(c.Ledger.Now().Sub(t)) },
		"span":    span,
		"upper":   strings.ToUpper,
		"name":    web.MachineName,
		"query":   url.QueryEscape,
		"path":    url.PathEscape,
		"buttons": c.buttonsOf,
		"machine": machineWords,
		"moneyIs": moneyWords,
		"needs":   attentionWords,
		"source":  sourceWords,
		"did":     auditWords,
		"stood":   standingWords,
		"subject": subjectPath,
		"nav":     func(v view, key, path, text string) navLink { return navLink{path, text, v.Nav == key} },
	}
}

// navLink is a link of the navigation.
type navLink struct {
	Path, Text string
	Here       bool // it leads to the page that it stands on
}

// subjectPath is the page of what an audit is about.
func subjectPath(subject string) string {
	if strings.HasPrefix(subject, "cr_") {
		return "/operator/payments/" + url.PathEscape(subject)
	}
	return "/operator/devices?q=" + url.QueryEscape(subject)
}

// at is a time for people, with the exact one for programs.
func (c *Console) at(t time.Time, layout string) template.HTML {
	if t.IsZero() {
		return "never"
	}
	return template.HTML(
		fmt.Sprintf(`<time datetime="%s">%s</time>`, t.UTC().Format(time.RFC3339), t.In(c.Zone).Format(layout)),
	) // digits and letters of our own
}

func zoneName(zone *time.Location, now time.Time) string {
	name, _ := now.In(zone).Zone()
	if zone == time.Local || zone.String() == name {
		return name
	}
	return zone.String() + " (" + name + ")"
}

// ago is how long ago something was, roughly.
func ago(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "just now"
	default:
		return length(d) + " ago"
	}
}

// span is a duration as it is sold, exactly: "1 h 15 min".
func span(d time.Duration) string {
	var parts []string
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if n := d / unit.of; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, unit.name))
			d -= n * unit.of
		}
	}
	return strings.Join(parts, " ")
}

// length is a time span, roughly.
func length(d time.Duration) string {
	count := func(n time.Duration, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	switch {
	case d < time.Minute:
		return count(d/time.Second, "second")
	case d < 2*time.Hour:
		return count(d/time.Minute, "minute")
	case d < 48*time.Hour:
		return count(d/time.Hour, "hour")
	default:
		return count(d/(24*time.Hour), "day")
	}
}
