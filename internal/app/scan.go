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
)

// pay leads a scan to the machine's Payment Link, or to the page of its plans if there are several
// or a session is made for each purchase. It reads memory only.
func (s *App) pay(w http.ResponseWriter, r *http.Request) error {
	given := r.PathValue("uid")
	if given == "" {
		given = deviceParameter(r)
	}
	d, err := s.deviceForScan(w, r, given)
	if d == nil {
		return err
	}
	if len(d.Offers) > 1 || s.checkout != nil {
		return s.Customer.Plans(w, r, d)
	}
	s.Metrics.Redirects.Inc()
	h := w.Header()
	h["Location"] = []string{d.Offers[0].URL}
	h["Cache-Control"] = noStore
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// use shows what a machine sells, also if it is one plan.
func (s *App) use(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deviceForScan(w, r, r.PathValue("uid"))
	if d == nil {
		return err
	}
	return s.Customer.Plans(w, r, d)
}

// buy leads who pressed the button of a plan to a session for it.
func (s *App) buy(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deviceForScan(w, r, r.PathValue("uid"))
	if d == nil {
		return err
	}
	return s.Customer.Buy(w, r, d)
}

// deviceForScan is the machine that a scan is of, if it sells. Of any other the customer is told
// why it does not, and it returns nil.
func (s *App) deviceForScan(w http.ResponseWriter, r *http.Request, given string) (*fleet.Device, error) {
	uid, ok := uid.Parse(given)
	if !ok {
		return nil, s.Customer.NoDevice(w, r, given)
	}
	sale := s.selling(uid)
	if sale.State != fleet.Open || s.closed() {
		return nil, s.Customer.NotSelling(w, r, sale)
	}
	if s.Bridge.LateFor(uid) {
		return nil, s.Customer.NotReached(w, r, sale.Device)
	}
	return sale.Device, nil
}

// closed reports whether nothing may be sold on any machine now: credits run late, or a problem
// stops sales.
func (s *App) closed() bool { return s.Bridge.Late() || s.Problems.StopsSales() }

// selling says whether a machine sells, and has what is missing looked for: somebody is waiting for
// it.
func (s *App) selling(uid string) fleet.Availability {
	sale := s.Fleet.Availability(uid, s.Ledger.Now())
	switch sale.State {
	case fleet.NoDevice:
		s.Fleet.RequestLookup(uid)
	case fleet.NotReady:
		s.Fleet.Prioritize(uid)
	}
	return sale
}

// createPaymentLink gives the operator's own front ends the address at which a plan of a machine is
// paid. What it costs is decided by the price alone: whatever else the body holds is not read.
func (s *App) createPaymentLink(w http.ResponseWriter, r *http.Request) error {
	var wish struct {
		ID      string `json:"id"`
		PriceID string `json:"price_id"` // "" for the first that the machine sells
	}
	if err := json.NewDecoder(r.Body).Decode(&wish); err != nil {
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
	uid, ok := uid.Parse(wish.ID)
	if !ok {
		return &api.Error{
			Status:  http.StatusBadRequest,
			Code:    "bad_id",
			Message: `"id" must be a device UID, dev:...`,
		}
	}
	sale := s.selling(uid)
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
	case s.Bridge.Late():
		return &api.Error{
			Status:  http.StatusConflict,
			Code:    "late",
			Message: "credits wait too long to be sent, so all sales are stopped",
		}
	case s.Bridge.LateFor(uid):
		return &api.Error{
			Status:  http.StatusConflict,
			Code:    "late",
			Message: "credits of this device wait too long to be sent, so its sales are stopped",
		}
	case s.Problems.StopsSales():
		return &api.Error{
			Status:  http.StatusConflict,
			Code:    "closed",
			Message: "all sales are stopped; see /health for the reason",
		}
	}
	for _, o := range sale.Device.Offers {
		switch {
		case wish.PriceID != "" && o.Plan.PriceID != wish.PriceID:
		case s.checkout != nil: // sessions are made by who presses the button
			return api.WriteJSON(w, http.StatusCreated, created(s.publicURL+"/use/"+uid))
		case o.URL != "":
			return api.WriteJSON(w, http.StatusCreated, created(o.URL))
		case wish.PriceID != "" && o.Closed != "":
			return &api.Error{
				Status:  http.StatusConflict,
				Code:    string(fleet.LinkClosed),
				Message: "the link of this price was deactivated in Stripe's Dashboard",
			}
		case wish.PriceID != "":
			s.Fleet.Prioritize(uid)
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

// created is the answer with the address at which a plan is paid.
func created(url string) any {
	return map[string]any{"message": "Payment link created", "data": map[string]string{"url": url}}
}

// deviceParameter reads ?device=, and the other spellings that a sticker's redirect may carry
// (docs/vendors.md, U2). It goes through the query as it stands: to make a map of it first is a
// quarter of what a scan costs.
func deviceParameter(r *http.Request) string {
	for _, name := range []string{"device", "deviceuid", "device_uid"} {
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			key, given, _ := strings.Cut(pair, "=")
			if !strings.EqualFold(key, name) { // a QR code may be in capitals alone
				continue
			}
			if v, err := url.QueryUnescape(given); err == nil && v != "" {
				return v
			}
		}
	}
	return ""
}
