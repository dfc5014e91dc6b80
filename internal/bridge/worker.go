package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

const (
	// notehubWorkers limits the calls to Notehub in flight. A device has at most one. So it takes
	// that many slow devices to delay a healthy one. Calls that failed before get at most half of
	// the slots.
	notehubWorkers = 64
	// stripeWorkers limits the calls to Stripe in flight, which are few and quick.
	stripeWorkers = 8
	// maxIdle is the maximum sleep of a worker without due work, in case a signal was missed.
	maxIdle = 30 * time.Second
	// maxSharedIdle is the same if other instances may leave work behind.
	maxSharedIdle = 3 * time.Second
	// recordTimeout is how long to try to record a call's result. After that the lease decides.
	recordTimeout = 4 * time.Second
	// disputeDelay is the wait until a payment's disputes are read after Stripe rejected a refund
	// for one.
	disputeDelay = time.Minute
	// maxTimed limits the payments of one transaction of runTimers.
	maxTimed = 64
)

// Run works until ctx ends. Then it claims nothing more, and calls in flight may finish until the
// context calls ends. A second Run holds no events, see awaitList.
func (b *Bridge) Run(ctx, calls context.Context) {
	context.AfterFunc(ctx, b.stop)
	b.learnTime(ctx)
	b.recoverState(ctx)
	b.fastPath.open(calls)
	var loops sync.WaitGroup
	loops.Go(func() { b.runQueue(ctx, calls, b.notehub()) })
	loops.Go(func() { b.runQueue(ctx, calls, b.stripe()) })
	loops.Go(func() { b.runLookups(ctx, calls) })
	loops.Go(func() { b.c.Ledger.Lead(ctx, b.runReconcile) })
	loops.Go(func() { b.c.Ledger.Lead(ctx, b.runConfirmations) })
	loops.Go(func() { b.followReadings(ctx) })
	loops.Go(func() { b.runTimers(ctx) })
	loops.Go(func() { b.trackLateness(ctx) })
	loops.Go(func() { b.probe(ctx, calls) })
	loops.Go(func() { b.keepTime(ctx) })
	loops.Go(func() { b.runEarlyChecks(ctx, calls) })
	<-ctx.Done()
	b.fastPath.close()
	loops.Wait()
}

// recoverState prepares the state of the last run: it quarantines a restored backup, and publishes
// the devices in use.
func (b *Bridge) recoverState(ctx context.Context) {
	for ctx.Err() == nil {
		err := b.quarantineRestored(ctx)
		if err == nil {
			var occupants []payment.Payment
			occupants, err = b.c.Ledger.Occupants(ctx)
			for _, p := range occupants {
				b.showDevice(p.DeviceUID)
			}
		}
		if err == nil {
			return
		}
		b.c.Log.Error("startup failed, retrying", "err", err)
		_ = upstream.Sleep(ctx, time.Second)
	}
}

// execute makes the call of a claimed payment and records its outcome.
func (b *Bridge) execute(ctx context.Context, p payment.Payment) {
	began := time.Now()
	if b.outlived(p, began) {
		b.c.Log.Warn("claim outlived, call not made", "payment", p.ID)
		return
	}
	o := payment.Outcome{Action: p.Step, NoteID: payment.NextRecallNote(p), Began: b.clock().At(began)}
	call, cancel := context.WithTimeout(ctx, payment.CallTimeout)
	defer cancel()
	var err error
	switch p.Step {
	case payment.StepPostNote:
		err = b.post(call, p)
	case payment.StepCheckPending:
		o.NoteIDs, err = b.pending(call, p)
	case payment.StepRecall:
		err = b.c.Notehub.DeleteNote(call, p.DeviceUID, payment.NoteFileOf(p), o.NoteID)
	case payment.StepCapture:
		err = b.c.Stripe.Capture(call, p.PaymentIntent, payment.FundsKey(p))
	case payment.StepCancel:
		err = b.c.Stripe.Release(call, p.PaymentIntent, payment.FundsKey(p))
	case payment.StepRefund:
		if o.Reconciled = p.ReconcileRefund; o.Reconciled {
			o.Refunds, err = b.c.Stripe.Refunds(call, p.PaymentIntent)
		} else {
			o.Refund, err = b.c.Stripe.Refund(call, payment.RefundOrder{
				Intent: p.PaymentIntent,
				Amount: p.RefundAmount,
				Credit: p.ID,
				Number: p.RefundSeq,
			})
		}
	}
	b.lateness.took(p, o, err, began, time.Now(), b.now())
	b.recordOutcome(p, o, time.Since(began), err)
}

