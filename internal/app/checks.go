package app

import (
	"context"
	"net/http"

	"notepay/internal/check"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/notehub"
	"notepay/internal/stripeapi"
	"notepay/internal/vendortime"
	"notepay/internal/web/console"
)

// NewCheck returns what the checks need. The clients must be the checks' own, because newCheck
// watches their calls.
func NewCheck(s *config.Settings, hub *notehub.Client, api *stripeapi.Client) check.Config {
	clock := vendortime.New(nil)
	api.Http.Transport = clock.Watch(vendortime.Stripe, api.Http.Transport)
	hub.Http.Transport = clock.Watch(vendortime.Notehub, hub.Http.Transport)
	return check.Config{
		Settings:   s,
		Stripe:     api.Client,
		Plan:       api.Offer,
		Notehub:    hub,
		Clock:      clock,
		Disk:       ledger.NetworkDisk,
		Space:      ledger.SpaceAt,
		Suspicious: config.EnvironmentWarnings(config.File),
		Public: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// checker returns the checks for the console. They use their own clients, so that a failed check or
// a new token cannot affect the running bridge, but they share its rate limits.
func checker(
	s *config.Settings,
	hub *notehub.Client,
	api *stripeapi.Client,
) func(context.Context, func(console.Finding)) {
	// their transports are as they are now
	uncountedHub, uncountedAPI := hub.WithLimiter(hub.Limiter), api.WithLimiter(api.Limiter)
	return func(ctx context.Context, found func(console.Finding)) {
		c := NewCheck(s, uncountedHub.WithLimiter(hub.Limiter.Share()), uncountedAPI.WithLimiter(api.Limiter.Share()))
		c.Report = func(r check.Result) {
			found(console.Finding{Name: r.Name, State: string(r.State), Detail: r.Detail, Remedy: r.Remedy})
		}
		check.Run(ctx, c)
	}
}
