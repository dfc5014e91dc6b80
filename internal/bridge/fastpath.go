package bridge

import (
	"context"
	"sync"

	"notepay/internal/payment"
)

// A payment that is just being recorded is claimed in the same transaction, if Notehub may be asked
// and a place is free: then one commit stands between the customer and the machine, and not two.
// All others are found in the queue.

// fastPathSlots is how many calls may be under way for payments that were claimed so, beside those
// of the queue.
const fastPathSlots = notehubWorkers / 2

// fastPath is where those places are given out.
type fastPath struct {
	mu    sync.Mutex
	calls context.Context // of the calls to the vendors; nil while nobody works
	taken int
	under sync.WaitGroup // those who hold a place
}

// open gives places out from now on.
func (e *fastPath) open(calls context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = calls
}

// close gives no more out, and waits for those that are held.
func (e *fastPath) close() {
	e.mu.Lock()
	e.calls = nil
	e.mu.Unlock()
	e.under.Wait()
}

// slot is one that is held; the zero place is none.
type slot struct {
	b     *Bridge
	calls context.Context
	slot  bool // a slot of Notehub's pace is reserved for it
}

// fastPathSlot takes a place for what may come of an event.
func (b *Bridge) fastPathSlot(e Event) *slot {
	p := &slot{b: b}
	if e.Session == nil {
		return p
	}
	b.fastPath.mu.Lock()
	defer b.fastPath.mu.Unlock()
	if b.fastPath.calls != nil && b.fastPath.taken < fastPathSlots && b.c.NotehubLimiter.Reserve(1) == 1 {
		b.fastPath.taken++
		b.fastPath.under.Add(1)
		p.calls, p.slot = b.fastPath.calls, true
	}
	return p
}

// free: there is a place, from which nothing was sent.
func (p *slot) free() bool { return p.calls != nil }

// leave gives the place back, unless something was sent from it.
func (p *slot) leave() {
	if !p.free() {
		return
	}
	p.calls = nil
	if p.slot {
		p.b.c.NotehubLimiter.Return(1)
	}
	p.b.fastPath.mu.Lock()
	defer p.b.fastPath.mu.Unlock()
	p.b.fastPath.taken--
	p.b.fastPath.under.Done()
}

// send makes the call for a payment that is on disk as claimed, and then leaves. If we stop before
// the call, it counts as interrupted.
func (p *slot) send(claimed payment.Payment) {
	if !p.free() || !claimed.InFlight {
		return
	}
	p.b.c.NotehubLimiter.Begin(1)
	p.slot = false
	held := *p
	p.calls = nil
	go func() {
		defer signal(held.b.notehubDue) // others of its device may have waited
		defer held.leave()
		held.b.execute(held.calls, claimed)
	}()
}

// claimNew claims a payment that is about to be inserted, if it is to be sent now and nothing else
// is being sent to its device.
func (b *Bridge) claimNew(tx *update, p payment.Payment) (payment.Payment, error) {
	if p.Step != payment.StepPostNote || p.DueAt.After(tx.Now) {
		return p, nil
	}
	if called, err := tx.CallUnderWay(p.DeviceUID); called || err != nil {
		return p, err
	}
	return b.claimPayment(tx, p)
}
