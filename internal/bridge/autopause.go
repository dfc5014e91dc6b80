package bridge

import (
	"fmt"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// Automatic is the audit's actor for changes that notepay makes itself.
const Automatic = "notepay"

// autoPauseAfter is how many credits in a row may stay without an answer before the device is
// paused.
const autoPauseAfter = 2

// autoPause pauses a device whose last two credits were recalled or not confirmed. It resumes a
// device that it paused once the machine responds, or fetches a free start. update.change calls it
// for each change of a payment.
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
			break // credits that notepay rejected, and open ones, say nothing of the machine
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
