package apptest

import (
	"fmt"
	"net/http"
	"strings"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// Browser is the Accept header of a browser.
const Browser = "text/html,application/xhtml+xml,*/*;q=0.8"

// Shows checks the answer for a browser and for a program. Both get the status, the browser a page
// with the title, and the program the title as its first line.
func (f *Front) Shows(path string, status int, title, retryAfter string) {
	f.Helper()
	f.Tells(path, status, title, title, retryAfter)
}

// Tells does the same as Shows if programs get another text.
func (f *Front) Tells(path string, status int, title, text, retryAfter string) {
	f.Helper()
	for accept, want := range map[string]string{Browser: "<h1>" + title + "</h1>", "*/*": text + "\n"} {
		w := f.Get(path, "Accept", accept)
		f.Answers(path+" for "+accept, w, status, want)
		kind := map[bool]string{true: "text/html; charset=utf-8", false: "text/plain; charset=utf-8"}[accept == Browser]
		if got := w.Header().Get("Content-Type"); got != kind {
			f.Errorf("%s for %s: Content-Type %q; want %q", path, accept, got, kind)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			f.Errorf("%s: Cache-Control %q; want no-store", path, got)
		}
		if got := w.Header().Get("Retry-After"); got != retryAfter {
			f.Errorf("%s: Retry-After %q; want %q", path, got, retryAfter)
		}
	}
}

// Leads checks that a path redirects to an address.
func (f *Front) Leads(path, to string) {
	f.Helper()
	w := f.Get(path)
	if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != to ||
		w.Header().Get("Cache-Control") != "no-store" {
		f.Errorf(
			"%s: %d to %q, Cache-Control %q; want 307 to %q, no-store", path, w.Code,
			w.Header().Get("Location"), w.Header().Get("Cache-Control"), to,
		)
	}
}

// Scanned checks the answer to a scan.
func (f *Front) Scanned(when, device string, status int, text string) {
	f.Helper()
	w := f.Get("/pay?device=" + device)
	f.Answers(when, w, status, text)
	if status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "60" {
		f.Errorf("%s: Retry-After is %q; want 60", when, w.Header().Get("Retry-After"))
	}
}

// Sells checks in /pay and /health whether the washer is for sale, and that /health names the
// problems.
func (f *Front) Sells(want bool, problem ...string) {
	f.Helper()
	status, health := http.StatusServiceUnavailable, "degraded"
	if want {
		status, health = http.StatusTemporaryRedirect, "ok"
	}
	if w := f.Get("/pay?device=" + fixture.Washer); w.Code != status {
		f.Errorf("/pay answers %d; want %d", w.Code, status)
	}
	text := f.Get("/health").Body.String()
	for _, part := range append(problem, `"status":"`+health+`"`) {
		if !strings.Contains(text, part) {
			f.Errorf("/health lacks %q: %s", part, text)
		}
	}
}

// Locker makes the washer a locker.
func (f *Front) Locker(duration string) {
	f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) {
		p.Name, p.Metadata = "Locker", map[string]string{"access_code": "true", "duration": duration}
	})
}

// Timed gives the washer's plan a duration.
func (f *Front) Timed(d string) {
	f.Stripe.SetPrice(fixture.Warm, func(p *sandbox.Price) { p.Metadata = map[string]string{"duration": d} })
}

// OwnTerms adds two devices whose own variables differ from the default. It adds other devices
// before them, whose variables are read first.
func (f *Front) OwnTerms(others int) {
	f.Stripe.AddPrice(sandbox.Price{ID: "price_timed", Name: "An hour", Currency: "eur", Amount: 500, Active: true})
	for n := range others {
		f.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:0%03d", n), Name: fmt.Sprintf("Dryer %d", n)})
	}
	f.Notehub.AddDevice(
		sandbox.Device{UID: "dev:a", Name: "Washer A", Variables: map[string]string{"stripe_price_id": "price_timed"}},
	)
	f.Notehub.AddDevice(
		sandbox.Device{UID: "dev:b", Name: "Washer B", Variables: map[string]string{"payment_enabled": "false"}},
	)
}

// Prices returns the prices of all links that were ever created for a device.
func (f *Front) Prices(uid string) (list string) {
	for _, l := range f.Stripe.Links() {
		if l.DeviceUID == uid {
			list += l.PriceID + " "
		}
	}
	return strings.TrimSpace(list)
}

// LinkOf returns the newest link of a device and price.
func (f *Front) LinkOf(uid, price string) (found sandbox.Link) {
	for _, l := range f.Stripe.Links() {
		if l.DeviceUID == uid && l.PriceID == price {
			found = l
		}
	}
	return found
}

// Active returns the active links of a device.
func (f *Front) Active(uid string) (ids []string) {
	for _, l := range f.Stripe.Links() {
		if l.Active && l.DeviceUID == uid {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

// Manual checks the capture method of the active links.
func (f *Front) Manual(want string) {
	f.Helper()
	for _, l := range f.Stripe.Links() {
		if l.Active && (l.CaptureMethod == "manual") != (want == "manual") {
			f.Errorf("link %s captures %q; want %q", l.ID, l.CaptureMethod, want)
		}
	}
}

// Signs signs a link as another process does.
func (f *Front) Signs(link, process string) {
	f.Helper()
	s := f.Settings
	api := StripeOf(&s, sandbox.InProcess(f.Stripe))
	if err := api.SignLink(f.Context(), link, process); err != nil {
		f.Fatal(err)
	}
}

// Lists makes Stripe list these events in each reply.
func (f *Front) Lists(events ...string) {
	f.Stripe.Always(
		fixture.ListEvents,
		sandbox.Outcome{
			Status: 200,
			Body:   `{"object":"list","url":"/v1/events","has_more":false,"data":[` + strings.Join(events, ",") + `]}`,
		},
	)
}
