package ledger

import (
	"time"

	"notepay/internal/payment"
)

// memory holds what a writer knows of rows, so that it need not read them. Each change is undone if
// its transaction is rolled back. So memory and rows agree after each transaction, and inside it. It
// belongs to the writer's goroutine. A nil *memory remembers nothing.
//
// The only writer of a file knows all leases, and starts without any, when no lease is this
// process's. Writers that take turns know those that they have read in the same transaction.
type memory struct {
	leases  map[string]calling // by payment: in_flight is leaseHeld, and the step is a call to Notehub
	devices map[string]int     // how many of the leases are of a device
	links   map[string]Link    // the terms of links, which never change
	undo    []func()           // of the current transaction, in its order
	unread  bool               // leases is empty, because this transaction has not read them
}

// calling is the device of a lease, and when the lease ends in Unix milliseconds, as stored.
type calling struct {
	device string
	until  int64
}

// lease is the lease of a payment.
type lease struct {
	payment string
	calling
}

// maxLinks bounds the links in memory. They are read again when they are needed.
const maxLinks = 20_000

func newMemory() *memory {
	return &memory{leases: map[string]calling{}, devices: map[string]int{}, links: map[string]Link{}}
}

// begin forgets the leases, which another writer may have changed since.
func (m *memory) begin() {
	clear(m.leases)
	clear(m.devices)
	m.unread = true
}

// read sets the leases that the current transaction has read.
func (m *memory) read(leases []lease) {
	for _, l := range leases {
		m.set(l.payment, &l.calling)
	}
	m.unread = false
}

// commit makes the changes of the current transaction permanent.
func (m *memory) commit() {
	if m == nil {
		return
	}
	clear(m.undo)
	m.undo = m.undo[:0]
}

// rollback undoes the changes of the current transaction.
func (m *memory) rollback() {
	if m == nil {
		return
	}
	for n := len(m.undo) - 1; n >= 0; n-- {
		m.undo[n]()
	}
	m.commit()
}

// stored follows a payment that was written.
func (m *memory) stored(p payment.Payment) {
	if m == nil || m.unread {
		return
	}
	before, was := m.leases[p.ID]
	if !p.InFlight || !payment.CallsNotehub(p.Step) {
		if was {
			m.set(p.ID, nil)
			m.undo = append(m.undo, func() { m.set(p.ID, &before) })
		}
		return
	}
	m.set(p.ID, &calling{p.DeviceUID, p.DueAt.UnixMilli()})
	m.undo = append(m.undo, func() {
		if was {
			m.set(p.ID, &before)
		} else {
			m.set(p.ID, nil)
		}
	})
}

// set replaces the lease of a payment, or deletes it if c is nil.
func (m *memory) set(id string, c *calling) {
	if before, ok := m.leases[id]; ok {
		delete(m.leases, id)
		if m.devices[before.device]--; m.devices[before.device] == 0 {
			delete(m.devices, before.device)
		}
	}
	if c != nil {
		m.leases[id] = *c
		m.devices[c.device]++
	}
}

// shorten follows ShortenLease.
func (m *memory) shorten(id string, until time.Time) {
	if m == nil || m.unread {
		return
	}
	before, ok := m.leases[id]
	if !ok || before.until <= until.UnixMilli() {
		return
	}
	m.set(id, &calling{before.device, until.UnixMilli()})
	m.undo = append(m.undo, func() { m.set(id, &before) })
}

// calls reports whether a lease of a device has not ended.
func (m *memory) calls(device string, now time.Time) bool {
	if m.devices[device] == 0 {
		return false
	}
	for _, c := range m.leases {
		if c.device == device && c.until > now.UnixMilli() {
			return true
		}
	}
	return false
}

// learned remembers a link that was read. The row may be of the current transaction, so it is
// forgotten if that is rolled back.
func (m *memory) learned(l Link) {
	if m == nil {
		return
	}
	if len(m.links) >= maxLinks {
		clear(m.links)
	}
	m.links[l.ID] = l
	m.undo = append(m.undo, func() { delete(m.links, l.ID) })
}
