package main

import (
	"github.com/stripe/stripe-go/v82"

	"notepay/internal/config"
	"notepay/internal/payment"
	"notepay/internal/stripeapi"
	"notepay/internal/upstream"
)

// maxStripeReply limits a reply of Stripe, in bytes. A page of a hundred events is the largest.
const maxStripeReply = 4 << 20

// newStripe returns a client that connects to Stripe as the settings say. It makes no call.
func newStripe(s *config.Settings) *stripeapi.Client {
	return stripeapi.New(stripeapi.Config{
		Key:       string(s.StripeSecretKey), // secret or restricted, of test mode or live mode
		Transport: upstream.NewTransport(maxStripeReply),
		Timeout:   payment.CallTimeout, // shorter than a claim's lease, so that a result can be recorded
		Backend: stripe.BackendConfig{
			URL: stripe.String(s.StripeAPIURL),
			// notepay retries by its ledger, which survives a restart. The library's retries would
			// also sleep without regard to the context.
			MaxNetworkRetries: stripe.Int64(0),
			EnableTelemetry:   stripe.Bool(false),
			// The caller logs each error. The library's lines would be a second copy.
			LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
		},

		// A webhook counts if one of the secrets signed it, so that a secret can be rotated. There are
		// none if webhooks are off.
		WebhookSecrets: s.WebhookSecrets(),

		// Several projects may share a Stripe account. Links, sessions and refunds carry the project
		// in their metadata, and only those with ours count.
		Project: s.NotehubProjectUID,
		Manual:  s.CaptureOnStart(), // authorize now, capture when the machine has started
	})
}
