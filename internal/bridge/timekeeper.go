package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"notepay/internal/message"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/upstream"
	"notepay/internal/vendortime"
)

// Payments have times by Stripe's clock (vendortime), so every deadline is compared with Stripe's
// time. A new ledger decides nothing before it knows that time. With a birth by a wrong clock it
// would adopt its own payments, or deliver those of another ledger again.

// ErrTimeUnknown is returned for what cannot be decided before Stripe's time is known.
var ErrTimeUnknown = errors.New("the time of Stripe is not known yet")

const (
	// maxLearnTime is how long the queue of an existing ledger waits for Stripe's time. Then it
	// sends notes all the same, because Stripe may be down. Deadlines keep waiting.
	maxLearnTime = 5 * time.Second
	// askInterval is the interval between requests for Stripe's time while that is unknown.
	askInterval = 5 * time.Second
	// askTimeout is the maximum duration of such a request.
	askTimeout = 5 * time.Second
)

// timekeeper is the bridge's state about the time.
type timekeeper struct {
	mu        sync.Mutex
	settled   atomic.Bool
	corrected time.Duration // the maximum offset since stored times were last corrected
	asked     time.Time     // when LearnTime asked last, by the host's clock
}

// now returns the ledger's time, which is Stripe's.
func (b *Bridge) now() time.Time { return b.c.Ledger.Now() }

func (b *Bridge) clock() *vendortime.Clock { return b.c.Ledger.Clock() }

// ready settles the ledger once Stripe's time is known. Before that it returns ErrTimeUnknown.
func (b *Bridge) ready(ctx context.Context) error {
	switch {
	case b.time.settled.Load():
		return nil
	case !b.clock().Known():
		return ErrTimeUnknown
	}
	return b.settleTime(ctx)
}

// mayRecord returns ErrTimeUnknown while the ledger has no birth, because then no payment can be
// judged.
func (b *Bridge) mayRecord(ctx context.Context) error {
	err := b.ready(ctx)
	if errors.Is(err, ErrTimeUnknown) && !b.c.Ledger.CreatedAt().IsZero() {
		return nil
	}
	return err
}

// settleTime fixes the ledger's birth, and corrects times that were stored by a clock that was
// ahead. It does so again if Stripe's time turns out to be earlier.
func (b *Bridge) settleTime(ctx context.Context) error {
	b.time.mu.Lock()
	defer b.time.mu.Unlock()
	offset := b.clock().Offset()
	if b.time.settled.Load() && offset >= b.time.corrected {
		b.time.corrected = max(b.time.corrected, offset)
		return nil
	}
	if err := b.c.Ledger.Settle(ctx); err != nil {
		return err
	}
	if b.clock() != nil {
		if err := b.correctWaits(ctx); err != nil {
			return fmt.Errorf("correct stored times: %w", err)
		}
	}
	b.time.corrected = offset
	b.time.settled.Store(true)
	return nil
}

// correctWaits shortens waits that a clock that was ahead has made too long.
func (b *Bridge) correctWaits(ctx context.Context) error {
	corrected := 0
	err := b.update(ctx, func(tx *update) error {
		if err := tx.ClampTimes(tx.Now.Add(payment.MaxBackoff)); err != nil {
			return err
		}
		waiting, err := tx.Waiting()
		if err != nil {
			return err
		}
		for _, p := range waiting {
			if p.InFlight {
				if err := tx.ShortenLease(p.ID, tx.Now.Add(b.lease())); err != nil {
					return err
				}
				continue
			}
			if b.tooEarly(p, tx.Now) {
				continue
			}
			if err := tx.change(p, payment.Next(payment.ClampTimes(p, tx.Now), tx.Now)); err != nil {
				return err
			}
		}
		corrected = len(tx.changes)
		return nil
	})
	if err != nil {
		return err
	}
	if corrected > 0 {
		b.c.Log.Info("stored waits corrected", "payments", corrected)
	}
	return nil
}

