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

// Terms is what notepay promises about the money before a customer pays.
type Terms struct {
	// Lifetime is the time after which an undelivered credit is refunded. 0: never.
	Lifetime time.Duration
	// LifetimeOf returns the lifetime of a machine that has its own.
	LifetimeOf func(uid string) (d time.Duration, ok bool)
	// ConfirmWithin is the time within which machines confirm. 0: they do not confirm.
	ConfirmWithin time.Duration
	// ManualCapture authorizes the money first, and captures it when the machine confirms.
	ManualCapture bool
}

// message returns the terms of a machine.
func (t Terms) message(uid string) Message {
	lifetime := t.Lifetime
	if t.LifetimeOf != nil {
		if own, ok := t.LifetimeOf(uid); ok {
			lifetime = own
		}
	}
	return t.promise(lifetime)
}

// promise returns the terms of a machine with a lifetime of credits.
func (t Terms) promise(lifetime time.Duration) Message {
	switch {
	case lifetime <= 0:
		return msg("terms.open")
	case t.ConfirmWithin > 0 && t.ManualCapture:
		return msg("terms.held")
	case t.ConfirmWithin > 0:
		return msg("terms.confirmed")
	default:
		return msg("terms.delivered", "time", duration(lifetime))
	}
}

// plan is a plan in the template "plans".
type plan struct {
	Name, Description string
	Price             Message
	Pay               Message // label of the button
	Lasts, Delayed    Message // zero if there is nothing to say
	Image             string  // address, "" for none
	URL               string  // of the Payment Link; "" with sessions, or while there is no link
	PriceID           string  // sent by the button, with sessions; "" with links
}

// imageHost is where Stripe keeps product images that were uploaded in its Dashboard. Images of
// other hosts are not shown, because those hosts would learn about each customer.
const imageHost = "https://files.stripe.com"

// image returns the address of a product's image, or "" if it is not on imageHost.
func image(address string) string {
	if !strings.HasPrefix(address, imageHost+"/") {
		return ""
	}
	return address
}

// allowImages lets a page show images of imageHost.
func allowImages(h http.Header) {
	h.Set("Content-Security-Policy",
		strings.Replace(h.Get("Content-Security-Policy"), "img-src", "img-src "+imageHost, 1))
}

