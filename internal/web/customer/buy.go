package customer

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"notepay/internal/checkout"
	"notepay/internal/fleet"
	"notepay/internal/upstream"
	"notepay/internal/web"
)

// browserCookie holds a random name for a browser, so that it has one session at a time. It says
// nothing of who uses it, and ends with the browser.
const browserCookie = "notepay_browser"

// maxBrowserName bounds what is taken for a browser's name, in bytes.
const maxBrowserName = 64

// browser is the name of the browser that asks, given to it with the answer if it has none, and
// whether it is one that we gave it before. A browser that keeps no cookies has another each time.
// A page also replaces a name that is not of this process.
func (c *Handler) browser(w http.ResponseWriter, r *http.Request) (name string, known bool) {
	if given, err := r.Cookie(browserCookie); err == nil && given.Value != "" && len(given.Value) <= maxBrowserName {
		if known = c.Checkout.Named(given.Value); known || r.Method == http.MethodPost {
			return given.Value, known
		}
	}
	name = c.Checkout.NewBrowser()
	http.SetCookie(w, &http.Cookie{
		Name:     browserCookie,
		Value:    name,
		Path:     "/",
		HttpOnly: true,
		Secure:   c.HTTPS,
		SameSite: http.SameSiteLaxMode,
	})
	return name, false
}

// Buy leads to the session at which a plan of a machine is paid. The plan is all that is taken from
// the form.
func (c *Handler) Buy(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	web.LimitForm(w, r)
	if err := r.ParseForm(); err != nil {
		return c.toPlans(w, r, d)
	}
	browser, known := c.browser(w, r)
	to, err := c.Checkout.URL(r.Context(), browser, known, d, r.PostForm.Get("price_id"))
	tooOften, limited := errors.AsType[checkout.TooOften](err)
	switch {
	case err == nil:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	case errors.Is(err, checkout.ErrNoPlan):
		return c.toPlans(w, r, d)
	case limited:
		return c.Render(w, r, Page{
			Status:     http.StatusTooManyRequests,
			Title:      phrase("buy.often.title"),
			Machine:    web.MachineName(d.Name, d.UID),
			Lines:      []Phrase{phrase("sell.free"), phrase("buy.often.hint")},
			RetryAfter: time.Duration(tooOften),
		})
	default:
		wait := 10 * time.Second
		if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter > 0 {
			wait = e.RetryAfter
		}
		shown := c.Render(w, r, Page{
			Status:     http.StatusServiceUnavailable,
			Title:      phrase("buy.later.title"),
			Machine:    web.MachineName(d.Name, d.UID),
			Lines:      []Phrase{phrase("sell.free"), phrase("buy.later.hint")},
			RetryAfter: wait,
		})
		return web.Shown(err, shown)
	}
}

// toPlans shows what the machine sells now: the page with the button may be an old one.
func (c *Handler) toPlans(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/use/"+url.PathEscape(d.UID), http.StatusSeeOther)
	return nil
}
