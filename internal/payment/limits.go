package payment

import "time"

const (
	// CallTimeout is how long one call to a vendor may take. An unclear post is looked for when
	// this has passed since it began: earlier, it could still be applied after the look. Only where
	// Notehub itself answered is the call over before.
	CallTimeout = 15 * time.Second
	// Lease is how long a claim holds. When it is over, an interrupted call can no longer be
	// applied, and a note that it posted is listed.
	Lease = CallTimeout + MaxListingDelay
	// MaxListingDelay is how long after it took a note Notehub lists it at the latest. A look
	// before that which does not find the note proves nothing.
	MaxListingDelay = 10 * time.Second
	// overdueAfter is when a person is told of what is due and cannot be done.
	overdueAfter = 15 * time.Minute
	// maxHold is when a person is told of money that is neither taken nor released.
	maxHold = time.Hour
	// MaxBackoff is longer than any wait after a failed call.
	MaxBackoff = 2 * time.Minute
	// idleCheckInterval is how often a note is looked for that may wait for ever.
	idleCheckInterval = time.Hour
	// ConfirmationGrace is how long after a credit's end a confirming machine may still be heard:
	// what it began in time may be told late.
	ConfirmationGrace = 30 * time.Second
)
