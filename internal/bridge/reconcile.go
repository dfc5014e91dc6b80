package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

const (
	// overlap is how much of the previous reading is read again. An event may be listed late, and
	// clocks differ.
	overlap = 10 * time.Minute
	// eventsKept is how far back Stripe lists events: 30 days, less a day to be safe.
	eventsKept = 29 * 24 * time.Hour
	// sessionsOpen is how long before its payment a session may have been opened.
	sessionsOpen = 24 * time.Hour
)

// runReconcile reads Stripe's events at the start and every PollInterval, because webhooks may be
// lost, late or not set up.
func (b *Bridge) runReconcile(ctx context.Context) {
	failures := 0
	var r reading
	for ctx.Err() == nil {
		if b.ready(ctx) != nil { // keepTime reports the cause
			_ = upstream.Sleep(ctx, measureInterval)
			continue
		}
		if err := b.readEvents(ctx, &r); err != nil {
			if ctx.Err() == nil {
				b.c.Log.Warn("stripe events not read", "err", err)
			}
			failures++
			b.reportStuck(failures, err)
			_ = upstream.Sleep(ctx, min(upstream.Backoff(failures, 0.5), b.c.PollInterval))
			continue
		}
		failures = 0
		b.reportStuck(failures, nil)
		b.listed.Store(true)
		b.returning.readingEnded()
		if !b.eventsRead.Load() {
			b.untilLookedUp(ctx)
			b.readingDone(ctx, metaEventsCaught, time.UnixMilli(b.readingBegan.Load()), true)
			b.eventsRead.Store(true)
			b.notehubDue.ring()
		} else {
			b.readingDone(ctx, metaEventsCaught, time.UnixMilli(b.readingBegan.Load()), false)
		}
		timer := time.NewTimer(b.c.PollInterval)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-b.eventsWanted:
		}
		timer.Stop()
	}
}

// maxEarlyReadings is how many readings may be made before their time. One more is allowed each
// hour. With one reading every five minutes, they stay below the 10,000 reads a month of the
// smallest Stripe account (docs/vendors.md, Q10).
const maxEarlyReadings = 20

// RequestCards starts a reading of Stripe's events if payments came since the last one. An operator is
// searching a payment by its card, which only the events tell. It reports whether the events are
// being read.
func (b *Bridge) RequestCards(ctx context.Context) (reading bool, err error) {
	newest, _, err := b.c.Ledger.Payments(ctx, ledger.Filter{Limit: 1})
	if err != nil {
		return false, fmt.Errorf("read the newest payment: %w", err)
	}
	// A payment may be older than the reading and yet be recorded after its charge was read,
	// because CreatedAt is when its transaction began.
	began := b.readingBegan.Load()
	if len(newest) == 0 || newest[0].CreatedAt.UnixMilli() < began && b.chargeEarly.Load() < began {
		return false, nil
	}
	if len(b.eventsWanted) == 0 { // else a reading is about to begin
		if !b.earlyReadings.Allow() {
			return false, nil
		}
		b.wantEvents()
	}
	return true, nil
}

// maxCatchUp limits how long deadlines wait for the look-ups that Stripe's events have scheduled.
const maxCatchUp = 10 * time.Second

// untilLookedUp blocks until the scheduled look-ups of payments' money are done.
func (b *Bridge) untilLookedUp(ctx context.Context) {
	b.lookupsDue.ring()
	for end := time.Now().Add(maxCatchUp); time.Now().Before(end) && ctx.Err() == nil; {
		if wanted, err := b.c.Ledger.ReconcileWanted(ctx); err != nil || !wanted {
			return
		}
		_ = upstream.Sleep(ctx, 50*time.Millisecond) // the loop sees a context that ended
	}
}

// reading is the progress of a reading of Stripe's events. After a failed page the next attempt
// resumes there.
type reading struct {
	began    time.Time // when the reading began, by the host's clock; zero: not yet
	since    time.Time // read events since then, by Stripe's clock
	sessions bool      // the sessions were read, if necessary
	after    string    // the last event read
	odd      []string  // the unreadable events
	compared bool      // a listed event was delivered here as well
	others   int       // the maximum of other endpoints that have not accepted such an event
}

// readEvents passes the events since the last reading to Receive, as if they had been delivered. If
// Stripe's list does not reach back far enough, it reads the sessions as well.
func (b *Bridge) readEvents(ctx context.Context, r *reading) error {
	if r.began.IsZero() {
		since, err := b.readUntil(ctx)
		if err == nil && since.After(b.now()) { // Stripe's time turned out to be earlier
			if err = b.settleTime(ctx); err == nil {
				since, err = b.readUntil(ctx)
			}
		}
		if err != nil {
			return fmt.Errorf("read until when events were read: %w", err)
		}
		failing, err := b.c.Ledger.Meta(ctx, metaOthers)
		if known, err := ledger.Found(err); err != nil {
			return fmt.Errorf("read how many endpoints fail: %w", err)
		} else if known {
			b.failingEndpoints.Store(failing.UnixMilli())
		}
		if !b.listed.Load() { // events of pending look-ups are evidence
			waiting, err := b.c.Ledger.LateLookups(ctx, since, 1)
			if err != nil {
				return fmt.Errorf("read what is to be looked up: %w", err)
			}
			if len(waiting) > 0 {
				since = payment.Earlier(since, waiting[0].PaidAt)
			}
		}
		*r = reading{began: time.Now(), since: payment.Earlier(since, b.now()).Add(-overlap)}
	}
	if !r.sessions && b.now().Sub(r.since) > eventsKept {
		if err := b.readSessions(ctx, r.since.Add(-sessionsOpen), b.now().Add(-eventsKept)); err != nil {
			return err
		}
	}
	r.sessions = true
	for more := true; more; {
		events, last, again, err := b.c.Stripe.Events(ctx, r.since, r.after)
		if err != nil {
			return err
		}
		slices.SortStableFunc(events, func(x, y Event) int { return chargesLast(x) - chargesLast(y) })
		for _, e := range events {
			if e.Odd != "" {
				r.odd = append(r.odd, oddName(e))
			}
			b.countOthers(r, e)
			if e.ID == "" {
				continue // it was counted, and nothing else is possible
			}
			if err := b.receiveListed(ctx, e); err != nil {
				return err
			}
		}
		r.after, more = last, again
	}
	others := int64(r.others)
	changed := r.compared && others != b.failingEndpoints.Load()
	if b.c.Problems.Odd(oddListed, r.odd...) && len(r.odd) > 0 {
		b.c.Log.Warn("unreadable events skipped", "events", r.odd)
	}
	began := b.clock().At(r.began)
	*r = reading{}
	b.readingBegan.Store(began.UnixMilli())
	// If the process stops here, the same events are read again: repeats.
	err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		if changed {
			if err := tx.SetMeta(metaOthers, time.UnixMilli(others)); err != nil {
				return err
			}
		}
		return tx.SetMeta(ledger.MetaEventsRead, began)
	})
	if err == nil && changed {
		b.failingEndpoints.Store(others)
	}
	return err
}

