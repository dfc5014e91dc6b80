package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// A ledger can be older than what was done with it: it comes back from a plain copy, a snapshot or
// a point-in-time restore, or a replica lagged. Then Stripe lists payments that this ledger has
// never seen, and an earlier state of it has handled. A payment that was made before this process
// began, and for which there is evidence of that, is adopted: no note, no refund, and the operator
// decides. Without evidence it was missed, and is delivered or refunded as usual. docs/adr/0009
// lists what counts as evidence.

// Evidence that an earlier state of the ledger handled a payment, in the operator's words.
const (
	handledByWebhook = "Stripe's webhook of it was accepted before this start"
	handledByMachine = "the machine has confirmed it"
	handledByNote    = "Notehub still holds its credit"
	handledByCapture = "its money was captured"
	handledByRefund  = "a part of it was refunded"
	handledLongAgo   = "it is older than Stripe's list of events, so nothing tells whether it was handled"
	handledByTwin    = "another installation has sent it to the machine"
)

// beforeStart reports whether something happened before this process began. Whatever it does not
// know of that may have been done by an earlier state of the ledger, and is no sign of another
// installation.
func (b *Bridge) beforeStart(at time.Time) bool { return at.Before(b.clock().At(b.started)) }

// earlierState reports whether something happened before this process began with a ledger that was
// there before. Only then an earlier state of the ledger may know more of it. What was paid before
// the ledger's birth is adopted in any case.
func (b *Bridge) earlierState(at time.Time) bool {
	born := b.c.Ledger.CreatedAt()
	return b.beforeStart(at) && !born.IsZero() && b.clock().At(b.started).Sub(born) >= newLedger
}

// newLedger is how old a ledger is at most that this process has just made.
const newLedger = 2 * time.Second

// accepted returns the evidence in an event that was read from Stripe's list: every endpoint has
// accepted it, or all but those that do not accept what ours does, and this process has not seen
// it. Without webhooks there is no endpoint of ours, so that says nothing. Nor does it say anything
// of what happened while this process was running: then our endpoint is missing, and another's
// accepted the event.
func (b *Bridge) accepted(e Event) string {
	handled := e.Listed && e.Pending >= 0 && e.Pending <= int(b.others.Load())
	if handled && !b.c.WebhooksOff && b.earlierState(e.Created) {
		return handledByWebhook
	}
	return ""
}

// evidence returns why a payment that is new to this ledger was handled by an earlier state of it,
// or by another installation. It returns "" if nothing says so.
func (b *Bridge) evidence(tx *ledger.Tx, s payment.CheckoutSession, p payment.Payment) (string, error) {
	earlier := b.earlierState(p.PaidAt)
	switch {
	case s.Handled != "":
		return s.Handled, nil
	case earlier && s.Metadata["capture"] == "manual" && s.IntentStatus == "succeeded":
		return handledByCapture, nil // a hold that nobody knows of is captured by nobody
	case earlier && s.Refunded > 0 && s.Refunded < p.Amount:
		return handledByRefund, nil
	case !earlier && !b.strays.Load():
		return "", nil // the usual case asks the ledger nothing
	}
	answered, err := tx.Answered(p.ID)
	switch {
	case err != nil || !answered:
		return "", err
	case b.beforeStart(p.PaidAt):
		return handledByMachine, nil
	}
	return handledByTwin, nil
}

// pendingNote returns the evidence at Notehub for a session that is new to this ledger: its credit
// still waits for the machine. It asks Notehub only where an earlier state of the ledger may have
// sent it.
func (b *Bridge) pendingNote(ctx context.Context, s payment.CheckoutSession) (string, error) {
	notOurs := !b.ours(s) || s.Livemode != b.c.Livemode
	if s.Handled != "" || notOurs || !b.earlierState(s.PaidAt) || s.PaidAt.Before(b.c.Ledger.CreatedAt()) {
		return s.Handled, nil
	}
	if err := b.c.NotehubLimiter.Wait(ctx); err != nil {
		return "", fmt.Errorf("wait to read pending notes: %w", err)
	}
	credit := payment.CreditID(s.ID)
	pending, err := b.c.Notehub.PendingNotes(ctx, s.Metadata["device_uid"])
	if upstream.OutcomeOf(err) == upstream.Rejected {
		return "", nil // a device that Notehub does not know holds no note
	}
	if err != nil {
		return "", fmt.Errorf("read pending notes: %w", err)
	}
	for _, n := range pending {
		if n.CreditID == credit {
			return handledByNote, nil
		}
	}
	return "", nil
}

