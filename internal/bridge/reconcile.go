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
	// overlap is how much of what was read before is read again: an event may be listed a little
	// after it happened, and clocks differ.
	overlap = 10 * time.Minute
	// eventsKept is how far back Stripe lists events: 30 days, less a day to be sure.
	eventsKept = 29 * 24 * time.Hour
	// sessionsOpen is how long before its payment a session may have been opened.
	sessionsOpen = 24 * time.Hour
)

// runReconcile reads at the start and every PollInterval what Stripe has to tell, for a webhook may
// be lost, late or not there at all.
func (b *Bridge) runReconcile(ctx context.Context) {
	failures := 0
	var r reading
	for ctx.Err() == nil {
		if b.ready(ctx) != nil { // whoever makes it ready says what is wrong
			_ = upstream.Sleep(ctx, measuring)
			continue
		}
		if err := b.readEvents(ctx, &r); err != nil {
			if ctx.Err() == nil {
				b.c.Log.Warn("stripe events not read", "err", err)
			}
			failures++
			b.toldStuck(failures, err)
			_ = upstream.Sleep(ctx, min(upstream.Backoff(failures, 0.5), b.c.PollInterval))
			continue
		}
		failures = 0
		b.toldStuck(failures, nil)
		b.listed.Store(true)
		b.returning.readingEnded()
		if !b.eventsRead.Load() {
			b.untilLookedUp(ctx)
			b.eventsRead.Store(true)
			signal(b.notehubDue)
		}
		timer := time.NewTimer(b.c.PollInterval)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-b.soon:
		}
		timer.Stop()
	}
}

// earlyAtOnce is how many readings of Stripe's events there may be before their time; one more is
// added each hour. Together with one each five minutes they stay below the 10,000 reads a month
// that Stripe leaves to the smallest account (docs/vendors.md, Q10).
const earlyAtOnce = 20

// CardsSoon has Stripe's events be read now, if payments came since they were read last: somebody
// looks for one of them by its card, which only Stripe's events tell. It says whether they are
// being read.
func (b *Bridge) CardsSoon(ctx context.Context) (reading bool, err error) {
	newest, _, err := b.c.Ledger.Payments(ctx, ledger.Filter{Limit: 1})
	if err != nil {
		return false, fmt.Errorf("read the newest payment: %w", err)
	}
	// A payment may be older than the reading and yet come to the ledger after its charge was read:
	// its time is that at which its transaction began.
	if len(newest) == 0 || newest[0].CreatedAt.UnixMilli() < b.began.Load() && !b.chargeEarly.Load() {
		return false, nil
	}
	if len(b.soon) == 0 { // else that is to come already
		if !b.extra.Allow() {
			return false, nil
		}
		signal(b.soon)
	}
	return true, nil
}

// maxCatchUp is how long deadlines wait for what Stripe's events left to be asked for.
const maxCatchUp = 10 * time.Second

// untilLookedUp waits until Stripe was asked for the money of payments, where its events alone do
// not tell.
func (b *Bridge) untilLookedUp(ctx context.Context) {
	signal(b.lookupsDue)
	for end := time.Now().Add(maxCatchUp); time.Now().Before(end) && ctx.Err() == nil; {
		if wanted, err := b.c.Ledger.ReconcileWanted(ctx); err != nil || !wanted {
			return
		}
		_ = upstream.Sleep(ctx, 50*time.Millisecond) // the loop sees a context that ended
	}
}

// reading is how far a reading of Stripe's events has come. A page that cannot be had holds up what
// was not read, not what was.
type reading struct {
	began    time.Time // a local instant; zero: none has begun
	since    time.Time // by Stripe's clock
	sessions bool      // read, where they had to be
	after    string    // the last event that was read
	odd      []string  // what could not be read
	compared bool      // an event was listed that was sent here
	others   int       // how many endpoints of others have not accepted one, at most
}

