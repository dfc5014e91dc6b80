// Package apptest runs notepay in tests, and checks what must hold at the end of each.
//
// There are two ways to run it:
//
//   - InFront runs the service in this process and in fake time. A test asks a Front, which is the
//     service's handler with simulated vendors around it. Most tests use it.
//   - NewWorld runs the real program as a process of its own, with simulated vendors over HTTP. A
//     test asks a Service. It is for what needs a process: exit codes, signals, kills, real clocks.
//
// At the end of each test the ledger is compared with what Stripe, Notehub and the machines saw,
// see checkInvariants. The package knows no test's subject.
package apptest