const (
	// maxClaimAge is how old a claim may be when its call begins. It is the longest that a claim's
	// transaction takes.
	maxClaimAge = 4 * time.Second
	// maxClockDifference is how far the time of a claim may be behind (package ledger).
	maxClockDifference = 2 * time.Second
)

// lease returns how long a claim holds. Instances that share a ledger see a call of another one only
// by its effects. So the lease ends when a call that began as late as allowed has ended, and Notehub
// lists its note.
func (b *Bridge) lease() time.Duration {
	if b.c.Ledger.Shared() {
		return payment.Lease + maxClaimAge + maxClockDifference
	}
	return payment.Lease
}

// outlived reports whether a call that begins now might be unseen when the lease of its claim has
// ended. The process or its host stood still since the claim. The lease then decides, because another
// instance may have the payment by then.
func (b *Bridge) outlived(p payment.Payment, now time.Time) bool {
	if !b.c.Ledger.Shared() {
		return false
	}
	at := b.clock().At(now).Add(b.clock().Suspended())
	return at.Add(payment.Lease + maxClockDifference).After(p.DueAt)
}

// pending returns the pending notes of a credit at Notehub. An unreadable note may belong to any
// credit. So while one waits and none is the credit's, the list is no evidence that the credit's
// note was fetched, and pending returns an error. A credit whose only note was listed and deleted
// needs no such evidence.
func (b *Bridge) pending(ctx context.Context, p payment.Payment) ([]string, error) {
	pending, err := b.pendingNotes(ctx, p.DeviceUID, payment.NoteFileOf(p))
	ids := payment.NotesOf(p, pending)
	fetchedIfNone := p.Delivery == payment.Sent && (p.RecallStatus == payment.NotRecalled || p.NotFoundAfterUnclear)
	if err == nil && len(ids) == 0 && fetchedIfNone &&
		slices.ContainsFunc(pending, func(n payment.PendingNote) bool { return n.Unreadable }) {
		err = &upstream.Error{
			Outcome: upstream.Retryable,
			Status:  200,
			Detail:  "a note that waits for the device cannot be read, and may be this credit's",
		}
	}
	return ids, err
}

// recordContext returns the context for recording a call's result, because the call's own context
// may have ended.
func recordContext(calls context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(calls), recordTimeout)
}

