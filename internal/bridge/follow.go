package bridge

import (
	"context"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// Instances that share a ledger share the queue. One of them leads: it reads Stripe's events and the
// machines' answers. The others follow how far it has read.

const (
	// metaEventsCaught and metaAnswersRead are the ledger's meta names of when the readings began that
	// caught up with everything from before the first of the instances.
	metaEventsCaught = "events_caught"
	metaAnswersRead  = "answers_read"

	// wishEvents asks the leader to read Stripe's events now. wishUnknownConfirmed tells that a machine
	// has confirmed an unknown credit.
	wishEvents           = "events"
	wishUnknownConfirmed = "unknown-confirmed"
)

// wantEvents asks for a reading of Stripe's events.
func (b *Bridge) wantEvents() {
	if b.c.Ledger.Leads() {
		signal(b.eventsWanted)
		return
	}
	b.c.Ledger.Tell(ledger.Wished, wishEvents)
}

// readingDone tells the other instances when the last reading that has caught up began. After a
// failure they wait for the next one, or for the next leader.
func (b *Bridge) readingDone(ctx context.Context, name string, began time.Time, first bool) {
	if !b.c.Ledger.Shared() || !first && len(b.c.Ledger.Peers()) == 0 {
		return
	}
	for ctx.Err() == nil {
		err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.SetMeta(name, began) })
		if err == nil {
			return
		}
		b.c.Log.Warn("reading not told", "err", err)
		_ = upstream.Sleep(ctx, time.Second)
	}
}

// followReadings copies how far the leader has read, every second, until ctx ends.
func (b *Bridge) followReadings(ctx context.Context) {
	if !b.c.Ledger.Shared() {
		return
	}
	for upstream.Sleep(ctx, measureInterval) == nil {
		if b.c.Ledger.Leads() || !b.clock().Known() {
			continue
		}
		since := b.clock().At(b.started).Truncate(time.Millisecond)
		caught := func(name string) bool {
			at, err := b.c.Ledger.Meta(ctx, name)
			return err == nil && !at.Before(since)
		}
		if !b.listed.Load() && caught(ledger.MetaEventsRead) {
			b.listed.Store(true)
			b.returning.readingEnded()
		}
		if !b.eventsRead.Load() && caught(metaEventsCaught) {
			b.listed.Store(true)
			b.returning.readingEnded()
			b.eventsRead.Store(true)
			b.notehubDue.ring()
		}
		if !b.answersRead.Load() && caught(metaAnswersRead) {
			b.answersRead.Store(true)
			b.notehubDue.ring()
		}
		at, err := b.c.Ledger.Meta(ctx, ledger.MetaEventsRead)
		if err == nil && at.UnixMilli() != b.readingBegan.Load() {
			b.readingBegan.Store(at.UnixMilli())
			b.returning.readingEnded()
		}
	}
}

// Follow publishes what other instances did to payments and devices.
func (b *Bridge) Follow(ctx context.Context, changes []ledger.Change) {
	shown := map[string]bool{}
	show := func(device string) {
		if !shown[device] {
			shown[device] = true
			b.showDevice(device)
		}
	}
	for _, c := range changes {
		switch words := c.Cut(); {
		case c.Kind == ledger.ChangedUse:
			show(c.Subject)
		case c.Kind == ledger.ChangedPayment && len(words) > 0:
			if b.c.Ledger.Leads() {
				signal(b.confirmationsDue) // the other one may have sent a note
			}
			if _, limited := b.c.NotehubLimiter.PerMinute(); limited {
				b.notehubDue.ring() // the other one may have no call left
			}
			if b.c.Changed == nil {
				continue
			}
			p := payment.Payment{Token: words[0]}
			if len(words) > 1 {
				p.SessionID = words[1]
			}
			b.c.Changed(p)
		case c.Kind == ledger.Wished && c.Subject == wishEvents && b.c.Ledger.Leads():
			signal(b.eventsWanted)
		case c.Kind == ledger.Wished && c.Subject == wishUnknownConfirmed:
			b.unknownConfirmed.Store(true)
		case c.Kind == ledger.Missed:
			b.unknownConfirmed.Store(true) // perhaps
			for _, d := range b.c.Fleet.All() {
				show(d.UID)
			}
		}
	}
}
