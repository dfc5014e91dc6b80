package payment

// The reasons why a credit failed or its session ended early.
const (
	ReasonAdopted       = "adopted"          // paid before this ledger's birth, or handled elsewhere
	ReasonExpired       = "expired"          // expired before it could be sent, or the machine says so
	ReasonRefused       = "refused"          // Notehub rejects this device or this note
	ReasonUnknownDevice = "unknown_device"   // a complete list of devices, read after the payment, lacks the device
	ReasonNotSelling    = "not_selling"      // the device is disabled, paused, offline or not on sale
	ReasonBusy          = "busy"             // another timed credit holds the device, or the machine says so
	ReasonFailed        = "failed"           // the machine says so
	ReasonRecalled      = "recalled"         // the note was recalled before the Notecard fetched it
	ReasonRecallUnclear = "recall_unclear"   // the note was recalled, but may have been fetched before
	ReasonUnclear       = "delivery_unclear" // Notehub may have accepted a note, and nothing tells what happened to it
	ReasonUnconfirmed   = "unconfirmed"      // the machine did not confirm in time
	ReasonReversed      = "payment_reversed" // others returned the money
	ReasonDisputed      = "disputed"         // the customer's bank demands the money
	ReasonEnded         = "ended"            // by the operator
	ReasonStartedAfter  = "started_after_money_back"
)

// The reasons why the operator must review a payment, besides those above.
const (
	ReviewAmount         = "amount_mismatch"    // the amount paid is not the price
	ReviewOverdue        = "overdue"            // a step has been due for 15 minutes
	ReviewHold           = "hold"               // an authorization is an hour old, neither captured nor released
	ReviewFailedAfter    = "failed_after_start" // the machine started and then failed
	ReviewCaptureFailed  = "capture_failed"     // the machine started and the capture failed
	ReviewReleaseRefused = "release_refused"    // Stripe rejects the release
	ReviewBalance        = "too_little_balance" // the Stripe balance is too low for the refund
	ReviewRefundRefused  = "refund_refused"     // Stripe rejects the refund
	ReviewRefundFailed   = "refund_failed"      // the refund failed at the customer's bank
	ReviewDisputeLost    = "dispute_lost"
	ReviewConfirmation   = "confirmation_unusable"    // a confirmation of the credit cannot be applied
	ReviewFetchedAnyway  = "fetched_after_money_back" // the money was returned and the machine has the credit
)

// Two installations on one Notehub project and one Stripe account both send each credit, recall
// each other's notes and refund. An installation recognizes the other by effects that it did not
// cause: a second note of a credit that it posted once, a refund with its own metadata that it did
// not order, or a confirmation of a credit that it did not post. Effects from before this process's
// start prove nothing, because an earlier state of the ledger may have caused them. If both act at
// the same instant, one may miss the effect. So internal/fleet/signature.go detects both without
// any payment.

// ReviewTwins marks a payment that another installation has touched.
const ReviewTwins = "twins"
