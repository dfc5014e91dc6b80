// Package stripeapi calls Stripe, verifies its webhooks, and decodes both.
//
// It promises four things. Each method makes one attempt and classifies its outcome. A record that
// cannot be read never hides the others of its list, and an unused field may hold anything. An
// event counts only with Stripe's signature, and means the same however it arrives. Nothing in a
// stored event tells who paid.
//
// The package does not know what follows from a record or an event. That is the bridge's decision.
package stripeapi
