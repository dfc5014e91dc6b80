package bridge

import (
	"maps"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// ledgerCopy is a copy of the ledger in a history.
type ledgerCopy struct {
	stamped bool // made by `notepay backup`
	born    time.Time
	list    []payment.Payment
	lookups map[*purchase]time.Time
	handled map[*purchase]string
	posts   map[string]int
	stored  []bool // events
	heard   []string
	cursor  int
	told    map[*purchase][]payment.Dispute
	moved   map[*purchase]int // refunds and cancellations at Stripe
}

// moves counts the changes of a purchase's money at Stripe.
func (p *purchase) moves() int {
	if p.status == "canceled" {
		return len(p.refunds) + 1
	}
	return len(p.refunds)
}

// copyLedger copies the ledger, with or without `notepay backup`.
func (h *history) copyLedger() {
	b := &ledgerCopy{
		stamped: h.dice(2) == 0,
		born:    h.born,
		list:    slices.Clone(h.store.list),
		lookups: maps.Clone(h.lookups),
		handled: maps.Clone(h.handled),
		posts:   maps.Clone(h.posts),
		heard:   slices.Clone(h.heard),
		cursor:  h.cursor,
		told:    map[*purchase][]payment.Dispute{},
		moved:   map[*purchase]int{},
	}
	for _, e := range h.events {
		b.stored = append(b.stored, e.stored)
	}
	for _, x := range h.purchases {
		b.told[x], b.moved[x] = slices.Clone(x.told), x.moves()
	}
	h.copy = b
	h.tell("person", "copies the ledger; a backup: %v", b.stamped)
}

// restore replaces the ledger by the copy. A copy made by `notepay backup` knows that it is one.
// Meanwhile Notehub applies and lists all earlier requests.
func (h *history) restore() {
	b := h.copy
	if b == nil {
		return
	}
	h.copy = nil
	h.tell("person", "restores the copy; a backup: %v", b.stamped)
	h.pass(20 * time.Second)
	h.store.list, h.store.dead = b.list, make([]bool, len(b.list))
	h.lookups, h.handled, h.posts, h.heard, h.cursor = b.lookups, b.handled, b.posts, b.heard, b.cursor
	for i, e := range h.events {
		e.stored = i < len(b.stored) && b.stored[i]
	}
	for _, x := range h.purchases {
		x.told, x.rewound = b.told[x], true
		x.byOthers = x.byOthers || x.moves() > b.moved[x] // unknown to this ledger
	}
	h.forget(b.stamped)
	h.born, h.started = b.born, h.now()
	h.crash()
	if b.stamped {
		h.born = h.now().Truncate(time.Second)
		for _, p := range h.store.list {
			if p.Step != payment.NoStep {
				h.save(p, quarantined(p, h.now()))
			}
		}
	}
}

// forget finds the purchases of which a copy cannot know that they were handled. Their event was never
// accepted, or the copy is about to send them or to look them up. A backup knows it of all others.
func (h *history) forget(stamped bool) {
	for _, x := range h.purchases {
		p, err := h.store.payment(x.credit)
		_, asked := h.lookups[x]
		accepted := slices.ContainsFunc(h.events, func(e *simEvent) bool {
			return e.of == x && e.acked && e.kind == "checkout.session.completed"
		})
		untold := err != nil && (asked || !accepted)
		x.forgotten = x.forgotten || untold
		x.missed = x.missed || !stamped && (asked || untold || err == nil && p.Delivery == payment.Queued)
	}
}

// earlier is Bridge.earlierState.
func (h *history) earlier(at time.Time) bool { return at.Before(h.started) }

// unknown reports whether an earlier state of the ledger may have handled a purchase that this one
// does not know, so that evidence decides. It is Bridge.unsure for a session without evidence.
func (h *history) unknown(x *purchase) bool {
	_, err := h.store.payment(x.credit)
	if x.paidAt.Before(h.born) {
		return err != nil && h.manual
	}
	return err != nil && h.earlier(x.paidAt)
}

// paid applies a session's event as Bridge.applyEvent does.
func (h *history) paid(e *simEvent, listed bool) {
	x, handled := e.of, ""
	if listed && e.acked && h.earlier(x.paidAt) {
		handled = handledByWebhook
	}
	unsure := handled == "" && h.unknown(x)
	if !unsure && !h.manual {
		h.record(x, payment.CheckoutSession{PaymentStatus: "paid", Handled: handled})
		return
	}
	if unsure && listed {
		handled = ledger.HandledUnsure
	}
	if handled != "" || h.handled[x] == ledger.HandledUnsure {
		h.handled[x] = handled
	}
	h.ask(x, payment.Payment{})
}

// handledSince is Bridge.handledSince.
func (h *history) handledSince(e *simEvent) {
	if e.acked && h.earlier(e.of.paidAt) && h.handled[e.of] == ledger.HandledUnsure {
		h.handled[e.of] = handledByWebhook
	}
}

// lookedUp returns a session as read from Stripe, with the evidence at Notehub that it was handled.
// It is not ready before Stripe's list was read, which may hold evidence.
func (h *history) lookedUp(x *purchase) (s payment.CheckoutSession, ready bool) {
	s = h.facts(x)
	_, err := h.store.payment(x.credit)
	released := err != nil && s.IntentStatus == "canceled" && x.paidAt.Before(h.born)
	if !h.unknown(x) && !released {
		return s, true
	}
	if !h.bridge.listed.Load() {
		return s, false
	}
	if s.Handled = h.handled[x]; s.Handled == ledger.HandledUnsure {
		s.Handled = ""
	}
	for _, n := range h.pending[x.device] {
		if s.Handled == "" && n.credit == x.credit && n.status == payment.NoteCompleted && !n.listed.After(h.world) {
			s.Handled = handledByNote
		}
	}
	return s, true
}

// evidence is Bridge.evidence.
func (h *history) evidence(x *purchase, s payment.CheckoutSession) string {
	answered := func(c payment.Confirmation) bool {
		return c.CreditID == x.credit && slices.Contains(h.heard, c.EventID)
	}
	switch {
	case s.Handled != "" || !h.earlier(x.paidAt):
		return s.Handled
	case h.manual && s.IntentStatus == "succeeded":
		return handledByCapture
	case s.Refunded > 0 && s.Refunded < x.amount:
		return handledByRefund
	case slices.ContainsFunc(h.answers, answered):
		return handledByMachine
	}
	return ""
}
