package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/web"
)

var noStore = []string{"no-store"}

// pay leads a scan to the machine's Payment Link, or to the page of its plans if there are several. It reads memory only.
func (s *Server) pay(w http.ResponseWriter, r *http.Request) error {
	given := r.PathValue("uid")
	if given == "" {
		given = deviceParameter(r)
	}
	d, err := s.scanned(w, r, given)
	if d == nil {
		return err
	}
	if len(d.Offers) > 1 {
		return s.customer.Plans(w, r, d)
	}
	s.metrics.Redirects.Inc()
	h := w.Header()
	h["Location"] = []string{d.Offers[0].URL}
	h["Cache-Control"] = noStore
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

// use shows what a machine sells, also if it is one plan.
func (s *Server) use(w http.ResponseWriter, r *http.Request) error {
	d, err := s.scanned(w, r, r.PathValue("uid"))
	if d == nil {
		return err
	}
	return s.customer.Plans(w, r, d)
}

// scanned is the machine that a scan is of, if it sells. Of any other the customer is told why it does not, and it returns nil.
func (s *Server) scanned(w http.ResponseWriter, r *http.Request, given string) (*fleet.Device, error) {
	uid, ok := parseDeviceUID(given)
	if !ok {
		return nil, s.customer.NoDevice(w, r, given)
	}
	sale := s.selling(uid)
	if sale.State != fleet.Open || s.bridge.Late() {
		return nil, s.customer.NotSelling(w, r, sale)
	}
	return sale.Device, nil
}

// selling says whether a machine sells, and has what is missing looked for: somebody is waiting for it.
func (s *Server) selling(uid string) fleet.Sale {
	sale := s.fleet.Selling(uid, time.Now())
	switch sale.State {
	case fleet.NoDevice:
		s.fleet.AskFor(uid)
	case fleet.NotReady:
		s.fleet.Hurry(uid)
	}
	return sale
}

// createPaymentLink gives the operator's own front ends the address at which a plan of a machine is paid. What it costs is decided by the
// price alone: whatever else the body holds is not read.
func (s *Server) createPaymentLink(w http.ResponseWriter, r *http.Request) error {
	var wish struct {
		ID      string `json:"id"`
		PriceID string `json:"price_id"` // "" for the first that the machine sells
	}
	if err := json.NewDecoder(r.Body).Decode(&wish); err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return &web.APIError{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: "the body is larger than 1 MiB"}
		}
		return &web.APIError{Status: http.StatusBadRequest, Code: "bad_body", Message: `the body is JSON with the device's UID as "id", and optionally "price_id"`}
	}
	uid, ok := parseDeviceUID(wish.ID)
	if !ok {
		return &web.APIError{Status: http.StatusBadRequest, Code: "bad_id", Message: `"id" is a device UID, dev:...`}
	}
	sale := s.selling(uid)
	switch {
	case sale.State == fleet.NoDevice:
		return &web.APIError{Status: http.StatusNotFound, Code: "not_found", Message: "no device has this UID"}
	case sale.State != fleet.Open:
		return &web.APIError{Status: http.StatusConflict, Code: string(sale.State), Message: "the device does not sell at the moment"}
	case s.bridge.Late():
		return &web.APIError{Status: http.StatusConflict, Code: "late", Message: "credits wait too long to be sent, nothing is sold at the moment"}
	}
	for _, o := range sale.Device.Offers {
		switch {
		case wish.PriceID != "" && o.Plan.PriceID != wish.PriceID:
		case o.URL != "":
			return web.WriteJSON(w, http.StatusCreated, map[string]any{"message": "Payment link created", "data": map[string]string{"url": o.URL}})
		case wish.PriceID != "":
			s.fleet.Hurry(uid)
			return &web.APIError{Status: http.StatusConflict, Code: string(fleet.NotReady), Message: "the link is being made, ask again in a moment"}
		}
	}
	return &web.APIError{Status: http.StatusNotFound, Code: "no_such_price", Message: "the device does not sell this price"}
}

// deviceParameter reads ?device=, and the other spellings that a sticker's redirect may carry (docs/vendors.md, U2). It goes
// through the query as it stands: to make a map of it first is a quarter of what a scan costs.
func deviceParameter(r *http.Request) string {
	for _, name := range []string{"device", "deviceUID", "device_uid"} {
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			key, given, _ := strings.Cut(pair, "=")
			if key != name {
				continue
			}
			if v, err := url.QueryUnescape(given); err == nil && v != "" {
				return v
			}
		}
	}
	return ""
}

// parseDeviceUID cleans a device UID that came from outside: "dev:" and at most 64 letters, digits and "-_.", in small letters.
// A template that was not filled in ("[deviceUID]") is none.
func parseDeviceUID(given string) (uid string, ok bool) {
	uid = strings.ToLower(strings.TrimSpace(given))
	name, ok := strings.CutPrefix(uid, "dev:")
	if !ok || name == "" || len(name) > 64 {
		return "", false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return "", false
		}
	}
	return uid, true
}
