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
	// payers is the same for Stripe, whose calls are few and quick.
	payers = 8
	// idlest is how long a worker sleeps at the most when nothing is due: the ledger may have been written to in ways not foreseen.
	idlest = 30 * time.Second
	// settleTime is how long the result of a call is tried to be written down before it is left to the lease.
	settleTime = 4 * time.Second
	// disputeSettles is how long after Stripe refused a refund for a dispute its disputes are read.
	disputeSettles = time.Minute
	// mostTimed is how many payments are looked at together whose time has come.
	mostTimed = 64
)

// Run works until ctx ends: then nothing more is claimed, and what is under way may finish until the calls' own context ends.
func (b *Bridge) Run(ctx, calls context.Context) {
	b.learnTime(ctx)
	b.begin(ctx)
	b.express.open(calls)
	var loops sync.WaitGroup
	loops.Go(func() { b.deliver(ctx, calls, b.notehub()) })
	loops.Go(func() { b.deliver(ctx, calls, b.stripe()) })
	loops.Go(func() { b.lookUp(ctx, calls) })
	loops.Go(func() { b.reconcile(ctx) })
	loops.Go(func() { b.listen(ctx) })
	loops.Go(func() { b.watch(ctx) })
	loops.Go(func() { b.measure(ctx) })
	loops.Go(func() { b.probe(ctx, calls) })
	loops.Go(func() { b.keepTime(ctx) })
	loops.Go(func() { b.glance(ctx, calls) })
	<-ctx.Done()
	b.express.close()
	loops.Wait()
}

// begin judges what is remembered before anything is done with it.
func (b *Bridge) begin(ctx context.Context) {
	for ctx.Err() == nil {
		err := b.judgeRestored(ctx)
		if err == nil {
			var occupants []ledger.Payment
			occupants, err = b.c.Ledger.Occupants(ctx)
			for _, p := range occupants {
				b.show(p.DeviceUID)
			}
		}
		if err == nil {
			return
		}
		b.c.Log.Error("startup failed, retrying", "err", err)
		_ = upstream.Sleep(ctx, time.Second)
	}
}

// queue is the part of the ledger's queue that is one vendor's.
type queue struct {
	due   func(tx *ledger.Tx, again bool, limit int) ([]ledger.Payment, error)
	part  ledger.Part
	pace  *upstream.Pace
	wake  chan struct{}
	slots int
	one   bool // at most one call for a device
}

func (b *Bridge) notehub() queue {
	return queue{(*ledger.Tx).DueForNotehub, ledger.ForNotehub, b.c.NotehubPace, b.wake, workers, true}
}

func (b *Bridge) stripe() queue {
	return queue{(*ledger.Tx).DueForStripe, ledger.ForStripe, b.c.StripePace, b.money, payers, false}
}

