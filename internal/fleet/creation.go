package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"notepay/internal/upstream"
)

// creation is a request that may have created a link.
type creation struct {
	request NewLink
	at      time.Time
}

// maxKeyAge is how long a lost creation may be repeated under its idempotency key. Stripe keeps
// keys for a day.
const maxKeyAge = 23 * time.Hour

// recordCreation decides which idempotency key the next try uses. If a link may exist under a key,
// another key could create a second link. So the key changes only after Stripe's list was read.
func (w *linkReconciler) recordCreation(key linkKey, c creation, err error) {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	e, _ := errors.AsType[*upstream.Error](err)
	_, lost := w.lost[key]
	switch outcome := upstream.OutcomeOf(err); {
	case outcome == upstream.OK:
		delete(w.lost, key)
	case outcome == upstream.RateLimited || outcome == upstream.Retryable:
		// Stripe did not handle this request, so an earlier one may still count.
	case outcome == upstream.Unknown && (e == nil || e.Status == 0):
		w.lost[key] = c // with the time of the first lost one
	case outcome == upstream.Unknown || lost: // Stripe stores a 500 under the key and would repeat it
		w.doubt[key] = time.Now()
	default:
		w.tries[key]++
	}
}

// settleDoubt reads Stripe's list if a link may exist under a key that cannot be used again. It
// reports whether there is one. If there is none, the next creation uses a new key.
func (w *linkReconciler) settleDoubt(ctx context.Context, key linkKey) (created bool, err error) {
	w.fleet.mu.Lock()
	since, doubted := w.doubt[key]
	if lost, ok := w.lost[key]; ok && time.Since(lost.at) > maxKeyAge && !doubted {
		since, doubted = lost.at, true
		w.doubt[key] = since
	}
	w.fleet.mu.Unlock()
	if !doubted {
		return false, nil
	}
	if err := w.listAfter(ctx, since); err != nil {
		return false, err
	}
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	delete(w.doubt, key)
	delete(w.lost, key)
	w.tries[key]++
	return w.links[key].Active, nil
}

// listAfter reads Stripe's list unless a read began after since. Concurrent callers share one read.
func (w *linkReconciler) listAfter(ctx context.Context, since time.Time) error {
	w.listing.Lock()
	defer w.listing.Unlock()
	w.fleet.mu.RLock()
	done := w.listedAt.After(since)
	w.fleet.mu.RUnlock()
	if done {
		return nil
	}
	return w.list(ctx)
}

// idempotencyKey returns the key of a creation. It hashes long names, because Stripe accepts at
// most 255 characters.
func (w *linkReconciler) idempotencyKey(key linkKey, try int) string {
	name := key.device + ":" + key.price
	if len(name) > 200 {
		name = fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
	}
	return fmt.Sprintf("link:%s:%s:%d", name, w.nonce, try)
}
