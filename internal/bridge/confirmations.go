package bridge

import (
	"context"
	"fmt"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// answersCursor is where reading of the machines' answers goes on.
const answersCursor = "confirmations"

// maxSilent is how many payments are given up together.
const maxSilent = 64

// Confirm takes in what a machine answered. When it returns nil that, and what follows from it, is
// on disk; a repeat changes nothing.
func (b *Bridge) Confirm(ctx context.Context, answers ...payment.Confirmation) error {
	return b.confirm(ctx, answers, nil)
}

// confirm takes answers in, and in the same transaction does what else the caller wants.
func (b *Bridge) confirm(ctx context.Context, answers []payment.Confirmation, also func(*update) error) error {
	var outcomes []string
	err := b.update(ctx, func(tx *update) error {
		outcomes = outcomes[:0]
		for _, c := range answers {
			outcome, err := b.applyAnswer(tx, c)
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
	// If we stop here, Notehub was not told yes, or the cursor has not moved: they come again.
	if err != nil {
		return fmt.Errorf("record confirmations: %w", err)
	}
	for n, c := range answers {
		if outcomes[n] == Duplicate {
			continue
		}
		b.c.Observe.Confirmation(outcomes[n])
		b.c.Log.Info(
			"confirmation",
			"event",
			c.EventID,
			"payment",
			c.CreditID,
			"device",
			c.DeviceUID,
			"state",
			c.State,
			"code",
			c.Code,
			"outcome",
			outcomes[n],
		)
	}
	return nil
}

// What becomes of an answer before it reaches a payment, beside what Confirmed says.
const (
	ConfirmationUnknown  = "unknown_credit"
	ConfirmationForeign  = "other_device" // the credit is another device's
	ConfirmationNoState  = "unknown_state"
	ConfirmationNoDevice = "no_device"
)

func (b *Bridge) applyAnswer(tx *update, c payment.Confirmation) (outcome string, err error) {
	if repeat, err := tx.HasConfirmation(c.EventID); repeat || err != nil {
		return Duplicate, err
	}
	if c.At.IsZero() {
		c.At = tx.Now
	}
	p, err := tx.Payment(c.CreditID)
	known, err := ledger.Found(err)
	switch {
	case err != nil:
		return "", err
	case !known:
		outcome = ConfirmationUnknown // it is kept: the payment may come to be known
		b.strays.Store(true)
	case c.Unusable != "" || p.DeviceUID != c.DeviceUID:
		if outcome = c.Unusable; outcome == "" {
			outcome = ConfirmationForeign
		}
		if p.ReviewReason == "" { // a machine said something of this payment, and the operator has to find out what
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
		if err := tx.change(p, after); err != nil {
			return "", err
		}
	}
	_, err = tx.AddConfirmation(
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

// runConfirmations reads what machines answered: once at the start, before every deadline, and,
// where there is no route, as long as an answer is awaited. Silence counts only when the reading
// began after the deadline.
func (b *Bridge) runConfirmations(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := b.readConfirmations(ctx)
		if err == nil {
			b.answersRead.Store(true)
			signal(b.notehubDue)
			if b.clock().Known() { // without Stripe's time nobody knows whose time is over
				err = b.timeOutConfirmations(ctx, b.clock().At(began))
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

// untilAwaited waits until the answers are to be read again. last is the local instant of the last
// reading.
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
			next = last.Add(b.c.ListenEvery)
			if !silent.IsZero() {
				next = payment.Earlier(next, silent)
			}
		default:
			next = silent
			if late := last.Add(b.c.PollInterval); b.c.ConfirmWithin > 0 && (next.IsZero() || late.Before(next)) {
				next = late // what a machine says late, and what a route has lost
			}
		}
		if !next.IsZero() {
			next = payment.Later(next, last.Add(time.Second)) // a deadline that has passed is no reason to hurry
			if !now.Before(next) {
				return
			}
		}
		t := time.NewTimer(maxIdle)
		if !next.IsZero() {
			t.Reset(min(next.Sub(now), maxIdle))
		}
		select {
		case <-ctx.Done():
		case <-b.confirmationsDue:
		case <-t.C:
		}
		t.Stop()
	}
}

// readConfirmations reads all that machines answered since the last time. Without machines that
// confirm there is nothing to read.
func (b *Bridge) readConfirmations(ctx context.Context) error {
	if b.c.ConfirmWithin == 0 && !b.c.Routed {
		stats, err := b.c.Ledger.Stats(ctx)
		if err != nil || !stats.Awaited {
			return err
		}
	}
	cursor, err := b.c.Ledger.Cursor(ctx, answersCursor)
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
			err := b.confirm(ctx, list, func(tx *update) error { return tx.SetCursor(answersCursor, next) })
			if err != nil {
				return err
			}
		}
		if !more || next == cursor {
			return nil
		}
		if seen[next] { // silence would count while there may be answers behind it
			return fmt.Errorf("read confirmations: the page after %q repeats an earlier one", cursor)
		}
		cursor = next
	}
}

// timeOutConfirmations gives money back for machines that should have been heard of by asOf and
// were not.
func (b *Bridge) timeOutConfirmations(ctx context.Context, asOf time.Time) error {
	for {
		timedOut := 0
		err := b.update(ctx, func(tx *update) error {
			silent, err := tx.SilentAt(asOf, maxSilent)
			if err != nil {
				return err
			}
			doubtful, err := tx.InDoubtAt(asOf, maxSilent)
			for _, p := range append(silent, doubtful...) {
				if err := tx.change(p, payment.ConfirmationTimedOut(p, asOf, tx.Now)); err != nil {
					return err
				}
			}
			timedOut = len(tx.changes)
			return err
		})
		if err != nil {
			return fmt.Errorf("give up on silent machines: %w", err)
		}
		if timedOut == 0 {
			return nil
		}
	}
}