// deliver claims what is due for a vendor and makes the calls, each in a goroutine of its own.
func (b *Bridge) deliver(ctx, calls context.Context, q queue) {
	var fresh, again = make(chan struct{}, q.slots), make(chan struct{}, q.slots/2)
	var under sync.WaitGroup
	defer under.Wait()
	for ctx.Err() == nil {
		if q.part == ledger.ForStripe && !b.clock().Known() { // it would not answer, and time may have decided something
			_ = upstream.Sleep(ctx, measuring)
			continue
		}
		claimed, err := b.claim(ctx, q, cap(fresh)-len(fresh), cap(again)-len(again))
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Error("payments not claimed", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		if len(claimed) == 0 {
			if d := q.pace.Delay(time.Now()); d > 0 {
				b.hold(ctx, d)
			} else {
				b.rest(ctx, q.wake, q.part)
			}
			continue
		}
		for _, p := range claimed {
			slots := fresh
			if p.Failures > 0 && asksNotehub(p.Step) || p.MoneyFailures > 0 && asksStripe(p.Step) {
				slots = again
			}
			slots <- struct{}{}
			under.Go(func() {
				defer func() { <-slots; poke(q.wake) }()
				b.work(calls, p)
			})
		}
	}
}

// longestHold is how long nobody looks at the queue while a vendor wants to be left alone: credits run out meanwhile.
const longestHold = 5 * time.Second

// hold waits until the vendor may be asked again, but not long.
func (b *Bridge) hold(ctx context.Context, d time.Duration) {
	_ = upstream.Sleep(ctx, min(d, longestHold)) // the caller sees a context that ended
}

// rest waits until a row is due, asking for the next one at each wake-up. It asks the readers: what most wake-ups are for is done already,
// and the writer has other work.
func (b *Bridge) rest(ctx context.Context, wake chan struct{}, part ledger.Part) {
	for woken := false; ; woken = true {
		d := idlest
		due, err := b.c.Ledger.NextDue(ctx, part)
		switch {
		case err != nil && ctx.Err() == nil:
			b.c.Log.Error("queue not read", "err", err)
		case woken && !due.IsZero() && !b.now().Before(due):
			return
		case !due.IsZero():
			// A row that is due and was not claimed has a device or slot that is not free: a wake-up comes when it is.
			d = min(max(due.Sub(b.now()), 100*time.Millisecond), idlest)
		}
		t := time.NewTimer(d)
		select {
		case <-wake:
			t.Stop()
			continue
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		return
	}
}

// change is a payment before and after a transaction; before is zero for a new one, both are for none.
type change struct {
	before, after ledger.Payment
	ended         *change // another payment that gave its device up in the same transaction; nil for none
}

// committed is told of every change of a payment, once it is on disk: it wakes who has work, and has the fleet know who is in use. Those who
// share a commit call it in any order, see publish.go.
func (b *Bridge) committed(changes ...change) {
	for _, c := range changes {
		if c.ended != nil {
			b.committed(*c.ended)
		}
		p := c.after
		if p.ID == "" {
			continue
		}
		if useChanged(c) || pauseMayHaveChanged(c) {
			b.show(p.DeviceUID)
		}
		b.c.Observe.Payment(c.before, p)
		if b.c.Changed != nil {
			b.c.Changed(p)
		}
		b.c.Log.Debug("payment changed", "payment", p.ID, "machine", p.Machine, "money", p.Money, "reason", p.Reason, "attention", p.Attention)
		if c.before.Attention != p.Attention && p.Attention != "" {
			b.c.Log.Warn("payment needs attention", "payment", p.ID, "device", p.DeviceUID, "attention", p.Attention, "machine", p.Machine, "money", p.Money)
		}
		if p.Machine == ledger.Failed && c.before.Machine != ledger.Failed && !p.Posted {
			b.c.Log.Warn("credit not sent", "payment", p.ID, "device", p.DeviceUID, "reason", p.Reason, "attention", p.Attention)
		}
		if p.InFlight { // who settles it knows what is next
			continue
		}
		switch p.Step {
		case ledger.PostNote, ledger.CheckPending, ledger.Recall:
			poke(b.wake)
		case ledger.Capture, ledger.Release, ledger.Refund:
			poke(b.money)
		case ledger.Wait:
			poke(b.timed)
		}
		if (p.Machine == ledger.Sent || p.Machine == ledger.Fetched || p.Machine == ledger.Queued && p.Vanished) && !p.ConfirmBy.IsZero() {
			poke(b.heard)
		}
	}
}

// claim takes due payments, no more than the pace and the slots allow.
func (b *Bridge) claim(ctx context.Context, q queue, fresh, again int) (claimed []ledger.Payment, err error) {
	reserved := q.pace.Reserve(fresh + again)
	defer func() { q.pace.Return(reserved - len(claimed)) }()
	var changes []change
	err = b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		claimed, changes = claimed[:0], changes[:0]
		for _, failedBefore := range []bool{false, true} {
			slots := fresh
			if failedBefore {
				slots = again
			}
			due, err := q.due(tx, failedBefore, slots)
			if err != nil {
				return err
			}
			for _, p := range due {
				full := len(claimed) >= reserved
				called := q.one && slices.ContainsFunc(claimed, func(c ledger.Payment) bool { return c.DeviceUID == p.DeviceUID })
				before := p
				switch {
				case b.tooEarly(p, tx.Now):
					if !p.InFlight {
						p.DueAt = tx.Now.Add(time.Second)
					}
				case full || called: // no call for it now, but it may have run out while it waited
					p = yielded(Next(p, tx.Now), tx.Now)
				default:
					var ended *change
					if p, ended, err = b.claimOne(tx, p); ended != nil {
						changes = append(changes, *ended)
					}
				}
				if err == nil && p != before {
					err = tx.ChangePayment(before, p)
				}
				if err == nil {
					err = b.streak(tx, before, p)
				}
				if err != nil {
					return err
				}
				if p.InFlight && p.Turn != before.Turn {
					claimed = append(claimed, p)
				} else if p != before {
					changes = append(changes, change{before: before, after: p})
				}
			}
		}
		return nil
	})
	// If we stop here, the rows say that a call may be under way: when the lease is over they are looked at before anything is repeated.
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	b.committed(changes...)
	q.pace.Begin(len(claimed))
	return claimed, nil
}

