package upstream

import (
	"context"
	"fmt"
	"time"
)

// Slot is the right to make a request. The vendor counts requests, and one call may need several:
// for a token, and for another attempt with it. A Slot is for one goroutine.
type Slot struct {
	pace  *Limiter
	taken bool // a slot was taken and is not used yet
}

// Slot waits until the vendor may be asked, and takes a slot.
func (p *Limiter) Slot(ctx context.Context) (*Slot, error) {
	if err := p.Wait(ctx); err != nil {
		return nil, noSlot(err)
	}
	return p.Taken(), nil
}

func noSlot(err error) error {
	return &Error{Outcome: Retryable, Err: fmt.Errorf("the rate limit leaves no request: %w", err)}
}

// Taken returns a slot that the caller has taken already.
func (p *Limiter) Taken() *Slot { return &Slot{pace: p, taken: true} }

// Use uses the slot for a request that is about to be made. If it was used already, it waits for
// another, but not for the end of a hold: a call that was allowed to begin may be finished. After
// the request the caller calls Ended.
func (s *Slot) Use(ctx context.Context) error {
	for limit := s.pace.slots; !s.taken && limit != nil; {
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

// Ended notes that the request has ended.
func (s *Slot) Ended() { s.pace.Release(time.Now()) }

// Close ends a slot that was taken and not used.
func (s *Slot) Close() {
	if s.taken {
		s.taken = false
		s.pace.Release(time.Now())
	}
}
