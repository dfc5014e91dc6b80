// Package console serves the operator's console: first what needs attention, with buttons to settle
// it.
//
// It promises that only a signed-in operator sees or changes anything. Changes come only from forms
// of its own pages, and each press of a button counts once. Every page works without JavaScript and
// shows what is recorded. The package does not decide what is allowed: it asks the pure functions of
// internal/payment. Of the vendors it knows only the addresses of Stripe's Dashboard.
package console
