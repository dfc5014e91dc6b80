// Package customer serves the customers' pages.
//
// It promises that no page claims more than notepay knows: a machine "started" only when it said so.
// Pages work without JavaScript, use the customer's language, hold no secret, and never show an
// error that is meant for the log. The package knows no vendor and changes no payment. It shows what
// fleet, bridge and ledger know. status.go alone decides what a page says about a payment, and
// selling.go what it says about a machine that cannot be paid for. The texts are in catalogs.
package customer
