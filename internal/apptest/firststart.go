package apptest

import (
	"fmt"
	"strings"

	"notepay/internal/config"
	"notepay/internal/sandbox"
)

// ReadAtOnce is a service that is told that Notehub allows many requests, so that all variables are
// read at once.
func ReadAtOnce(s *config.Settings) { s.NotehubPerMinute = 6000 }

// OwnTerms adds devices whose own variables say something else than the default, behind others that
// are read before them.
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

// Prices are those of the links that were ever made for a device.
func (f *Front) Prices(uid string) (list string) {
	for _, l := range f.Stripe.Links() {
		if l.DeviceUID == uid {
			list += l.PriceID + " "
		}
	}
	return strings.TrimSpace(list)
}

// LinkOf is the newest link of a device and price.
func (f *Front) LinkOf(uid, price string) (found sandbox.Link) {
	for _, l := range f.Stripe.Links() {
		if l.DeviceUID == uid && l.PriceID == price {
			found = l
		}
	}
	return found
}