// handledSince applies the evidence in a listed event that the ledger knows already. When a copy
// was made of it the session was to be looked up, and a later state of the ledger has accepted its
// event.
func (b *Bridge) handledSince(ctx context.Context, e Event) error {
	why := b.accepted(e)
	if why == "" {
		return nil
	}
	l, err := b.c.Ledger.Lookup(ctx, e.Session.ID)
	if known, err := ledger.Found(err); err != nil || !known || l.Handled != ledger.HandledUnsure {
		return err
	}
	return b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.HandleLookup(l.ID, why) })
}

// lookedUp returns the evidence that is kept with a look-up, or with that of the session which an
// intent turned out to be of.
func (b *Bridge) lookedUp(ctx context.Context, l ledger.Lookup, session string) (string, error) {
	if l.ID != session {
		own, err := b.c.Ledger.Lookup(ctx, session)
		if known, err := ledger.Found(err); err != nil || !known {
			return "", err
		}
		l = own
	}
	if l.Handled == ledger.HandledUnsure {
		return "", nil
	}
	return l.Handled, nil
}

// errListUnread is for the event of a session that an earlier state of the ledger may have handled.
// Stripe's list tells whether it was accepted, but no longer after it is accepted here. So it is
// not accepted before the list was read. The list has it as well, so the payment waits no longer.
var errListUnread = errors.New("Stripe's list of events is to be read first")

// unsure reports whether Stripe and Notehub have to be asked first what became of a session: it was
// paid before this process began, and this ledger has never seen it. That Stripe delivers its event
// proves nothing: it may be a repeat, or our answer to an earlier delivery was lost.
func (b *Bridge) unsure(tx *ledger.Tx, e Event, s payment.CheckoutSession) (bool, error) {
	if s.Handled != "" || !b.earlierState(e.Created) || e.Created.Before(b.c.Ledger.CreatedAt()) {
		return false, nil
	}
	known, err := ledger.Found(errorOf(tx.Payment(payment.CreditID(s.ID))))
	return !known, err
}

// auditAdoption writes down why a payment is adopted, for the payment's story.
func auditAdoption(tx *ledger.Tx, p payment.Payment, why string) error {
	a := ledger.Audit{At: tx.Now, Who: Automatic, What: "adopt", Subject: p.ID, Why: why, After: auditState(p)}
	return tx.AddAudit(a)
}

// sentEvents remembers the sessions' events that were sent here lately, so that Stripe's list tells
// how many other endpoints fail.
type sentEvents struct {
	mu   sync.Mutex
	ids  [maxSent]string
	next int
}

const (
	maxSent = 256
	// othersTimeout is how long another endpoint may take for an event before it counts as one that
	// fails.
	othersTimeout = 2 * time.Minute
	// factOthers is how many endpoints of others fail. It is kept as a fact, in milliseconds.
	factOthers = "failing_endpoints"
)

func (s *sentEvents) add(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[s.next] = event
	s.next = (s.next + 1) % maxSent
}

func (s *sentEvents) has(event string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.ids[:], event)
}

// countOthers learns from a listed event, which was sent here, how many endpoints of others have
// not accepted it.
func (b *Bridge) countOthers(r *reading, e Event) {
	if e.Session == nil || e.Pending < 0 || b.clock().At(r.began).Sub(e.Created) < othersTimeout || !b.sent.has(e.ID) {
		return
	}
	if !r.compared || e.Pending > r.others {
		r.others = e.Pending
	}
	r.compared = true
}
