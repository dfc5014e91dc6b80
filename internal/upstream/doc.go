// Package upstream classifies the outcome of one call to a vendor, Stripe or Notehub, and limits
// how often that vendor is called.
//
// It promises that all callers use the same six outcomes, and that a vendor's request to slow down
// (status 429, Retry-After) holds for all calls to it. It knows no vendor. Which status means what
// is decided in internal/stripeapi and internal/notehub. Whether to call again is decided by the
// ledger's steps and the fleet's loop.
package upstream
