package bridge

import (
	"context"
	"fmt"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// confirmationsCursor names the ledger's cursor into Notehub's confirmations.
const confirmationsCursor = "confirmations"

// maxTimedOut limits the payments of one transaction.
const maxTimedOut = 64

// Confirm records machines' answers. When it returns nil, the answers and their consequences are
// durable. A repeated answer changes nothing.
func (b *Bridge) Confirm(ctx context.Context, answers ...payment.Confirmation) error {
	return b.confirm(ctx, answers, nil)
}

// confirm records answers, and runs also in the same transaction unless it is nil.
func (b *Bridge) confirm(ctx context.Context, answers []payment.Confirmation, also func(*update) error) error {
	var outcomes []string
	err := b.update(ctx, func(tx *update) error {
		outcomes = outcomes[:0]
		for _, c := range answers {
			outcome, err := b.applyConfirmation(tx, c)
			if err != nil {
				return err
			}
			outcomes = append(outcomes, outcome)
		}
		if also != nil {
			return also(tx)
		}
		return nil
	})
	// If the process stops here, Notehub got no reply or the cursor has not moved. The answers come
	// again.
	if err != nil {
		return fmt.Errorf("record confirmations: %w", err)
	}
	for n, c := range answers {
		if outcomes[n] == Duplicate {
			continue
		}
		b.c.Observe.Confirmation(outcomes[n])
		b.c.Log.Info("confirmation", "event", c.EventID, "payment", c.CreditID, "device", c.DeviceUID,
			"state", c.State, "code", c.Code, "outcome", outcomes[n])
	}
	return nil
}

// Outcomes of a confirmation, besides those of payment.ApplyConfirmation.
const (
	ConfirmationUnknown  = "unknown_credit"
	ConfirmationForeign  = "other_device" // the credit belongs to another device
	ConfirmationNoState  = "unknown_state"
	ConfirmationNoDevice = "no_device"
)

// unusable reports whether an answer with this outcome said nothing of its payment. A route may have
// spoiled it, so the same event counts if it comes again in a usable form.
func unusable(outcome string) bool {
	return outcome == ConfirmationForeign || outcome == ConfirmationNoState || outcome == ConfirmationNoDevice
}

func (b *Bridge) applyConfirmation(tx *update, c payment.Confirmation) (outcome string, err error) {
	if c.CreditID == "" {
		return b.applyMachineState(tx, c)
	}
	last, err := tx.ConfirmationOutcome(c.EventID)
	repeat, err := ledger.Found(err)
	if err != nil || repeat && !unusable(last) {
		return Duplicate, err
	}
	if c.At.IsZero() {
		c.At = tx.Now
	}
	p, err := tx.Payment(c.CreditID)
	known, err := ledger.Found(err)
	usable := known && c.Unusable == "" && p.DeviceUID == c.DeviceUID
	switch {
	case err != nil:
		return "", err
	case repeat && !usable:
		return Duplicate, nil
	case !known:
		outcome = ConfirmationUnknown // stored, because its payment may be recorded later
		b.unknownConfirmed.Store(true)
		if err := tx.Changed(ledger.Wished, wishUnknownConfirmed); err != nil {
			return "", err
		}
	case !usable:
		if outcome = c.Unusable; outcome == "" {
			outcome = ConfirmationForeign
		}
		// The operator has to find out what the machine meant.
		if p.ReviewReason == "" {
			reviewed := p
			reviewed.ReviewReason = payment.ReviewConfirmation
			if err := tx.change(p, reviewed); err != nil {
				return "", err
			}
		}
	default:
		var after payment.Payment
		if after, outcome = payment.ApplyConfirmation(p, c, tx.Now); outcome == payment.ConfirmationNoPost {
			if after, outcome, err = b.confirmedElsewhere(tx.Tx, p, c); err != nil {
				return "", err
			}
		}
		if repeat && after.ReviewReason == payment.ReviewConfirmation { // its first copy raised the review
			after.ReviewReason = ""
		}
		if err := tx.change(p, after); err != nil {
			return "", err
		}
	}
	err = tx.SaveConfirmation(
		ledger.Confirmation{
			ID:        c.EventID,
			DeviceUID: c.DeviceUID,
			CreditID:  c.CreditID,
			State:     c.State,
			Code:      c.Code,
			At:        c.At,
			Outcome:   outcome,
		},
	)
	return outcome, err
}

// runConfirmations reads confirmations at the start and before every deadline. Without a route it
// also reads them while one is expected. A missing confirmation counts only if the reading began
// after its deadline.
func (b *Bridge) runConfirmations(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		// The clock may be corrected meanwhile, also because the host stood still.
		asOf := b.clock().At(began)
		err := b.readConfirmations(ctx)
		asOf = payment.Earlier(asOf, b.clock().At(began))
		if err == nil {
			b.readingDone(ctx, metaAnswersRead, asOf, !b.answersRead.Load())
			b.answersRead.Store(true)
			b.notehubDue.ring()
			// Deadlines count by Stripe's time, so they wait until it is known.
			if b.clock().Known() {
				err = b.timeOutConfirmations(ctx, asOf)
			}
		}
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Warn("confirmations not read", "err", err)
				failures++
				_ = upstream.Sleep(ctx, upstream.Backoff(failures, 0.5))
			}
			continue
		}
		failures = 0
		b.untilAwaited(ctx, began)
	}
}

