package customer

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/web"
)

// Terms is what customers are promised about their money before they pay.
type Terms struct {
	// of a credit, after which an undelivered one is given back; 0: never
	Lifetime      time.Duration
	LifetimeOf    func(uid string) (d time.Duration, ok bool) // where a machine has its own
	ConfirmWithin time.Duration                               // machines confirm within this; 0: they do not
	// money is held first, and taken when the machine confirms
	ManualCapture bool
}

// phrase says what holds for a machine.
func (t Terms) phrase(uid string) Phrase {
	lifetime := t.Lifetime
	if t.LifetimeOf != nil {
		if own, ok := t.LifetimeOf(uid); ok {
			lifetime = own
		}
	}
	switch {
	case lifetime <= 0:
		return phrase("terms.open")
	case t.ConfirmWithin > 0 && t.ManualCapture:
		return phrase("terms.held")
	case t.ConfirmWithin > 0:
		return phrase("terms.confirmed")
	default:
		return phrase("terms.delivered", "time", length(lifetime))
	}
}

// plan is what the template "plans" shows of one.
type plan struct {
	Name, Description string
	Price             Phrase
	Pay               Phrase // the button's words
	Lasts, Delayed    Phrase // zero where there is nothing to say
	Image             string // its address, "" for none
	URL               string // "" where it cannot be paid at the moment, and where sessions are made
	PriceID           string // that the button sends, where sessions are made; "" else
}

// imageHost is where Stripe keeps the images of products that were uploaded in its Dashboard. Those
// of other hosts would tell a stranger who stands in front of the machine.
const imageHost = "https://files.stripe.com"

// image is the address of a product's image, or "" where it is not shown.
func image(address string) string {
	if !strings.HasPrefix(address, imageHost+"/") {
		return ""
	}
	return address
}

// allowImages lets a page show what is on imageHost.
func allowImages(h http.Header) {
	h.Set("Content-Security-Policy",
		strings.Replace(h.Get("Content-Security-Policy"), "img-src", "img-src "+imageHost, 1))
}

// Plans shows what a machine sells, and leads to the payment.
func (c *Handler) Plans(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	page := Page{
		Status:   http.StatusOK,
		Title:    phrase("plans.title"),
		Machine:  web.MachineName(d.Name, d.UID),
		Template: "plans",
	}
	action := "/use/" + url.PathEscape(d.UID)
	if c.Checkout != nil {
		c.browser(w, r) // before the button can be pressed twice
	}
	if len(d.Offers) == 1 {
		page.Title = phrase("plans.one")
	}
	var plans []plan
	for _, o := range d.Offers {
		price := money{o.Plan.Amount, o.Plan.Currency}
		p := plan{
			Name:        o.Plan.Name,
			Description: o.Plan.Description,
			Price:       plain(price),
			Pay:         phrase("plans.pay", "price", price),
			Image:       image(o.Plan.Image),
			URL:         o.URL,
		}
		if o.Plan.Duration > 0 {
			p.Lasts = phrase("plans.lasts", "time", length(o.Plan.Duration))
		}
		if o.Plan.DelayedStart > 0 {
			p.Delayed = phrase("plans.delayed", "time", length(o.Plan.DelayedStart))
		}
		switch {
		case c.Checkout != nil:
			p.PriceID = o.Plan.PriceID
			page.extra = append(page.extra,
				o.Plan.Name+", "+price.in(english())+": POST price_id="+o.Plan.PriceID+" to "+action)
		case o.URL != "":
			page.extra = append(page.extra, o.Plan.Name+", "+price.in(english())+": "+o.URL)
		}
		plans = append(plans, p)
	}
	if slices.ContainsFunc(plans, func(p plan) bool { return p.Image != "" }) {
		allowImages(w.Header())
	}
	page.data = struct {
		Plans  []plan
		Action string
		Terms  Phrase
	}{plans, action, c.Terms.phrase(d.UID)}
	return c.Render(w, r, page)
}

