package apptest

import (
	"net/http"

	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/notehub"
	"notepay/internal/stripeapi"
)

// HubOf returns a client as the settings describe it, whose calls transport carries; nil for the
// network.
func HubOf(s *config.Settings, transport http.RoundTripper) *notehub.Client {
	return notehub.New(notehub.Config{
		APIURL:       s.NotehubAPIURL,
		AuthURL:      s.NotehubAuthURL,
		Project:      s.NotehubProjectUID,
		Fleet:        s.NotehubFleetUID,
		Token:        string(s.NotehubToken),
		ClientID:     s.NotehubClientID,
		ClientSecret: string(s.NotehubClientSecret),
		PerMinute:    s.NotehubPerMinute,
		Version:      fixture.TestVersion,
		Transport:    transport,
	})
}

// StripeOf returns a client as the settings describe it, whose calls transport carries; nil for the
// network.
func StripeOf(s *config.Settings, transport http.RoundTripper) *stripeapi.Client {
	return stripeapi.New(stripeapi.Config{
		APIURL:      s.StripeAPIURL,
		Key:         string(s.StripeSecretKey),
		Project:     s.NotehubProjectUID,
		Manual:      s.CaptureOnStart(),
		Transport:   transport,
		EventTypes:  stripeapi.ListedEventTypes(),
		DecodeEvent: stripeapi.DecodeListedEvent,
	})
}
