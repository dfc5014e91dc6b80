package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// queue is the part of the ledger's queue that is one vendor's.
type queue struct {
	due   func(tx *ledger.Tx, again bool, limit int) ([]payment.Payment, error)
	part  ledger.Part
	pace  *upstream.Limiter
	wake  chan struct{}
	slots int
	one   bool // at most one call for a device
}

func (b *Bridge) notehub() queue {
	return queue{(*ledger.Tx).DueForNotehub, ledger.ForNotehub, b.c.NotehubLimiter, b.notehubDue, notehubWorkers, true}
}

func (b *Bridge) stripe() queue {
	return queue{(*ledger.Tx).DueForStripe, ledger.ForStripe, b.c.StripeLimiter, b.stripeDue, stripeWorkers, false}
}

// runQueue claims what is due for a vendor and makes the calls, each in a goroutine of its own.
func (b *Bridge) runQueue(ctx, calls context.Context, q queue) {
	var fresh, again = make(chan struct{}, q.slots), make(chan struct{}, q.slots/2)
	var under sync.WaitGroup
	defer under.Wait()
	for ctx.Err() == nil {
		// it would not answer, and time may have decided something
		if q.part == ledger.ForStripe && !b.clock().Known() {
			_ = upstream.Sleep(ctx, measuring)
			continue
		}
		claimed, err := b.claim(ctx, q, cap(fresh)-len(fresh), cap(again)-len(again))
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Error("payments not claimed", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		if len(claimed) == 0 {
			if d := q.pace.Delay(time.Now()); d > 0 {
				b.waitForVendor(ctx, d)
			} else {
				b.waitUntilDue(ctx, q.wake, q.part)
			}
			continue
		}
		for _, p := range claimed {
			slots := fresh
			if p.Failures > 0 && payment.CallsNotehub(p.Step) || p.FundsFailures > 0 && payment.CallsStripe(p.Step) {
				slots = again
			}
			slots <- struct{}{}
			under.Go(func() {
				defer func() { <-slots; signal(q.wake) }()
				b.execute(calls, p)
			})
		}
	}
}

// maxVendorWait is how long nobody looks at the queue while a vendor wants to be left alone:
// credits run out meanwhile.
const maxVendorWait = 5 * time.Second

// waitForVendor waits until the vendor may be asked again, but not long.
func (b *Bridge) waitForVendor(ctx context.Context, d time.Duration) {
	_ = upstream.Sleep(ctx, min(d, maxVendorWait)) // the caller sees a context that ended
}

// waitUntilDue waits until a row is due, asking for the next one at each wake-up. It asks the
// readers: what most wake-ups are for is done already, and the writer has other work.
func (b *Bridge) waitUntilDue(ctx context.Context, wake chan struct{}, part ledger.Part) {
	for woken := false; ; woken = true {
		d := maxIdle
		due, err := b.c.Ledger.NextDue(ctx, part)
		switch {
		case err != nil && ctx.Err() == nil:
			b.c.Log.Error("queue not read", "err", err)
		case woken && !due.IsZero() && !b.now().Before(due):
			return
		case !due.IsZero():
			// A row that is due and was not claimed has a device or slot that is not free: a
			// wake-up comes when it is.
			d = min(max(due.Sub(b.now()), 100*time.Millisecond), maxIdle)
		}
		t := time.NewTimer(d)
		select {
		case <-wake:
			t.Stop()
			continue
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		return
	}
}

// claim takes due payments, no more than the pace and the slots allow.
func (b *Bridge) claim(ctx context.Context, q queue, fresh, again int) (claimed []payment.Payment, err error) {
	reserved := q.pace.Reserve(fresh + again)
	defer func() { q.pace.Return(reserved - len(claimed)) }()
	err = b.update(ctx, func(tx *update) error {
		claimed = claimed[:0]
		for _, failedBefore := range []bool{false, true} {
			slots := fresh
			if failedBefore {
				slots = again
			}
			due, err := q.due(tx.Tx, failedBefore, slots)
			if err != nil {
				return err
			}
			for _, p := range due {
				full := len(claimed) >= reserved
				called := q.one &&
					slices.ContainsFunc(claimed, func(c payment.Payment) bool { return c.DeviceUID == p.DeviceUID })
				before := p
				switch {
				case b.tooEarly(p, tx.Now):
					if !p.InFlight {
						p.DueAt = tx.Now.Add(time.Second)
					}
				case full || called: // no call for it now, but it may have run out while it waited
					p = payment.YieldStep(payment.Next(p, tx.Now), tx.Now)
				default:
					if p, err = b.claimPayment(tx, p); err != nil {
						return err
					}
				}
				if err := tx.change(before, p); err != nil {
					return err
				}
				if p.InFlight && p.FencingToken != before.FencingToken {
					claimed = append(claimed, p)
				}
			}
		}
		return nil
	})
	// If we stop here, the rows say that a call may be under way: when the lease is over they are
	// looked at before anything is repeated.
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	q.pace.Begin(len(claimed))
	return claimed, nil
}

// tooEarly: after a start no deadline is acted on before Stripe's events and the machines' answers
// were read once.
func (b *Bridge) tooEarly(p payment.Payment, now time.Time) bool {
	over := !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
	return over && (p.Delivery == payment.Queued || p.Delivery == payment.Sent) && !b.caughtUp()
}

// claimPayment judges the device, and claims what is still to be done.
func (b *Bridge) claimPayment(tx *update, p payment.Payment) (_ payment.Payment, err error) {
	if payment.CallsNotehub(p.Step) && p.Delivery == payment.Queued && !p.MaybeAccepted && !p.InFlight &&
		!payment.IsFreeStart(p) {
		switch b.c.Fleet.Eligibility(p.DeviceUID, p.PaidAt) {
		case fleet.Unsure: // not judged while the devices are being listed
			p.BackoffUntil = tx.Now.Add(time.Second)
			return payment.Next(p, tx.Now), nil
		case fleet.Unknown:
			return b.reject(p, payment.ReasonUnknownDevice, tx.Now), nil
		case fleet.NotSelling:
			return b.reject(p, payment.ReasonNotSelling, tx.Now), nil
		}
	}
	if p.Plan == "" { // neither link nor session was known when the payment was recorded; now the prices are
		if plan, ok := b.c.Fleet.Offer(p.PriceID); ok {
			// Of a payment in another currency it is not known any more what Stripe converted.
			p = payment.ApplyOffer(p, payment.CheckoutSession{ShownCurrency: p.Currency}, plan, newAccessCode())
			if p, err = b.reserveDevice(tx, p); err != nil {
				return p, err
			}
		}
	}
	if d := b.c.Fleet.Device(p.DeviceUID); d != nil && p.DeviceName == "" {
		p.DeviceName = d.Name
	}
	p, interrupted := payment.Claim(p, tx.Now)
	if interrupted != nil {
		err = tx.AddAttempt(
			p.ID,
			ledger.Attempt{At: interrupted.Began, Action: interrupted.Action, Outcome: "retry", Detail: "interrupted"},
		)
	}
	return p, err
}

// reject gives the money of a payment back for a device that is not sold on, and has somebody look
// why it could be paid for.
func (b *Bridge) reject(p payment.Payment, reason string, now time.Time) payment.Payment {
	p = payment.Fail(p, reason)
	p.ReviewReason = reason
	return payment.Next(p, now)
}
