package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/problem"
)

// A record of Stripe that cannot be read does not stop the others. Each is logged once, counted,
// and shown as a problem while Stripe lists it. If it belongs to a payment, that payment is read
// from Stripe by its id, so nothing is lost.

// The sources of unreadable records, as the operator reads them.
const (
	oddListed   = "Stripe's events"
	oddSessions = "Stripe's sessions"
	oddLost     = "Stripe's events that name no payment"
)

// maxOddLost limits the remembered events that name no payment.
const maxOddLost = 20

// oddEvents remembers unreadable events that name no payment. The operator sees them until the next
// start.
type oddEvents struct {
	mu   sync.Mutex
	lost []string
}

// receiveOdd records an unreadable event, so that it is not read again, and a look-up of its
// payment. When it returns nil, both are durable.
func (b *Bridge) receiveOdd(ctx context.Context, e Event) error {
	if e.ID == "" {
		b.c.Observe.Event(Unreadable)
		b.c.Log.Warn("unreadable event skipped", "err", e.Odd)
		b.unidentified("an event without id")
		return nil
	}
	outcome, look := Unreadable, oddLookup(e)
	err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		outcome = Unreadable
		if e.Foreign {
			outcome = OtherAccount
		}
		stored, applied, err := repeatOf(tx, e)
		if applied || err != nil {
			outcome = Duplicate
			return err
		}
		known := e
		if known.Created.IsZero() {
			known.Created = tx.Now
		}
		if e.Livemode == b.c.Livemode && look.ID != "" {
			asked := look
			asked.PaidAt, asked.DueAt, asked.Handled = known.Created, tx.Now, b.accepted(e)
			if err := tx.AddLookup(asked); err != nil {
				return err
			}
		}
		_, err = storeEvent(tx, known, outcome, stored)
		return err
	})
	// If the process stops here, the event is delivered or listed again, and is a repeat.
	if err != nil {
		return fmt.Errorf("record event %s: %w", e.ID, err)
	}
	b.c.Observe.Event(outcome)
	if outcome != Unreadable {
		return nil
	}
	b.c.Log.Warn("unreadable event skipped", "event", e.ID, "type", e.Type, "object", e.ObjectID, "asked", look.ID,
		"err", e.Odd)
	if look.ID != "" {
		b.lookupsDue.ring()
	} else if followed(e.Type) {
		b.unidentified(e.ID)
	}
	return nil
}

// oddLookup returns the look-up that replaces an unreadable event. Its id is "" if the event names
// nothing to look up.
func oddLookup(e Event) ledger.Lookup {
	switch {
	case e.Type == "checkout.session.completed" || e.Type == "checkout.session.async_payment_succeeded":
		if strings.HasPrefix(e.ObjectID, "cs_") {
			return ledger.Lookup{ID: e.ObjectID}
		}
	case followed(e.Type):
		if strings.HasPrefix(e.Intent, "pi_") {
			return ledger.Lookup{ID: e.Intent, Reconcile: true}
		}
	}
	return ledger.Lookup{}
}

// followed reports whether events of a type change payments.
func followed(eventType string) bool {
	switch eventType {
	case "checkout.session.completed", "checkout.session.async_payment_succeeded",
		"payment_intent.succeeded", "payment_intent.amount_capturable_updated", "payment_intent.canceled",
		"charge.refunded", "charge.refund.updated", "refund.created", "refund.updated", "refund.failed",
		"charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed":
		return true
	}
	return false
}

// unidentified reports to the operator an unreadable event that names no payment.
func (b *Bridge) unidentified(event string) {
	b.odd.mu.Lock()
	defer b.odd.mu.Unlock()
	if slices.Contains(b.odd.lost, event) || len(b.odd.lost) >= maxOddLost {
		return
	}
	b.odd.lost = append(b.odd.lost, event)
	b.c.Problems.Odd(oddLost, b.odd.lost...)
}

// maxFailedReadings is how many readings in a row may fail before the operator is notified.
const maxFailedReadings = 3

// reportStuck raises or clears the problem that Stripe's events cannot be read.
func (b *Bridge) reportStuck(failures int, err error) {
	if failures < maxFailedReadings {
		if err == nil {
			b.c.Problems.Clear(problem.EventsStuck)
		}
		return
	}
	b.c.Problems.Raise(problem.Problem{
		Code: problem.EventsStuck,
		Text: message.New("notepay cannot read Stripe's events, so it misses payments whose webhook is lost. " +
			"The log has the cause. Run notepay check to see what the key may read."),
	})
}
