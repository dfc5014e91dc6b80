package bridge

import (
	"context"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// A machine that does not confirm gets its credit unheard: whether it has it is looked for when the
// credit's time is over. While somebody has the payment's page open it is looked for before, as far
// as Notehub can be asked for what nobody has to know. Such a look decides that the note was
// fetched only if an earlier one has listed it. Notehub may list a new note late, so a note that
// was never listed proves nothing: the page then says that the machine has probably picked it up,
// and the look at the deadline decides.

const (
	earlyCheckDelay       = 2 * time.Second  // most Notecards that listen have fetched a note by then
	earlyCheckInterval    = 10 * time.Second // after the first look; each time twice as long, up to
	maxEarlyCheckInterval = time.Minute
	earlyCheckViewTimeout = 20 * time.Second // a page says every 15 s that it is open
	earlyCheckSpacing     = time.Second      // for all payments together
	earlyCheckTimeout     = 5 * time.Second  // of one call
	earlyCheckReserve     = 10               // calls that are left to those that are due
	earlyCheckBackoff     = 5 * time.Minute  // after Notehub asked us to slow down
)

// Watched is told that somebody looks at a payment's page, again and again while that is open. It
// returns at once. The page asks Missing for what an early look saw.
func (b *Bridge) Watched(p payment.Payment) {
	if payment.EarlyCheckable(p) && b.earlyChecks.add(p.ID, time.Now()) {
		signal(b.watched)
	}
}

// Missing reports whether the last early look did not find a payment's note: the machine has
// probably picked it up. Nothing else may follow from that.
func (b *Bridge) Missing(p payment.Payment) bool {
	return payment.EarlyCheckable(p) && b.earlyChecks.missing(p)
}

// earlyChecks are the payments that somebody looks at, by id.
type earlyChecks struct {
	mu sync.Mutex
	of map[string]earlyCheck
}

type earlyCheck struct {
	due, until time.Time
	pause      time.Duration // after the next look
	turn       int64         // of the payment when it was last looked at
	listed     bool          // a look of this turn found the note
	missing    bool          // the last look did not
}

// add notes that somebody looks at a payment, and says whether nobody did.
func (g *earlyChecks) add(id string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	one, known := g.of[id]
	if !known {
		one = earlyCheck{due: now.Add(earlyCheckDelay), pause: earlyCheckInterval}
	}
	one.until = now.Add(earlyCheckViewTimeout)
	if g.of == nil {
		g.of = map[string]earlyCheck{}
	}
	g.of[id] = one
	return !known
}

// next is the payment that is to be looked for now, or "" and how long there is none.
func (g *earlyChecks) next(now time.Time) (id string, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait = maxIdle
	for candidate, one := range g.of {
		if now.After(one.until) {
			delete(g.of, candidate) // nobody looks any more
		} else if left := one.due.Sub(now); left <= wait {
			id, wait = candidate, left
		}
	}
	if id == "" || wait > 0 {
		return "", wait
	}
	one := g.of[id]
	one.due, one.pause = now.Add(one.pause), min(2*one.pause, maxEarlyCheckInterval)
	g.of[id] = one
	return id, 0
}

// saw remembers what a look at a payment saw; now is the ledger's time. It reports whether that
// proves that the note was fetched, and whether the page has news.
func (g *earlyChecks) saw(p payment.Payment, found bool, now time.Time) (fetched, news bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	one, known := g.of[p.ID]
	if !known {
		return false, false // nobody looks any more
	}
	if one.turn != p.FencingToken {
		one.turn, one.listed, one.missing = p.FencingToken, false, false // it was sent again: another note
	}
	fetched, news = one.listed && !found, one.missing == found
	one.listed, one.missing = one.listed || found, !found
	if one.missing && !now.Before(p.SentAt.Add(payment.MaxListingDelay)) {
		one.due = payment.Later(one.due, time.Now().Add(p.DueAt.Sub(now))) // another early look would say no more
	}
	g.of[p.ID] = one
	return fetched, news
}

func (g *earlyChecks) missing(p payment.Payment) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.of[p.ID]
	return one.missing && one.turn == p.FencingToken
}

func (g *earlyChecks) drop(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.of, id)
}

// runEarlyChecks looks for the notes of payments that somebody looks at, one after the other.
func (b *Bridge) runEarlyChecks(ctx, calls context.Context) {
	for ctx.Err() == nil {
		id, wait := b.earlyChecks.next(time.Now())
		if id == "" {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-b.watched:
			case <-t.C:
			}
			t.Stop()
			continue
		}
		rest := earlyCheckSpacing
		if b.c.NotehubLimiter.Available() > earlyCheckReserve {
			if err := b.checkEarly(calls, id); upstream.OutcomeOf(err) == upstream.RateLimited {
				rest = earlyCheckBackoff
			} else if err != nil {
				b.c.Log.Debug("early check failed", "payment", id, "err", err)
			}
		}
		_ = upstream.Sleep(ctx, rest) // the loop sees a context that ended
	}
}

// checkEarly looks whether a payment's note is still pending.
func (b *Bridge) checkEarly(ctx context.Context, id string) error {
	p, err := b.c.Ledger.Payment(ctx, id)
	if err != nil || !payment.EarlyCheckable(p) {
		b.earlyChecks.drop(id)
		return err
	}
	if !b.c.NotehubLimiter.Take() {
		return nil // another call was faster
	}
	call, cancel := context.WithTimeout(ctx, earlyCheckTimeout)
	defer cancel()
	began := time.Now()
	ids, err := b.pending(call, p)
	took := time.Since(began)
	b.c.Observe.Attempt(payment.StepCheckPending, upstream.OutcomeOf(err).String(), took)
	if err != nil {
		return err
	}
	fetched, news := b.earlyChecks.saw(p, len(ids) > 0, b.now())
	if !fetched {
		if news && b.c.Changed != nil {
			b.c.Changed(p)
		}
		return nil
	}
	var before, after payment.Payment
	settle, settled := settling(ctx)
	defer settled()
	err = b.update(settle, func(tx *update) (err error) {
		if before, err = tx.Payment(id); err != nil {
			return err
		}
		if after = payment.ApplyEarlyCheck(before, p.FencingToken, tx.Now); after == before {
			return nil
		}
		if err := tx.change(before, after); err != nil {
			return err
		}
		return tx.AddAttempt(
			id,
			ledger.Attempt{
				At:      b.clock().At(began),
				Action:  payment.StepCheckPending,
				Outcome: "ok",
				Status:  200,
				Took:    took,
			},
		)
	})
	if err != nil || after == before {
		return err
	}
	b.earlyChecks.drop(id)
	b.c.Log.Info(
		"attempt",
		"payment",
		id,
		"device",
		p.DeviceUID,
		"action",
		payment.StepCheckPending,
		"outcome",
		upstream.OK.String(),
		"status",
		200,
		"took",
		took.Round(time.Millisecond),
		"early",
		true,
		"machine",
		after.Delivery,
		"money",
		after.Funds,
		"next_at",
		after.DueAt,
	)
	return nil
}
