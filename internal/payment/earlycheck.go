package payment

import "time"

// unheard: the note was sent, nothing else is under way, and nobody will say when it was fetched.
func EarlyCheckable(p Payment) bool {
	return p.Delivery == Sent && p.ConfirmBy.IsZero() && !p.InFlight && p.CancelReason == "" &&
		p.RecallStatus == NotRecalled &&
		!p.OutcomeUnknown
}

// ApplyEarlyCheck takes in that a payment's note is not pending any more, seen by a look that began
// when the payment stood at turn. An earlier look of the same turn has listed the note, and a note
// that is listed once is assumed to be listed until it is fetched (docs/vendors.md, U15).
func ApplyEarlyCheck(p Payment, turn int64, now time.Time) Payment {
	if !EarlyCheckable(p) || p.FencingToken != turn { // it may have been sent anew since
		return p
	}
	p.Failures, p.BackoffUntil = 0, time.Time{}
	return Next(markFetched(p), now)
}
