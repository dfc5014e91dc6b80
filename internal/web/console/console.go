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
	"notepay/internal/goodwill"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/web"
)

// Config configures a console. PublicURL, Support and Problems are optional.
type Config struct {
	Ledger    *ledger.Ledger
	Bridge    *bridge.Bridge
	Fleet     *fleet.Fleet
	Log       *slog.Logger
	Token     string                       // the operator token; "" closes the console
	PublicURL string                       // address on stickers, https://pay.example.com; "": no stickers
	Support   string                       // contact for customers, printed on stickers
	Stickers  []web.StickerWords           // the languages of stickers, the default first
	Test      bool                         // the Stripe key is a test key
	Lifetime  time.Duration                // of credits
	Zone      *time.Location               // of days and times
	Vitals    func(context.Context) Vitals // returns the state of the service
	Live      *web.Hub                     // ends streams and running checks

	// Check runs the configuration checks and calls found with each result, in one goroutine. It
	// changes nothing, and its results hold no secrets.
	Check func(ctx context.Context, found func(Finding))
	// SessionsOfEmail returns the ids of the paid Checkout Sessions with an e-mail address, newest first,
	// and whether there are more. nil: Stripe cannot be asked.
	SessionsOfEmail func(ctx context.Context, email string) (ids []string, more bool, err error)

	Goodwill *goodwill.Codes // nil: there are no codes for free starts
	Texts    Texts
	Problems func() []problem.Problem // returns the current problems; nil: there are none
	Alerts   Alerts                   // nil: no alerts are sent
}

// Vitals is the state of the service itself.
type Vitals struct {
	Stripe, Notehub string    // why the vendor cannot be reached, "" if it can
	WebhooksOff     bool      // Stripe's events are polled
	Webhook         time.Time // last accepted webhook since the start, zero if none
	Store           error     // why payments cannot be recorded, or nil
}

// Console serves the console. It is safe for concurrent use.
type Console struct {
	Config
	templates map[string]*template.Template
	origins   *http.CrossOriginProtection
	signIns   *signIns
	checks    checks
	tests     alertTests
	roster    deviceIndex
	pages     atomic.Int64 // open event streams
}

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed console.css
var styleSheet []byte

//go:embed live.js
var liveScript []byte

// New returns a console.
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

// Register calls handle with every route of the console.
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
	page("/operator/devices/{uid}", c.device)
	button("/operator/devices", c.bulk)
	button("/operator/devices/{uid}/maintenance", c.maintain)
	button("/operator/devices/{uid}/maintenance/cancel", c.cancelMaintenance)
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
	button("/operator/payments/{id}/reports", c.seen)
	button("/operator/payments/{id}/code", c.grantCode)
	button("/operator/payments/{id}/code/withdraw", c.withdrawCode)
	button("/operator/attention/{reason}/{action}", c.onAll)
	page("/operator/events", c.events)
	page("/operator/events/{id}", c.event)
	page("/operator/stickers", c.stickers)
	page("/operator/stickers/{uid}", c.sticker)
	page("/operator/audit", c.audit)
	page("/operator/audit.csv", c.auditCSV)
	page("/operator/setup", c.setup)
	button("/operator/setup", c.runChecks)
	button("/operator/setup/alert", c.testAlert)
	page("/operator/", func(w http.ResponseWriter, r *http.Request) error {
		return c.problem(w, r, http.StatusNotFound, "Page not found.")
	})
}

// asset serves a file of the pages, without a sign-in.
func asset(kind string, file []byte) handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, err := w.Write(file)
		return err
	}
}

// view is the data of a page's frame.
type view struct {
	Title   string
	Nav     string // key of the navigation link to this page
	Status  int    // HTTP status; 0 for 200
	Problem string // why an action failed
	Live    bool   // the page's script reloads it after changes
	Data    any    // of the page within the frame

	// Set by withFrame.
	SignedIn, Test bool
	Zone           string
	Open           int    // what needs attention, for the title
	Done           string // the action that just succeeded
	Once           string // form token, so that a second press changes nothing
	Back           string // address of this page, to which buttons return
}

// write answers with a page.
func (c *Console) write(w http.ResponseWriter, r *http.Request, name string, v view) error {
	var whole bytes.Buffer
	if err := c.templates[name].ExecuteTemplate(&whole, "frame", c.withFrame(r, name, v)); err != nil {
		return err
	}
	c.begin(w, v)
	_, err := w.Write(whole.Bytes())
	return err
}

// writePieces answers with a page whose content is produced slowly. An error after the first byte is
// only logged.
func (c *Console) writePieces(w http.ResponseWriter, r *http.Request, name string, v view) error {
	c.begin(w, v)
	if err := c.templates[name].ExecuteTemplate(w, "frame", c.withFrame(r, name, v)); err != nil &&
		r.Context().Err() == nil {
		return err
	}
	return nil
}

