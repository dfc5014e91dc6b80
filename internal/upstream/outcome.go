// Package upstream says what one call to a vendor (Stripe, Notehub) came to, and how fast that
// vendor may be asked.
//
// It promises that every caller speaks of outcomes in the same six words and that one vendor's wish
// to be left alone (429, Retry-After) holds for all calls to it. It does not know any vendor: which
// status means what is decided in stripe.go and notehub.go, and whether to ask again is decided by
// the ledger's steps and the fleet's loop.
package upstream

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is what one attempt at a call came to.
type Outcome int

const (
	// Done: the vendor says it is done.
	OK Outcome = iota
	// Refused: the vendor refuses this device or this object. Asking again changes nothing.
	Rejected
	// Trouble: the vendor refuses us (key, permission, account, project). Nothing was done; a
	// person may have to mend it.
	Misconfigured
	// Wait: the vendor asks us to slow down. Nothing was done.
	RateLimited
	// Again: nothing was done, and a later attempt may succeed.
	Retryable
	// Unclear: it may or may not have been done.
	Unknown
)

var words = [...]string{"done", "refused", "trouble", "wait", "again", "unclear"}

func (o Outcome) String() string {
	if o < 0 || int(o) >= len(words) {
		return fmt.Sprintf("outcome(%d)", int(o))
	}
	return words[o]
}

// Error is a call that did not end in Done. Its text is for the log and the operator; it never
// holds a secret.
type Error struct {
	Outcome    Outcome
	Status     int           // the HTTP status, 0 if there was no reply
	RetryAfter time.Duration // how long the vendor asks us to wait; 0 if it did not say
	Detail     string        // the vendor's own words, shortened
	Over       bool          // of an Unclear call: whatever it did, it has done; without this it may still be applied
	Err        error         // the cause, if it was not a reply
}

func (e *Error) Error() string {
	switch {
	case e.Err != nil && e.Status == 0:
		return fmt.Sprintf("%s: %v", e.Outcome, e.Err)
	case e.Detail != "":
		return fmt.Sprintf("%s: status %d: %s", e.Outcome, e.Status, e.Detail)
	default:
		return fmt.Sprintf("%s: status %d", e.Outcome, e.Status)
	}
}

func (e *Error) Unwrap() error { return e.Err }

// OutcomeOf says what a call that returned err came to: nil is Done, and what is not an *Error is
// Unclear, the safe assumption.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Outcome
	}
	return Unknown
}
