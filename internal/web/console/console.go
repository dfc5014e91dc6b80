package console

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
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
	"notepay/internal/passkey"
	"notepay/internal/payment"
	"notepay/internal/people"
	"notepay/internal/problem"
	"notepay/internal/revenue"
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
	templates map[string]map[string]*template.Template // by language and page
	langs     map[string]lang
	origins   *http.CrossOriginProtection
	signIns   tokenSignIns
	failures  *failures
	strangers *strangers
	hasher    *people.Hasher
	checks    checks
	tests     alertTests
	roster    deviceIndex
	pages     atomic.Int64 // open event streams

	site        passkey.Site
	siteProblem error // why there are no passkeys, nil if there are
}

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed console.css
var styleSheet []byte

//go:embed live.js
var liveScript []byte

//go:embed passkey.js
var passkeyScript []byte

// New returns a console.
func New(c Config) (*Console, error) {
	console := &Console{
		Config:    c,
		templates: map[string]map[string]*template.Template{},
		langs:     map[string]lang{},
		origins:   http.NewCrossOriginProtection(),
		signIns:   tokenSignIns{list: map[string]tokenSignIn{}},
		failures:  newFailures(),
		strangers: newStrangers(),
		hasher:    people.NewHasher(),
	}
	console.site, console.siteProblem = passkey.NewSite(c.PublicURL, c.Token)
	if c.PublicURL != "" { // a proxy may change the host, so that the request's origin seems foreign
		public, err := url.Parse(c.PublicURL)
		if err == nil {
			err = console.origins.AddTrustedOrigin(public.Scheme + "://" + public.Host)
		}
		if err != nil {
			return nil, fmt.Errorf("console: trust PUBLIC_URL: %w", err)
		}
	}
	for _, one := range languages() {
		l, err := readLang(one.Tag)
		if err != nil {
			return nil, err
		}
		if console.templates[one.Tag], err = console.parsePages(l); err != nil {
			return nil, fmt.Errorf("console: pages in %s: %w", one.Tag, err)
		}
		console.langs[one.Tag] = l
	}
	return console, nil
}

type handler = func(http.ResponseWriter, *http.Request) error

// Register calls handle with every route of the console.
func (c *Console) Register(handle func(pattern string, h handler)) {
	page := func(pattern string, h handler) {
		rule, _ := people.RuleOf("GET " + pattern)
		handle("GET "+pattern, c.requireSignIn(rule, h))
	}
	button := func(pattern string, h handler) {
		rule, _ := people.RuleOf("POST " + pattern)
		handle("POST "+pattern, c.requireForm(rule, h))
	}

	handle("GET /operator/console.css", asset("text/css; charset=utf-8", styleSheet))
	handle("GET /operator/live.js", asset("text/javascript; charset=utf-8", liveScript))
	handle("GET /operator/passkey.js", asset("text/javascript; charset=utf-8", passkeyScript))
	handle("GET /operator/sign-in", c.signInForm)
	handle("POST /operator/sign-in", c.publicForm(c.signIn))
	handle("POST /operator/sign-in/passkey", c.publicForm(c.signInByPasskey))
	handle("GET /operator/invite/{token}", c.invitation)
	handle("POST /operator/invite/{token}", c.publicForm(c.acceptInvitation))
	handle("GET /operator/language/{tag}", c.chooseLanguage)
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
	button("/operator/payments/{id}/refund/again", c.retryRefund)
	button("/operator/payments/{id}/end", c.end)
	button("/operator/payments/{id}/reports", c.seen)
	button("/operator/payments/{id}/code", c.grantCode)
	button("/operator/payments/{id}/code/withdraw", c.withdrawCode)
	button("/operator/attention/{reason}/{action}", c.onAll)
	page("/operator/revenue", c.revenue)
	page("/operator/revenue.csv", c.revenueCSV)
	page("/operator/events", c.events)
	page("/operator/events/{id}", c.event)
	page("/operator/stickers", c.stickers)
	page("/operator/stickers/{uid}", c.sticker)
	page("/operator/audit", c.audit)
	page("/operator/audit.csv", c.auditCSV)
	page("/operator/setup", c.setup)
	button("/operator/setup", c.runChecks)
	button("/operator/setup/alert", c.testAlert)
	page("/operator/me", c.me)
	button("/operator/me/sessions", c.endMySessions)
	button("/operator/me/password", c.setPassword)
	button("/operator/me/codes", c.newCodes)
	button("/operator/me/passkeys", c.addPasskey)
	button("/operator/me/passkeys/remove", c.removePasskey)
	page("/operator/people", c.people)
	button("/operator/people", c.invite)
	button("/operator/people/{id}/role", c.setRole)
	button("/operator/people/{id}/invite", c.inviteAgain)
	button("/operator/people/{id}/disable", c.disable)
	button("/operator/people/{id}/enable", c.enable)
	button("/operator/people/{id}/sessions", c.endSessions)
	button("/operator/tokens", c.createToken)
	button("/operator/tokens/{id}/revoke", c.revokeToken)
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
	Keys    bool   // the page's script makes or uses passkeys
	Data    any    // of the page within the frame

	// Set by withFrame.
	Me             people.Actor // who is signed in
	SignedIn, Test bool
	Lang           string // tag of the page's language
	Languages      []languageLink
	Zone           string
	Open           int    // what needs attention, for the title
	Done           string // the action that just succeeded
	Once           string // form token, so that a second press changes nothing
	Back           string // address of this page, to which buttons return
}

