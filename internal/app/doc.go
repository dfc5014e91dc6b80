// Package app wires the components of notepay and serves every route.
//
// It promises that every answer carries the security headers, and that every error becomes one
// answer, one log line and one count. A customer or vendor gets a safe sentence, the log gets the
// cause. A webhook is answered with 200 only after its event is on disk.
//
// The package decides nothing about payments, which is the bridge's task. It does not listen on a
// port. The caller does, with the server that HTTPServer returns, and starts the work with Run.
package app
