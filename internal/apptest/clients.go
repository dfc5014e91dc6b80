package apptest

import (
	"net/http"

	"github.com/stripe/stripe-go/v82"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/notehub"
	"notepay/internal/payment"
	"notepay/internal/stripeapi"
	"notepay/internal/upstream"
)

// maxReply limits a vendor's reply over the network, in bytes.
const maxReply = 8 << 20

// HubOf returns a Notehub client with these settings, as notehub.go of the program does. transport
// carries its calls. If it is nil, they go over the network.
func HubOf(s *config.Settings, transport http.RoundTripper) *notehub.Client {
	if transport == nil {
		transport = upstream.NewTransport(maxReply)
	}
	credentials := clientcredentials.Config{
		ClientID:     s.NotehubClientID,
		ClientSecret: string(s.NotehubClientSecret),
		TokenURL:     s.NotehubAuthURL,
		AuthStyle:    oauth2.AuthStyleInParams,
	}
	return notehub.New(notehub.Config{
		APIURL:     s.NotehubAPIURL,
		Project:    s.NotehubProjectUID,
		Fleet:      s.NotehubFleetUID,
		AckFile:    s.AckFile,
		Token:      string(s.NotehubToken),
		FetchToken: credentials.Token,
		Transport:  transport,
		Timeout:    payment.CallTimeout,
		PerMinute:  s.NotehubPerMinute,
		UserAgent:  "notepay/" + fixture.TestVersion,
	})
}

// StripeOf returns a Stripe client with these settings, as stripe.go of the program does. transport
// carries its calls. If it is nil, they go over the network.
func StripeOf(s *config.Settings, transport http.RoundTripper) *stripeapi.Client {
	if transport == nil {
		transport = upstream.NewTransport(maxReply)
	}
	return stripeapi.New(stripeapi.Config{
		Key:       string(s.StripeSecretKey),
		Transport: transport,
		Timeout:   payment.CallTimeout,
		Backend: stripe.BackendConfig{
			URL:               stripe.String(s.StripeAPIURL),
			MaxNetworkRetries: stripe.Int64(0),
			EnableTelemetry:   stripe.Bool(false),
			LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
		},
		WebhookSecrets: s.WebhookSecrets(),
		Project:        s.NotehubProjectUID,
		Manual:         s.CaptureOnStart(),
	})
}