// tooEarly: after a start no deadline is acted on before Stripe's events and the machines' answers were read once.
func (b *Bridge) tooEarly(p ledger.Payment, now time.Time) bool {
	over := !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt)
	return over && (p.Machine == ledger.Queued || p.Machine == ledger.Sent) && !b.caughtUp()
}

// claimOne judges the device, and claims what is still to be done.
func (b *Bridge) claimOne(tx *ledger.Tx, p ledger.Payment) (_ ledger.Payment, ended *change, err error) {
	if asksNotehub(p.Step) && p.Machine == ledger.Queued && !p.Posted && !p.InFlight && !freeStart(p) {
		switch b.c.Fleet.Standing(p.DeviceUID, p.PaidAt) {
		case fleet.Unsure: // not judged while the devices are being listed
			p.NotBefore = tx.Now.Add(time.Second)
			return Next(p, tx.Now), nil, nil
		case fleet.Unknown:
			return b.turnedAway(p, ReasonUnknownDevice, tx.Now), nil, nil
		case fleet.NotSelling:
			return b.turnedAway(p, ReasonNotSelling, tx.Now), nil, nil
		}
	}
	if p.Plan == "" { // neither link nor session was known when the payment was recorded; now the prices are
		if plan, ok := b.c.Fleet.Plan(p.PriceID); ok {
			// Of a payment in another currency it is not known any more what Stripe converted.
			if p, ended, err = b.oneAtATime(tx, sold(p, Session{ShownCurrency: p.Currency}, plan)); err != nil {
				return p, nil, err
			}
		}
	}
	if d := b.c.Fleet.Device(p.DeviceUID); d != nil && p.DeviceName == "" {
		p.DeviceName = d.Name
	}
	p, interrupted := Claim(p, tx.Now)
	if interrupted != nil {
		err = tx.AddAttempt(p.ID, ledger.Attempt{At: interrupted.Began, Action: interrupted.Action, Outcome: "retry", Detail: "interrupted"})
	}
	return p, ended, err
}

// turnedAway gives the money of a payment back for a device that is not sold on, and has somebody look why it could be paid for.
func (b *Bridge) turnedAway(p ledger.Payment, reason string, now time.Time) ledger.Payment {
	p = failed(p, reason)
	p.Attention = reason
	return Next(p, now)
}

// work makes the one call that a claimed payment needs, and settles.
func (b *Bridge) work(ctx context.Context, p ledger.Payment) {
	began := time.Now()
	o := Outcome{Action: p.Step, NoteID: firstNote(p), Began: b.clock().At(began)}
	call, cancel := context.WithTimeout(ctx, TimeLimit)
	defer cancel()
	var err error
	switch p.Step {
	case ledger.PostNote:
		err = b.c.Notehub.PostNote(call, p.DeviceUID, noteOf(p))
	case ledger.CheckPending:
		o.NoteIDs, err = b.pending(call, p)
	case ledger.Recall:
		err = b.c.Notehub.DeleteNote(call, p.DeviceUID, o.NoteID)
	case ledger.Capture:
		err = b.c.Stripe.Capture(call, p.PaymentIntent, holdKey(p))
	case ledger.Release:
		err = b.c.Stripe.Release(call, p.PaymentIntent, holdKey(p))
	case ledger.Refund:
		if o.Looked = p.RefundLook; o.Looked {
			o.Refunds, err = b.c.Stripe.Refunds(call, p.PaymentIntent)
		} else {
			o.Refund, err = b.c.Stripe.Refund(call, RefundOrder{Intent: p.PaymentIntent, Amount: p.RefundAmount, Credit: p.ID, Number: p.RefundNumber})
		}
	}
	b.lateness.took(p, o, err, time.Now(), b.now())
	b.settle(p, o, time.Since(began), err)
}

// holdKey is the idempotency key of a capture or release. Each claim has its own: Stripe gives a 500 again under the same key for a day, and a
// second capture or release does no harm, for Stripe says that it was done already.
func holdKey(p ledger.Payment) string { return fmt.Sprintf("%s:%s:%d", p.Step, p.ID, p.Turn) }

