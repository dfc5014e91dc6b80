package bridge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// The success page needs sessions that the ledger does not know yet. Anybody can invent their ids,
// and an id does not tell a customer from a stranger: Stripe's ids have no check digits, and
// cookies and addresses cost a stranger nothing. So customers are served in three ways.
//
//   - A session that notepay created is in the ledger. Such sessions have their own limit of reads,
//     and a stranger gets such an id only by opening a session.
//   - Any other id shares a few reads a second with all invented ones. Each id is read at most once
//     a minute.
//   - When those reads are used up, Stripe's list of events is read. One reading finds all
//     customers, however many ids were invented.

// returning holds the limits for customers who return from Stripe before their payment is known.
type returning struct {
	made     *rate.Limiter // reads of sessions that notepay created
	others   *rate.Limiter // reads of all other sessions
	catchUps *rate.Limiter // readings of Stripe's events for those without a read
	waiting  atomic.Int64  // requests that wait for such a reading

	mu    sync.Mutex
	ended chan struct{} // closed and replaced when a reading ends
}

const (
	// madePerSecond limits the reads of sessions that notepay created, and readsPerSecond those of
	// all others.
	madePerSecond, readsPerSecond = 10, 2
	// catchUpInterval is the minimum interval between readings of events for returning customers.
	catchUpInterval = 5 * time.Second
	// maxWaiting limits the waiting requests. The pages of all others ask again by themselves.
	maxWaiting = 64
)

func newReturning() *returning {
	return &returning{
		made:     rate.NewLimiter(madePerSecond, madePerSecond),
		others:   rate.NewLimiter(readsPerSecond, readsPerSecond),
		catchUps: rate.NewLimiter(rate.Every(catchUpInterval), 1),
		ended:    make(chan struct{}),
	}
}

// mayRead reports whether a session may be read from Stripe now.
func (b *Bridge) mayRead(ctx context.Context, id string) (bool, error) {
	made, err := b.c.Ledger.HasSession(ctx, id)
	if err != nil {
		return false, err
	}
	if made && b.returning.made.Allow() {
		return true, nil
	}
	return b.returning.others.Allow(), nil
}

// readingEnded wakes the waiting requests after a reading of Stripe's events.
func (r *returning) readingEnded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.ended)
	r.ended = make(chan struct{})
}

func (r *returning) nextEnd() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// catchUp blocks until a reading of Stripe's events, or a webhook, has recorded the session's
// payment. It returns ErrTooBusy after maxSessionRead, or if too many requests wait.
func (b *Bridge) catchUp(ctx context.Context, id string) (payment.Payment, error) {
	r := b.returning
	if !b.eventsRead.Load() { // the first reading may take long
		return payment.Payment{}, ErrTooBusy
	}
	ctx, cancel := context.WithTimeout(ctx, maxSessionRead)
	defer cancel()
	wait := r.waiting.Add(1) <= maxWaiting
	defer r.waiting.Add(-1)
	for {
		ended := r.nextEnd()
		if r.catchUps.Allow() {
			b.wantEvents()
		}
		if !wait {
			return payment.Payment{}, ErrTooBusy
		}
		again := time.NewTimer(time.Second)
		select {
		case <-ended:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return payment.Payment{}, ErrTooBusy
		}
		again.Stop()
		if p, err := b.c.Ledger.Payment(ctx, id); !errors.Is(err, ledger.ErrNotFound) {
			return p, err
		}
	}
}
