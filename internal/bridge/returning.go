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

// The success page asks Stripe for sessions that the ledger does not know yet. Anybody can invent
// their ids, and an id alone does not tell a payer from a stranger: Stripe's ids have no check
// digits, and cookies and addresses cost a stranger nothing. So three things answer a payer.
//   - A session that we made ourselves is in the ledger. It has reads of its own, and a stranger
//     gets such an id only by opening a session.
//   - Any other id shares a few reads a second with all invented ones. Each is asked for once a
//     minute.
//   - Where those are used up, Stripe's list of events is read. One such reading finds all payers
//     together, however many ids were invented.

// returning is who came back from Stripe and is not known yet.
type returning struct {
	made     *rate.Limiter // reads of sessions that we made
	others   *rate.Limiter // and of all others
	catchUps *rate.Limiter // readings of Stripe's events for those without a read
	waiting  atomic.Int64  // requests that wait for one

	mu    sync.Mutex
	ended chan struct{} // closed when a reading has ended
}

const (
	// madePerSecond is how often the success page may read sessions that we made, and
	// readsPerSecond all others.
	madePerSecond, readsPerSecond = 10, 2
	// catchUpEvery is how often events may be read for those who came back.
	catchUpEvery = 5 * time.Second
	// maxWaiting bounds the requests that wait for it; the pages of others ask again by themselves.
	maxWaiting = 64
)

func newReturning() *returning {
	return &returning{
		made:     rate.NewLimiter(madePerSecond, madePerSecond),
		others:   rate.NewLimiter(readsPerSecond, readsPerSecond),
		catchUps: rate.NewLimiter(rate.Every(catchUpEvery), 1),
		ended:    make(chan struct{}),
	}
}

// mayRead reports whether a session may be read by itself now.
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

// readingEnded tells those who wait that Stripe's events were read.
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

// catchUp waits until a reading of Stripe's events, or a webhook, tells of a session's payment. It
// returns ErrTooBusy if none does in time, or if too many wait.
func (b *Bridge) catchUp(ctx context.Context, id string) (payment.Payment, error) {
	r := b.returning
	if !b.eventsRead.Load() { // they are being read for the first time, and that may take long
		return payment.Payment{}, ErrTooBusy
	}
	ctx, cancel := context.WithTimeout(ctx, maxSessionRead)
	defer cancel()
	wait := r.waiting.Add(1) <= maxWaiting
	defer r.waiting.Add(-1)
	for {
		ended := r.nextEnd()
		if r.catchUps.Allow() {
			signal(b.soon)
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
