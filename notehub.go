package main

import (
	"context"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"notepay/internal/config"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// maxNotehubReply limits a reply of Notehub, in bytes. A page of devices is the largest.
const maxNotehubReply = 8 << 20

// newNotehub returns a client that signs in to Notehub as the settings say. It makes no call.
func newNotehub(s *config.Settings) *notehub.Client {
	return notehub.New(notehub.Config{
		APIURL: s.NotehubAPIURL,

		// All calls are below one project. With a fleet, notepay sells only on the fleet's devices.
		Project: s.NotehubProjectUID,
		Fleet:   s.NotehubFleetUID,
		AckFile: s.AckFile,

		// The settings hold either a personal access token or an OAuth2 client.
		Token:      string(s.NotehubToken),
		FetchToken: fetchNotehubToken(s),

		Transport: upstream.NewTransport(maxNotehubReply),
		Timeout:   payment.CallTimeout, // shorter than a claim's lease, so that a result can be recorded
		PerMinute: s.NotehubPerMinute,  // Notehub's limit depends on the plan; token calls count, too
		UserAgent: "notepay/" + version(),
	})
}

// fetchNotehubToken returns a function that gets an access token by OAuth2 client credentials. The
// client calls it before the first call, before a token expires, and after status 401. It limits
// how often it does.
func fetchNotehubToken(s *config.Settings) func(context.Context) (*oauth2.Token, error) {
	credentials := clientcredentials.Config{
		ClientID:     s.NotehubClientID,
		ClientSecret: string(s.NotehubClientSecret),
		TokenURL:     s.NotehubAuthURL,
		// Notehub documents no HTTP Basic. Without this, the library would guess by a failed call.
		AuthStyle: oauth2.AuthStyleInParams,
	}
	return credentials.Token
}
