// Package notehub calls Blues Notehub and decodes its replies and its routed events.
//
// It promises three things. Each method makes one attempt and classifies its outcome. One odd
// record never hides the others. A reply without the expected shape is an error and never an empty
// list.
//
// The package does not know what follows from a record. The source of each fact about Notehub is
// its published API description, unless a comment names another.
package notehub