const statusCompleted = "completed"

// pending asks Notehub which notes of a credit wait for its device. Of a note that cannot be read nobody can say whose it is: while one waits and
// none is the credit's, that is no evidence that its note was fetched. A credit whose only note was listed and deleted cannot be that one.
func (b *Bridge) pending(ctx context.Context, p ledger.Payment) ([]string, error) {
	pending, err := b.c.Notehub.PendingNotes(ctx, p.DeviceUID)
	ids := notesOf(p, pending)
	fetchedIfNone := p.Machine == ledger.Sent && (p.Recalled == ledger.NotRecalled || p.Vanished)
	if err == nil && len(ids) == 0 && fetchedIfNone && slices.ContainsFunc(pending, func(n PendingNote) bool { return n.Unreadable }) {
		err = &upstream.Error{Outcome: upstream.Again, Status: 200, Detail: "a note that waits for the device cannot be read, and may be this credit's"}
	}
	return ids, err
}

// notesOf are the ids of a credit's notes among those that are pending for its device.
func notesOf(p ledger.Payment, pending []PendingNote) (ids []string) {
	for _, n := range pending {
		if n.CreditID == p.ID && n.PaymentStatus == statusCompleted {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// noteOf is the note of a credit, or the word to a machine that has it.
func noteOf(p ledger.Payment) Note {
	n := Note{PaymentStatus: statusCompleted, Timestamp: p.PaidAt.Unix(), SessionID: p.SessionID, CreditID: p.ID,
		Duration: int64(p.Duration / time.Second), DelayedStart: int64(p.DelayedStart / time.Second), Code: p.AccessCode}
	if p.Tell != "" && p.Machine != ledger.Queued {
		n.PaymentStatus, n.Duration, n.DelayedStart, n.Code = p.Tell, 0, 0, ""
	}
	if !p.ExpiresAt.IsZero() {
		n.Expires = p.ExpiresAt.Unix()
	}
	return n
}

// settling returns the context in which the result of a call is written down: the calls' own may have ended.
func settling(calls context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(calls), settleTime)
}

// settle writes down what a call came to. It does so also while we shut down, and tries again while the disk refuses: what was
// seen must not be lost. If we stop before it is on disk, the claim runs out and the call counts as unclear.
func (b *Bridge) settle(claimed ledger.Payment, o Outcome, took time.Duration, callErr error) {
	o.Result, o.Err = upstream.OutcomeOf(callErr), callErr
	attempt := ledger.Attempt{At: o.Began, Action: o.Action, Outcome: "ok", Status: 200, Took: took}
	if o.Action == ledger.Refund && !claimed.RefundLook { // the row tells the amount of the last refund alone
		attempt.Detail = fmt.Sprintf("%d %s", claimed.RefundAmount, claimed.Currency)
	}
	if callErr != nil {
		attempt.Outcome, attempt.Status, attempt.Detail = "retry", 0, hidden(claimed, callErr.Error())
		if e, ok := errors.AsType[*upstream.Error](callErr); ok {
			o.RetryAfter, o.Over, o.Status, attempt.Status = e.RetryAfter, e.Over, e.Status, e.Status
		}
		if o.Result == upstream.Refused {
			attempt.Outcome = "failed"
		}
	}
	var changed change
	write := func(tx *ledger.Tx) (err error) {
		if changed.before, err = tx.Payment(claimed.ID); err != nil {
			return err
		}
		o.Stale = changed.before.Turn != claimed.Turn
		changed.after = Apply(changed.before, o, tx.Now)
		if changed.after, err = b.countNotes(tx, changed.after, len(o.NoteIDs)); err != nil {
			return err
		}
		if err := tx.ChangePayment(changed.before, changed.after); err != nil {
			return err
		}
		if err := b.streak(tx, changed.before, changed.after); err != nil {
			return err
		}
		if errors.Is(callErr, ErrDisputed) { // which disputes there are is read, in case that no event tells
			if err := tx.AddLookup(ledger.Lookup{ID: claimed.PaymentIntent, PaidAt: tx.Now, DueAt: tx.Now.Add(disputeSettles), Facts: true}); err != nil {
				return err
			}
		}
		return tx.AddAttempt(claimed.ID, attempt)
	}
	ctx, cancel := settling(context.Background())
	defer cancel()
	err := b.c.Ledger.Update(ctx, write)
	for err != nil && ctx.Err() == nil && !errors.Is(err, ledger.ErrClosed) {
		b.c.Log.Error("result not recorded, retrying", "payment", claimed.ID, "err", err)
		if upstream.Sleep(ctx, time.Second) == nil {
			err = b.c.Ledger.Update(ctx, write)
		}
	}
	if err != nil {
		b.c.Log.Error("result not recorded", "payment", claimed.ID, "err", err)
		return
	}
	b.committed(changed)
	b.c.Observe.Attempt(o.Action, o.Result.String(), took)
	level := slog.LevelInfo
	if attempt.Outcome == "failed" {
		level = slog.LevelWarn
	}
	p := changed.after
	b.c.Log.Log(context.Background(), level, "attempt", "payment", p.ID, "device", p.DeviceUID, "action", o.Action, "outcome", o.Result.String(),
		"status", attempt.Status, "took", took.Round(time.Millisecond), "stale", o.Stale, "machine", p.Machine, "money", p.Money, "next_at", p.DueAt,
		"detail", attempt.Detail)
}

// watch does what time alone decides, when the time has come.
func (b *Bridge) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if !b.clock().Known() {
			_ = upstream.Sleep(ctx, measuring)
			continue
		}
		var changes []change
		err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			changes = changes[:0]
			due, err := tx.DueInTime(mostTimed)
			for _, p := range due {
				c := change{before: p, after: Next(p, tx.Now)}
				if err := tx.ChangePayment(c.before, c.after); err != nil {
					return err
				}
				changes = append(changes, c)
			}
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				b.c.Log.Error("timers not read", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		b.committed(changes...)
		if len(changes) < mostTimed {
			b.rest(ctx, b.timed, ledger.InTime)
		}
	}
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
				b.c.Log.Error("lookups not claimed", "err", err)
				_ = upstream.Sleep(ctx, time.Second)
			}
			continue
		}
		if len(due) == 0 {
			b.rest(ctx, b.look, ledger.ForLookUp)
			continue
		}
		var asked sync.WaitGroup
		for _, l := range due {
			asked.Go(func() { b.lookUpOne(calls, l) })
		}
		asked.Wait()
	}
}

