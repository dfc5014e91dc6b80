package payment

import "time"

const (
	// CallTimeout is the maximum duration of one call to a vendor. An unclear post may still be
	// applied until this has passed since it began, so notepay looks for its note only then. If
	// Notehub itself replied, the call is over at once.
	CallTimeout = 15 * time.Second
	// Lease is how long a claim holds. Afterwards an interrupted call can no longer be applied, and
	// a note that it posted is listed.
	Lease = CallTimeout + MaxListingDelay
	// MaxListingDelay is the maximum time until Notehub lists a note that it accepted. A check
	// before that proves nothing if it does not find the note.
	MaxListingDelay = 10 * time.Second
	// overdueAfter is when the operator is notified that a due step could not be done.
	overdueAfter = 15 * time.Minute
	// maxHold is when the operator is notified of money that is neither captured nor released.
	maxHold = time.Hour
	// MaxBackoff is the maximum wait after a failed call.
	MaxBackoff = 2 * time.Minute
	// idleCheckInterval is how often to look for a note that never expires.
	idleCheckInterval = time.Hour
	// ConfirmationGrace is the extra time after a credit's end for the confirmation of a start in
	// time.
	ConfirmationGrace = 30 * time.Second
)
