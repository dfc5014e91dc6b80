// Package sandbox simulates Stripe, Notehub and machines over HTTP, for tests and the demo.
//
// It promises to behave as the two services are documented: stateful, and strict about every
// request. It fails only where a [Script] says so. A Script sets, for one request, whether its
// effect happens and what the caller sees. Behavior of the real services that is not known is
// listed in unknown.go.
//
// It speaks HTTP only. It does not know notepay's types, its ledger, or what notepay does with a
// payment.
package sandbox
