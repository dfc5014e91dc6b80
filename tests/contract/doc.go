// Package contract drives the built notepay program from outside, like its users.
//
// It promises that notepay's calls match the API descriptions that Stripe and Notehub publish. It
// shows that a payment made with Stripe's command line tool starts a machine. In a real browser, it
// checks the demo, the customer's pages with their access codes, and the operator's console. It
// also checks that these pages are accessible.
//
// It knows notepay only as a program with settings, addresses and output. The vendors are those of
// internal/sandbox. It is a module of its own, so that building notepay does not need its
// dependencies.
//
// NOTEHUB_OPENAPI names a file with Notehub's OpenAPI description, and CHROMIUM a browser. The
// command npm ci installs Stripe's tool in stripecli/ and axe-core in axe/. Debian's package
// prometheus has promtool, for the alert rules. A test that lacks one of them is skipped, or fails
// if NOTEPAY_REQUIRE=1.
//
// NOTEPAY_BINARY names a notepay program to use instead of building one. NOTEPAY_SCREENSHOTS names
// a directory for pictures of the pages.
package contract
