package app

import (
	"context"
	"time"

	"notepay/internal/checkout"
	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/metrics"
	"notepay/internal/payment"
)

// countedLinks counts the links that the fleet creates.
type countedLinks struct {
	fleet.Stripe
	metrics *metrics.Metrics
}

// CreateLink implements fleet.Stripe.
func (c countedLinks) CreateLink(
	ctx context.Context,
	d ledger.Device,
	plan payment.Offer,
	returnURL, process, key string,
) (ledger.Link, error) {
	link, err := c.Stripe.CreateLink(ctx, d, plan, returnURL, process, key)
	c.metrics.LinkMade(err)
	return link, err
}

// countedSessions counts the sessions that are created for purchases.
type countedSessions struct {
	checkout.Stripe
	metrics *metrics.Metrics
}

// CreateSession implements checkout.Stripe.
func (c countedSessions) CreateSession(
	ctx context.Context,
	d ledger.Device,
	plan payment.Offer,
	publicURL string,
	ends time.Time,
	key string,
) (ledger.Session, string, error) {
	session, url, err := c.Stripe.CreateSession(ctx, d, plan, publicURL, ends, key)
	c.metrics.SessionMade(err)
	return session, url, err
}