// Support reports whether the person may refund, resend, grant and pause.
func (v view) Support() bool { return v.Me.Role.May(people.Support) }

// Owner reports whether the person may change people, tokens and settings.
func (v view) Owner() bool { return v.Me.Role.May(people.Owner) }

// write answers with a page.
func (c *Console) write(w http.ResponseWriter, r *http.Request, name string, v view) error {
	var whole bytes.Buffer
	if err := c.page(r, name).ExecuteTemplate(&whole, "frame", c.withFrame(r, v)); err != nil {
		return err
	}
	c.begin(w, v)
	_, err := w.Write(whole.Bytes())
	return err
}

// page returns a page's template in the language of a request.
func (c *Console) page(r *http.Request, name string) *template.Template {
	return c.templates[c.langOf(r).Tag()][name]
}

// writePieces answers with a page whose content is produced slowly. An error after the first byte is
// only logged.
func (c *Console) writePieces(w http.ResponseWriter, r *http.Request, name string, v view) error {
	c.begin(w, v)
	if err := c.page(r, name).ExecuteTemplate(w, "frame", c.withFrame(r, v)); err != nil &&
		r.Context().Err() == nil {
		return err
	}
	return nil
}

// withFrame returns the view with the data of its frame, and with its texts in the request's language.
func (c *Console) withFrame(r *http.Request, v view) view {
	l := c.langOf(r)
	v.Lang, v.Languages, v.Title, v.Problem = l.Tag(), languageLinks(l), l.T(v.Title), l.T(v.Problem)
	v.Test, v.Zone = c.Test, zoneName(c.Zone, time.Now())
	v.Done, v.Once, v.Back = l.T(doneWords(r.URL.Query().Get("done"))), newFormToken(), backTo(r)
	v.Me = people.From(r.Context())
	if v.SignedIn = v.Me.Name != ""; v.SignedIn {
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
	return goTo(w, r, r.PostFormValue("back"), done)
}

// goTo redirects to a page of the console, which says what was done.
func goTo(w http.ResponseWriter, r *http.Request, page, done string) error {
	u, err := url.Parse(localPath(page))
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("done", done)
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
	return nil
}

// functions returns the functions of the templates in a language.
func (c *Console) functions(l lang) template.FuncMap {
	return template.FuncMap{
		"t":           func(text any) string { return l.T(fmt.Sprint(text)) },
		"say":         l.say,
		"pauseReason": l.pauseReason,
		"money":       l.money,
		"at":          func(t time.Time) template.HTML { return c.at(l, t, layoutFull) },
		"soon":        func(t time.Time) template.HTML { return c.soon(l, t) },
		"day":         func(t time.Time) template.HTML { return c.at(l, t, layoutDate) },
		"payout":      payoutWords,
		"ago":         func(t time.Time) string { return l.ago(c.Ledger.Now().Sub(t)) },
		"span":        exactDuration,
		"upper":       strings.ToUpper,
		"name":        web.MachineName,
		"code":        func(uid string) string { return c.Fleet.Code(uid) },
		"codeName":    func(uid, code string) string { return c.Fleet.Device(uid).CodeName(code) },
		"query":       func(s string) template.URL { return template.URL(url.QueryEscape(s)) }, // escaped once
		"path":        url.PathEscape,
		"buttons":     c.buttonsOf,
		"machine":     machineWords,
		"moneyIs":     moneyWords,
		"needs":       attentionWords,
		"doubtful":    payment.Doubtful,
		"reason":      func(reason string) string { return l.T(reportWords(reason)) },
		"report": func(root view, r ledger.Report) any {
			return struct {
				ledger.Report
				Root view
			}{r, root}
		},
		"source": func(s fleet.Source) string { return l.T(sourceWords(s)) },
		"way":    func(way string) string { return l.T(wayWords(way)) },
		"role":   func(role any) string { return l.T(roleWords(people.Role(fmt.Sprint(role)))) },
		"roleName": func(role any) string {
			name, _, _ := strings.Cut(l.T(roleWords(people.Role(fmt.Sprint(role)))), ":")
			return name
		},
		"by": func(by revenue.By) string { return l.T(byWords(by)) },
		"roles": func(roles []people.Role, now string) any {
			return struct {
				Roles []people.Role
				Now   string
			}{roles, now}
		},
		"did":     func(a ledger.Audit) string { return auditWords(l, a) },
		"stood":   func(a ledger.Audit, state string) string { return auditStateWords(l, a, state) },
		"subject": subjectPath,
		"add":     func(i int) int { return i + 1 },
		"nav": func(v view, key, path, text string) navLink {
			return navLink{path, l.T(text), v.Nav == key}
		},
	}
}

// navLink is a link of the navigation.
type navLink struct {
	Path, Text string
	Here       bool // it leads to the current page
}

// subjectPath returns the page of an audit entry's subject.
func subjectPath(a ledger.Audit) string {
	switch {
	case peopleWords(a.What) != a.What: // a person or a token
		return "/operator/audit?subject=" + url.QueryEscape(a.Subject)
	case strings.HasPrefix(a.Subject, "cr_"):
		return "/operator/payments/" + url.PathEscape(a.Subject)
	}
	return devicePath(a.Subject)
}

// at formats a time as a time element. Its datetime attribute is exact.
func (c *Console) at(l lang, t time.Time, layout string) template.HTML {
	if t.IsZero() {
		return template.HTML(template.HTMLEscapeString(l.T("never"))) // safe: escaped
	}
	return template.HTML(fmt.Sprintf( // safe: formatted times only
		`<time datetime="%s">%s</time>`, t.UTC().Format(time.RFC3339), t.In(c.Zone).Format(l.layout(layout))))
}

// soon formats a time of today without its day.
func (c *Console) soon(l lang, t time.Time) template.HTML {
	if midnight(t, c.Zone).Equal(midnight(c.Ledger.Now(), c.Zone)) {
		return c.at(l, t, "15:04:05")
	}
	return c.at(l, t, layoutDay)
}

// zoneName returns the name of a time zone for people.
func zoneName(zone *time.Location, now time.Time) string {
	name, _ := now.In(zone).Zone()
	if zone == time.Local || zone.String() == name {
		return name
	}
	return zone.String() + " (" + name + ")"
}