// NoDevice says that a request names no machine. given is what it names instead.
func (c *Handler) NoDevice(w http.ResponseWriter, r *http.Request, given string) error {
	page := Page{
		Status:   http.StatusBadRequest,
		Title:    phrase("sell.missing.title"),
		Text:     "Missing device parameter",
		Lines:    []Phrase{phrase("sell.missing.hint")},
		Template: "code",
	}
	if strings.ContainsAny(given, "[]{}<>") { // a template that was not filled in (docs/vendors.md, U2)
		page.Title, page.Lines = phrase("sell.template.title"), []Phrase{phrase("sell.template.hint")}
	}
	return c.Render(w, r, page)
}

// NotSelling says before any money is taken why a machine cannot be paid for. A sale that is open
// is one that is held up because machines cannot be reached.
func (c *Handler) NotSelling(w http.ResponseWriter, r *http.Request, sale fleet.Availability) error {
	page := Page{Status: http.StatusServiceUnavailable}
	if sale.Device != nil {
		page.Machine = web.MachineName(sale.Device.Name, sale.Device.UID)
	}
	say := func(title string, hints ...Phrase) {
		page.Title = phrase(title)
		page.Lines = append([]Phrase{phrase("sell.free")}, hints...)
	}
	switch sale.State {
	case fleet.NotLoaded:
		page.Title, page.Lines = phrase("sell.starting.title"), []Phrase{phrase("sell.starting.hint")}
		page.Reload, page.RetryAfter = 2*time.Second, 2*time.Second
	case fleet.NoDevice:
		page.Status, page.Text, page.Template = http.StatusNotFound, "Device not found", "code"
		page.Title, page.Lines = phrase("sell.unknown.title"), []Phrase{phrase("sell.unknown.hint")}
	case fleet.Disabled:
		say("sell.disabled.title", phrase("sell.disabled.hint"))
	case fleet.PaymentsOff, fleet.LinkClosed, fleet.Unscannable:
		say("sell.off.title", phrase("sell.off.hint"))
	case fleet.Paused:
		if sale.Device.Pause.Automatic {
			say("sell.mute.title", phrase("sell.mute.hint"))
		} else {
			say("sell.paused.title", phrase("sell.paused.hint"))
		}
	case fleet.Offline:
		say("sell.offline.title", phrase("sell.offline.hint"))
	case fleet.InUse:
		if sale.Until.IsZero() {
			say("sell.busy.title", phrase("sell.busy.hint"))
			break
		}
		page.RetryAfter = max(sale.Until.Sub(c.now()), time.Second)
		say("sell.busy.title", phrase("sell.busy.until", "wait", about(page.RetryAfter)), phrase("sell.busy.hint"))
	case fleet.NoOffers:
		say("sell.nothing.title", phrase("sell.nothing.hint"))
		page.RetryAfter = time.Minute
	case fleet.Unread:
		say("sell.not_ready.title", phrase("sell.not_ready.hint"))
		page.Reload, page.RetryAfter = 2*time.Second, 2*time.Second
	case fleet.NotReady:
		say("sell.not_ready.title", phrase("sell.not_ready.hint"))
		page.Reload, page.RetryAfter = time.Second, time.Second
	default:
		say("sell.late.title", phrase("sell.late.hint"))
		page.RetryAfter = time.Minute
	}
	return c.Render(w, r, page)
}

// NotReached tells before any money is taken that Notehub does not take the notes for a machine.
func (c *Handler) NotReached(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	return c.Render(w, r, Page{
		Status:     http.StatusServiceUnavailable,
		Machine:    web.MachineName(d.Name, d.UID),
		Title:      phrase("sell.unreached.title"),
		Lines:      []Phrase{phrase("sell.free"), phrase("sell.late.hint")},
		RetryAfter: time.Minute,
	})
}
