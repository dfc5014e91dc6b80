package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/notefile"
	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// The ledger may be older than its last use, after a restore from a plain copy, a snapshot or a
// point in time, or after failover to a lagging replica. Then Stripe lists payments that this
// ledger has never seen and that an earlier state of it has handled. A payment from before this
// process's start with evidence of that is adopted: notepay sends no note and makes no refund, and
// the operator decides. A payment without evidence was missed, and is delivered or refunded as
// usual. docs/adr/0009 lists the evidence.

// Evidence that a payment was handled, as the operator reads it.
const (
	handledByWebhook   = "Stripe's webhook of it was accepted before this start"
	handledByMachine   = "the machine has confirmed it"
	handledByNote      = "Notehub still holds its credit"
	handledByEncrypted = "Notehub holds an encrypted note that may be its credit"
	handledByCapture   = "its money was captured"
	handledByRefund    = "a part of it was refunded"
	handledLongAgo     = "it is older than Stripe's list of events, so nothing tells whether it was handled"
	handledByTwin      = "another installation has sent it to the machine"
)

// beforeStart reports whether something happened before this process's start. An earlier state of
// the ledger may have caused its unknown effects, so they do not prove another installation.
func (b *Bridge) beforeStart(at time.Time) bool { return at.Before(b.clock().At(b.started)) }

// earlierState reports whether an earlier state of the ledger may know more of something that
// happened at a time. The time must be before this process's start, and the ledger must be older
// than the process.
func (b *Bridge) earlierState(at time.Time) bool {
	born := b.c.Ledger.CreatedAt()
	return b.beforeStart(at) && !born.IsZero() && b.clock().At(b.started).Sub(born) >= newLedger
}

// beforeBirth reports whether something happened before this ledger's birth. What was charged then is
// adopted without evidence.
func (b *Bridge) beforeBirth(at time.Time) bool { return at.Before(b.c.Ledger.CreatedAt()) }

// released reports whether a session's authorization was released, so that nothing is charged.
func released(s payment.CheckoutSession) bool { return s.IntentStatus == "canceled" }

// doubtful reports whether evidence decides what becomes of a session that the ledger does not know,
// because an earlier state of the ledger, or another one, may have handled it.
func (b *Bridge) doubtful(s payment.CheckoutSession) bool {
	if b.beforeBirth(s.PaidAt) {
		return released(s)
	}
	return b.earlierState(s.PaidAt)
}

// newLedger is the maximum age of a ledger that this process has created.
const newLedger = 2 * time.Second

// accepted returns the evidence in an event from Stripe's list: our endpoint must have accepted it,
// but this process has not received it. That is so if all endpoints have accepted it, except those
// that fail for our events as well. It proves nothing without webhooks. Nor does it prove anything
// for an event since this process's start, because then our endpoint is missing at Stripe.
func (b *Bridge) accepted(e Event) string {
	handled := e.Listed && e.Pending >= 0 && e.Pending <= int(b.failingEndpoints.Load())
	if handled && !b.c.WebhooksOff && (b.earlierState(e.Created) || b.beforeBirth(e.Created)) {
		return handledByWebhook
	}
	return ""
}

