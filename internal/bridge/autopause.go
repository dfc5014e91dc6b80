package bridge

import (
	"fmt"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// Automatic is who decided what nobody decided.
const Automatic = "notepay"

// autoPauseAfter is how many credits in a row may come to nothing before a machine is not sold on
// any more.
const autoPauseAfter = 2

// autoPause pauses a machine that left two credits in a row unconfirmed or had them recalled, and
// resumes one that was paused so when a test start succeeds. It is asked for every change of a
// payment, in its transaction.
func (b *Bridge) autoPause(tx *ledger.Tx, before, after payment.Payment) error {
	if before.Delivery == after.Delivery {
		return nil
	}
	tested := payment.IsFreeStart(after) && after.Delivery == payment.Fetched && after.ConfirmBy.IsZero()
	if tested || payment.Answered(after) && !payment.Answered(before) {
		return b.resumeAutomatically(tx, after.DeviceUID, "the machine responded")
	}
	if !payment.Unanswered(after) || payment.IsFreeStart(after) {
		return nil
	}
	resumed, err := tx.LastAudit(after.DeviceUID, "resume")
	if err != nil {
		return err
	}
	last, err := tx.LastOfDevice(after.DeviceUID, 10)
	if err != nil {
		return err
	}
	left := 0
	for _, p := range last {
		if p.ID == after.ID {
			p = after
		}
		if payment.Unanswered(p) && p.CreatedAt.After(resumed) {
			left++
		} else if payment.Answered(p) || (p.Delivery == payment.Fetched && p.ConfirmBy.IsZero()) {
			break // what we refused ourselves, or is still open, says nothing of the machine
		}
	}
	if left < autoPauseAfter {
		return nil
	}
	if paused, err := ledger.Found(errorOf(tx.PauseOf(after.DeviceUID))); paused || err != nil {
		return err
	}
	why := "%d payments in a row did not reach the machine"
	if after.Reason == payment.ReasonUnconfirmed {
		why = "%d payments in a row got no answer from the machine"
	}
	pause := ledger.Pause{
		DeviceUID: after.DeviceUID,
		Reason:    fmt.Sprintf(why, left),
		By:        Automatic,
		At:        tx.Now,
		Automatic: true,
	}
	if err := tx.Pause(pause); err != nil {
		return err
	}
	return tx.AddAudit(
		ledger.Audit{At: tx.Now, Who: Automatic, What: "pause", Subject: after.DeviceUID, Why: pause.Reason},
	)
}

func (b *Bridge) resumeAutomatically(tx *ledger.Tx, device, why string) error {
	paused, err := tx.PauseOf(device)
	known, err := ledger.Found(err)
	if err != nil || !known || !paused.Automatic {
		return err
	}
	if err := tx.Resume(device); err != nil {
		return err
	}
	return tx.AddAudit(ledger.Audit{At: tx.Now, Who: Automatic, What: "resume", Subject: device, Why: why})
}
