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

// queue is one vendor's part of the ledger's queue.
type queue struct {
	due     func(tx *ledger.Tx, again bool, limit int) ([]payment.Payment, error)
	part    ledger.Part
	limiter *upstream.Limiter
	alarm   *alarm
	slots   int
	one     bool // at most one call per device
}

func (b *Bridge) notehub() queue {
	return queue{(*ledger.Tx).DueForNotehub, ledger.ForNotehub, b.c.NotehubLimiter, b.notehubDue, notehubWorkers, true}
}

func (b *Bridge) stripe() queue {
	return queue{(*ledger.Tx).DueForStripe, ledger.ForStripe, b.c.StripeLimiter, b.stripeDue, stripeWorkers, false}
}

// runQueue claims the due payments of one vendor, and makes their calls in goroutines.
func (b *Bridge) runQueue(ctx, calls context.Context, q queue) {
	var fresh, again = make(chan struct{}, q.slots), make(chan struct{}, q.slots/2)
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	for ctx.Err() == nil {
		// Stripe would not answer, and deadlines are unknown without its time.
		if q.part == ledger.ForStripe && !b.clock().Known() {
			_ = upstream.Sleep(ctx, measureInterval)
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
			if d := q.limiter.Delay(time.Now()); d > 0 {
				b.waitForVendor(ctx, d)
			} else {
				b.waitUntilDue(ctx, q.alarm, q.part)
			}
			continue
		}
		for _, p := range claimed {
			slots := fresh
			if p.Failures > 0 && payment.CallsNotehub(p.Step) || p.FundsFailures > 0 && payment.CallsStripe(p.Step) {
				slots = again
			}
			slots <- struct{}{}
			inFlight.Go(func() {
				defer func() { <-slots; q.alarm.freed() }()
				b.execute(calls, p)
			})
		}
	}
}

// maxVendorWait is how long the queue is left alone at a time while a vendor limits the rate.
// Credits may expire meanwhile.
const maxVendorWait = 5 * time.Second

// waitForVendor blocks for d, but at most maxVendorWait.
func (b *Bridge) waitForVendor(ctx context.Context, d time.Duration) {
	_ = upstream.Sleep(ctx, min(d, maxVendorWait))
}

// idle returns the maximum sleep of a worker without due work.
func (b *Bridge) idle() time.Duration {
	if b.c.Ledger.Shared() {
		return maxSharedIdle
	}
	return maxIdle
}

// waitUntilDue blocks until a row may be due. At each wake-up it asks for the next due time. It
// asks the ledger's readers, because the writer is busy and most wake-ups need no claim.
func (b *Bridge) waitUntilDue(ctx context.Context, a *alarm, part ledger.Part) {
	idle := b.idle()
	defer a.awake()
	for woken := false; ; woken = true {
		a.awake()
		d, obscured := idle, false
		due, err := b.c.Ledger.NextDue(ctx, part)
		switch {
		case err != nil && ctx.Err() == nil:
			b.c.Log.Error("queue not read", "err", err)
		case woken && !due.IsZero() && !b.now().Before(due):
			return
		case !due.IsZero():
			// A due row that was not claimed waits for its device or a slot. A wake-up follows when
			// that is free.
			left := due.Sub(b.now())
			d, obscured = min(max(left, 100*time.Millisecond), idle), left <= 0
		}
		a.sleepUntil(b.now().Add(d), obscured)
		t := time.NewTimer(d)
		select {
		case <-a.wake:
			t.Stop()
			continue
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		return
	}
}

// claim claims due payments, as far as the limiter and the slots allow.
func (b *Bridge) claim(ctx context.Context, q queue, fresh, again int) (claimed []payment.Payment, err error) {
	reserved := q.limiter.Reserve(fresh + again)
	defer func() { q.limiter.Return(reserved - len(claimed)) }()
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
				case full || called: // no call now, but the credit may have expired
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
					p.Rev = before.Rev + 1
					claimed = append(claimed, p)
				}
			}
		}
		return nil
	})
	// If the process stops here, the rows say that a call may be in flight. After the lease, its
	// effect is checked before anything is repeated.
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	q.limiter.Begin(len(claimed))
	return claimed, nil
}

// tooEarly reports whether an expiry must wait, because Stripe's events and the confirmations were
// not read since the start.
func (b *Bridge) tooEarly(p payment.Payment, now time.Time) bool {
	over := !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
	return over && (p.Delivery == payment.Queued || p.Delivery == payment.Sent) && !b.caughtUp()
}

// claimPayment fails a credit whose device is not on sale, and claims any other.
func (b *Bridge) claimPayment(tx *update, p payment.Payment) (_ payment.Payment, err error) {
	if payment.CallsNotehub(p.Step) && p.Delivery == payment.Queued && !p.MaybeAccepted && !p.InFlight &&
		!payment.IsFreeStart(p) {
		switch b.c.Fleet.Eligibility(p.DeviceUID, p.PaidAt) {
		case fleet.Unsure: // wait until the devices are listed
			p.BackoffUntil = tx.Now.Add(time.Second)
			return payment.Next(p, tx.Now), nil
		case fleet.Unknown:
			return b.reject(p, payment.ReasonUnknownDevice, tx.Now), nil
		case fleet.NotSelling:
			return b.reject(p, payment.ReasonNotSelling, tx.Now), nil
		}
	}
	// The offer was unknown when the payment was recorded. Now the prices are known.
	if p.Plan == "" {
		if plan, ok := b.c.Fleet.Offer(p.PriceID); ok {
			// What Stripe converted a payment in another currency from is no longer known.
			p = payment.ApplyOffer(p, payment.CheckoutSession{ShownCurrency: p.Currency}, plan, newAccessCode())
			if p, err = b.reserveDevice(tx, p); err != nil {
				return p, err
			}
		}
	}
	if d := b.c.Fleet.Device(p.DeviceUID); d != nil && p.DeviceName == "" {
		p.DeviceName = d.Name
	}
	p, interrupted := payment.Claim(payment.AssignNoteFile(p, b.c.NoteFile), tx.Now)
	if p.InFlight {
		p.DueAt = tx.Now.Add(b.lease())
	}
	if interrupted != nil {
		err = tx.AddAttempt(
			p.ID,
			ledger.Attempt{At: interrupted.Began, Action: interrupted.Action, Outcome: "retry", Detail: "interrupted"},
		)
	}
	return p, err
}

// reject fails a credit whose device is not on sale, so that its money goes back. The operator has
// to find out why the customer could pay.
func (b *Bridge) reject(p payment.Payment, reason string, now time.Time) payment.Payment {
	p = payment.Fail(p, reason)
	p.ReviewReason = reason
	return payment.Next(p, now)
}
