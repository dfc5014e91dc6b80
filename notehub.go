package main

import (
	"notepay/internal/config"
	"notepay/internal/notehub"
)

// newNotehub returns the client of Notehub that the settings describe.
func newNotehub(s *config.Settings) *notehub.Client {
	return notehub.New(notehub.Config{
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
