package app

import (
	"context"

	"notepay/internal/checkout"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/metrics"
)

// countedLinks counts the links that the fleet makes.
type countedLinks struct {
	fleet.Stripe
	metrics *metrics.Metrics
}

// CreateLink implements fleet.Stripe.
func (c countedLinks) CreateLink(ctx context.Context, l fleet.NewLink) (ledger.Link, error) {
	link, err := c.Stripe.CreateLink(ctx, l)
	c.metrics.LinkMade(err)
	return link, err
}

// countedSessions counts the sessions that are made for purchases.
type countedSessions struct {
	checkout.Stripe
	metrics *metrics.Metrics
}

// CreateSession implements checkout.Stripe.
func (c countedSessions) CreateSession(
	ctx context.Context,
	s checkout.NewSession,
) (session ledger.Session, url string, err error) {
	session, url, err = c.Stripe.CreateSession(ctx, s)
	c.metrics.SessionMade(err)
	return session, url, err
}
