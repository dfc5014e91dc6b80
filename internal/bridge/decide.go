package bridge

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"notepay/internal/ledger"
)

// By is who decided something, and why.
type By struct{ Who, Why string }

// Also is what a caller does in the transaction of a decision. An error of either function undoes
// the decision and is returned. Both may run more than once, see ledger.Update. A nil function does
// nothing.
type Also struct {
	Before func(*ledger.Tx) error
	After  func(*ledger.Tx, ledger.Payment) error // with the payment as the decision leaves it
}

func runBefore(tx *ledger.Tx, also []Also) error {
	for _, a := range also {
		if a.Before == nil {
			continue
		}
		if err := a.Before(tx); err != nil {
			return err
		}
	}
	return nil
}

func runAfter(tx *ledger.Tx, p ledger.Payment, also []Also) error {
	for _, a := range also {
		if a.After == nil {
			continue
		}
		if err := a.After(tx, p); err != nil {
			return err
		}
	}
	return nil
}

// Retry sends a credit anew, see the function of this name. It returns ErrState where that is not
// allowed, and ledger.ErrNotFound.
func (b *Bridge) Retry(ctx context.Context, id string, by By, also ...Also) (ledger.Payment, error) {
	d := auditEntry{what: "retry"}
	var ended *change
	p, err := b.decide(ctx, id, d, by, also, func(tx *ledger.Tx, p ledger.Payment) (ledger.Payment, error) {
		lifetime := b.c.Lifetime
		if own, ok := b.c.Fleet.Lifetime(p.DeviceUID); ok {
			lifetime = own
		}
		if plan, ok := b.c.Fleet.Plan(p.PriceID); ok && p.Plan == "" { // it was recorded before the prices were known
			p = sold(p, Session{ShownCurrency: p.Currency}, plan)
		}
		p, err := Retry(p, lifetime, tx.Now)
		if err != nil {
			return p, err
		}
		if p, ended, err = b.oneAtATime(tx, p); err == nil && p.Machine == ledger.Failed {
			err = ErrState // another timed credit has the device now
		}
		return coded(p), err
	})
	if err == nil && ended != nil {
		b.committed(*ended)
	}
	return p, err
}

// GiveBack gives money back (minor currency units; 0: all that is left).
func (b *Bridge) GiveBack(ctx context.Context, id string, amount int64, by By, also ...Also) (ledger.Payment, error) {
	d := auditEntry{what: "refund", amount: amount}
	return b.decide(ctx, id, d, by, also, func(tx *ledger.Tx, p ledger.Payment) (ledger.Payment, error) {
		return GiveBack(p, amount, tx.Now)
	})
}

// End ends what is open for a payment, and takes it off the list of those that a person has to look at.
func (b *Bridge) End(ctx context.Context, id string, by By, also ...Also) (ledger.Payment, error) {
	d := auditEntry{what: "end"}
	return b.decide(ctx, id, d, by, also, func(tx *ledger.Tx, p ledger.Payment) (ledger.Payment, error) {
		return End(p, tx.Now)
	})
}

// auditEntry is what the audit says of a decision.
type auditEntry struct {
	what   string
	amount int64 // that was asked for, minor currency units; 0: all that is left
}

// audit returns the audit's row of a decision.
func (d auditEntry) audit(by By, before, after ledger.Payment) ledger.Audit {
	a := ledger.Audit{
		Who:      by.Who,
		What:     d.what,
		Subject:  before.ID,
		Why:      by.Why,
		Before:   brief(before),
		After:    brief(after),
		Currency: before.Currency,
	}
	switch {
	case d.what == "refund":
		a.Amount = cmp.Or(d.amount, before.Amount-before.RefundedAmount)
	case d.what == "end" && Dismisses(before):
		a.What = "dismiss"
	}
	return a
}

// Dismisses reports whether End would only take a payment off the list of those that a person has
// to look at: nothing is open that it could end.
func Dismisses(p ledger.Payment) bool {
	return p.Machine != ledger.Queued && p.Machine != ledger.Sent && p.Machine != ledger.Started
}

// decide changes a payment by a person's decision, and writes down who, what and why, in one transaction.
func (b *Bridge) decide(ctx context.Context, id string, d auditEntry, by By, also []Also,
	f func(*ledger.Tx, ledger.Payment) (ledger.Payment, error)) (ledger.Payment, error) {
	found, err := b.c.Ledger.Payment(ctx, id)
	if err != nil {
		return found, err
	}
	var changed change
	err = b.c.Ledger.Update(ctx, func(tx *ledger.Tx) (err error) {
		if err := runBefore(tx, also); err != nil {
			return err
		}
		if changed.before, err = tx.Payment(found.ID); err != nil {
			return err
		}
		if changed.after, err = f(tx, changed.before); err != nil {
			return err
		}
		if err := tx.ChangePayment(changed.before, changed.after); err != nil {
			return err
		}
		if err := tx.AddAudit(d.audit(by, changed.before, changed.after)); err != nil {
			return err
		}
		return runAfter(tx, changed.after, also)
	})
	// If we stop here, it is decided: the row says what is next.
	if err != nil {
		return found, err
	}
	b.committed(changed)
	return changed.after, nil
}

// brief is how a payment stands, for the audit.
func brief(p ledger.Payment) string {
	return strings.TrimRight(fmt.Sprintf("%s %s %s %d", p.Money, p.Machine, p.Reason, p.RefundedAmount), " ")
}

