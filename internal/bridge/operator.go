package bridge

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// Actor is the operator or program that decided something, and its reason.
type Actor struct{ Name, Reason string }

// Also adds to the transaction of a decision. An error of either function rolls the decision back
// and is returned. Both may run more than once, see ledger.Update. Each may be nil.
type Also struct {
	Before func(*ledger.Tx) error
	After  func(*ledger.Tx, payment.Payment) error // gets the payment after the decision
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

func runAfter(tx *ledger.Tx, p payment.Payment, also []Also) error {
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

// Resend sends a credit again, see payment.Resend. It returns ErrState if the payment's state does
// not allow that, and ledger.ErrNotFound for an unknown payment.
func (b *Bridge) Resend(ctx context.Context, id string, by Actor, also ...Also) (payment.Payment, error) {
	d := auditEntry{what: "retry"}
	return b.operatorAction(ctx, id, d, by, also, func(tx *update, p payment.Payment) (payment.Payment, error) {
		// The payment was recorded before the prices were known.
		if plan, ok := b.c.Fleet.Offer(p.PriceID); ok && p.Plan == "" {
			p = payment.ApplyOffer(p, payment.CheckoutSession{ShownCurrency: p.Currency}, plan, newAccessCode())
		}
		p, err := payment.Resend(p, b.lifetimeOf(p.DeviceUID), tx.Now)
		if err != nil {
			return p, err
		}
		if p, err = b.reserveDevice(tx, p); err == nil && p.Delivery == payment.Failed {
			err = payment.ErrState // another timed credit holds the device
		}
		return payment.AssignAccessCode(p, newAccessCode()), err
	})
}

// Refund refunds an amount in minor currency units; 0 means the rest.
func (b *Bridge) Refund(ctx context.Context, id string, amount int64, by Actor, also ...Also) (payment.Payment, error) {
	d := auditEntry{what: "refund", amount: amount}
	return b.operatorAction(ctx, id, d, by, also, func(tx *update, p payment.Payment) (payment.Payment, error) {
		return payment.Refund(p, amount, tx.Now)
	})
}

// RetryRefund tries a refund again now that Stripe rejected.
func (b *Bridge) RetryRefund(ctx context.Context, id string, by Actor, also ...Also) (payment.Payment, error) {
	d := auditEntry{what: "refund_again"}
	return b.operatorAction(ctx, id, d, by, also, func(tx *update, p payment.Payment) (payment.Payment, error) {
		return payment.RetryRefund(p, tx.Now)
	})
}

// Cancel cancels what is open for a payment, and dismisses its review.
func (b *Bridge) Cancel(ctx context.Context, id string, by Actor, also ...Also) (payment.Payment, error) {
	d := auditEntry{what: "end"}
	return b.operatorAction(ctx, id, d, by, also, func(tx *update, p payment.Payment) (payment.Payment, error) {
		return payment.Cancel(p, tx.Now)
	})
}

// auditEntry describes a decision for the audit.
type auditEntry struct {
	what   string
	amount int64 // requested, in minor currency units; 0: the rest
}

// audit returns the audit's row of a decision.
func (d auditEntry) audit(by Actor, before, after payment.Payment) ledger.Audit {
	a := ledger.Audit{
		Who:      by.Name,
		What:     d.what,
		Subject:  before.ID,
		Why:      by.Reason,
		Before:   auditState(before),
		After:    auditState(after),
		Currency: before.Currency,
	}
	switch {
	case d.what == "refund":
		a.Amount = cmp.Or(d.amount, before.Amount-before.RefundedAmount)
	case d.what == "refund_again":
		a.Amount = before.RefundAmount
	case d.what == "end" && payment.Dismissable(before):
		a.What = "dismiss"
	}
	return a
}

// operatorAction changes a payment by f and records the decision in the audit, in one transaction.
func (b *Bridge) operatorAction(ctx context.Context, id string, d auditEntry, by Actor, also []Also,
	f func(*update, payment.Payment) (payment.Payment, error)) (payment.Payment, error) {
	found, err := b.c.Ledger.Payment(ctx, id)
	if err != nil {
		return found, err
	}
	var after payment.Payment
	err = b.update(ctx, func(tx *update) error {
		if err := runBefore(tx.Tx, also); err != nil {
			return err
		}
		before, err := tx.Payment(found.ID)
		if err != nil {
			return err
		}
		if after, err = f(tx, before); err != nil {
			return err
		}
		if err := tx.change(before, after); err != nil {
			return err
		}
		if err := tx.AddAudit(d.audit(by, before, after)); err != nil {
			return err
		}
		return runAfter(tx.Tx, after, also)
	})
	// If the process stops here, the decision is durable, and the row holds the next step.
	if err != nil {
		return found, err
	}
	return after, nil
}

// auditState returns the payment's state for the audit.
func auditState(p payment.Payment) string {
	return strings.TrimRight(fmt.Sprintf("%s %s %s %d", p.Funds, p.Delivery, p.Reason, p.RefundedAmount), " ")
}

// GrantCredit sends a device a credit without a payment, as the operator's test or goodwill. The credit
// is for one of the device's prices, or for its first if price is "", with the duration, code and
// pulses of a paid one. A device without prices gets a credit without them.
//
// It returns ledger.ErrNotFound for an unknown device, ErrNoPrice if the device does not sell the price,
// ErrNotRead while its prices are unknown, and payment.ErrState if another timed credit holds it. A
// credit of which nothing more can be known gives the device up, because it cannot be ended.
func (b *Bridge) GrantCredit(ctx context.Context, device, price string, by Actor, also ...Also) (
	payment.Payment, error,
) {
	choose := func(d *fleet.Device, now time.Time) (payment.Offer, error) { return b.offerOf(d, price, now) }
	return b.grant(ctx, payment.OperatorStartPrefix, device, choose, by, also)
}

// ErrNoPrice is returned for a price that a device does not sell.
var ErrNoPrice = errors.New("the device does not sell this price")

// ErrNotRead is returned while it is not known what a device sells.
var ErrNotRead = errors.New("the variables of the device were not read yet")

// offerOf returns what a free start of a device is for. While that is unknown, it requests a read.
func (b *Bridge) offerOf(d *fleet.Device, price string, now time.Time) (payment.Offer, error) {
	if d.Unread() {
		b.c.Fleet.Availability(d.UID, now)
		return payment.Offer{}, ErrNotRead
	}
	for _, o := range d.Offers {
		if price == "" || o.Plan.PriceID == price {
			return o.Plan, nil
		}
	}
	if price != "" {
		return payment.Offer{}, ErrNoPrice
	}
	return payment.Offer{Name: "Free start"}, nil
}

// GrantOffer sends a device a free credit of a goodwill code, for one of its offers, with the duration,
// code and pulses of a paid one. It returns ErrState if another timed credit holds the device.
func (b *Bridge) GrantOffer(
	ctx context.Context, device string, offer payment.Offer, by Actor, also ...Also,
) (payment.Payment, error) {
	choose := func(*fleet.Device, time.Time) (payment.Offer, error) { return offer, nil }
	return b.grant(ctx, payment.FreeStartPrefix, device, choose, by, also)
}

// grant records a free credit for the offer that choose returns. It asks choose in the transaction, because
// a request that is repeated must not depend on what the device sells now.
func (b *Bridge) grant(
	ctx context.Context,
	prefix, device string,
	choose func(d *fleet.Device, now time.Time) (payment.Offer, error),
	by Actor,
	also []Also,
) (payment.Payment, error) {
	if err := b.mayRecord(ctx); err != nil {
		return payment.Payment{}, err
	}
	session := prefix + strings.ToLower(rand.Text())
	var p payment.Payment
	err := b.update(ctx, func(tx *update) error {
		if err := runBefore(tx.Tx, also); err != nil {
			return err
		}
		d := b.c.Fleet.Device(device)
		if d == nil {
			return ledger.ErrNotFound
		}
		p = payment.Payment{
			ID:         payment.CreditID(session),
			SessionID:  session,
			Token:      newToken(payment.CreditID(session)),
			DeviceUID:  device,
			DeviceName: d.Name,
			Livemode:   b.c.Livemode,
			Delivery:   payment.Queued,
			Funds:      payment.Paid,
			PaidAt:     tx.Now.Truncate(time.Second),
			CreatedAt:  tx.Now,
			DeliveryAt: tx.Now,
			FundsAt:    tx.Now,
		}
		offer, err := choose(d, tx.Now)
		if err != nil {
			return err
		}
		p = payment.ApplyOffer(p, payment.CheckoutSession{}, offer, newAccessCode())
		if prefix == payment.OperatorStartPrefix && p.Duration > 0 {
			if err := releaseSilentDevice(tx, device, tx.Now.Add(p.DelayedStart+p.Duration)); err != nil {
				return err
			}
		}
		if p, err = b.reserveDevice(tx, p); err == nil && p.Delivery == payment.Failed {
			err = payment.ErrState // another timed credit holds the device
		}
		if err != nil {
			return err
		}
		p = payment.Next(b.setDeadlines(p, b.lifetimeOf(device), tx.Now), tx.Now)
		if _, err := tx.insert(p); err != nil {
			return err
		}
		started := ledger.Audit{At: tx.Now, Who: by.Name, What: "start", Subject: device, Why: by.Reason, After: p.ID}
		if err := tx.AddAudit(started); err != nil {
			return err
		}
		return runAfter(tx.Tx, p, also)
	})
	if err != nil {
		return p, fmt.Errorf("free start of %s: %w", device, err)
	}
	return p, nil
}

// releaseSilentDevice ends the hold of a timed credit that its machine has, and that it is not expected
// to answer, so that a start that ends at until can hold the device. A shorter start would free it
// before its customer's time is over.
func releaseSilentDevice(tx *update, device string, until time.Time) error {
	held, err := tx.Occupant(device)
	if taken, err := ledger.Found(err); !taken || err != nil {
		return err
	}
	if held.Delivery != payment.Fetched || !held.ConfirmBy.IsZero() || until.Before(payment.DeviceFreeAt(held)) {
		return nil
	}
	released := held
	released.HoldsDevice = false
	return tx.change(held, payment.Next(released, tx.Now))
}

// Pause stops the sales of a device until Resume.
func (b *Bridge) Pause(ctx context.Context, device string, by Actor, also ...Also) error {
	return b.onDevice(ctx, device, "pause", by, also, func(tx *ledger.Tx) error {
		return tx.Pause(ledger.Pause{DeviceUID: device, Reason: by.Reason, By: by.Name, At: tx.Now})
	})
}

// Resume starts the sales of a device again, whether they were paused or the machine said that it is
// out of order.
func (b *Bridge) Resume(ctx context.Context, device string, by Actor, also ...Also) error {
	return b.onDevice(ctx, device, "resume", by, also, func(tx *ledger.Tx) error {
		return errors.Join(tx.Resume(device), resumeMachine(tx, device))
	})
}

// PlanMaintenance stops the sales of a device for a time. It replaces what was planned before.
func (b *Bridge) PlanMaintenance(
	ctx context.Context, device string, from, to time.Time, by Actor, also ...Also,
) error {
	return b.onDevice(ctx, device, "maintenance", by, also, func(tx *ledger.Tx) error {
		return tx.PlanMaintenance(ledger.Maintenance{
			DeviceUID: device,
			From:      from,
			To:        to,
			Reason:    by.Reason,
			By:        by.Name,
			At:        tx.Now,
		})
	})
}

// CancelMaintenance cancels the planned maintenance of a device.
func (b *Bridge) CancelMaintenance(ctx context.Context, device string, by Actor, also ...Also) error {
	return b.onDevice(ctx, device, "maintenance_end", by, also, func(tx *ledger.Tx) error {
		return tx.CancelMaintenance(device)
	})
}

// onDevice changes a device's pause in the ledger with an audit row, and then publishes it.
func (b *Bridge) onDevice(ctx context.Context, device, what string, by Actor, also []Also,
	write func(*ledger.Tx) error) error {
	if b.c.Fleet.Device(device) == nil {
		return ledger.ErrNotFound
	}
	err := b.update(ctx, func(tx *update) error {
		if err := runBefore(tx.Tx, also); err != nil {
			return err
		}
		if err := write(tx.Tx); err != nil {
			return err
		}
		tx.devices = append(tx.devices, device)
		return tx.AddAudit(ledger.Audit{At: tx.Now, Who: by.Name, What: what, Subject: device, Why: by.Reason})
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, device, err)
	}
	return nil
}
