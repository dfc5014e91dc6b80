package upstream

import (
	"context"
	"fmt"
	"time"
)

// Slot is the right to make a request. The vendor counts requests, and one call may need several:
// for a token, and for a second attempt. A Slot is for one goroutine.
type Slot struct {
	limiter *Limiter
	taken   bool // a slot was taken and is not used yet
}

// Slot waits until the vendor may be called, and takes a slot.
func (l *Limiter) Slot(ctx context.Context) (*Slot, error) {
	if err := l.Wait(ctx); err != nil {
		return nil, noSlot(err)
	}
	return l.Taken(), nil
}

// noSlot returns the error of a call that got no slot in time.
func noSlot(err error) error {
	return &Error{Outcome: Retryable, Err: fmt.Errorf("the rate limit leaves no request: %w", err)}
}

// Taken returns a slot that the caller has already taken.
func (l *Limiter) Taken() *Slot { return &Slot{limiter: l, taken: true} }

// Use uses the slot for a request that is about to be made. If the slot was used already, Use waits
// for another. It does not wait for the end of a hold, because a call that has begun may be
// finished. The caller calls Ended after the request.
func (s *Slot) Use(ctx context.Context) error {
	for limit := s.limiter.slots; !s.taken && limit != nil; {
		now := time.Now()
		if limit.reserve(now, 1) == 1 {
			limit.begin(now, 1)
			break
		}
		if err := Sleep(ctx, limit.delay(now)+yield); err != nil {
			return noSlot(err)
		}
	}
	s.taken = false
	return nil
}

// Ended records that the request has ended.
func (s *Slot) Ended() { s.limiter.Release(time.Now()) }

// Close releases a slot that was taken and not used.
func (s *Slot) Close() {
	if s.taken {
		s.taken = false
		s.limiter.Release(time.Now())
	}
}
