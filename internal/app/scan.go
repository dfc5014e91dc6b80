package app

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"notepay/internal/fleet"
	"notepay/internal/uid"
	"notepay/internal/web/api"
	"notepay/internal/web/customer"
)

// pay redirects a scan to the machine's Payment Link. If there are several plans, or each purchase
// needs its own session, it shows the page of plans instead. It reads memory only.
func (a *App) pay(w http.ResponseWriter, r *http.Request) error {
	given := r.PathValue("uid")
	if given == "" {
		given = deviceParameter(r)
	}
	d, err := a.deviceForScan(w, r, given)
	if d == nil {
		return err
	}
	if len(d.Offers) > 1 || a.checkout != nil || a.goodwill.Offered(d) {
		return a.customer.Plans(w, r, d)
	}
	a.metrics.Redirects.Inc()
	h := w.Header()
	withoutContent(h)
	h["Location"] = []string{d.Offers[0].URL}
	h["Cache-Control"] = noStore
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// use shows the page of plans of a machine, even if there is only one plan.
func (a *App) use(w http.ResponseWriter, r *http.Request) error {
	d, err := a.deviceForScan(w, r, r.PathValue("uid"))
	if d == nil {
		return err
	}
	return a.customer.Plans(w, r, d)
}

// buy leads who pressed the button of a plan to a session for it.
func (a *App) buy(w http.ResponseWriter, r *http.Request) error {
	d, err := a.deviceForScan(w, r, r.PathValue("uid"))
	if d == nil {
		return err
	}
	return a.customer.Buy(w, r, d)
}

// deviceForScan returns the scanned device if it sells now. Otherwise it writes a page with the
// reason and returns nil. A payer whose payment for the device is open is sent back to its page.
func (a *App) deviceForScan(w http.ResponseWriter, r *http.Request, given string) (*fleet.Device, error) {
	uid, ok := uid.Parse(given)
	if !ok {
		if to := customer.FreePage(given); to != "" {
			w.Header()["Cache-Control"] = noStore
			http.Redirect(w, r, to, http.StatusSeeOther)
			return nil, nil
		}
		var err error
		if uid, err = a.deviceOfCode(w, r, given); uid == "" {
			return nil, err
		}
	}
	uid = a.Fleet.Meant(uid)
	if own := a.customer.OwnPage(r, uid); own != "" {
		w.Header()["Cache-Control"] = noStore
		http.Redirect(w, r, own, http.StatusSeeOther)
		return nil, nil
	}
	return a.sellable(w, r, uid)
}

// sellable returns a device if it sells now. Otherwise it writes a page with the reason and returns nil.
func (a *App) sellable(w http.ResponseWriter, r *http.Request, uid string) (*fleet.Device, error) {
	sale := a.selling(uid)
	if sale.State != fleet.Open || a.closed() {
		return nil, a.customer.NotSelling(w, r, sale)
	}
	if a.Bridge.LateFor(uid) {
		return nil, a.customer.NotReached(w, r, sale.Device)
	}
	return sale.Device, nil
}

// redeem starts a machine with a code for a free start, under the conditions of a sale.
func (a *App) redeem(w http.ResponseWriter, r *http.Request) error {
	return a.customer.Redeem(w, r, func(w http.ResponseWriter, r *http.Request, given string) (*fleet.Device, error) {
		key, ok := uid.Parse(given)
		if !ok {
			var err error
			if key, err = a.deviceOfCode(w, r, given); key == "" {
				return nil, err
			}
		}
		return a.sellable(w, r, a.Fleet.Meant(key))
	})
}

// deviceOfCode returns the UID of the device with a short code. If there is not exactly one, it writes
// a page and returns "".
func (a *App) deviceOfCode(w http.ResponseWriter, r *http.Request, given string) (string, error) {
	code, ok := uid.ParseCode(given)
	if !ok {
		return "", a.customer.NoDevice(w, r, given)
	}
	switch found := a.Fleet.ByCode(code); {
	case len(found) == 1:
		return found[0].UID, nil
	case len(found) > 1:
		return "", a.customer.WhichDevice(w, r, found)
	case !a.Fleet.Loaded():
		return "", a.customer.NotSelling(w, r, fleet.Availability{State: fleet.NotLoaded})
	default:
		return "", a.customer.NotSelling(w, r, fleet.Availability{State: fleet.NoDevice})
	}
}

// free reports whether a device can be paid for now. Unlike a scan, it causes no calls.
func (a *App) free(uid string) bool {
	return a.Fleet.Sells(uid, a.Ledger.Now()) && !a.closed() && !a.Bridge.LateFor(uid)
}

// closed reports whether sales are stopped on all machines, because credits are late or a problem
// stops sales.
func (a *App) closed() bool { return a.Bridge.Late() || a.Problems.StopsSales() }

// selling returns whether a machine sells. If the machine or its link is not known yet, it asks the
// fleet to look it up first, because a customer is waiting.
func (a *App) selling(uid string) fleet.Availability {
	sale := a.Fleet.Availability(uid, a.Ledger.Now())
	switch sale.State {
	case fleet.NoDevice:
		a.Fleet.RequestLookup(uid)
	case fleet.NotReady:
		a.Fleet.Prioritize(uid)
	}
	return sale
}

// createPaymentLink answers with the address at which a plan of a machine is paid, for the
// operator's own front ends. The price alone decides the amount, so other fields of the body are not
// read.
func (a *App) createPaymentLink(w http.ResponseWriter, r *http.Request) error {
	var request struct {
		ID      string `json:"id"`
		PriceID string `json:"price_id"` // "" for the first offer
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return &api.Error{
				Status:  http.StatusRequestEntityTooLarge,
				Code:    "too_large",
				Message: "the body is larger than 1 MiB",
			}
		}
		return &api.Error{
			Status:  http.StatusBadRequest,
			Code:    "bad_body",
			Message: `the body must be JSON with the device's UID as "id", and optionally "price_id"`,
		}
	}
	uid, ok := uid.Parse(request.ID)
	if !ok {
		return &api.Error{
			Status:  http.StatusBadRequest,
			Code:    "bad_id",
			Message: `"id" must be a device UID, dev:...`,
		}
	}
	uid = a.Fleet.Meant(uid)
	sale := a.selling(uid)
	switch {
	case sale.State == fleet.NoDevice:
		return &api.Error{Status: http.StatusNotFound, Code: "not_found", Message: "no device has this UID"}
	case sale.State == fleet.Unread:
		w.Header().Set("Retry-After", "2")
		return &api.Error{
			Status:  http.StatusConflict,
			Code:    string(sale.State),
			Message: "the device's variables are being read; try again in a moment",
		}
	case sale.State != fleet.Open:
		return &api.Error{
			Status:  http.StatusConflict,
			Code:    string(sale.State),
			Message: "the device is not taking payments right now",
		}
	case a.Bridge.Late():
		return &api.Error{
			Status:  http.StatusConflict,
			Code:    "late",
			Message: "credits wait too long to be sent, so all sales are stopped",
		}
	case a.Bridge.LateFor(uid):
		return &api.Error{
			Status:  http.StatusConflict,
			Code:    "late",
			Message: "credits of this device wait too long to be sent, so its sales are stopped",
		}
	case a.Problems.StopsSales():
		return &api.Error{
			Status:  http.StatusConflict,
			Code:    "closed",
			Message: "all sales are stopped; see /health for the reason",
		}
	}
	for _, o := range sale.Device.Offers {
		switch {
		case request.PriceID != "" && o.Plan.PriceID != request.PriceID:
		case a.checkout != nil: // the button of that page creates the session
			return api.WriteJSON(w, http.StatusCreated, linkCreated(a.publicURL+"/use/"+uid))
		case o.URL != "":
			return api.WriteJSON(w, http.StatusCreated, linkCreated(o.URL))
		case request.PriceID != "" && o.Closed != "":
			return &api.Error{
				Status:  http.StatusConflict,
				Code:    string(fleet.LinkClosed),
				Message: "the link of this price was deactivated in Stripe's Dashboard",
			}
		case request.PriceID != "":
			a.Fleet.Prioritize(uid)
			return &api.Error{
				Status:  http.StatusConflict,
				Code:    string(fleet.NotReady),
				Message: "the link is not ready yet; try again in a moment",
			}
		}
	}
	return &api.Error{
		Status:  http.StatusNotFound,
		Code:    "no_such_price",
		Message: "the device does not sell this price",
	}
}

// linkCreated returns the answer with the address at which a plan is paid.
func linkCreated(url string) any {
	return map[string]any{"message": "Payment link created", "data": map[string]string{"url": url}}
}

// deviceParameter returns the query parameter device, or one of the other spellings that a sticker's
// redirect may carry (docs/vendors.md, U2). It scans the raw query, because parsing it into a map
// takes a quarter of the time of a scan.
func deviceParameter(r *http.Request) string {
	for _, name := range []string{"device", "deviceuid", "device_uid"} {
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			key, given, found := strings.Cut(pair, "=")
			if !found && strings.Contains(pair, "%") { // a shortener has escaped the whole query
				plain, err := url.QueryUnescape(pair)
				if err != nil {
					continue
				}
				key, given, _ = strings.Cut(plain, "=")
			}
			if !strings.EqualFold(key, name) { // a QR code may be all upper case
				continue
			}
			if v, err := url.QueryUnescape(given); err == nil && v != "" {
				return v
			}
		}
	}
	return ""
}
