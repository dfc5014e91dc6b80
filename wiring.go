package main

import (
	"notepay/internal/config"
	"notepay/internal/stripeevent"
)

// newNotehub returns the client of Notehub that the settings describe.
func newNotehub(s *config.Settings) *notehub {
	return newHub(hubConfig{
		APIURL:       s.NotehubAPIURL,
		AuthURL:      s.NotehubAuthURL,
		Project:      s.NotehubProjectUID,
		Fleet:        s.NotehubFleetUID,
		Token:        string(s.NotehubToken),
		ClientID:     s.NotehubClientID,
		ClientSecret: string(s.NotehubClientSecret),
		PerMinute:    s.NotehubPerMinute,
		Version:      version(),
	})
}

// newStripe returns the client of Stripe that the settings describe.
func newStripe(s *config.Settings) *stripeAPI {
	return newStripeClient(stripeConfig{
		APIURL:      s.StripeAPIURL,
		Key:         string(s.StripeSecretKey),
		Project:     s.NotehubProjectUID,
		Manual:      s.CaptureOnStart(),
		EventTypes:  stripeevent.ListedTypes(),
		DecodeEvent: stripeevent.Listed,
	})
}