// lookupDelay is how long a look-up waits at a time for Stripe's list to be read.
const lookupDelay = 2 * time.Second

func (b *Bridge) lookUpOne(ctx context.Context, l ledger.Lookup) {
	ctx, cancel := context.WithTimeout(ctx, TimeLimit)
	defer cancel()
	known, err := ledger.Has(second(b.c.Ledger.Payment(ctx, l.ID)))
	if err == nil && !known && b.earlier(l.PaidAt) && !b.listed.Load() {
		// Stripe's list, which is being read, may tell that it was handled.
		settle, settled := settling(ctx)
		defer settled()
		err := b.c.Ledger.Update(settle, func(tx *ledger.Tx) error { return tx.DelayLookup(l, tx.Now.Add(lookupDelay)) })
		if err != nil {
			b.c.Log.Warn("lookup not delayed", "session", l.ID, "err", err)
		}
		return
	}
	isNew := !known
	known = known && !l.Facts
	var s Session
	if err == nil && !known {
		s, err = b.c.Stripe.Session(ctx, l.ID)
	}
	if err == nil && !known {
		if s.PaidAt.IsZero() {
			s.PaidAt = l.PaidAt
		}
		if s.Handled, err = b.lookedUp(ctx, l, s.ID); err == nil && isNew {
			s.Handled, err = b.pendingNote(ctx, s)
		}
	}
	settle, settled := settling(ctx)
	defer settled()
	outcome := "no_session"
	switch result := upstream.OutcomeOf(err); {
	case known: // its own event came meanwhile
		outcome = Duplicate
		err = b.c.Ledger.Update(settle, func(tx *ledger.Tx) error { return tx.DropLookup(l) })
	case result == upstream.Done:
		outcome, err = b.recordNow(settle, s, func(tx *ledger.Tx) error { return tx.DropLookup(l) })
	case result == upstream.Refused && strings.HasPrefix(l.ID, "pi_"): // an intent without a session; of a session that Stripe named it cannot be
		err = b.c.Ledger.Update(settle, func(tx *ledger.Tx) error { return tx.DropLookup(l) })
	}
	if err != nil {
		outcome = "again"
		postponed := b.c.Ledger.Update(settle, func(tx *ledger.Tx) error {
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
