package payment

// The life of a payment, in pure functions. Apply takes in what a call came to, Confirmed what a
// machine answered, Silent that none did, recall.go where its note is, money.go what Stripe says;
// Next says what is to be done now. Each gets the payment as it is in the ledger at that moment and
// returns it as it shall be; nothing else changes a payment.

// Reasons for which a machine's credit failed, or its session ended early.
const (
	ReasonAdopted       = "adopted"          // paid before this ledger was born: another's to deliver
	ReasonExpired       = "expired"          // its lifetime ended before it could be sent, or the machine says so
	ReasonRefused       = "refused"          // Notehub refuses this device or this note
	ReasonUnknownDevice = "unknown_device"   // a complete listing, begun after the payment, does not hold the device
	ReasonNotSelling    = "not_selling"      // the device is disabled, paused, offline or out of sale
	ReasonBusy          = "busy"             // a timed credit of this device is still open, or the machine says so
	ReasonFailed        = "failed"           // the machine says so
	ReasonRecalled      = "recalled"         // the note was taken back, unfetched
	ReasonRecallUnclear = "recall_unclear"   // it was to be taken back, and may have been fetched before
	ReasonUnclear       = "delivery_unclear" // Notehub may have taken a note, and nothing tells what became of it
	ReasonUnconfirmed   = "unconfirmed"      // the machine said nothing in time
	ReasonReversed      = "payment_reversed" // the money was given back by somebody else
	ReasonDisputed      = "disputed"         // the customer's bank asks for the money back
	ReasonEnded         = "ended"            // by the operator
	ReasonStartedAfter  = "started_after_money_back"
)

// Why a person must look at a payment, beside the reasons above.
const (
	ReviewAmount         = "amount_mismatch"    // paid was not what the plan costs
	ReviewOverdue        = "overdue"            // what is due is being tried for a quarter of an hour
	ReviewHold           = "hold"               // money is held on a card for an hour, neither taken nor released
	ReviewFailedAfter    = "failed_after_start" // the machine started and then failed
	ReviewCaptureFailed  = "capture_failed"     // the machine started and the money could not be taken
	ReviewReleaseRefused = "release_refused"    // Stripe refuses to let go of the held money
	ReviewBalance        = "too_little_balance" // the account cannot pay the refund
	ReviewRefundRefused  = "refund_refused"     // Stripe refuses the refund
	ReviewRefundFailed   = "refund_failed"      // the customer's bank refused the refund
	ReviewDisputeLost    = "dispute_lost"
	ReviewConfirmation   = "confirmation_unusable"    // an answer names the credit and cannot be applied
	ReviewFetchedAnyway  = "fetched_after_money_back" // the money is back and the machine has the credit
)

// Two installations on one Notehub project and one Stripe account both send the credit of each
// payment, recall each other's notes and refund. One sees that by what it did not do itself: a
// second note with a credit that it posted once, a refund with its own metadata that it did not
// order, an answer to a credit that it did not post. What was done before this process began may
// have been done by an earlier state of the ledger, and is no sign of another installation. These
// signs name the payment. If both act at the same instant, one of them may miss its sign, so
// internal/fleet/signature.go tells both without any payment.

// ReviewTwins is why a person must look at a payment of which another installation did something.
const ReviewTwins = "twins"