// recordOutcome records the result of a call, also during shutdown. It retries while the disk
// fails, because the result must not be lost. If the process stops before it is durable, the lease
// ends and the call counts as unclear.
func (b *Bridge) recordOutcome(claimed payment.Payment, o payment.Outcome, took time.Duration, callErr error) {
	o.Result, o.Err = upstream.OutcomeOf(callErr), callErr
	attempt := ledger.Attempt{At: o.Began, Action: o.Action, Outcome: "ok", Status: 200, Took: took}
	// The row holds only the amount of the last refund.
	if o.Action == payment.StepRefund && !claimed.ReconcileRefund {
		attempt.Detail = fmt.Sprintf("%d %s", claimed.RefundAmount, claimed.Currency)
	}
	if callErr != nil {
		attempt.Outcome, attempt.Status, attempt.Detail = "retry", 0, payment.RedactCode(claimed, callErr.Error())
		if e, ok := errors.AsType[*upstream.Error](callErr); ok {
			o.RetryAfter, o.Settled, o.Status, attempt.Status = e.RetryAfter, e.Over, e.Status, e.Status
		}
		if o.Result == upstream.Rejected {
			attempt.Outcome = "failed"
		}
	}
	var p payment.Payment // as the call leaves it
	var hastened bool
	write := func(tx *update) (err error) {
		// Usually nothing has changed since the claim.
		o.Stale, hastened = false, false
		if p, err = b.countNotes(tx.Tx, payment.ApplyOutcome(claimed, o, tx.Now), len(o.NoteIDs)); err != nil {
			return err
		}
		unchanged, err := tx.changeUnread(claimed, p)
		if err != nil {
			return err
		}
		if !unchanged {
			before, err := tx.Payment(claimed.ID)
			if err != nil {
				return err
			}
			if recorded, err := outcomeRecorded(tx, before, claimed, attempt); recorded || err != nil {
				return err
			}
			if p, o.Stale, err = b.recordLate(tx, before, claimed, o); err != nil {
				return err
			}
			hastened = true
		}
		// Read the disputes, in case no event reports them.
		if errors.Is(callErr, payment.ErrDisputed) {
			due := tx.Now.Add(disputeDelay)
			l := ledger.Lookup{ID: claimed.PaymentIntent, PaidAt: tx.Now, DueAt: due, Reconcile: true}
			if err := tx.AddLookup(l); err != nil {
				return err
			}
		}
		return tx.AddAttempt(claimed.ID, attempt)
	}
	ctx, cancel := recordContext(context.Background())
	defer cancel()
	// If the process stops before this is on disk, the call counts as unclear. Patience adds little to
	// the time of the call itself.
	err := b.updateBy(ctx, b.c.Ledger.UpdatePatiently, write)
	for err != nil && ctx.Err() == nil && !errors.Is(err, ledger.ErrClosed) {
		b.c.Log.Error("result not recorded, retrying", "payment", claimed.ID, "err", err)
		if upstream.Sleep(ctx, time.Second) == nil {
			err = b.update(ctx, write)
		}
	}
	if err != nil {
		b.c.Log.Error("result not recorded", "payment", claimed.ID, "err", err)
		return
	}
	if hastened {
		b.lookupsDue.ring()
	}
	b.c.Observe.Attempt(o.Action, o.Result.String(), took)
	level := slog.LevelInfo
	if attempt.Outcome == "failed" {
		level = slog.LevelWarn
	}
	b.c.Log.Log(context.Background(), level, "attempt", "payment", p.ID, "device", p.DeviceUID, "action", o.Action,
		"outcome", o.Result.String(), "status", attempt.Status, "took", took.Round(time.Millisecond),
		"stale", o.Stale, "machine", p.Delivery, "money", p.Funds, "next_at", p.DueAt, "detail", attempt.Detail)
}

// outcomeRecorded reports whether an earlier transaction, whose commit got no reply, has recorded the
// outcome of a call. The attempt is stored with the outcome. While the claim holds, there is none. An
// interrupted call may have begun in the same millisecond, but it took no time.
func outcomeRecorded(tx *update, now, claimed payment.Payment, attempt ledger.Attempt) (bool, error) {
	if now.InFlight && now.FencingToken == claimed.FencingToken {
		return false, nil
	}
	attempts, err := tx.Attempts(claimed.ID)
	return slices.ContainsFunc(attempts, func(a ledger.Attempt) bool {
		return a.At.UnixMilli() == attempt.At.UnixMilli() && a.Took.Milliseconds() == attempt.Took.Milliseconds() &&
			a.Action == attempt.Action && a.Outcome == attempt.Outcome && a.Status == attempt.Status
	}), err
}

// recordLate applies the outcome of a call to a payment that has changed since its claim. What
// waited for the call is due now.
func (b *Bridge) recordLate(tx *update, before, claimed payment.Payment, o payment.Outcome) (
	p payment.Payment, stale bool, err error) {
	o.Stale = before.FencingToken != claimed.FencingToken
	if p, err = b.countNotes(tx.Tx, payment.ApplyOutcome(before, o, tx.Now), len(o.NoteIDs)); err != nil {
		return p, false, err
	}
	if err := tx.change(before, p); err != nil {
		return p, false, err
	}
	if claimed.PaymentIntent != "" && !p.InFlight {
		err = tx.HastenLookup(claimed.PaymentIntent, claimed.DueAt)
	}
	return p, o.Stale, err
}
