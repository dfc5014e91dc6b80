package sandbox

import (
	"slices"
	"time"
)

// Forget removes what long tests no longer need: payments made before sales, and events made before
// events. The API answers as if they had never been. Forget stops at the first payment that is not
// complete, or has a refund or a dispute, because those of it may still change.
func (s *Stripe) Forget(sales, events time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions.forget(func(x *session) bool {
		i := s.intents.get(x.PaymentIntent)
		return x.Created.Before(sales) && x.Status == "complete" &&
			(i == nil || i.refunded == 0 && len(i.disputes) == 0)
	})
	s.intents.forget(func(i *intent) bool { return s.sessions.get(i.session) == nil })
	s.events.forget(func(e *event) bool { return e.Created.Before(events) })
	s.pack(sales)
}

// pack makes the events made before a time smaller, because a million of them keep the garbage
// collector busy: their bodies are rendered again when they are needed, and their objects share memory.
func (s *Stripe) pack(before time.Time) {
	end := len(s.events.order)
	for end > 0 && !s.events.order[end-1].Created.Before(before) {
		end--
	}
	begin, size := end, 0
	for ; begin > 0 && s.events.order[begin-1].Body != nil; begin-- {
		size += len(s.events.order[begin-1].object)
	}
	packed := make([]byte, 0, size)
	for _, e := range s.events.order[begin:end] {
		at := len(packed)
		packed = append(packed, e.object...)
		e.object, e.Body = packed[at:len(packed):len(packed)], nil
	}
}

// Forget removes the notes that were posted before a time. It stops at the first that is pending.
func (n *Notehub) Forget(before time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := slices.IndexFunc(n.notes, func(note *Note) bool {
		return !note.Fetched && !note.Deleted || !note.Posted.Before(before)
	})
	if kept < 0 {
		kept = len(n.notes)
	}
	n.notes = slices.Clone(n.notes[kept:])
}