// Plans serves the plans of a machine, each with a button to pay.
func (c *Handler) Plans(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	page := Page{
		Status:   http.StatusOK,
		Title:    msg("plans.title"),
		Machine:  web.MachineName(d.Name, d.UID),
		Template: "plans",
	}
	action := "/use/" + url.PathEscape(d.UID)
	if buyingAgain(r) {
		action += "?again=1"
	}
	if c.Checkout != nil {
		c.browser(w, r) // set the name before the button can be pressed twice
	}
	if len(d.Offers) == 1 {
		page.Title = msg("plans.one")
	}
	if c.Goodwill.Offered(d) {
		page.links = []link{{"/free?device=" + url.QueryEscape(d.UID), msg("free.link")}}
	}
	var plans []plan
	for _, o := range d.Offers {
		price := money{o.Plan.Amount, o.Plan.Currency}
		p := plan{
			Name:        o.Plan.Name,
			Description: o.Plan.Description,
			Price:       msgOf(price),
			Pay:         msg("plans.pay", "price", price),
			Image:       image(o.Plan.Image),
			URL:         o.URL,
		}
		if o.Plan.Duration > 0 {
			p.Lasts = msg("plans.lasts", "time", duration(o.Plan.Duration))
		}
		if o.Plan.DelayedStart > 0 {
			p.Delayed = msg("plans.delayed", "time", duration(o.Plan.DelayedStart))
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
		Terms  Message
	}{plans, action, ofKind(c.Terms.message(d.UID), d.Kind())}
	return c.Render(w, r, page)
}

// NoDevice answers a request that names no machine. given is what the request names instead.
func (c *Handler) NoDevice(w http.ResponseWriter, r *http.Request, given string) error {
	page := Page{
		Status:   http.StatusBadRequest,
		Title:    msg("sell.missing.title"),
		Text:     "Missing device parameter",
		Lines:    []Message{msg("sell.missing.hint")},
		Template: "code",
	}
	if strings.ContainsAny(given, "[]{}<>") { // an unfilled template (docs/vendors.md, U2)
		page.Title, page.Lines = msg("sell.template.title"), []Message{msg("sell.template.hint")}
	}
	return c.Render(w, r, page)
}

// WhichDevice lets the customer choose among devices with the same short code, which is so if a
// device was added after a sticker was printed. Each link leads to one machine.
func (c *Handler) WhichDevice(w http.ResponseWriter, r *http.Request, devices []*fleet.Device) error {
	page := Page{
		Status: http.StatusMultipleChoices,
		Title:  msg("sell.missing.title"),
		Text:   "Several devices",
		Lines:  []Message{msg("sell.which.hint")},
	}
	for _, d := range devices {
		to := "/pay/" + url.PathEscape(d.UID)
		page.links = append(page.links, link{to, msgOf(literal(web.MachineName(d.Name, d.UID)))})
	}
	return c.Render(w, r, page)
}

// busyReload is how often the page of a machine in use asks whether the machine is free.
const busyReload = 15 * time.Second

// NotSelling answers why a machine cannot be paid for. If its state is Open, sales have stopped
// because Notehub cannot be reached.
func (c *Handler) NotSelling(w http.ResponseWriter, r *http.Request, sale fleet.Availability) error {
	page := Page{Status: http.StatusServiceUnavailable}
	if sale.Device != nil {
		page.Machine = web.MachineName(sale.Device.Name, sale.Device.UID)
	}
	show := func(title string, hints ...Message) {
		page.Title = ofKind(msg(title), sale.Device.Kind())
		if own := c.ownPayments(r, sale.Device.UID); len(own) > 0 { // they want to pay once more
			page.Lines = append([]Message{msg("mine.open")}, hints...)
			page.retry, page.again = c.pageOf(own[0]), msg("mine.show")
			return
		}
		page.Lines = append([]Message{msg("sell.free")}, hints...)
		page.links = []link{{findPage(sale.Device.UID), msg("find.link")}}
	}
	switch sale.State {
	case fleet.NotLoaded:
		page.Title, page.Lines = msg("sell.starting.title"), []Message{msg("sell.starting.hint")}
		page.Reload, page.RetryAfter = 2*time.Second, 2*time.Second
	case fleet.NoDevice:
		page.Status, page.Text, page.Template = http.StatusNotFound, "Device not found", "code"
		page.Title, page.Lines = msg("sell.unknown.title"), []Message{msg("sell.unknown.hint")}
	case fleet.Disabled:
		show("sell.disabled.title", msg("sell.disabled.hint"))
	case fleet.PaymentsOff, fleet.LinkClosed, fleet.Unscannable:
		show("sell.off.title", msg("sell.off.hint"))
	case fleet.NoKey:
		show("sell.off.title", msg("sell.off.hint"))
		page.RetryAfter = time.Minute
	case fleet.Paused:
		if sale.Device.Pause.Automatic {
			show("sell.mute.title", msg("sell.mute.hint"))
		} else {
			show("sell.paused.title", msg("sell.paused.hint"))
		}
	case fleet.Maintained, fleet.OutOfHours:
		title, zone := "sell.paused.title", c.zone()
		if h := sale.Device.Hours(); h != nil {
			zone = h.Zone()
		}
		if sale.State == fleet.Maintained {
			title = "sell.maintenance.title"
		}
		page.RetryAfter = max(sale.Until.Sub(c.now()), time.Second)
		opens := opening{moment{sale.Until, zone}, c.now()}
		show(title, msg("sell.hours.opens", "time", opens), msg("sell.paused.hint"))
	case fleet.OutOfOrder:
		hints := []Message{msg("sell.out.hint")}
		if sale.Device.CodeName(sale.Reason) != "" { // the customer may be able to help, as by closing a door
			hints = append([]Message{codeMessage(sale.Device, sale.Reason)}, hints...)
		}
		show("sell.out.title", hints...)
		page.RetryAfter = time.Minute
	case fleet.Offline:
		show("sell.offline.title", msg("sell.offline.hint"))
	case fleet.InUse:
		page.next, page.Reload = "/use/"+url.PathEscape(sale.Device.UID), busyReload
		if sale.Until.IsZero() {
			show("sell.busy.title", msg("sell.busy.hint"))
			break
		}
		page.RetryAfter = max(sale.Until.Sub(c.now()), time.Second)
		show("sell.busy.title", msg("sell.busy.until", "wait", about(page.RetryAfter)), msg("sell.busy.hint"))
	case fleet.NoOffers:
		show("sell.nothing.title", msg("sell.nothing.hint"))
		page.RetryAfter = time.Minute
	case fleet.Unread:
		show("sell.not_ready.title", msg("sell.not_ready.hint"))
		page.Reload, page.RetryAfter = 2*time.Second, 2*time.Second
	case fleet.NotReady:
		show("sell.not_ready.title", msg("sell.not_ready.hint"))
		page.Reload, page.RetryAfter = time.Second, time.Second
	default:
		show("sell.late.title", msg("sell.late.hint"))
		page.RetryAfter = time.Minute
	}
	return c.Render(w, r, page)
}

// NotReached answers that Notehub rejects the notes for a machine.
func (c *Handler) NotReached(w http.ResponseWriter, r *http.Request, d *fleet.Device) error {
	return c.Render(w, r, Page{
		Status:     http.StatusServiceUnavailable,
		Machine:    web.MachineName(d.Name, d.UID),
		Title:      msg("sell.unreached.title"),
		Lines:      []Message{msg("sell.free"), msg("sell.late.hint")},
		RetryAfter: time.Minute,
	})
}
