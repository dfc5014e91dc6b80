package app

import (
	"context"
	"net"
	"net/http"
	"time"

	"notepay/internal/check"
	"notepay/internal/config"
	"notepay/internal/ledger"
	"notepay/internal/notehub"
	"notepay/internal/stripeapi"
	"notepay/internal/vendortime"
	"notepay/internal/web/console"
)

// NewCheck returns the configuration of the checks. The clients must be the checks' own, because
// NewCheck observes their calls.
func NewCheck(s *config.Settings, hub *notehub.Client, api *stripeapi.Client) check.Config {
	clock := vendortime.New(nil)
	api.Observe(func(next http.RoundTripper) http.RoundTripper { return clock.Watch(vendortime.Stripe, next) })
	hub.Observe(func(next http.RoundTripper) http.RoundTripper { return clock.Watch(vendortime.Notehub, next) })
	return check.Config{
		Settings: s,
		Stripe:   api.Library(),
		Plan:     api.Offer,
		Fees: func(ctx context.Context) error {
			now := time.Now()
			_, _, err := api.BalanceTransactions(ctx, now.Add(-time.Hour), now, "")
			return err
		},
		Payouts:    func(ctx context.Context) error { _, err := api.Payouts(ctx); return err },
		Notehub:    hub,
		Clock:      clock,
		Lookup:     net.DefaultResolver.LookupHost,
		Disk:       ledger.NetworkDisk,
		Space:      ledger.SpaceAt,
		Instances:  func(ctx context.Context) (int, []string, error) { return otherSettings(ctx, s) },
		Suspicious: config.EnvironmentWarnings(config.Path()),
		Public: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// consoleChecks returns the checks for the console. They use their own clients, so that a failed
// check or a new token cannot affect the running bridge, but they share its rate limits. It must be
// called before the clients are observed, because the checks' calls are not counted.
func consoleChecks(c Config) func(context.Context, func(console.Finding)) {
	hub, api := c.Notehub.WithLimiter(c.Notehub.Limiter), c.Stripe.WithLimiter(c.Stripe.Limiter)
	return func(ctx context.Context, found func(console.Finding)) {
		// Each run has new clients, because NewCheck observes them.
		checks := NewCheck(c.Settings, hub.WithLimiter(hub.Limiter.Share()), api.WithLimiter(api.Limiter.Share()))
		checks.Public.Transport = c.Public
		checks.Report = func(r check.Result) {
			found(console.Finding{Name: r.Name, State: string(r.State), Detail: r.Detail, Remedy: r.Remedy})
		}
		check.Run(ctx, checks)
	}
}
