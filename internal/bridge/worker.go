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
	// notehubWorkers is how many calls to Notehub may be under way. There is at most one for a
	// device, so this is how many slow or dead devices it takes to hold up a healthy one; those
	// that failed before may take half of them.
	notehubWorkers = 64
	// stripeWorkers is the same for Stripe, whose calls are few and quick.
	stripeWorkers = 8
	// maxIdle is how long a worker sleeps at the most when nothing is due: the ledger may have been
	// written to in ways not foreseen.
	maxIdle = 30 * time.Second
	// settleTime is how long the result of a call is tried to be written down before it is left to
	// the lease.
	settleTime = 4 * time.Second
	// disputeSettles is how long after Stripe refused a refund for a dispute its disputes are read.
	disputeSettles = time.Minute
	// maxTimed is how many payments are looked at together whose time has come.
	maxTimed = 64
)

// Run works until ctx ends: then nothing more is claimed, and what is under way may finish until
// the calls' own context ends.
func (b *Bridge) Run(ctx, calls context.Context) {
	b.learnTime(ctx)
	b.recoverState(ctx)
	b.fastPath.open(calls)
	var loops sync.WaitGroup
	loops.Go(func() { b.runQueue(ctx, calls, b.notehub()) })
	loops.Go(func() { b.runQueue(ctx, calls, b.stripe()) })
	loops.Go(func() { b.runLookups(ctx, calls) })
	loops.Go(func() { b.runReconcile(ctx) })
	loops.Go(func() { b.runConfirmations(ctx) })
	loops.Go(func() { b.runTimers(ctx) })
	loops.Go(func() { b.trackLateness(ctx) })
	loops.Go(func() { b.probe(ctx, calls) })
	loops.Go(func() { b.keepTime(ctx) })
	loops.Go(func() { b.runEarlyChecks(ctx, calls) })
	<-ctx.Done()
	b.fastPath.close()
	loops.Wait()
}

// recoverState judges what is remembered before anything is done with it.
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

// execute makes the one call that a claimed payment needs, and settles.
func (b *Bridge) execute(ctx context.Context, p payment.Payment) {
	began := time.Now()
	o := payment.Outcome{Action: p.Step, NoteID: payment.NextRecallNote(p), Began: b.clock().At(began)}
	call, cancel := context.WithTimeout(ctx, payment.CallTimeout)
	defer cancel()
	var err error
	switch p.Step {
	case payment.StepPostNote:
		err = b.c.Notehub.PostNote(call, p.DeviceUID, payment.NoteOf(p))
	case payment.StepCheckPending:
		o.NoteIDs, err = b.pending(call, p)
	case payment.StepRecall:
		err = b.c.Notehub.DeleteNote(call, p.DeviceUID, o.NoteID)
	case payment.StepCapture:
		err = b.c.Stripe.Capture(call, p.PaymentIntent, payment.FundsKey(p))
	case payment.StepCancel:
		err = b.c.Stripe.Release(call, p.PaymentIntent, payment.FundsKey(p))
	case payment.StepRefund:
		if o.Reconciled = p.ReconcileRefund; o.Reconciled {
			o.Refunds, err = b.c.Stripe.Refunds(call, p.PaymentIntent)
		} else {
			o.Refund, err = b.c.Stripe.Refund(call, payment.RefundOrder{Intent: p.PaymentIntent, Amount: p.RefundAmount, Credit: p.ID, Number: p.RefundSeq})
		}
	}
	b.lateness.took(p, o, err, time.Now(), b.now())
	b.recordOutcome(p, o, time.Since(began), err)
}

// pending asks Notehub which notes of a credit wait for its device. Of a note that cannot be read
// nobody can say whose it is: while one waits and none is the credit's, that is no evidence that
// its note was fetched. A credit whose only note was listed and deleted cannot be that one.
func (b *Bridge) pending(ctx context.Context, p payment.Payment) ([]string, error) {
	pending, err := b.c.Notehub.PendingNotes(ctx, p.DeviceUID)
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

// settling returns the context in which the result of a call is written down: the calls' own may
// have ended.
func settling(calls context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(calls), settleTime)
}

// recordOutcome writes down what a call came to. It does so also while we shut down, and tries
// again while the disk refuses: what was seen must not be lost. If we stop before it is on disk,
// the claim runs out and the call counts as unclear.
func (b *Bridge) recordOutcome(claimed payment.Payment, o payment.Outcome, took time.Duration, callErr error) {
	o.Result, o.Err = upstream.OutcomeOf(callErr), callErr
	attempt := ledger.Attempt{At: o.Began, Action: o.Action, Outcome: "ok", Status: 200, Took: took}
	if o.Action == payment.StepRefund && !claimed.ReconcileRefund { // the row tells the amount of the last refund alone
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
	write := func(tx *update) error {
		before, err := tx.Payment(claimed.ID)
		if err != nil {
			return err
		}
		o.Stale = before.FencingToken != claimed.FencingToken
		if p, err = b.countNotes(tx.Tx, payment.ApplyOutcome(before, o, tx.Now), len(o.NoteIDs)); err != nil {
			return err
		}
		if err := tx.change(before, p); err != nil {
			return err
		}
		if errors.Is(callErr, payment.ErrDisputed) { // which disputes there are is read, in case that no event tells
			if err := tx.AddLookup(ledger.Lookup{ID: claimed.PaymentIntent, PaidAt: tx.Now, DueAt: tx.Now.Add(disputeSettles), Reconcile: true}); err != nil {
				return err
			}
		}
		return tx.AddAttempt(claimed.ID, attempt)
	}
	ctx, cancel := settling(context.Background())
	defer cancel()
	err := b.update(ctx, write)
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
	b.c.Observe.Attempt(o.Action, o.Result.String(), took)
	level := slog.LevelInfo
	if attempt.Outcome == "failed" {
		level = slog.LevelWarn
	}
	b.c.Log.Log(
		context.Background(),
		level,
		"attempt",
		"payment",
		p.ID,
		"device",
		p.DeviceUID,
		"action",
		o.Action,
		"outcome",
		o.Result.String(),
		"status",
		attempt.Status,
		"took",
		took.Round(time.Millisecond),
		"stale",
		o.Stale,
		"machine",
		p.Delivery,
		"money",
		p.Funds,
		"next_at",
		p.DueAt,
		"detail",
		attempt.Detail,
	)
}
