package payment

import (
	"strings"
	"time"
)

// Some devices are doors or lockers, which open with an access code. It is six digits, in the note
// and on the customer's page. The ledger keeps it only while it can open something.

// AssignAccessCode stores code, six digits, in a credit whose machine needs one and which has none.
func AssignAccessCode(p Payment, code string) Payment {
	if p.NeedsAccessCode && p.AccessCode == "" && p.Delivery != Failed {
		p.AccessCode = code
	}
	return p
}

// expireAccessCode removes the code once it opens nothing. Until then it schedules the removal.
func expireAccessCode(p Payment, now time.Time) Payment {
	if !AccessCodeValid(p, now) {
		p.AccessCode = ""
	} else if until := accessCodeEnds(p); !until.IsZero() {
		p = dueBy(p, until)
	}
	return p
}

// AccessCodeValid reports whether the payment's code opens its machine at now, or will once the
// machine has it.
func AccessCodeValid(p Payment, now time.Time) bool {
	if p.AccessCode == "" || p.Delivery == Failed || p.Delivery == Done || FundsReturned(p) {
		return false
	}
	switch p.Funds {
	case CaptureFailed, Disputed, DisputeLost:
		return false
	}
	until := accessCodeEnds(p)
	return until.IsZero() || now.Before(until)
}

// accessCodeLifetime is how long a code opens a machine if the credit itself has no end.
const accessCodeLifetime = 24 * time.Hour

// accessCodeEnds returns when the code stops working: at the credit's end, or a day after delivery
// if the credit has no end. It returns the zero time while the machine does not have the code.
func accessCodeEnds(p Payment) time.Time {
	switch {
	case p.Delivery == Queued || p.Delivery == Sent:
		return time.Time{}
	case !p.EndsAt.IsZero():
		return p.EndsAt
	case p.Duration > 0 && p.ConfirmBy.IsZero():
		return DeviceFreeAt(p)
	default:
		return Later(p.SentAt, p.StartedAt).Add(accessCodeLifetime)
	}
}

// RedactCode removes the access code from a vendor's reply, because a rejection may quote the note.
func RedactCode(p Payment, said string) string {
	if p.AccessCode == "" {
		return said
	}
	return strings.ReplaceAll(said, p.AccessCode, "[code]")
}
