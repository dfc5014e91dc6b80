// Package upstream classifies the outcome of one call to a vendor, Stripe or Notehub, and limits
// how often that vendor is called.
//
// It promises that all callers use the same six outcomes. It also promises that a vendor's request
// to slow down (status 429, Retry-After) holds for all calls to it.
//
// The package knows no vendor. internal/stripeapi and internal/notehub decide which status means
// what. The ledger's steps and the fleet's loop decide whether to call again.
package upstream
