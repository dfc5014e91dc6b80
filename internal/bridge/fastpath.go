package bridge

import (
	"context"
	"sync"

	"notepay/internal/payment"
)

// A new payment is claimed in the transaction that records it, if Notehub's rate limit and a slot
// are free. So one commit lies between customer and machine, and not two. All other payments are
// claimed by the queue.

// fastPathSlots limits the calls in flight for such payments. The queue has its own limit.
const fastPathSlots = notehubWorkers / 2

// fastPath hands out those slots.
type fastPath struct {
	mu       sync.Mutex
	calls    context.Context // context of the calls; nil while the bridge does not run
	taken    int
	inFlight sync.WaitGroup // counts the slots taken
}

// open lets slots be taken from now on.
func (f *fastPath) open(calls context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = calls
}

// close stops handing out slots, and waits for those that are taken.
func (f *fastPath) close() {
	f.mu.Lock()
	f.calls = nil
	f.mu.Unlock()
	f.inFlight.Wait()
}

// slot is a slot that was taken, or none if calls is nil.
type slot struct {
	b        *Bridge
	calls    context.Context
	reserved bool // the slot holds a reservation of Notehub's limiter
}

// fastPathSlot takes a slot for an event's payment, if one is free.
func (b *Bridge) fastPathSlot(e Event) *slot {
	s := &slot{b: b}
	if e.Session == nil {
		return s
	}
	b.fastPath.mu.Lock()
	defer b.fastPath.mu.Unlock()
	if b.fastPath.calls != nil && b.fastPath.taken < fastPathSlots && b.c.NotehubLimiter.Reserve(1) == 1 {
		b.fastPath.taken++
		b.fastPath.inFlight.Add(1)
		s.calls, s.reserved = b.fastPath.calls, true
	}
	return s
}

// usable reports whether the slot was taken and no call uses it.
func (s *slot) usable() bool { return s.calls != nil }

// release returns the slot, unless a call uses it.
func (s *slot) release() {
	if !s.usable() {
		return
	}
	s.calls = nil
	if s.reserved {
		s.b.c.NotehubLimiter.Return(1)
	}
	s.b.fastPath.mu.Lock()
	defer s.b.fastPath.mu.Unlock()
	s.b.fastPath.taken--
	s.b.fastPath.inFlight.Done()
}

// send makes the call for a new payment that is stored as claimed, and then returns the slot. It
// does nothing if the payment is not claimed. If the process stops before the call, the call counts
// as interrupted.
func (s *slot) send(claimed payment.Payment) {
	if !s.usable() || !claimed.InFlight {
		return
	}
	s.b.c.NotehubLimiter.Begin(1)
	s.reserved = false
	held := *s
	s.calls = nil
	go func() {
		defer held.b.notehubDue.freed()
		defer held.release()
		held.b.execute(held.calls, claimed)
	}()
}

// claimNew claims a payment before it is inserted, if it is due and no other call for its device is
// in flight.
func (b *Bridge) claimNew(tx *update, p payment.Payment) (payment.Payment, error) {
	if p.Step != payment.StepPostNote || p.DueAt.After(tx.Now) {
		return p, nil
	}
	if called, err := tx.CallUnderWay(p.DeviceUID); called || err != nil {
		return p, err
	}
	return b.claimPayment(tx, p)
}
