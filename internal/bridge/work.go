package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

const (
	// workers is how many calls to Notehub may be under way. There is at most one for a device, so this is how many slow or
	// dead devices it takes to hold up a healthy one; those that failed before may take half of them.
	workers = 64
	// idlest is how long a worker sleeps at the most when nothing is due: the ledger may have been written to in ways not foreseen.
	idlest = 30 * time.Second
	// settleTime is how long the result of a call is tried to be written down before it is left to the lease.
	settleTime = 4 * time.Second
)

// Run works until ctx ends: then nothing more is claimed, and what is under way may finish until the calls' own context ends.
func (b *Bridge) Run(ctx, calls context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { b.deliver(ctx, calls) })
	loops.Go(func() { b.lookUp(ctx, calls) })
	loops.Wait()
}

// deliver claims what is due for Notehub and makes the calls, each in a goroutine of its own.
func (b *Bridge) deliver(ctx, calls context.Context) {
	var fresh, again = make(chan struct{}, workers), make(chan struct{}, workers/2)
	var under sync.WaitGroup
	defer under.Wait()
	for ctx.Err() == nil {
		claimed, err := b.claim(ctx, cap(fresh)-len(fresh), cap(again)-len(again))
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Error("claim", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		if len(claimed) == 0 {
			if d := b.c.NotehubPace.Delay(time.Now()); d > 0 {
				b.hold(ctx, d)
			} else {
				b.rest(ctx, b.wake, func(s ledger.Stats) time.Time { return s.NextDue })
			}
			continue
		}
		for _, p := range claimed {
			slots := fresh
			if p.Failures > 0 {
				slots = again
			}
			slots <- struct{}{}
			under.Go(func() {
				defer func() { <-slots; poke(b.wake) }()
				b.work(calls, p)
			})
		}
	}
}

// longestHold is how long nobody looks at the queue while Notehub wants to be left alone: credits run out meanwhile.
const longestHold = 5 * time.Second

// hold waits until Notehub may be asked again, but not long.
func (b *Bridge) hold(ctx context.Context, d time.Duration) {
	if _, err := b.measure(ctx); err != nil {
		d = longestHold
	}
	_ = upstream.Sleep(ctx, min(d, longestHold)) // the caller sees a context that ended
}

// rest waits for a wake-up or until the next row is due.
func (b *Bridge) rest(ctx context.Context, wake chan struct{}, next func(ledger.Stats) time.Time) {
	d := idlest
	if stats, err := b.measure(ctx); err == nil {
		if due := next(stats); !due.IsZero() {
			// A row that is due and was not claimed has a device or slot that is not free: a wake-up comes when it is.
			d = min(max(time.Until(due), 100*time.Millisecond), idlest)
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-t.C:
	}
}

// measure reads the queue's figures and with them whether it runs late.
func (b *Bridge) measure(ctx context.Context) (ledger.Stats, error) {
	stats, err := b.c.Ledger.Stats(ctx)
	if err != nil {
		if ctx.Err() == nil {
			b.c.Log.Error("read queue", "err", err)
		}
		return stats, err
	}
	b.late.Store(b.c.Lifetime > 0 && !stats.OldestWaiting.IsZero() && time.Since(stats.OldestWaiting) > b.c.Lifetime/2)
	return stats, nil
}

// claim takes due payments, at most one for a device and no more than the pace and the slots allow.
func (b *Bridge) claim(ctx context.Context, fresh, again int) (claimed []ledger.Payment, err error) {
	most := b.c.NotehubPace.Allowance()
	var ended []ledger.Payment
	err = b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		claimed, ended = claimed[:0], ended[:0]
		for _, failedBefore := range []bool{false, true} {
			slots := fresh
			if failedBefore {
				slots = again
			}
			due, err := tx.DueForNotehub(failedBefore, slots)
			if err != nil {
				return err
			}
			for _, p := range due {
				called := slices.ContainsFunc(claimed, func(c ledger.Payment) bool { return c.DeviceUID == p.DeviceUID })
				if called || len(claimed) >= most {
					if p = Next(p, tx.Now); p.Machine == ledger.Failed { // run out while it waited
						err = tx.SavePayment(p)
					}
				} else {
					p, err = b.claimOne(tx, p)
				}
				if err != nil {
					return err
				}
				switch {
				case p.InFlight && !called && len(claimed) < most:
					claimed = append(claimed, p)
				case p.Machine == ledger.Failed:
					ended = append(ended, p)
				}
			}
		}
		return nil
	})
	// If we stop here, the rows say that a call may be under way: when the lease is over they are looked at before anything is repeated.
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	for _, p := range ended {
		b.c.Log.Warn("credit not sent", "payment", p.ID, "device", p.DeviceUID, "reason", p.Reason, "attention", p.Attention)
	}
	for range claimed {
		b.c.NotehubPace.Spend(time.Now())
	}
	return claimed, nil
}

