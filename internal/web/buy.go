package web

import (
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"notepay/internal/checkout"
	"notepay/internal/fleet"
	"notepay/internal/upstream"
)

// browserCookie holds a random name for a browser, so that it has one session at a time. It says nothing of who uses it, and ends with the browser.
const browserCookie = "notepay_browser"

// browser is the name of the browser that asks, given to it with the answer if it has none. A browser that keeps no cookies has another each time.
func (c *Customer) browser(w http.ResponseWriter, r *http.Request) string {
	name := rand.Text()
	if given, err := r.Cookie(browserCookie); err == nil && len(given.Value) == len(name) {
		return given.Value
	}
	http.SetCookie(w, &http.Cookie{Name: browserCookie, Value: name, Path: "/", HttpOnly: true, Secure: c.HTTPS, SameSite: http.SameSiteLaxMode})
	return name
}

// Buy leads to the session at which a plan of a machine is paid. The plan is all that is taken from the form.
func (c *Customer) Buy(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	LimitForm(w, r)
	if err := r.ParseForm(); err != nil {
		return c.toPlans(w, r, d)
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	to, err := c.Checkout.URL(r.Context(), c.browser(w, r), address, d, r.PostForm.Get("price_id"))
	tooOften, limited := errors.AsType[checkout.TooOften](err)
	switch {
	case err == nil:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	case errors.Is(err, checkout.ErrNoPlan):
		return c.toPlans(w, r, d)
	case limited:
		return c.Show(w, r, Page{Status: http.StatusTooManyRequests, Title: phrase("buy.often.title"), Machine: MachineName(d.Name, d.UID),
			Lines: []Phrase{phrase("sell.free"), phrase("buy.often.hint")}, RetryAfter: time.Duration(tooOften)})
	default:
		wait := 10 * time.Second
		if e, ok := errors.AsType[*upstream.Error](err); ok && e.RetryAfter > 0 {
			wait = e.RetryAfter
		}
		shown := c.Show(w, r, Page{Status: http.StatusServiceUnavailable, Title: phrase("buy.later.title"), Machine: MachineName(d.Name, d.UID),
			Lines: []Phrase{phrase("sell.free"), phrase("buy.later.hint")}, RetryAfter: wait})
		return answered(err, shown)
	}
}

// toPlans shows what the machine sells now: the page with the button may be an old one.
func (c *Customer) toPlans(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/use/"+url.PathEscape(d.UID), http.StatusSeeOther)
	return nil
}