// learnTime blocks until Stripe's time is known and the ledger is settled. If an earlier process
// has settled the ledger, it blocks for at most maxLearnTime.
func (b *Bridge) learnTime(ctx context.Context) {
	began := time.Now()
	for failures := 0; ctx.Err() == nil; {
		err := b.ready(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrTimeUnknown) {
			b.c.Log.Error("result not recorded, retrying", "err", err)
		} else if err = b.askTime(ctx); err == nil && b.clock().Known() {
			continue
		}
		failures++
		b.judgeTime(failures > 1)
		if !b.c.Ledger.CreatedAt().IsZero() && time.Since(began) >= maxLearnTime {
			break
		}
		if failures == 1 {
			b.c.Log.Warn("stripe time unknown", "err", err)
		}
		_ = upstream.Sleep(ctx, min(upstream.Backoff(failures, 0.5), askInterval))
	}
	b.judgeTime(false)
}

// askTime makes a call to Stripe, from whose reply the clock learns the time.
func (b *Bridge) askTime(ctx context.Context) error {
	if b.c.AskTime == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return b.c.AskTime(ctx)
}

// LearnTime asks Stripe for its time, at most every askInterval. Callers use it when a time signed
// by Stripe disagrees with the clock.
func (b *Bridge) LearnTime(ctx context.Context) {
	_, _, _ = b.reads.Do("time", func() (any, error) {
		if !b.time.asked.IsZero() && time.Since(b.time.asked) < askInterval {
			return nil, nil
		}
		b.time.asked = time.Now()
		if err := b.askTime(context.WithoutCancel(ctx)); err != nil {
			b.c.Log.Warn("stripe time unknown", "err", err)
			return nil, nil
		}
		if err := b.settleIfKnown(context.WithoutCancel(ctx)); err != nil {
			b.c.Log.Error("result not recorded, retrying", "err", err)
		}
		return nil, nil
	})
}

func (b *Bridge) settleIfKnown(ctx context.Context) error {
	if !b.clock().Known() {
		return nil
	}
	return b.settleTime(ctx)
}

// keepTime checks the host's clock every second. It stops sales while the clock is wrong, and asks
// Stripe for the time while that is in doubt.
func (b *Bridge) keepTime(ctx context.Context) {
	var next time.Time
	for upstream.Sleep(ctx, measureInterval) == nil {
		b.judgeTime(true)
		if (b.clock().Doubtful() || !b.clock().Known()) && !time.Now().Before(next) {
			next = time.Now().Add(askInterval)
			if err := b.askTime(ctx); err != nil && ctx.Err() == nil {
				b.c.Log.Debug("stripe time unknown", "err", err)
			}
		}
		if err := b.settleIfKnown(ctx); err != nil && ctx.Err() == nil {
			b.c.Log.Error("result not recorded, retrying", "err", err)
		}
	}
}

// judgeTime raises the clock's problem while the host's clock is wrong, or while a new ledger waits
// for Stripe's time. Otherwise it clears the problem.
func (b *Bridge) judgeTime(waited bool) {
	p := problem.Problem{Code: problem.Clock, StopsSales: true}
	ahead, seen := b.clock().Ahead()
	switch {
	case seen && ahead.Abs() > vendortime.Tolerance:
		p.Text = clockText(ahead)
	case waited && !b.clock().Known() && b.c.Ledger.CreatedAt().IsZero():
		p.Text = message.New("Stripe has not answered since the start, so notepay does not know the time " +
			"and cannot process payments. Check the connection to Stripe, STRIPE_SECRET_KEY, " +
			"and this host's clock, because a wrong clock breaks TLS.")
	default:
		if b.c.Problems.Clear(problem.Clock) {
			b.c.Log.Info("clock correct again")
		}
		return
	}
	if b.c.Problems.Raise(p) {
		b.c.Log.Warn("clock wrong, sales stopped", "ahead", ahead.Round(time.Second))
	}
}

// clockText returns how wrong the host's clock is and what to do.
func clockText(ahead time.Duration) message.Message {
	off := ahead.Abs().Round(time.Second)
	if ahead < 0 {
		return message.New("The clock of this host is %s behind Stripe's time. "+
			"All sales are stopped until the clock is right. "+
			"Turn on time synchronization (NTP, for example with timedatectl set-ntp true).", off)
	}
	return message.New("The clock of this host is %s ahead of Stripe's time. "+
		"All sales are stopped until the clock is right. "+
		"Turn on time synchronization (NTP, for example with timedatectl set-ntp true).", off)
}
