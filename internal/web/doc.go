// Package web holds what the customers' pages, the operator's API and the console share: live
// updates, amounts, times, QR codes, forms and forgiving addresses.
//
// It promises that no page waits for another page's reader, and that a broken answer never looks
// like a whole one. It does not know what a page says: its packages customer, console and api do.
package web
