package payment

import (
	"strings"
	"time"
)

// The code of a machine that is a door or a locker: six digits in the note and on the payer's page.
// It is in the ledger while it opens anything, and nowhere else.

// AssignAccessCode gives a credit its code, if its machine is opened with one and it has none.
func AssignAccessCode(p Payment, code string) Payment {
	if p.NeedsAccessCode && p.AccessCode == "" && p.Delivery != Failed {
		p.AccessCode = code
	}
	return p
}

// expireAccessCode forgets the code of a credit when it opens nothing any more.
func expireAccessCode(p Payment, now time.Time) Payment {
	if !AccessCodeValid(p, now) {
		p.AccessCode = ""
	} else if until := accessCodeEnds(p); !until.IsZero() {
		p = dueBy(p, until)
	}
	return p
}

// AccessCodeValid says whether a payment has a code that opens its machine at now, or will when the
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

// accessCodeLifetime is how long a code opens a machine that has no end of its own.
const accessCodeLifetime = 24 * time.Hour

// accessCodeEnds is when the code of a credit opens nothing any more: at the credit's end, where it
// has none a day after the machine got it; zero while the machine does not have it.
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

// RedactCode is what a vendor said, without the code that opens a machine, which a refusal may
// quote.
func RedactCode(p Payment, said string) string {
	if p.AccessCode == "" {
		return said
	}
	return strings.ReplaceAll(said, p.AccessCode, "[code]")
}