// readEvents takes in the events since the last time through Receive, as if they had been
// delivered. Where Stripe's list does not reach back far enough, the sessions are read themselves.
func (b *Bridge) readEvents(ctx context.Context, r *reading) error {
	if r.began.IsZero() {
		since, err := b.readUntil(ctx)
		if err == nil && since.After(b.now()) { // Stripe's time has just turned out to be earlier
			if err = b.settleTime(ctx); err == nil {
				since, err = b.readUntil(ctx)
			}
		}
		if err != nil {
			return fmt.Errorf("read until when events were read: %w", err)
		}
		failing, err := b.c.Ledger.Meta(ctx, factOthers)
		if known, err := ledger.Found(err); err != nil {
			return fmt.Errorf("read how many endpoints fail: %w", err)
		} else if known {
			b.others.Store(failing.UnixMilli())
		}
		if !b.listed.Load() { // the events of what is to be looked up are compared, too
			waiting, err := b.c.Ledger.LateLookups(ctx, since, 1)
			if err != nil {
				return fmt.Errorf("read what is to be looked up: %w", err)
			}
			if len(waiting) > 0 {
				since = payment.Earlier(since, waiting[0].PaidAt)
			}
		}
		*r = reading{began: time.Now(), since: payment.Earlier(since, b.now()).Add(-overlap)}
		b.chargeEarly.Store(false)
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
				continue // it is counted, and nothing can be done with it
			}
			known, err := b.c.Ledger.HasEvent(ctx, e.ID)
			switch {
			case err == nil && !known:
				err = b.Receive(ctx, e)
			case err == nil && e.Session != nil:
				err = b.handledSince(ctx, e)
			}
			if err != nil {
				return err
			}
		}
		r.after, more = last, again
	}
	others := int64(r.others)
	changed := r.compared && others != b.others.Load()
	if b.c.Problems.Odd(oddListed, r.odd...) && len(r.odd) > 0 {
		b.c.Log.Warn("unreadable events skipped", "events", r.odd)
	}
	began := b.clock().At(r.began)
	*r = reading{}
	b.began.Store(began.UnixMilli())
	// If we stop before this is on disk, the same events are read again: repeats.
	err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		if changed {
			if err := tx.SetMeta(factOthers, time.UnixMilli(others)); err != nil {
				return err
			}
		}
		return tx.SetMeta(ledger.MetaEventsRead, began)
	})
	if err == nil && changed {
		b.others.Store(others)
	}
	return err
}

// oddName names an event that cannot be read.
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

// chargesLast orders a page: a charge tells of a payment only once its session made one, and both
// may be of the same second.
func chargesLast(e Event) int {
	if e.Type == ChargeSucceeded {
		return 1
	}
	return 0
}

// readSessions records the sessions opened since a time that were paid before Stripe's list of
// events begins. Nothing tells whether they were handled, so a payment that is new to the ledger is
// left to the operator. Later ones come with their events.
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
			s.Handled = handledLongAgo
			var ask func(*update) error
			if s.Disputed { // the list does not tell how the disputes stand
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

// judgedOnRestore applies a restore from a backup to a payment that the copy believes to be under
// way.
func judgedOnRestore(p payment.Payment, now time.Time) payment.Payment {
	p.InFlight = false
	switch {
	case p.Delivery == payment.Queued:
		p = payment.Adopt(p)
	case p.Funds == payment.Refunding || p.Funds == payment.RefundFailed:
		p.ReconcileRefund = true
	}
	return payment.Next(p, now)
}

// quarantineRestored looks at what a restored copy believes to be under way. The ledger that it was
// copied from may have sent these credits and given this money back since, so nothing is sent
// again, and nothing is given back before Stripe was asked what was.
func (b *Bridge) quarantineRestored(ctx context.Context) error {
	quarantined := 0
	err := b.update(ctx, func(tx *update) error {
		list, err := tx.Restored()
		if err != nil {
			return err
		}
		quarantined = len(list)
		for _, p := range list {
			if err := tx.change(p, judgedOnRestore(p, tx.Now)); err != nil {
				return err
			}
		}
		return tx.SetQuarantined()
	})
	if err != nil {
		return fmt.Errorf("judge what a restored copy holds: %w", err)
	}
	if quarantined > 0 {
		b.c.Log.Warn("restored from backup", "payments", quarantined)
	}
	return nil
}