// receiveListed passes a listed event to Receive unless it was applied.
func (b *Bridge) receiveListed(ctx context.Context, e Event) error {
	outcome, err := b.c.Ledger.EventOutcome(ctx, e.ID)
	known, err := ledger.Found(err)
	switch {
	case err != nil:
		return fmt.Errorf("read event %s: %w", e.ID, err)
	case known && outcome == OtherAccount && !e.Foreign:
		e.Pending = -1 // that we accepted it proves nothing
	case known && e.Session != nil:
		return b.handledSince(ctx, e)
	case known:
		return nil
	}
	return b.Receive(ctx, e)
}

// oddName returns the name of an unreadable event.
func oddName(e Event) string {
	if e.ID == "" {
		return "an event without id"
	}
	return e.ID + " (" + e.Type + ")"
}

// readUntil returns until when Stripe's events were read, or the ledger's birth.
func (b *Bridge) readUntil(ctx context.Context) (time.Time, error) {
	at, err := b.c.Ledger.Meta(ctx, ledger.MetaEventsRead)
	if errors.Is(err, ledger.ErrNotFound) {
		at, err = b.c.Ledger.CreatedAt(), nil
	}
	return at, err
}

// chargesLast orders a page, so that a charge comes after the session that creates its payment.
// Both may have the same second.
func chargesLast(e Event) int {
	if e.Type == ChargeSucceeded {
		return 1
	}
	return 0
}

// readSessions records the sessions opened since a time that were paid before Stripe's list of
// events begins. Nothing tells whether they were handled, so new ones are adopted. Later sessions
// come with their events.
func (b *Bridge) readSessions(ctx context.Context, since, listed time.Time) error {
	var unreadable []string
	for after, more := "", true; more; {
		sessions, odd, last, again, err := b.c.Stripe.Sessions(ctx, since, after)
		if err != nil {
			return err
		}
		unreadable = append(unreadable, odd...)
		for _, s := range sessions {
			if s.PaidAt.IsZero() {
				s.PaidAt = s.Created
			}
			if !s.PaidAt.Before(listed) {
				continue
			}
			if s, err = b.withLink(ctx, s); err != nil {
				return fmt.Errorf("read the link of session %s: %w", s.ID, err)
			}
			s.Handled = handledLongAgo
			var ask func(*update) error
			if s.Disputed { // the list does not include the disputes
				s.Disputed = false
				ask = func(tx *update) error {
					return tx.AddLookup(ledger.Lookup{ID: s.ID, PaidAt: s.PaidAt, DueAt: tx.Now, Reconcile: true})
				}
			}
			if _, err := b.recordNow(ctx, s, ask); err != nil {
				return err
			}
		}
		after, more = last, again
	}
	if b.c.Problems.Odd(oddSessions, unreadable...) && len(unreadable) > 0 {
		b.c.Log.Warn("unreadable sessions skipped", "sessions", unreadable)
	}
	return nil
}

// quarantined returns an open payment of a restored backup as it may be continued. A queued credit
// is adopted, and an ordered refund is made only after the refunds were read.
func quarantined(p payment.Payment, now time.Time) payment.Payment {
	p.InFlight = false
	switch {
	case p.Delivery == payment.Queued:
		p = payment.Adopt(p)
	case p.Funds == payment.Refunding || p.Funds == payment.RefundFailed:
		p.ReconcileRefund = true
	}
	return payment.Next(p, now)
}

// quarantineRestored judges the open payments of a restored backup. The original ledger may have
// sent their credits and made their refunds since. So no credit is sent again, and no refund is
// made before Stripe's refunds were read.
func (b *Bridge) quarantineRestored(ctx context.Context) error {
	payments := 0
	err := b.update(ctx, func(tx *update) error {
		list, err := tx.RestoredPayments()
		if err != nil {
			return err
		}
		payments = len(list)
		for _, p := range list {
			if err := tx.change(p, quarantined(p, tx.Now)); err != nil {
				return err
			}
		}
		return tx.SetQuarantined()
	})
	if err != nil {
		return fmt.Errorf("judge what a restored copy holds: %w", err)
	}
	if payments > 0 {
		b.c.Log.Warn("restored from backup", "payments", payments)
	}
	return nil
}
