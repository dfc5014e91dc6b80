package main

import (
	"notepay/internal/config"
	"notepay/internal/stripeapi"
)

// newStripe returns the client of Stripe that the settings describe.
func newStripe(s *config.Settings) *stripeapi.Client {
	return stripeapi.New(stripeapi.Config{
		APIURL:      s.StripeAPIURL,
		Key:         string(s.StripeSecretKey),
		Project:     s.NotehubProjectUID,
		Manual:      s.CaptureOnStart(),
		EventTypes:  stripeapi.ListedEventTypes(),
		DecodeEvent: stripeapi.DecodeListedEvent,
	})
}
