package bridge

import (
	"time"

	"notepay/internal/ledger"
)

// A payment may have something to be done at either vendor. These say what and when; step in
// life.go chooses between them.

// yielded returns a payment whose due step cannot be claimed now, with the other vendor's step
// instead if that is due as well. So a vendor that nobody can call does not hold up what the other
// one has to do.
func yielded(p ledger.Payment, now time.Time) ledger.Payment {
	other, due := machineStep(p, now)
	if asksNotehub(p.Step) {
		other, due = moneyStep(p, now)
	}
	if p.InFlight || other == ledger.NoStep || due.After(now) {
		return p
	}
	p.Step, p.DueAt = other, due
	return p
}

// machineStep is the next call to Notehub and when it may be made.
func machineStep(p ledger.Payment, now time.Time) (ledger.Step, time.Time) {
	soon := latest(now, p.NotBefore)
	switch {
	case p.Machine == ledger.Queued && p.Unclear:
		return ledger.CheckPending, soon
	case InDoubt(p, now):
	case p.Machine == ledger.Queued:
		due := soon
		if !p.ExpiresAt.IsZero() && p.ExpiresAt.Before(due) {
			due = p.ExpiresAt // to be failed then, without another call
		}
		return ledger.PostNote, due
	case p.Machine == ledger.Sent && p.NoteIDs != "" && !p.Unclear:
		return ledger.Recall, soon
	case p.Machine == ledger.Sent && (p.Recalled != ledger.NotRecalled || p.Stop != ""):
		return ledger.CheckPending, soon
	case p.Machine == ledger.Sent && p.ExpiresAt.IsZero():
		return ledger.CheckPending, latest(p.SentAt.Add(idleLook), p.NotBefore)
	case p.Machine == ledger.Sent:
		return ledger.CheckPending, latest(p.ExpiresAt, p.NotBefore)
	case p.Tell != "":
		return ledger.PostNote, soon
	}
	return ledger.NoStep, time.Time{}
}

// moneyStep is the next call to Stripe and when it may be made.
func moneyStep(p ledger.Payment, now time.Time) (ledger.Step, time.Time) {
	soon := latest(now, p.MoneyNotBefore)
	switch p.Money {
	case ledger.Capturing:
		return ledger.Capture, soon
	case ledger.Releasing:
		return ledger.Release, soon
	case ledger.Refunding, ledger.RefundFailed:
		if !refundsEnded(p) {
			return ledger.Refund, soon
		}
	}
	return ledger.NoStep, time.Time{}
}