// untilAwaited blocks until the next reading is due. last is when the last reading began, by the
// host's clock.
func (b *Bridge) untilAwaited(ctx context.Context, last time.Time) {
	for ctx.Err() == nil {
		stats, err := b.c.Ledger.Stats(ctx)
		now := time.Now()
		var next, silent time.Time
		if !stats.NextSilent.IsZero() {
			silent = now.Add(stats.NextSilent.Sub(b.now()))
		}
		switch {
		case err != nil:
			next = now.Add(time.Second)
		case stats.Awaited && !b.c.Routed:
			next = last.Add(b.listenInterval())
			if !silent.IsZero() {
				next = payment.Earlier(next, silent)
			}
		default:
			next = silent
			if late := last.Add(b.c.PollInterval); b.c.ConfirmWithin > 0 && (next.IsZero() || late.Before(next)) {
				next = late // for late confirmations, and those that a route has lost
			}
		}
		if !next.IsZero() {
			next = payment.Later(next, last.Add(time.Second)) // at most once a second
			if !now.Before(next) {
				return
			}
		}
		t := time.NewTimer(b.idle())
		if !next.IsZero() {
			t.Reset(min(next.Sub(now), b.idle()))
		}
		select {
		case <-ctx.Done():
		case <-b.confirmationsDue:
		case <-t.C:
		}
		t.Stop()
	}
}

// listenInterval returns how often confirmations are read while one is awaited. This takes at most a
// third of the calls that this process may make, because the leader of several reads with its part.
func (b *Bridge) listenInterval() time.Duration {
	calls, limited := b.c.NotehubLimiter.PerMinute()
	if !limited {
		return b.c.ListenEvery
	}
	return max(b.c.ListenEvery, 3*time.Minute/time.Duration(max(calls, 1)))
}

// readConfirmations reads all new confirmations. It does nothing while no machine is expected to
// confirm.
func (b *Bridge) readConfirmations(ctx context.Context) error {
	if b.c.ConfirmWithin == 0 && !b.c.Routed {
		stats, err := b.c.Ledger.Stats(ctx)
		if err != nil || !stats.Awaited {
			return err
		}
	}
	cursor, err := b.c.Ledger.Cursor(ctx, confirmationsCursor)
	if err != nil {
		return fmt.Errorf("read cursor: %w", err)
	}
	seen := map[string]bool{}
	for {
		seen[cursor] = true
		list, next, more, err := b.c.Notehub.Confirmations(ctx, cursor)
		if err != nil {
			return err
		}
		if len(list) > 0 || next != cursor {
			err := b.confirm(ctx, list, func(tx *update) error { return tx.SetCursor(confirmationsCursor, next) })
			if err != nil {
				return err
			}
		}
		if !more || next == cursor {
			return nil
		}
		// Otherwise a missing answer on a later page would count as silence.
		if seen[next] {
			return fmt.Errorf("read confirmations: the page after %q repeats an earlier one", cursor)
		}
		cursor = next
	}
}

// timeOutConfirmations applies the silence of machines that had to confirm by asOf.
func (b *Bridge) timeOutConfirmations(ctx context.Context, asOf time.Time) error {
	for {
		timedOut := 0
		err := b.update(ctx, func(tx *update) error {
			silent, err := tx.SilentAt(asOf, maxTimedOut)
			if err != nil {
				return err
			}
			doubtful, err := tx.InDoubtAt(asOf, maxTimedOut)
			if err != nil {
				return err
			}
			for _, p := range append(silent, doubtful...) {
				if err := tx.change(p, payment.ConfirmationTimedOut(p, asOf, tx.Now)); err != nil {
					return err
				}
			}
			timedOut = len(tx.changes)
			return nil
		})
		if err != nil {
			return fmt.Errorf("give up on silent machines: %w", err)
		}
		if timedOut == 0 {
			return nil
		}
	}
}