// withFrame returns the view with the data of its frame.
func (c *Console) withFrame(r *http.Request, name string, v view) view {
	v.Test, v.Zone = c.Test, zoneName(c.Zone, time.Now())
	v.Done, v.Once, v.Back = doneWords(r.URL.Query().Get("done")), newFormToken(), backTo(r)
	if v.SignedIn = name != "sign-in"; v.SignedIn {
		v.Open = c.openMatters(r)
	}
	return v
}

// begin sends the header of a page.
func (c *Console) begin(w http.ResponseWriter, v view) {
	private(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(max(v.Status, http.StatusOK))
}

// private sets the headers of answers that require a sign-in.
func private(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy",
		"default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	// With no-referrer, browsers send "Origin: null" with forms, which then seem cross-site.
	h.Set("Referrer-Policy", "same-origin")
}

// problem answers with a page that shows only a problem.
func (c *Console) problem(w http.ResponseWriter, r *http.Request, status int, text string) error {
	return c.write(w, r, "problem", view{Title: "That did not work", Status: status, Problem: text})
}

// backTo returns the address of the requested page, without the parameter done. For a form it
// returns the address of the page that holds the form.
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

// localPath returns given if it is an address of the console, and "/operator" otherwise.
func localPath(given string) string {
	u, err := url.Parse(given)
	if err != nil || u.IsAbs() || u.Host != "" || (u.Path != "/operator" && !strings.HasPrefix(u.Path, "/operator/")) ||
		path.Clean(u.Path) != u.Path {
		return "/operator"
	}
	return u.RequestURI()
}

// goBack redirects to the page that holds the form, which then says that an action is done.
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

// functions returns the functions of the templates.
func (c *Console) functions() template.FuncMap {
	return template.FuncMap{
		"money":    web.Amount,
		"at":       func(t time.Time) template.HTML { return c.at(t, "2 Jan 2006 15:04:05") },
		"soon":     c.soon,
		"ago":      func(t time.Time) string { return ago(c.Ledger.Now().Sub(t)) },
		"span":     exactDuration,
		"upper":    strings.ToUpper,
		"name":     web.MachineName,
		"code":     func(uid string) string { return c.Fleet.Code(uid) },
		"codeName": func(uid, code string) string { return c.Fleet.Device(uid).CodeName(code) },
		"query":    url.QueryEscape,
		"path":     url.PathEscape,
		"buttons":  c.buttonsOf,
		"machine":  machineWords,
		"moneyIs":  moneyWords,
		"needs":    attentionWords,
		"doubtful": payment.Doubtful,
		"reason":   reportWords,
		"report": func(root view, r ledger.Report) any {
			return struct {
				ledger.Report
				Root view
			}{r, root}
		},
		"source":  sourceWords,
		"did":     auditWords,
		"stood":   auditStateWords,
		"subject": subjectPath,
		"add":     func(i int) int { return i + 1 },
		"nav":     func(v view, key, path, text string) navLink { return navLink{path, text, v.Nav == key} },
	}
}

// navLink is a link of the navigation.
type navLink struct {
	Path, Text string
	Here       bool // it leads to the current page
}

// subjectPath returns the page of an audit entry's subject.
func subjectPath(subject string) string {
	if strings.HasPrefix(subject, "cr_") {
		return "/operator/payments/" + url.PathEscape(subject)
	}
	return devicePath(subject)
}

// at formats a time as a time element. Its datetime attribute is exact.
func (c *Console) at(t time.Time, layout string) template.HTML {
	if t.IsZero() {
		return "never"
	}
	return template.HTML( // safe: formatted times only
		fmt.Sprintf(`<time datetime="%s">%s</time>`, t.UTC().Format(time.RFC3339), t.In(c.Zone).Format(layout)))
}

// soon formats a time of today without its day.
func (c *Console) soon(t time.Time) template.HTML {
	if midnight(t, c.Zone).Equal(midnight(c.Ledger.Now(), c.Zone)) {
		return c.at(t, "15:04:05")
	}
	return c.at(t, "2 Jan 15:04")
}

// zoneName returns the name of a time zone for people.
func zoneName(zone *time.Location, now time.Time) string {
	name, _ := now.In(zone).Zone()
	if zone == time.Local || zone.String() == name {
		return name
	}
	return zone.String() + " (" + name + ")"
}

// ago formats the time since an event, roughly.
func ago(d time.Duration) string {
	if d < 5*time.Second {
		return "just now"
	}
	return roughDuration(d) + " ago"
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

// roughDuration formats a duration in its largest unit: "3 minutes".
func roughDuration(d time.Duration) string {
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
