package bridge

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
	"time"

	"notepay/internal/ledger"
)

// The code of a machine that is a door or a locker: six digits in the note and on the payer's page.
// It is in the ledger while it opens anything, and nowhere else.

// coded gives a credit its code, if its machine is opened with one and it has none.
func coded(p ledger.Payment) ledger.Payment {
	if p.WithCode && p.AccessCode == "" && p.Machine != ledger.Failed {
		n, _ := rand.Int(rand.Reader, big.NewInt(1_000_000)) // never fails (crypto/rand)
		p.AccessCode = fmt.Sprintf("%06d", n)
	}
	return p
}

// codeKept forgets the code of a credit when it opens nothing any more.
func codeKept(p ledger.Payment, now time.Time) ledger.Payment {
	if !Opens(p, now) {
		p.AccessCode = ""
	} else if until := codeEnds(p); !until.IsZero() {
		p = noLater(p, until)
	}
	return p
}

// Opens says whether a payment has a code that opens its machine at now, or will when the machine has it.
func Opens(p ledger.Payment, now time.Time) bool {
	if p.AccessCode == "" || p.Machine == ledger.Failed || p.Machine == ledger.Done || moneyIsBack(p) {
		return false
	}
	switch p.Money {
	case ledger.CaptureFailed, ledger.Disputed, ledger.Lost:
		return false
	}
	until := codeEnds(p)
	return until.IsZero() || now.Before(until)
}

// codeLife is how long a code opens a machine that has no end of its own.
const codeLife = 24 * time.Hour

// codeEnds is when the code of a credit opens nothing any more: at the credit's end, where it has
// none a day after the machine got it; zero while the machine does not have it.
func codeEnds(p ledger.Payment) time.Time {
	switch {
	case p.Machine == ledger.Queued || p.Machine == ledger.Sent:
		return time.Time{}
	case !p.EndsAt.IsZero():
		return p.EndsAt
	case p.Duration > 0 && p.ConfirmBy.IsZero():
		return freeAt(p)
	default:
		return latest(p.SentAt, p.StartedAt).Add(codeLife)
	}
}

// hidden is what a vendor said, without the code that opens a machine, which a refusal may quote.
func hidden(p ledger.Payment, said string) string {
	if p.AccessCode == "" {
		return said
	}
	return strings.ReplaceAll(said, p.AccessCode, "[code]")
}
