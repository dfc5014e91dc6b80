package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// What came of an event or of a session that was looked at.
const (
	Recorded      = "payment_recorded"
	Duplicate     = "duplicate_payment_ignored"
	Adopted       = "payment_adopted" // paid before this ledger was born
	LookedUp      = "looked_up_later" // Stripe has to be asked first
	AwaitsPayment = "awaits_payment"  // not paid yet, Stripe will say when it is
	NotOurs       = "not_ours"
	WrongMode     = "wrong_mode" // a test event for a live key, or the other way round
	Ignored       = "ignored"
)

// ErrTooBusy is returned by Session when Stripe was asked too often already.
var ErrTooBusy = errors.New("too many look-ups")

// Receive takes in a verified event. When it returns nil, the event and what follows from it are on disk; a repeat changes
// nothing. No vendor is called on the way.
func (b *Bridge) Receive(ctx context.Context, e Event) error {
	var outcome string
	err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) (err error) {
		outcome, err = b.follow(tx, e)
		if err != nil {
			return err
		}
		isNew, err := tx.AddEvent(ledger.StripeEvent{ID: e.ID, Type: e.Type, ObjectID: e.ObjectID, Livemode: e.Livemode,
			Created: e.Created, Received: tx.Now, Outcome: outcome, Body: e.Body})
		if !isNew && outcome != Recorded && outcome != LookedUp {
			outcome = Duplicate
		}
		return err
	})
	// If we stop here, Stripe was not told yes and sends the event again: a repeat.
	if err != nil {
		return fmt.Errorf("record event %s: %w", e.ID, err)
	}
	b.c.Observe.Event(outcome)
	b.c.Log.Info("event received", "event", e.ID, "type", e.Type, "object", e.ObjectID, "outcome", outcome)
	b.roused(outcome)
	return nil
}

// roused wakes who has work after a commit.
func (b *Bridge) roused(outcome string) {
	switch outcome {
	case Recorded:
		poke(b.wake)
	case LookedUp:
		poke(b.look)
	}
}

// patience is how long an event of a payment intent waits for the event of its session, which usually follows at once.
const patience = 5 * time.Second

// follow does what an event asks for. Only a session makes a payment; other objects make their session be looked up.
func (b *Bridge) follow(tx *ledger.Tx, e Event) (outcome string, err error) {
	if e.Livemode != b.c.Livemode {
		return WrongMode, nil
	}
	switch e.Type {
	case "checkout.session.completed", "checkout.session.async_payment_succeeded":
		s := *e.Session
		if s.PaymentStatus == "unpaid" && b.ours(s.Metadata) {
			return LookedUp, tx.AddLookup(ledger.Lookup{ID: s.ID, PaidAt: e.Created, DueAt: tx.Now})
		}
		return b.record(tx, s)
	case "payment_intent.succeeded", "payment_intent.amount_capturable_updated":
		if !b.ours(e.Metadata) {
			return NotOurs, nil
		}
		if known, err := ledger.Has(second(tx.PaymentOfIntent(e.ObjectID))); known || err != nil {
			return Duplicate, err
		}
		return LookedUp, tx.AddLookup(ledger.Lookup{ID: e.ObjectID, PaidAt: e.Created, DueAt: tx.Now.Add(patience)})
	default:
		return Ignored, nil
	}
}

func second[T any](_ T, err error) error { return err }

// ours: it names a device, and our project or none (a test event that was triggered by hand names none).
func (b *Bridge) ours(metadata map[string]string) bool {
	project := metadata["project"]
	return metadata["device_uid"] != "" && (project == "" || project == b.c.Project)
}