// freeStarts begin the session ids of credits that nobody paid for.
const freeStarts = "start_"

func freeStart(p ledger.Payment) bool { return strings.HasPrefix(p.SessionID, freeStarts) }

// StartFree sends a device a credit that nobody pays for, to test it or as goodwill. It returns
// ledger.ErrNotFound for an unknown device.
func (b *Bridge) StartFree(ctx context.Context, device string, by By, also ...Also) (ledger.Payment, error) {
	if err := b.mayRecord(ctx); err != nil {
		return ledger.Payment{}, err
	}
	session := freeStarts + strings.ToLower(rand.Text())
	var p ledger.Payment
	err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		if err := runBefore(tx, also); err != nil {
			return err
		}
		d := b.c.Fleet.Device(device)
		if d == nil {
			return ledger.ErrNotFound
		}
		p = ledger.Payment{
			ID:         ledger.CreditID(session),
			SessionID:  session,
			Token:      newToken(),
			DeviceUID:  device,
			DeviceName: d.Name,
			Plan:       "Free start",
			Livemode:   b.c.Livemode,
			Machine:    ledger.Queued,
			Money:      ledger.Paid,
			PaidAt:     tx.Now.Truncate(time.Second),
			CreatedAt:  tx.Now,
			MachineAt:  tx.Now,
			MoneyAt:    tx.Now,
		}
		p = Next(b.clocks(p, b.c.Lifetime, tx.Now), tx.Now)
		if _, err := tx.InsertPayment(p); err != nil {
			return err
		}
		started := ledger.Audit{At: tx.Now, Who: by.Who, What: "start", Subject: device, Why: by.Why, After: p.ID}
		if err := tx.AddAudit(started); err != nil {
			return err
		}
		return runAfter(tx, p, also)
	})
	if err != nil {
		return p, fmt.Errorf("free start of %s: %w", device, err)
	}
	b.committed(change{after: p})
	return p, nil
}

// Automatic is who decided what nobody decided.
const Automatic = "notepay"

// streaks is how many credits in a row may come to nothing before a machine is not sold on any more.
const streaks = 2

// streak pauses a machine that left two credits in a row unconfirmed or had them recalled, and
// resumes one that was paused so when a test start succeeds. It is asked for every change of a
// payment, in its transaction.
func (b *Bridge) streak(tx *ledger.Tx, before, after ledger.Payment) error {
	if before.Machine == after.Machine {
		return nil
	}
	tested := freeStart(after) && after.Machine == ledger.Fetched && after.ConfirmBy.IsZero()
	if tested || answered(after) && !answered(before) {
		return b.resumeAutomatically(tx, after.DeviceUID, "the machine responded")
	}
	if !leftAlone(after) || freeStart(after) {
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
		if leftAlone(p) && p.CreatedAt.After(resumed) {
			left++
		} else if answered(p) || (p.Machine == ledger.Fetched && p.ConfirmBy.IsZero()) {
			break // what we refused ourselves, or is still open, says nothing of the machine
		}
	}
	if left < streaks {
		return nil
	}
	if paused, err := ledger.Has(second(tx.PauseOf(after.DeviceUID))); paused || err != nil {
		return err
	}
	why := "%d payments in a row did not reach the machine"
	if after.Reason == ReasonUnconfirmed {
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

// answered: the machine has said that it has the credit.
func answered(p ledger.Payment) bool { return p.Machine == ledger.Started || p.Machine == ledger.Done }

// leftAlone: the machine did not fetch the credit, or did not say anything.
func leftAlone(p ledger.Payment) bool {
	return p.Machine == ledger.Failed &&
		(p.Reason == ReasonUnconfirmed || p.Reason == ReasonRecalled || p.Reason == ReasonRecallUnclear)
}

func (b *Bridge) resumeAutomatically(tx *ledger.Tx, device, why string) error {
	paused, err := tx.PauseOf(device)
	known, err := ledger.Has(err)
	if err != nil || !known || !paused.Automatic {
		return err
	}
	if err := tx.Resume(device); err != nil {
		return err
	}
	return tx.AddAudit(ledger.Audit{At: tx.Now, Who: Automatic, What: "resume", Subject: device, Why: why})
}

// Pause takes a device out of sale, until Resume.
func (b *Bridge) Pause(ctx context.Context, device string, by By, also ...Also) error {
	return b.onDevice(ctx, device, "pause", by, also, func(tx *ledger.Tx) error {
		return tx.Pause(ledger.Pause{DeviceUID: device, Reason: by.Why, By: by.Who, At: tx.Now})
	})
}

// Resume sells on a device again.
func (b *Bridge) Resume(ctx context.Context, device string, by By, also ...Also) error {
	return b.onDevice(ctx, device, "resume", by, also, func(tx *ledger.Tx) error { return tx.Resume(device) })
}

// onDevice changes what the ledger says of a device, with an audit row, and then what the fleet knows.
func (b *Bridge) onDevice(ctx context.Context, device, what string, by By, also []Also,
	write func(*ledger.Tx) error) error {
	if b.c.Fleet.Device(device) == nil {
		return ledger.ErrNotFound
	}
	err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		if err := runBefore(tx, also); err != nil {
			return err
		}
		if err := write(tx); err != nil {
			return err
		}
		return tx.AddAudit(ledger.Audit{At: tx.Now, Who: by.Who, What: what, Subject: device, Why: by.Why})
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, device, err)
	}
	b.show(device)
	return nil
}
