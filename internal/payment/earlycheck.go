package payment

import "time"

// EarlyCheckable reports whether to look for the note before its deadline: it was sent, no call is
// in flight, and the machine will not confirm.
func EarlyCheckable(p Payment) bool {
	return p.Delivery == Sent && p.ConfirmBy.IsZero() && !p.InFlight && p.CancelReason == "" &&
		p.RecallStatus == NotRecalled && !p.OutcomeUnknown
}

// ApplyEarlyCheck applies that a payment's note is no longer pending, as seen by a check that began
// under fencingToken. An earlier check under the same token has listed the note. A listed note is
// assumed to stay listed until the Notecard fetches it (docs/vendors.md, U15).
func ApplyEarlyCheck(p Payment, fencingToken int64, now time.Time) Payment {
	if !EarlyCheckable(p) || p.FencingToken != fencingToken { // the credit may have been sent again since
		return p
	}
	p.Failures, p.BackoffUntil = 0, time.Time{}
	return Next(markFetched(p), now)
}
