package customer

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/checkout"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/web"
)

// Handler serves the pages of those who pay. Its fields are set once, before it serves.
type Handler struct {
	Ledger *ledger.Ledger
	// the payment of a session, see bridge.Session
	Session func(ctx context.Context, id string) (payment.Payment, error)
	// is told whose page is open, see bridge.Watched; nil: nobody is
	Watched func(p payment.Payment)
	Missing func(p payment.Payment) bool // see bridge.Missing; nil: no
	// nil: machines are paid for through their links
	Checkout *checkout.Checkout
	HTTPS    bool // customers come by it alone
	Live     *web.Hub
	Log      *slog.Logger
	Brand    Brand
	Terms    Terms
	Test     bool // the key moves no real money
}

// Home lets a customer type the code on a machine.
func (c *Handler) Home(w http.ResponseWriter, r *http.Request) error {
	return c.Render(w, r, Page{Status: http.StatusOK, Title: phrase("home.title"), Template: "home",
		extra: []string{"Scan the sticker on the machine, or open /pay?device= with the code that is printed on it."}})
}

// Canceled is where Stripe sends customers who went back.
func (c *Handler) Canceled(w http.ResponseWriter, r *http.Request) error {
	return c.Render(w, r, Page{
		Status: http.StatusOK,
		Title:  phrase("cancel.title"),
		Lines:  []Phrase{phrase("cancel.text"), phrase("cancel.hint")},
	})
}

// Nowhere says that there is no such page.
func (c *Handler) Nowhere(w http.ResponseWriter, r *http.Request) error {
	return c.Render(w, r, Page{
		Status:   http.StatusNotFound,
		Title:    phrase("nowhere.title"),
		Text:     "Not found",
		Lines:    []Phrase{phrase("sell.missing.hint")},
		Template: "code",
	})
}

// Failed says that a request failed for a reason which only the log is told.
func (c *Handler) Failed(w http.ResponseWriter, r *http.Request) error {
	return c.Render(w, r, Page{
		Status: http.StatusInternalServerError,
		Title:  phrase("wrong.title"),
		Lines:  []Phrase{phrase("wrong.hint")},
		Help:   true,
	})
}

// Stripe's session ids: test and live, of any length that has been seen or is likely.
var sessionID = regexp.MustCompile(`^cs_(test|live)_[A-Za-z0-9]{8,200}$`)

// liveTime is how long after the payment the success page leads to the live page, which may hold a
// code; later it is a receipt.
const liveTime = 30 * time.Minute

// now returns the ledger's time: what a page says of a payment is told by that. Pages alone need no
// ledger.
func (c *Handler) now() time.Time {
	if c.Ledger == nil {
		return time.Now()
	}
	return c.Ledger.Now()
}

// Success is where Stripe sends customers who paid. What it knows it knows from the ledger or from
// Stripe, never from the customer.
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
	case c.now().Sub(p.PaidAt) < liveTime:
		to := livePage(p)
		if payment.AccessCodeValid(p, c.now()) {
			to = accessPage(p)
		}
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	default:
		return c.Render(w, r, c.payment(p, c.now(), receiptAlone))
	}
}

func (c *Handler) notFound(w http.ResponseWriter, r *http.Request, hint string) error {
	return c.Render(w, r, Page{
		Status: http.StatusNotFound,
		Title:  phrase("payment.unknown.title"),
		Lines:  []Phrase{phrase(hint)},
		Help:   true,
	})
}

func (c *Handler) later(w http.ResponseWriter, r *http.Request) error {
	return c.Render(w, r, Page{
		Status:     http.StatusServiceUnavailable,
		Title:      phrase("payment.later.title"),
		Lines:      []Phrase{phrase("payment.later.text")},
		Reload:     2 * time.Second,
		RetryAfter: 2 * time.Second,
	})
}

var pageToken = regexp.MustCompile(`^[0-9a-f]{32}$`)

// paymentOfToken is the payment whose page a request asks for, or ledger.ErrNotFound.
func (c *Handler) paymentOfToken(r *http.Request) (payment.Payment, error) {
	token := r.PathValue("token")
	if !pageToken.MatchString(token) {
		return payment.Payment{}, ledger.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(r.Context(), web.ReadTimeout)
	defer cancel()
	return c.Ledger.PaymentOfToken(ctx, token)
}

// Payment is the payer's page.
func (c *Handler) Payment(w http.ResponseWriter, r *http.Request) error {
	return c.live(w, r, livePage, linkToCode)
}

// Access is the same with the code that opens the machine, for as long as it does.
func (c *Handler) Access(w http.ResponseWriter, r *http.Request) error {
	return c.live(w, r, accessPage, withCode)
}

func livePage(p payment.Payment) string   { return "/session/" + p.Token }
func accessPage(p payment.Payment) string { return "/access/" + p.Token }

// watch tells whose page is open.
func (c *Handler) watch(p payment.Payment) {
	if c.Watched != nil {
		c.Watched(p)
	}
}

func (c *Handler) live(
	w http.ResponseWriter,
	r *http.Request,
	path func(payment.Payment) string,
	code codeShown,
) error {
	p, err := c.paymentOfToken(r)
	if errors.Is(err, ledger.ErrNotFound) {
		return c.notFound(w, r, "payment.unknown.open")
	}
	if err != nil {
		return err
	}
	c.watch(p)
	page := c.payment(p, c.now(), code)
	page.events = path(p) + "/events"
	return c.Render(w, r, page)
}
