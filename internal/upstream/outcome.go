package upstream

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is the result of one attempt at a call.
type Outcome int

const (
	// OK: the vendor has done it.
	OK Outcome = iota
	// Rejected: the vendor rejects this device or object. A repeated call changes nothing.
	Rejected
	// Misconfigured: the vendor rejects our key, permission, account or project. Nothing was done,
	// and the operator may have to fix it.
	Misconfigured
	// RateLimited: the vendor asks us to slow down. Nothing was done.
	RateLimited
	// Retryable: nothing was done, and a later attempt may succeed.
	Retryable
	// Unknown: it may or may not have been done.
	Unknown
)

var words = [...]string{"done", "refused", "trouble", "wait", "again", "unclear"}

// String returns the name that metrics and the ledger use. These names are contract.
func (o Outcome) String() string {
	if o < 0 || int(o) >= len(words) {
		return fmt.Sprintf("outcome(%d)", int(o))
	}
	return words[o]
}

// Error is the error of a call whose outcome is not OK. Its text is for the log and the operator,
// and never holds a secret.
type Error struct {
	Outcome    Outcome
	Status     int           // the HTTP status, 0 if there was no reply
	RetryAfter time.Duration // how long the vendor asks us to wait; 0 if it did not say
	Detail     string        // the vendor's own words, shortened
	Over       bool          // if Outcome is Unknown: the call has ended and can no longer be applied
	Err        error         // the cause, if it was not a reply
}

// Error implements error.
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

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// OutcomeOf returns the outcome of a call that returned err. nil is OK. An error that is not an
// *Error is Unknown, the safe assumption.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Outcome
	}
	return Unknown
}
