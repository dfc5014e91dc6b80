// Package api serves the operator's JSON API (docs/reference.md).
//
// It promises that each request carries the operator token, that a request with an Idempotency-Key
// counts once, and that an answer shows what the ledger holds. It does not know when an action is
// allowed: the bridge decides that.
package api