// claimOne judges the device, and claims what is still to be done.
func (b *Bridge) claimOne(tx *ledger.Tx, p ledger.Payment) (ledger.Payment, error) {
	switch b.c.Fleet.Standing(p.DeviceUID, p.PaidAt) {
	case fleet.Unsure: // not judged while the devices are being listed
		if !p.InFlight {
			p.NotBefore = tx.Now.Add(time.Second)
			p = Next(p, tx.Now)
			return p, tx.SavePayment(p)
		}
	case fleet.Unknown:
		if !p.InFlight && !p.Posted {
			p = Next(failed(p, ReasonUnknownDevice), tx.Now)
			return p, tx.SavePayment(p)
		}
	}
	if p.Plan == "" { // the link was not known when the payment was recorded; now the prices are
		if plan, ok := b.c.Fleet.Plan(p.PriceID); ok {
			p = sold(p, plan)
		}
	}
	if d := b.c.Fleet.Device(p.DeviceUID); d != nil && p.DeviceName == "" {
		p.DeviceName = d.Name
	}
	p, interrupted := Claim(p, tx.Now)
	if interrupted != nil {
		err := tx.AddAttempt(p.ID, ledger.Attempt{At: interrupted.Began, Action: interrupted.Action, Outcome: "retry", Detail: "interrupted"})
		if err != nil {
			return p, err
		}
	}
	return p, tx.SavePayment(p)
}

// work makes the one call that a claimed payment needs, and settles.
func (b *Bridge) work(ctx context.Context, p ledger.Payment) {
	b.inFlight.Add(1)
	defer b.inFlight.Add(-1)
	o := Outcome{Action: p.Step, Began: time.Now()}
	call, cancel := context.WithTimeout(ctx, NotehubTimeLimit)
	defer cancel()
	var err error
	switch p.Step {
	case ledger.PostNote:
		err = b.c.Notehub.PostNote(call, p.DeviceUID, noteOf(p))
	case ledger.CheckPending:
		var pending []string
		pending, err = b.c.Notehub.PendingCredits(call, p.DeviceUID)
		o.Pending = slices.Contains(pending, p.ID)
	}
	b.settle(p, o, err)
}

func noteOf(p ledger.Payment) Note {
	n := Note{PaymentStatus: "completed", Timestamp: p.PaidAt.Unix(), SessionID: p.SessionID, CreditID: p.ID,
		Duration: int64(p.Duration / time.Second), DelayedStart: int64(p.DelayedStart / time.Second)}
	if !p.ExpiresAt.IsZero() {
		n.Expires = p.ExpiresAt.Unix()
	}
	return n
}

