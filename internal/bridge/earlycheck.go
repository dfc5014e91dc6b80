package bridge

import (
	"context"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// Whether a machine that does not confirm has fetched its credit is normally checked at the
// credit's expiry. While a customer has the payment's page open, early checks look before that,
// with calls to Notehub that due payments do not need. An early check proves that the note was
// fetched only if an earlier one has listed it. Notehub may list a new note late, so a note that
// was never listed proves nothing. Then the page says that the machine has probably picked it up,
// and the check at the expiry decides.

const (
	earlyCheckDelay       = 2 * time.Second  // most connected Notecards have fetched the note by then
	earlyCheckInterval    = 10 * time.Second // doubles with each check, up to:
	maxEarlyCheckInterval = time.Minute
	earlyCheckViewTimeout = 20 * time.Second // a page reports every 15 s that it is open
	earlyCheckSpacing     = time.Second      // between the checks of all payments
	earlyCheckTimeout     = 5 * time.Second  // of one call to Notehub
	earlyCheckReserve     = 10               // calls left to due payments
	earlyCheckBackoff     = 5 * time.Minute  // after Notehub limited the rate
)

// PageOpen starts early checks of a payment, or prolongs them. An open page calls it repeatedly. It
// returns at once. NoteMissing returns what the checks saw.
func (b *Bridge) PageOpen(p payment.Payment) {
	if payment.EarlyCheckable(p) && b.earlyChecks.add(p.ID, time.Now()) {
		signal(b.pageOpened)
	}
}

// CheckNow makes an early check of a payment due at once, because its customer reports that the
// machine did not start. The limits for all early checks apply. It returns at once.
func (b *Bridge) CheckNow(p payment.Payment) {
	if payment.EarlyCheckable(p) {
		b.earlyChecks.hurry(p.ID, time.Now())
		signal(b.pageOpened)
	}
}

// NoteMissing reports whether the last early check did not find the payment's note. Then the machine
// has probably fetched it. Nothing else may follow from that.
func (b *Bridge) NoteMissing(p payment.Payment) bool {
	return payment.EarlyCheckable(p) && b.earlyChecks.missing(p)
}

// earlyChecks holds the payments whose pages are open, by id.
type earlyChecks struct {
	mu sync.Mutex
	of map[string]earlyCheck
}

type earlyCheck struct {
	due, until   time.Time
	pause        time.Duration // wait after the next check
	fencingToken int64         // the payment's fencing token at the last check
	listed       bool          // a check under this token found the note
	missing      bool          // the last check did not find the note
}

// add records that a payment's page is open. It reports whether the payment was not watched before.
func (c *earlyChecks) add(id string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	one, known := c.of[id]
	if !known {
		one = earlyCheck{due: now.Add(earlyCheckDelay), pause: earlyCheckInterval}
	}
	one.until = now.Add(earlyCheckViewTimeout)
	if c.of == nil {
		c.of = map[string]earlyCheck{}
	}
	c.of[id] = one
	return !known
}

// hurry makes the check of a payment due, as if its page were open.
func (c *earlyChecks) hurry(id string, now time.Time) {
	c.add(id, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of[id]
	one.due = now
	c.of[id] = one
}

// next returns the payment to check now. If there is none, it returns "" and the wait until one is
// due.
func (c *earlyChecks) next(now time.Time) (id string, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = maxIdle
	for candidate, one := range c.of {
		if now.After(one.until) {
			delete(c.of, candidate) // the page was closed
		} else if left := one.due.Sub(now); left <= wait {
			id, wait = candidate, left
		}
	}
	if id == "" || wait > 0 {
		return "", wait
	}
	one := c.of[id]
	one.due, one.pause = now.Add(one.pause), min(2*one.pause, maxEarlyCheckInterval)
	c.of[id] = one
	return id, 0
}

// saw records the result of a check at the ledger's time now. It reports whether the note is proven
// to be fetched, and whether the page has to be updated.
func (c *earlyChecks) saw(p payment.Payment, found bool, now time.Time) (fetched, news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one, known := c.of[p.ID]
	if !known {
		return false, false // the page was closed
	}
	if one.fencingToken != p.FencingToken {
		one.fencingToken, one.listed, one.missing = p.FencingToken, false, false // sent again, so this is another note
	}
	fetched, news = one.listed && !found, one.missing == found
	one.listed, one.missing = one.listed || found, !found
	if one.missing && !now.Before(p.SentAt.Add(payment.MaxListingDelay)) {
		one.due = payment.Later(one.due, time.Now().Add(p.DueAt.Sub(now))) // more early checks would prove nothing
	}
	c.of[p.ID] = one
	return fetched, news
}

func (c *earlyChecks) missing(p payment.Payment) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.of[p.ID]
	return one.missing && one.fencingToken == p.FencingToken
}

func (c *earlyChecks) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, id)
}

// runEarlyChecks checks the notes of watched payments, one at a time.
func (b *Bridge) runEarlyChecks(ctx, calls context.Context) {
	for ctx.Err() == nil {
		id, wait := b.earlyChecks.next(time.Now())
		if id == "" {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-b.pageOpened:
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

// checkEarly checks whether a payment's note is still pending.
func (b *Bridge) checkEarly(ctx context.Context, id string) error {
	p, err := b.c.Ledger.Payment(ctx, id)
	if err != nil || !payment.EarlyCheckable(p) {
		b.earlyChecks.drop(id)
		return err
	}
	if !b.c.NotehubLimiter.Take() {
		return nil // another call took the slot
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
	recordCtx, done := recordContext(ctx)
	defer done()
	err = b.update(recordCtx, func(tx *update) (err error) {
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
	b.c.Log.Info("attempt", "payment", id, "device", p.DeviceUID, "action", payment.StepCheckPending,
		"outcome", upstream.OK.String(), "status", 200, "took", took.Round(time.Millisecond), "early", true,
		"machine", after.Delivery, "money", after.Funds, "next_at", after.DueAt)
	return nil
}