// record makes a payment of a session, once.
func (b *Bridge) record(tx *ledger.Tx, s Session) (outcome string, err error) {
	switch {
	case s.Livemode != b.c.Livemode:
		return WrongMode, nil
	case !b.ours(s.Metadata):
		return NotOurs, nil
	}
	p := ledger.Payment{
		ID: ledger.CreditID(s.ID), SessionID: s.ID, PaymentIntent: s.PaymentIntent, Token: newToken(),
		DeviceUID: s.Metadata["device_uid"], PriceID: s.Metadata["price_id"], Amount: s.Amount, Currency: s.Currency, Livemode: s.Livemode,
		Machine: ledger.Queued, PaidAt: s.PaidAt, CreatedAt: tx.Now,
	}
	switch {
	case s.PaymentStatus == "paid", s.PaymentStatus == "no_payment_required", s.IntentStatus == "succeeded":
		p.Money = ledger.Paid
	case s.IntentStatus == "requires_capture":
		p.Money, p.Attention = ledger.Authorized, AttentionAuthorized
	default:
		return AwaitsPayment, nil
	}
	if d := b.c.Fleet.Device(p.DeviceUID); d != nil {
		p.DeviceName = d.Name
	}
	link, err := tx.Link(s.PaymentLink)
	known, err := ledger.Has(err)
	if err != nil {
		return "", err
	}
	if known {
		p = sold(p, link.Plan)
	}
	if b.c.Lifetime > 0 {
		p.ExpiresAt = p.PaidAt.Add(b.c.Lifetime)
	}
	outcome = Recorded
	if p.PaidAt.Before(b.c.Ledger.Born()) {
		p.Machine, p.Reason, p.Attention = ledger.Failed, ReasonAdopted, ReasonAdopted
		outcome = Adopted
	}
	inserted, err := tx.InsertPayment(Next(p, tx.Now))
	if err == nil && !inserted {
		outcome = Duplicate
	}
	return outcome, err
}

// sold fills in what was sold. It is honoured whatever is sold now; what was paid has to agree with it.
func sold(p ledger.Payment, plan ledger.Plan) ledger.Payment {
	p.PriceID, p.Plan, p.Duration, p.DelayedStart = plan.PriceID, plan.Name, plan.Duration, plan.DelayedStart
	free := p.Amount == 0 && p.PaymentIntent == ""
	if plan.Currency != "" && !free && (plan.Amount != p.Amount || plan.Currency != p.Currency) && p.Attention == "" {
		p.Attention = AttentionAmount
	}
	return p
}

// newToken is 128 random bits, the name of the payer's page.
func newToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Session finds the payment of a session, asking Stripe if it is not in the ledger yet: the customer may be back from Stripe
// before the webhook, or there is none. It returns ledger.ErrNotFound for a session that is not ours or not paid, ErrTooBusy when
// Stripe was asked too often, and other errors when it could not be asked.
func (b *Bridge) Session(ctx context.Context, id string) (ledger.Payment, error) {
	p, err := b.c.Ledger.Payment(ctx, id)
	if !errors.Is(err, ledger.ErrNotFound) {
		return p, err
	}
	if strings.HasPrefix(id, "cs_live_") != b.c.Livemode || b.misses.lately(id, time.Now()) {
		return p, ledger.ErrNotFound
	}
	_, err, _ = b.asking.Do(id, func() (any, error) {
		if !b.reads.Allow() {
			return nil, ErrTooBusy
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestAsk)
		defer cancel()
		err := b.ask(ctx, id)
		if errors.Is(err, ledger.ErrNotFound) {
			b.misses.add(id, time.Now())
		}
		return nil, err
	})
	if err != nil {
		return p, err
	}
	return b.c.Ledger.Payment(ctx, id)
}

// longestAsk is how long a customer waits for Stripe's answer; the page then asks again.
const longestAsk = 10 * time.Second

// misses remembers for a while which sessions Stripe does not know: invented ones must not cost a read each time.
type misses struct {
	mu  sync.Mutex
	ids map[string]time.Time
}

const (
	missHolds  = time.Minute
	mostMisses = 1000 // at two reads a second there are never so many within a minute
)

func (m *misses) lately(id string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.ids[id]
	return ok && now.Sub(at) < missHolds
}

func (m *misses) add(id string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids == nil || len(m.ids) >= mostMisses {
		m.ids = map[string]time.Time{}
	}
	m.ids[id] = now
}

// ask reads a session from Stripe and records what it says.
func (b *Bridge) ask(ctx context.Context, id string) error {
	s, err := b.c.Stripe.Session(ctx, id)
	if upstream.OutcomeOf(err) == upstream.Refused {
		return ledger.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	if s.PaidAt.IsZero() { // a free session: Stripe tells when it was opened, not when it was completed
		s.PaidAt = s.Created
	}
	outcome, err := b.recordNow(ctx, s, nil)
	if err != nil {
		return err
	}
	b.c.Log.Info("session read", "session", s.ID, "outcome", outcome)
	return nil
}

// recordNow records a session that Stripe was asked for, and in the same transaction does what else the caller wants.
func (b *Bridge) recordNow(ctx context.Context, s Session, also func(*ledger.Tx) error) (outcome string, err error) {
	err = b.c.Ledger.Update(ctx, func(tx *ledger.Tx) (err error) {
		if outcome, err = b.record(tx, s); err == nil && also != nil {
			err = also(tx)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("record session %s: %w", s.ID, err)
	}
	b.roused(outcome)
	return outcome, nil
}
