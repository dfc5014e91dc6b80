package customer

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/checkout"
	"notepay/internal/fleet"
	"notepay/internal/goodwill"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/web"
)

// Handler serves the customers' pages. Its fields are set before it serves.
type Handler struct {
	Ledger *ledger.Ledger
	// Session returns the payment of a Checkout Session (bridge.Session).
	Session func(ctx context.Context, id string) (payment.Payment, error)
	// Watched is called for each payment whose page is open (bridge.PageOpen). nil: it is not called.
	Watched func(p payment.Payment)
	// Check looks at a payment's machine at once (bridge.CheckNow). nil: it is not called.
	Check func(p payment.Payment)
	// Missing reports whether a payment's note is no longer pending (bridge.NoteMissing). nil: unknown.
	Missing func(p payment.Payment) bool
	// Fleet knows the machines. nil: none is known.
	Fleet *fleet.Fleet
	// Free reports whether a machine can be paid for now. nil: unknown, and pages offer it.
	Free func(uid string) bool
	// Checkout creates a Checkout Session for each purchase. nil: customers use Payment Links.
	Checkout *checkout.Checkout
	Goodwill *goodwill.Codes // nil: there are no codes for free starts
	HTTPS    bool            // the public address uses HTTPS
	Live     *web.Hub
	Log      *slog.Logger
	Brand    Brand
	Terms    Terms
	Test     bool           // the Stripe key is a test key
	Zone     *time.Location // where the machines are; nil: UTC
	Told     func() bool    // reports whether the operator gets alerts; nil: no

	startFinder sync.Once
	finder      *finder
}

// Home serves a form for the code on a machine.
func (c *Handler) Home(w http.ResponseWriter, r *http.Request) error {
	page := Page{
		Status:   http.StatusOK,
		Title:    msg("home.title"),
		Template: "home",
		extra: []string{
			"Scan the sticker on the machine, or open /pay?device= with the code that is printed on it.",
		},
	}
	for _, p := range c.ownPayments(r, "") {
		machine := web.MachineName(p.DeviceName, p.DeviceUID)
		page.links = append(page.links, link{c.pageOf(p), msg("mine.of", "machine", machine)})
	}
	page.links = append(page.links, link{findPage(""), msg("find.link")})
	return c.Render(w, r, page)
}

// Canceled serves the page to which Stripe sends customers who leave without paying. A payer who
// goes back there is led to the payment.
func (c *Handler) Canceled(w http.ResponseWriter, r *http.Request) error {
	d := c.device(r.URL.Query().Get("device"))
	page := Page{
		Status: http.StatusOK,
		Title:  msg("cancel.title"),
		Lines:  []Message{msg("cancel.text"), msg("cancel.hint")},
	}
	machine := ""
	if d != nil {
		machine = d.UID
		page.Machine = web.MachineName(d.Name, d.UID)
		page.Lines = page.Lines[:1]
		page.retry = "/use/" + url.PathEscape(d.UID)
		page.again = msg("cancel.back", "machine", page.Machine)
	}
	if own := c.ownPayments(r, machine); len(own) > 0 {
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, c.pageOf(own[0]), http.StatusSeeOther)
		return nil
	}
	return c.Render(w, r, page)
}

// Nowhere answers that there is no such page.
func (c *Handler) Nowhere(w http.ResponseWriter, r *http.Request) error {
	return c.Render(w, r, Page{
		Status:   http.StatusNotFound,
		Title:    msg("nowhere.title"),
		Text:     "Not found",
		Lines:    []Message{msg("sell.missing.hint")},
		Template: "code",
	})
}

// Failed answers a request that failed. Only the log has the reason.
func (c *Handler) Failed(w http.ResponseWriter, r *http.Request) error {
	return c.Render(w, r, Page{
		Status: http.StatusInternalServerError,
		Title:  msg("wrong.title"),
		Lines:  []Message{msg("wrong.hint")},
		Help:   true,
	})
}

// sessionID matches Checkout Session ids of test and live mode, of any plausible length.
var sessionID = regexp.MustCompile(`^cs_(test|live)_[A-Za-z0-9]{8,200}$`)

