// Package payment holds the states of a payment and every transition between them, as pure
// functions. Each function takes the payment as the ledger has it, and returns the payment as it
// is to be stored. Nothing else changes a payment.
//
// ApplyOutcome applies the outcome of a call, ApplyConfirmation a machine's answer, and
// ConfirmationTimedOut its silence. ApplyRefundUpdate, ApplyDisputes and their like apply what
// Stripe reports. Resend, Refund and Cancel apply the operator's decisions. Next applies deadlines
// and sets the next step.
//
// The package does not know the ledger, the vendors' wire formats or the time. Callers pass the
// time by Stripe's clock, and random digits.
package payment
