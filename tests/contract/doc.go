// Package tests drives the built notepay from outside, as its users do.
//
// It promises that what notepay says to Stripe and to Notehub agrees with the descriptions which
// both publish, that a payment which Stripe's own command line tool makes starts a machine, and, in
// a real browser, that the demo does what its page says, that customers are told how their payment
// ends and why nothing is sold to them, that a code is shown while it opens something, that an
// operator gets done what the console is for, and that nothing on their pages keeps anybody out. It
// knows notepay only as a program with settings, addresses and output; the vendors are those of
// internal/sandbox. It is a module of its own, so that what it needs is not needed to build
// notepay.
//
// What a machine may lack is named by the environment: NOTEHUB_OPENAPI is a file with Notehub's
// OpenAPI description, CHROMIUM a browser; npm ci in stripecli/ brings Stripe's tool and in axe/
// axe-core, Debian's package prometheus has promtool, for the alert rules. A test that misses one
// is skipped, or fails where NOTEPAY_REQUIRE=1. NOTEPAY_BINARY drives another notepay than the one
// built here, NOTEPAY_SCREENSHOTS is a folder for pictures of the pages.
package tests