// livePageTime is how long the success page redirects to the live page, which may show a code. After
// that it shows a receipt.
const livePageTime = 30 * time.Minute

// now returns the ledger's time, by which payments are dated. Tests of single pages have no ledger.
func (c *Handler) now() time.Time {
	if c.Ledger == nil {
		return time.Now()
	}
	return c.Ledger.Now()
}

// Success serves the page to which Stripe sends customers who paid. It trusts only the ledger and
// Stripe, because a customer can invent a session id.
func (c *Handler) Success(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Query().Get("session_id")
	if !sessionID.MatchString(id) {
		return c.notFound(w, r, "payment.unknown.open")
	}
	p, err := c.Session(r.Context(), id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return c.notFound(w, r, "payment.unknown.reload")
	case errors.Is(err, bridge.ErrTooBusy):
		return c.later(w, r)
	case err != nil:
		return web.Shown(err, c.later(w, r))
	case c.now().Sub(p.PaidAt) < livePageTime:
		to := livePage(p)
		if payment.AccessCodeValid(p, c.now()) {
			to = accessPage(p)
		}
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	default:
		return c.Render(w, r, c.payment(p, c.now(), hideCode))
	}
}

// notFound answers that there is no such payment.
func (c *Handler) notFound(w http.ResponseWriter, r *http.Request, hint string) error {
	return c.Render(w, r, Page{
		Status: http.StatusNotFound,
		Title:  msg("payment.unknown.title"),
		Lines:  []Message{msg(hint)},
		Help:   true,
		links:  []link{{findPage(""), msg("find.link")}},
	})
}

// later answers that the payment is not known yet. The page reloads itself.
func (c *Handler) later(w http.ResponseWriter, r *http.Request) error {
	return c.Render(w, r, Page{
		Status:     http.StatusServiceUnavailable,
		Title:      msg("payment.later.title"),
		Lines:      []Message{msg("payment.later.text")},
		Reload:     2 * time.Second,
		RetryAfter: 2 * time.Second,
	})
}

// pageToken matches the tokens of payment.TokenOf, and the older ones without a credit.
var pageToken = regexp.MustCompile(`^([a-z2-7]{16})?[0-9a-f]{32}$`)

// paymentOfToken returns the payment with the token in the request's path, or ledger.ErrNotFound.
func (c *Handler) paymentOfToken(r *http.Request) (payment.Payment, error) {
	token := r.PathValue("token")
	if !pageToken.MatchString(token) { // a link in a text may end with marks of the text
		token = uid.Plain(token)
	}
	if !pageToken.MatchString(token) {
		return payment.Payment{}, ledger.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(r.Context(), web.ReadTimeout)
	defer cancel()
	return c.Ledger.PaymentOfToken(ctx, token)
}

// Payment serves the live page of a payment.
func (c *Handler) Payment(w http.ResponseWriter, r *http.Request) error {
	return c.live(w, r, livePage, linkToCode)
}

// Access serves the live page with the access code, while the code is valid.
func (c *Handler) Access(w http.ResponseWriter, r *http.Request) error {
	return c.live(w, r, accessPage, showCode)
}

func livePage(p payment.Payment) string   { return "/session/" + p.Token }
func accessPage(p payment.Payment) string { return "/access/" + p.Token }

// watch reports that a payment's page is open.
func (c *Handler) watch(p payment.Payment) {
	if c.Watched != nil {
		c.Watched(p)
	}
}

// live serves a live page. path returns the address of the page for a payment.
func (c *Handler) live(
	w http.ResponseWriter,
	r *http.Request,
	path func(payment.Payment) string,
	code codeDisplay,
) error {
	p, err := c.paymentOfToken(r)
	if errors.Is(err, ledger.ErrNotFound) {
		return c.notFound(w, r, "payment.unknown.open")
	}
	if err != nil {
		return err
	}
	c.watch(p)
	if wantsHTML(r) {
		c.remember(w, r, p)
	}
	page := c.payment(p, c.now(), code)
	page.events = path(p) + "/events"
	if r.URL.Query().Get("reported") == "1" {
		page.notice = msg("report.thanks")
		if c.Told != nil && c.Told() {
			page.notice = msg("report.told")
		}
	}
	return c.Render(w, r, page)
}
