package bridge

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// runLookups reads the sessions from Stripe that have to be read before notepay knows whether they
// are payments.
func (b *Bridge) runLookups(ctx, calls context.Context) {
	const atOnce = 4
	for ctx.Err() == nil {
		var due []ledger.Lookup
		err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) (err error) {
			due, err = tx.ClaimLookups(tx.Now.Add(payment.Lease), atOnce)
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Error("lookups not claimed", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		if len(due) == 0 {
			b.waitUntilDue(ctx, b.lookupsDue, ledger.ForLookUp)
			continue
		}
		var asked sync.WaitGroup
		for _, l := range due {
			asked.Go(func() { b.readLookup(calls, l) })
		}
		asked.Wait()
	}
}

// lookupDelay is how long a look-up waits at a time for Stripe's list to be read.
const lookupDelay = 2 * time.Second

func (b *Bridge) readLookup(ctx context.Context, l ledger.Lookup) {
	ctx, cancel := context.WithTimeout(ctx, payment.CallTimeout)
	defer cancel()
	known, err := ledger.Found(errorOf(b.c.Ledger.Payment(ctx, l.ID)))
	earlier := b.earlierState(l.PaidAt) || b.beforeBirth(l.PaidAt)
	if err == nil && !known && earlier && !b.listed.Load() {
		// Stripe's list is being read, and may tell that the payment was handled.
		recordCtx, done := recordContext(ctx)
		defer done()
		err := b.c.Ledger.Update(recordCtx,
			func(tx *ledger.Tx) error { return tx.DelayLookup(l, tx.Now.Add(lookupDelay)) })
		if err != nil {
			b.c.Log.Warn("lookup not delayed", "session", l.ID, "err", err)
		}
		return
	}
	isNew := !known
	known = known && !l.Reconcile
	var s payment.CheckoutSession
	if err == nil && !known {
		if s, err = b.c.Stripe.Session(ctx, l.ID); err == nil {
			s, err = b.withLink(ctx, s)
		}
	}
	if err == nil && !known {
		if s.PaidAt.IsZero() {
			s.PaidAt = l.PaidAt
		}
		if s.Handled, err = b.lookedUp(ctx, l, s.ID); err == nil && isNew {
			s.Handled, err = b.pendingNote(ctx, s)
		}
	}
	recordCtx, done := recordContext(ctx)
	defer done()
	outcome := "no_session"
	switch result := upstream.OutcomeOf(err); {
	case known: // its event has arrived
		outcome = Duplicate
		err = b.c.Ledger.Update(recordCtx, func(tx *ledger.Tx) error { return tx.DropLookup(l) })
	case result == upstream.OK:
		outcome, err = b.recordNow(recordCtx, s, func(tx *update) error { return tx.DropLookup(l) })
	case result == upstream.Rejected && strings.HasPrefix(l.ID, "pi_"):
		// There is an intent without a session. A session that Stripe has named exists.
		err = b.c.Ledger.Update(recordCtx, func(tx *ledger.Tx) error { return tx.DropLookup(l) })
	}
	if err != nil {
		outcome = "again"
		postponed := b.c.Ledger.Update(recordCtx, func(tx *ledger.Tx) error {
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
