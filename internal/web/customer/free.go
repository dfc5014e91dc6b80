package customer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/clientaddr"
	"notepay/internal/fleet"
	"notepay/internal/goodwill"
	"notepay/internal/payment"
	"notepay/internal/ratelimit"
	"notepay/internal/uid"
	"notepay/internal/web"
)

// A code for a free start can be guessed, but with these limits a guess at 1,000 open codes succeeds
// once in a thousand years.
const (
	freePerAddress, freeAddressInterval = 10, time.Minute / 2
	freeInTotal, freeTotalInterval      = 30, time.Second
)

// freeLimits limits how often codes for free starts are tried.
type freeLimits struct {
	all       *rate.Limiter
	addresses *ratelimit.Keyed
}

func newFreeLimits() freeLimits {
	return freeLimits{
		all:       rate.NewLimiter(rate.Every(freeTotalInterval), freeInTotal),
		addresses: ratelimit.NewKeyed(rate.Every(freeAddressInterval), freePerAddress),
	}
}

// take counts a try of an address. It returns how long the customer must wait, or 0.
func (l freeLimits) take(address string, now time.Time) time.Duration {
	if wait := l.addresses.Take(address, now); wait > 0 {
		return wait // it takes nothing from all others
	}
	return ratelimit.Take(l.all, now)
}

// freePage returns the address of a code's page.
func freePage(code, device string) string {
	to := "/free/" + uid.ShowStartCode(code)
	if device != "" {
		to += "?device=" + url.QueryEscape(device)
	}
	return to
}

// FreePage returns the page of a code for a free start, or "" if the text is no such code. Customers
// may type it where they type the code on the machine.
func FreePage(given string) string {
	code, ok := uid.ParseStartCode(given)
	if !ok {
		return ""
	}
	return freePage(code, "")
}

// freeForm is the data of the template "free".
type freeForm struct {
	Problem string
	Device  string // UID of the machine that the customer scanned, "" if unknown
	Action  string // where the form or button leads
	Start   string // label of the button that starts the machine; "": the form asks for something
	Machine bool   // the form asks for the code on the machine, and not for that of the free start
}

// FreeForm serves the form for a code, or leads to the page of the code that was typed.
func (c *Handler) FreeForm(w http.ResponseWriter, r *http.Request) error {
	device := r.URL.Query().Get("device")
	given := r.URL.Query().Get("code")
	if code, ok := uid.ParseStartCode(given); ok {
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, freePage(code, device), http.StatusSeeOther)
		return nil
	}
	problem, status := Message{}, http.StatusOK
	if given != "" {
		problem, status = msg("free.invalid"), http.StatusNotFound
	}
	return c.freeForm(w, r, status, device, problem, 0)
}

func (c *Handler) freeForm(
	w http.ResponseWriter, r *http.Request, status int, device string, problem Message, wait time.Duration,
) error {
	page := Page{Status: status, Title: msg("free.title"), Template: "free", RetryAfter: wait, Help: problem.Key != ""}
	form := freeForm{Problem: languageOf(r).Translate(problem), Action: "/free"}
	if d := c.device(device); d != nil {
		page.Machine, form.Device = web.MachineName(d.Name, d.UID), d.UID
	}
	page.data = form
	return c.Render(w, r, page)
}

// FreeCode serves the page of a code. It changes nothing, because programs that preview links open it too.
func (c *Handler) FreeCode(w http.ResponseWriter, r *http.Request) error {
	_, found, err := c.freeCode(w, r)
	if found == nil {
		return err
	}
	return c.offerFree(w, r, http.StatusOK, *found, Message{})
}

