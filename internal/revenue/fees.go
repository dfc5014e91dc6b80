package revenue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

const (
	// feesInterval is how often Stripe is asked for new balance transactions and payouts.
	feesInterval = time.Hour
	// feesFirst is the wait after the start, whose first calls matter more.
	feesFirst = 2 * time.Minute
	// feesPause is the wait between two pages, so that payments never wait for Stripe's rate limit.
	feesPause = 2 * time.Second
	// feesOverlap is how far before the last reading the next one begins. Stripe may list a transaction
	// later than it was created.
	feesOverlap = time.Hour
	// feesWindow limits the time that is read at once, because a reading that was stopped begins its window
	// again.
	feesWindow = 24 * time.Hour
)

// Stripe is the part of Stripe that FeeReader uses. Each method makes one attempt.
type Stripe interface {
	// BalanceTransactions returns one page of a time, and the id after which the next page begins.
	BalanceTransactions(ctx context.Context, from, to time.Time, after string) ([]ledger.Fee, string, error)
	Payouts(ctx context.Context) ([]ledger.Payout, error)
}

// FeeReader reads Stripe's fees and payouts into the ledger. One instance runs it.
type FeeReader struct {
	Ledger   *ledger.Ledger
	Stripe   Stripe
	Livemode bool
	Log      *slog.Logger
}

// Run reads until ctx ends. What fails is tried again in the next round.
func (f *FeeReader) Run(ctx context.Context) {
	for wait := feesFirst; ; wait = feesInterval {
		if !sleep(ctx, wait) {
			return
		}
		if err := f.Read(ctx); err != nil && ctx.Err() == nil {
			f.Log.Warn("fees and payouts not read", "err", err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// Read reads all that is new. The ledger then says what Stripe did not let notepay read.
func (f *FeeReader) Read(ctx context.Context) error {
	state, err := f.Ledger.BalanceState(ctx, f.Livemode)
	if err != nil {
		return err
	}
	first, err := f.Ledger.FirstPayment(ctx)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil // there are no fees before the first payment
	}
	if err != nil {
		return err
	}
	feesErr := f.readFees(ctx, &state, first)
	payouts, payoutsErr := f.Stripe.Payouts(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	state.Fees, state.Payouts = refusal(feesErr), refusal(payoutsErr)
	err = f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		for _, p := range payouts {
			if err := tx.SavePayout(p); err != nil {
				return err
			}
		}
		return tx.SetBalanceState(f.Livemode, state)
	})
	if state.Fees != "" {
		feesErr = nil // the page says it, and the log would say it every hour
	}
	if state.Payouts != "" {
		payoutsErr = nil
	}
	return errors.Join(err, feesErr, payoutsErr)
}

// refusal returns why Stripe does not let notepay read, or "" for other errors.
func refusal(err error) string {
	e, ok := errors.AsType[*upstream.Error](err)
	if ok && (e.Status == http.StatusForbidden || e.Status == http.StatusUnauthorized) {
		return e.Detail
	}
	return ""
}

// readFees reads the balance transactions since the last reading, in windows.
func (f *FeeReader) readFees(ctx context.Context, state *ledger.BalanceState, first time.Time) error {
	now := f.Ledger.Now()
	from := state.Through.Add(-feesOverlap)
	if state.Through.IsZero() {
		from = first.Add(-feesWindow)
	}
	for from.Before(now) {
		to := from.Add(feesWindow)
		if to.After(now) {
			to = now
		}
		if err := f.readWindow(ctx, from, to); err != nil {
			return fmt.Errorf("read balance transactions: %w", err)
		}
		state.Through = to
		err := f.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.SetBalanceState(f.Livemode, *state) })
		if err != nil {
			return err
		}
		if from = to; from.Before(now) && !sleep(ctx, feesPause) {
			return ctx.Err()
		}
	}
	return nil
}

func (f *FeeReader) readWindow(ctx context.Context, from, to time.Time) error {
	for after := ""; ; {
		list, next, err := f.Stripe.BalanceTransactions(ctx, from, to.Add(time.Second), after)
		if err != nil {
			return err
		}
		err = f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			for _, fee := range list {
				if _, err := tx.AddFee(fee); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || next == "" {
			return err
		}
		if after = next; !sleep(ctx, feesPause) {
			return ctx.Err()
		}
	}
}