// evidence returns why a new payment was already handled, by an earlier state of this ledger or by
// another installation. It returns "" without evidence.
func (b *Bridge) evidence(tx *ledger.Tx, s payment.CheckoutSession, p payment.Payment) (string, error) {
	earlier := b.earlierState(p.PaidAt)
	switch {
	case s.Handled != "":
		return s.Handled, nil
	case earlier && s.Metadata["capture"] == "manual" && s.IntentStatus == "succeeded":
		return handledByCapture, nil // only a ledger that knows the payment captures it
	case earlier && s.Refunded > 0 && s.Refunded < p.Amount:
		return handledByRefund, nil
	case !earlier && !b.unknownConfirmed.Load():
		return "", nil // the usual case, which reads nothing
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

// errAnswersUnread postpones the verdict on a released authorization until the machines' answers were
// read. The verdict is final, so an answer that comes later changes nothing.
var errAnswersUnread = errors.New("the machines' answers were not read yet")

// pendingNote returns the evidence that a new session's credit still waits at Notehub for the
// machine. It calls Notehub only if the session is doubtful.
func (b *Bridge) pendingNote(ctx context.Context, s payment.CheckoutSession) (string, error) {
	switch {
	case s.Handled != "", !b.ours(s), s.Livemode != b.c.Livemode, !b.doubtful(s):
		return s.Handled, nil
	case released(s) && !b.answersRead.Load():
		return "", errAnswersUnread
	}
	if err := b.c.NotehubLimiter.Wait(ctx); err != nil {
		return "", fmt.Errorf("wait to read pending notes: %w", err)
	}
	credit, device := payment.CreditID(s.ID), s.Metadata["device_uid"]
	if s.PaymentLink != "" { // newPayment takes the machine of the link as well
		link, err := b.c.Ledger.Link(ctx, s.PaymentLink)
		if known, err := ledger.Found(err); err != nil {
			return "", fmt.Errorf("read the link of a session: %w", err)
		} else if known {
			device = link.DeviceUID
		}
	}
	pending, err := b.pendingAnywhere(ctx, uid.Of(device))
	if upstream.OutcomeOf(err) == upstream.Rejected {
		return "", nil // an unknown device holds no note
	}
	if err != nil {
		return "", fmt.Errorf("read pending notes: %w", err)
	}
	unknown := ""
	for _, n := range pending {
		if n.CreditID == credit {
			return handledByNote, nil
		}
		if n.Digest != "" && n.Unreadable { // a later state of this ledger knew whose it is
			unknown = handledByEncrypted
		}
	}
	return unknown, nil
}

// pendingAnywhere lists a device's pending notes in NOTE_FILE and in the usual notefile, which an
// earlier state of the ledger may have used.
func (b *Bridge) pendingAnywhere(ctx context.Context, device string) (pending []payment.PendingNote, err error) {
	files := []string{cmp.Or(b.c.NoteFile, notefile.Payments), notefile.Payments}
	for n, file := range slices.Compact(files) {
		if n > 0 { // the caller has waited for the first call
			if err := b.c.NotehubLimiter.Wait(ctx); err != nil {
				return nil, err
			}
		}
		notes, err := b.pendingNotes(ctx, device, file)
		if err != nil {
			return nil, err
		}
		pending = append(pending, notes...)
	}
	return pending, nil
}

// handledSince applies the evidence in a listed event that the ledger already knows. The ledger was
// copied while the session was to be looked up, and a later state of it has accepted the event.
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

// lookedUp returns the evidence stored with a look-up, or with the look-up of its PaymentIntent's
// session. It reads the look-up again, because Stripe's list may have added evidence since the claim.
func (b *Bridge) lookedUp(ctx context.Context, l ledger.Lookup, session string) (string, error) {
	current, err := b.c.Ledger.Lookup(ctx, session)
	known, err := ledger.Found(err)
	switch {
	case err != nil:
		return "", err
	case known:
		l = current
	case l.ID != session:
		return "", nil
	}
	if l.Handled == ledger.HandledUnsure {
		return "", nil
	}
	return l.Handled, nil
}

// errListUnread rejects a session's event that an earlier state of the ledger may have handled,
// until Stripe's list was read. The list tells whether the event was accepted, but not after it is
// accepted here. The list also delivers the event, so the payment waits no longer. Receive holds the
// event until then, see awaitList.
var errListUnread = errors.New("the list of events at Stripe was not read yet")

// unsure reports whether Stripe and Notehub have to be asked about a session. It was paid before
// this process's start, and this ledger does not know it. Delivery of its event proves nothing,
// because Stripe may be repeating an event whose reply was lost.
func (b *Bridge) unsure(tx *ledger.Tx, e Event, s payment.CheckoutSession) (bool, error) {
	switch {
	case s.Handled != "":
		return false, nil
	case b.beforeBirth(e.Created): // only a released authorization needs evidence
		if held, err := b.mayBeHeld(tx, s); !held || err != nil {
			return false, err
		}
	case !b.earlierState(e.Created):
		return false, nil
	}
	known, err := ledger.Found(errorOf(tx.Payment(payment.CreditID(s.ID))))
	return !known, err
}

// auditAdoption records why a payment is adopted, for its timeline.
func auditAdoption(tx *ledger.Tx, p payment.Payment, why string) error {
	a := ledger.Audit{At: tx.Now, Who: Automatic, What: "adopt", Subject: p.ID, Why: why, After: auditState(p)}
	return tx.AddAudit(a)
}

// sentEvents remembers the latest session events that webhooks delivered. Stripe's list then tells
// how many other endpoints fail for them.
type sentEvents struct {
	mu   sync.Mutex
	ids  [maxSent]string
	next int
}

const (
	maxSent = 256
	// othersTimeout is how long another endpoint may take for an event before it counts as failing.
	othersTimeout = 2 * time.Minute
	// metaOthers is the ledger's meta name of the number of failing endpoints, stored as
	// milliseconds.
	metaOthers = "failing_endpoints"
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

// countOthers counts the other endpoints that have not accepted an event that was delivered here.
func (b *Bridge) countOthers(r *reading, e Event) {
	if e.Session == nil || e.Pending < 0 || b.clock().At(r.began).Sub(e.Created) < othersTimeout || !b.sent.has(e.ID) {
		return
	}
	if !r.compared || e.Pending > r.others {
		r.others = e.Pending
	}
	r.compared = true
}
