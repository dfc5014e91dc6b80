package main

import (
	"context"
	"net/http"

	"notepay/internal/check"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/vendortime"
	"notepay/internal/web/console"
)

// newCheck returns what the checks need. The clients must be the checks' own, because newCheck watches their calls.
func newCheck(s *config.Settings, hub *notehub, api *stripeAPI) check.Config {
	clock := vendortime.New(nil)
	api.http.Transport = clock.Watch(vendortime.Stripe, api.http.Transport)
	hub.http.Transport = clock.Watch(vendortime.Notehub, hub.http.Transport)
	return check.Config{
		Settings:   s,
		Stripe:     api.client,
		Plan:       api.Plan,
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

// checker returns the checks for the console. They use their own clients, so that a failed check or a new token cannot
// affect the running bridge, but they share its rate limits.
func checker(s *config.Settings, hub *notehub, api *stripeAPI) func(context.Context, func(console.Finding)) {
	uncountedHub, uncountedAPI := hub.withPace(hub.pace), api.withPace(api.pace) // their transports are as they are now
	return func(ctx context.Context, found func(console.Finding)) {
		c := newCheck(s, uncountedHub.withPace(hub.pace.Share()), uncountedAPI.withPace(api.pace.Share()))
		c.Report = func(r check.Result) {
			found(console.Finding{Name: r.Name, State: string(r.State), Detail: r.Detail, Remedy: r.Remedy})
		}
		check.Run(ctx, c)
	}
}