// freeCode returns the code of the request's path. If the code cannot be used, it answers and returns
// nil. A code that was used leads to the page of its free start.
func (c *Handler) freeCode(w http.ResponseWriter, r *http.Request) (string, *goodwill.Code, error) {
	device := r.URL.Query().Get("device")
	if wait := c.limits().free.take(clientaddr.Key(r.RemoteAddr), c.now()); wait > 0 {
		return "", nil, c.freeForm(w, r, http.StatusTooManyRequests, device, msg("free.often"), wait)
	}
	code, ok := uid.ParseStartCode(r.PathValue("code"))
	if !ok || c.Goodwill == nil {
		return "", nil, c.freeForm(w, r, http.StatusNotFound, device, msg("free.invalid"), 0)
	}
	ctx, cancel := context.WithTimeout(r.Context(), web.ReadTimeout)
	defer cancel()
	found, err := c.Goodwill.Find(ctx, code)
	switch {
	case errors.Is(err, goodwill.ErrInvalid):
		return "", nil, c.freeForm(w, r, http.StatusNotFound, device, msg("free.invalid"), 0)
	case err != nil:
		return "", nil, err
	case found.Started.ID != "" && c.now().Sub(found.UsedAt) > livePageTime && !openForPayer(found.Started, c.now()):
		return "", nil, c.freeForm(w, r, http.StatusNotFound, device, msg("free.invalid"), 0)
	case found.Started.ID != "":
		return "", nil, c.toLivePage(w, r, found.Started, "")
	}
	return code, &found, nil
}

// offerFree serves the page on which a customer starts the machine. If the code is for several machines,
// the page asks for the machine first.
func (c *Handler) offerFree(
	w http.ResponseWriter, r *http.Request, status int, found goodwill.Code, problem Message,
) error {
	d := c.device(r.URL.Query().Get("device"))
	if found.DeviceUID != "" {
		d = c.device(found.DeviceUID)
	}
	l := languageOf(r)
	page := Page{Status: status, Title: msg("free.one"), Template: "free", Help: problem.Key != ""}
	form := freeForm{Problem: l.Translate(problem), Action: r.URL.Path, Machine: true}
	page.Lines = []Message{msg("free.site")}
	if d != nil {
		page.Machine, form.Device = web.MachineName(d.Name, d.UID), d.UID
		form.Start, form.Machine = l.Translate(ofKind(msg("free.start"), d.Kind())), false
		page.Lines = []Message{msg("free.for", "machine", page.Machine), msg("free.when")}
	}
	page.Lines = append(page.Lines, msg("free.until", "time", day{found.ExpiresAt, c.zone()}))
	page.data = form
	return c.Render(w, r, page)
}

// day is a day where the machine stands.
type day moment

func (d day) in(l Language) string { return l.digits(d.at.In(zoneOr(d.zone)).Format("2006-01-02")) }

// Redeem starts a machine with the code of the request's path. sellable returns the device with a UID or
// a code of a sticker if customers can pay for it now. Otherwise it answers, and returns nil.
func (c *Handler) Redeem(
	w http.ResponseWriter,
	r *http.Request,
	sellable func(w http.ResponseWriter, r *http.Request, given string) (*fleet.Device, error),
) error {
	web.LimitForm(w, r)
	code, found, err := c.freeCode(w, r)
	if found == nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return c.offerFree(w, r, http.StatusBadRequest, *found, msg("sell.missing.title"))
	}
	given := r.PostForm.Get("device")
	if found.DeviceUID != "" {
		given = found.DeviceUID
	}
	d, err := sellable(w, r, given)
	if d == nil {
		return err
	}
	if r.PostForm.Get("start") == "" { // the machine was typed, and is to be confirmed by name
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, freePage(code, d.UID), http.StatusSeeOther)
		return nil
	}
	p, err := c.Goodwill.Redeem(r.Context(), code, d)
	switch {
	case errors.Is(err, goodwill.ErrOtherMachine):
		return c.offerFree(w, r, http.StatusConflict, *found, msg("free.other"))
	case errors.Is(err, payment.ErrState):
		return c.NotSelling(w, r, fleet.Availability{State: fleet.InUse, Device: d})
	case errors.Is(err, goodwill.ErrInvalid): // a second press was faster
		http.Redirect(w, r, freePage(code, ""), http.StatusSeeOther)
		return nil
	case err != nil:
		return err
	}
	c.Log.Info("goodwill code redeemed", "payment", p.ID, "device", p.DeviceUID)
	return c.toLivePage(w, r, p, "")
}
