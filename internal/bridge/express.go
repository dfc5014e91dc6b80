package bridge

import (
	"context"
	"sync"

	"notepay/internal/ledger"
)

// A payment that is just being recorded is claimed in the same transaction, if Notehub may be asked
// and a place is free: then one commit stands between the customer and the machine, and not two.
// All others are found in the queue.

// expressPlaces is how many calls may be under way for payments that were claimed so, beside those of the queue.
const expressPlaces = workers / 2

// express is where those places are given out.
type express struct {
	mu    sync.Mutex
	calls context.Context // of the calls to the vendors; nil while nobody works
	taken int
	under sync.WaitGroup // those who hold a place
}

// open gives places out from now on.
func (e *express) open(calls context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = calls
}

// close gives no more out, and waits for those that are held.
func (e *express) close() {
	e.mu.Lock()
	e.calls = nil
	e.mu.Unlock()
	e.under.Wait()
}

// place is one that is held; the zero place is none.
type place struct {
	b     *Bridge
	calls context.Context
	slot  bool // a slot of Notehub's pace is reserved for it
}

// expressPlace takes a place for what may come of an event.
func (b *Bridge) expressPlace(e Event) *place {
	p := &place{b: b}
	if e.Session == nil {
		return p
	}
	b.express.mu.Lock()
	defer b.express.mu.Unlock()
	if b.express.calls != nil && b.express.taken < expressPlaces && b.c.NotehubPace.Reserve(1) == 1 {
		b.express.taken++
		b.express.under.Add(1)
		p.calls, p.slot = b.express.calls, true
	}
	return p
}

// free: there is a place, from which nothing was sent.
func (p *place) free() bool { return p.calls != nil }

// leave gives the place back, unless something was sent from it.
func (p *place) leave() {
	if !p.free() {
		return
	}
	p.calls = nil
	if p.slot {
		p.b.c.NotehubPace.Return(1)
	}
	p.b.express.mu.Lock()
	defer p.b.express.mu.Unlock()
	p.b.express.taken--
	p.b.express.under.Done()
}

// send makes the call for a payment that is on disk as claimed, and then leaves. If we stop before
// the call, it counts as interrupted.
func (p *place) send(c change) {
	if !p.free() || c.before.ID != "" || !c.after.InFlight {
		return
	}
	p.b.c.NotehubPace.Begin(1)
	p.slot = false
	held := *p
	p.calls = nil
	go func() {
		defer poke(held.b.wake) // others of its device may have waited
		defer held.leave()
		held.b.work(held.calls, c.after)
	}()
}

// claimNew claims a payment that is about to be inserted, if it is to be sent now and nothing else
// is being sent to its device.
func (b *Bridge) claimNew(tx *ledger.Tx, p ledger.Payment) (_ ledger.Payment, ended *change, err error) {
	if p.Step != ledger.PostNote || p.DueAt.After(tx.Now) {
		return p, nil, nil
	}
	if called, err := tx.Called(p.DeviceUID); called || err != nil {
		return p, nil, err
	}
	return b.claimOne(tx, p)
}
