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

// browserCookie holds a random name of a browser, so that the browser has one open Checkout Session
// at a time. It identifies no person, and the browser deletes it when it closes.
const browserCookie = "notepay_browser"

// maxBrowserName is the maximum length of a browser's name, in bytes.
const maxBrowserName = 64

// browser returns the name of the browser, and whether notepay gave it that name before. If
// the browser has no name, or a GET request carries an unknown name, browser sets a new one. A
// browser without cookies gets a new name each time.
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

// Buy redirects to a Checkout Session for a plan of a machine. It reads only the plan from the form.
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
			Title:      msg("buy.often.title"),
			Machine:    web.MachineName(d.Name, d.UID),
			Lines:      []Message{msg("sell.free"), msg("buy.often.hint")},
			RetryAfter: time.Duration(tooOften),
		})
	default:
		wait := 10 * time.Second
		if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter > 0 {
			wait = e.RetryAfter
		}
		shown := c.Render(w, r, Page{
			Status:     http.StatusServiceUnavailable,
			Title:      msg("buy.later.title"),
			Machine:    web.MachineName(d.Name, d.UID),
			Lines:      []Message{msg("sell.free"), msg("buy.later.hint")},
			RetryAfter: wait,
		})
		return web.Shown(err, shown)
	}
}

// toPlans redirects to the current plans, because the form may come from an old page.
func (c *Handler) toPlans(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/use/"+url.PathEscape(d.UID), http.StatusSeeOther)
	return nil
}
