package bridge

import (
	"context"
	"fmt"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// answersCursor is where reading of the machines' answers goes on.
const answersCursor = "confirmations"

// mostSilent is how many payments are given up together.
const mostSilent = 64

// Confirm takes in what a machine answered. When it returns nil that, and what follows from it, is
// on disk; a repeat changes nothing.
func (b *Bridge) Confirm(ctx context.Context, answers ...Confirmation) error {
	return b.confirm(ctx, answers, nil)
}

// confirm takes answers in, and in the same transaction does what else the caller wants.
func (b *Bridge) confirm(ctx context.Context, answers []Confirmation, also func(*ledger.Tx) error) error {
	var changes []change
	var outcomes []string
	err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		changes, outcomes = changes[:0], outcomes[:0]
		for _, c := range answers {
			changed, outcome, err := b.answered(tx, c)
			if err != nil {
				return err
			}
			changes, outcomes = append(changes, changed), append(outcomes, outcome)
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
	b.committed(changes...)
	return nil
}

// What becomes of an answer before it reaches a payment, beside what Confirmed says.
const (
	ConfirmationUnknown  = "unknown_credit"
	ConfirmationForeign  = "other_device" // the credit is another device's
	ConfirmationNoState  = "unknown_state"
	ConfirmationNoDevice = "no_device"
	// ConfirmationElsewhere is an answer to a credit that this ledger did not post.
	ConfirmationElsewhere = "posted_elsewhere"
)

func (b *Bridge) answered(tx *ledger.Tx, c Confirmation) (changed change, outcome string, err error) {
	if repeat, err := tx.HasConfirmation(c.EventID); repeat || err != nil {
		return change{}, Duplicate, err
	}
	if c.At.IsZero() {
		c.At = tx.Now
	}
	p, err := tx.Payment(c.CreditID)
	known, err := ledger.Has(err)
	switch {
	case err != nil:
		return change{}, "", err
	case !known:
		outcome = ConfirmationUnknown // it is kept: the payment may come to be known
		b.strays.Store(true)
	case c.Unusable != "" || p.DeviceUID != c.DeviceUID:
		if outcome = c.Unusable; outcome == "" {
			outcome = ConfirmationForeign
		}
		if p.Attention == "" { // a machine said something of this payment, and the operator has to find out what
			changed = change{before: p, after: p}
			changed.after.Attention = AttentionConfirmation
			if err := tx.ChangePayment(changed.before, changed.after); err != nil {
				return change{}, "", err
			}
		}
	default:
		changed = change{before: p}
		if changed.after, outcome = Confirmed(p, c, tx.Now); outcome == ConfirmationNoPost {
			if changed.after, outcome, err = b.confirmedElsewhere(tx, p, c); err != nil {
				return change{}, "", err
			}
		}
		if changed.after == p {
			changed = change{}
			break
		}
		if err := tx.ChangePayment(changed.before, changed.after); err != nil {
			return change{}, "", err
		}
		if err := b.streak(tx, changed.before, changed.after); err != nil {
			return change{}, "", err
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
	return changed, outcome, err
}

// listen reads what machines answered: once at the start, before every deadline, and, where there
// is no route, as long as an answer is awaited. Silence counts only when the reading began after
// the deadline.
func (b *Bridge) listen(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := b.readAnswers(ctx)
		if err == nil {
			b.answersRead.Store(true)
			poke(b.wake)
			if b.clock().Known() { // without Stripe's time nobody knows whose time is over
				err = b.giveUp(ctx, b.clock().At(began))
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

// untilAwaited waits until the answers are to be read again. last is the local instant of the last reading.
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
				next = earliest(next, silent)
			}
		default:
			next = silent
			if late := last.Add(b.c.PollInterval); b.c.ConfirmWithin > 0 && (next.IsZero() || late.Before(next)) {
				next = late // what a machine says late, and what a route has lost
			}
		}
		if !next.IsZero() {
			next = latest(next, last.Add(time.Second)) // a deadline that has passed is no reason to hurry
			if !now.Before(next) {
				return
			}
		}
		t := time.NewTimer(idlest)
		if !next.IsZero() {
			t.Reset(min(next.Sub(now), idlest))
		}
		select {
		case <-ctx.Done():
		case <-b.heard:
		case <-t.C:
		}
		t.Stop()
	}
}

// readAnswers reads all that machines answered since the last time. Without machines that confirm
// there is nothing to read.
func (b *Bridge) readAnswers(ctx context.Context) error {
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
			err := b.confirm(ctx, list, func(tx *ledger.Tx) error { return tx.SetCursor(answersCursor, next) })
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

// giveUp gives money back for machines that should have been heard of by asOf and were not.
func (b *Bridge) giveUp(ctx context.Context, asOf time.Time) error {
	for {
		var changes []change
		err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			changes = changes[:0]
			silent, err := tx.SilentAt(asOf, mostSilent)
			if err != nil {
				return err
			}
			doubtful, err := tx.InDoubtAt(asOf, mostSilent)
			for _, p := range append(silent, doubtful...) {
				c := change{before: p, after: Silent(p, asOf, tx.Now)}
				if c.after == c.before {
					continue
				}
				if err := tx.ChangePayment(c.before, c.after); err != nil {
					return err
				}
				if err := b.streak(tx, c.before, c.after); err != nil {
					return err
				}
				changes = append(changes, c)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("give up on silent machines: %w", err)
		}
		b.committed(changes...)
		if len(changes) == 0 {
			return nil
		}
	}
}