// settle writes down what a call came to. It does so also while we shut down, and tries again while the disk refuses: what was
// seen must not be lost. If we stop before it is on disk, the claim runs out and the call counts as unclear.
func (b *Bridge) settle(claimed ledger.Payment, o Outcome, callErr error) {
	took := time.Since(o.Began)
	o.Result = upstream.OutcomeOf(callErr)
	attempt := ledger.Attempt{At: o.Began, Action: o.Action, Outcome: "ok", Status: 200, Took: took}
	if callErr != nil {
		attempt.Outcome, attempt.Status, attempt.Detail = "retry", 0, callErr.Error()
		if e, ok := errors.AsType[*upstream.Error](callErr); ok {
			o.RetryAfter, o.Over, attempt.Status = e.RetryAfter, e.Over, e.Status
		}
		if o.Result == upstream.Refused {
			attempt.Outcome = "failed"
		}
	}
	var p ledger.Payment
	write := func(tx *ledger.Tx) (err error) {
		if p, err = tx.Payment(claimed.ID); err != nil {
			return err
		}
		o.Stale = p.Turn != claimed.Turn
		p = Apply(p, o, tx.Now)
		if err := tx.SavePayment(p); err != nil {
			return err
		}
		return tx.AddAttempt(p.ID, attempt)
	}
	err := b.c.Ledger.Update(context.Background(), write)
	for deadline := time.Now().Add(settleTime); err != nil && time.Now().Before(deadline) && !errors.Is(err, ledger.ErrClosed); {
		b.c.Log.Error("settle", "payment", claimed.ID, "err", err)
		_ = upstream.Sleep(context.Background(), time.Second)
		err = b.c.Ledger.Update(context.Background(), write)
	}
	if err != nil {
		b.c.Log.Error("settle given up, left to the lease", "payment", claimed.ID, "err", err)
		return
	}
	b.c.Observe.Attempt(o.Action, o.Result.String(), took)
	level := slog.LevelInfo
	if attempt.Outcome == "failed" {
		level = slog.LevelWarn
	}
	b.c.Log.Log(context.Background(), level, "attempt", "payment", p.ID, "device", p.DeviceUID, "action", o.Action, "outcome", o.Result.String(),
		"status", attempt.Status, "took", took.Round(time.Millisecond), "stale", o.Stale, "machine", p.Machine, "money", p.Money, "next_at", p.DueAt,
		"detail", attempt.Detail)
}

// lookUp asks Stripe for the sessions that have to be looked at before it is known whether they are payments.
func (b *Bridge) lookUp(ctx, calls context.Context) {
	const atOnce = 4
	for ctx.Err() == nil {
		var due []ledger.Lookup
		err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) (err error) {
			due, err = tx.ClaimLookups(tx.Now.Add(lease), atOnce)
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Error("claim look-ups", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		if len(due) == 0 {
			b.rest(ctx, b.look, func(s ledger.Stats) time.Time { return s.NextLookup })
			continue
		}
		var asked sync.WaitGroup
		for _, l := range due {
			asked.Go(func() { b.lookUpOne(calls, l) })
		}
		asked.Wait()
	}
}

func (b *Bridge) lookUpOne(ctx context.Context, l ledger.Lookup) {
	ctx, cancel := context.WithTimeout(ctx, NotehubTimeLimit)
	defer cancel()
	known, err := ledger.Has(second(b.c.Ledger.Payment(ctx, l.ID)))
	var s Session
	if err == nil && !known {
		s, err = b.c.Stripe.Session(ctx, l.ID)
	}
	outcome := "no_session"
	switch result := upstream.OutcomeOf(err); {
	case known: // its own event came meanwhile
		outcome = Duplicate
		err = b.c.Ledger.Update(context.WithoutCancel(ctx), func(tx *ledger.Tx) error { return tx.DropLookup(l) })
	case result == upstream.Done:
		if s.PaidAt.IsZero() {
			s.PaidAt = l.PaidAt
		}
		outcome, err = b.recordNow(context.WithoutCancel(ctx), s, func(tx *ledger.Tx) error { return tx.DropLookup(l) })
	case result == upstream.Refused && strings.HasPrefix(l.ID, "pi_"): // an intent without a session; of a session that Stripe named it cannot be
		err = b.c.Ledger.Update(context.WithoutCancel(ctx), func(tx *ledger.Tx) error { return tx.DropLookup(l) })
	}
	if err != nil {
		outcome = "again"
		postponed := b.c.Ledger.Update(context.WithoutCancel(ctx), func(tx *ledger.Tx) error {
			return tx.PostponeLookup(l, tx.Now.Add(upstream.Backoff(l.Failures+1, 0.5)))
		})
		err = errors.Join(err, postponed)
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	b.c.Log.Log(ctx, level, "session looked up", "session", l.ID, "outcome", outcome, "err", err)
}
