package bridge

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// What came of an event or of a session that was looked at.
const (
	Recorded      = "payment_recorded"
	Duplicate     = "duplicate_payment_ignored"
	Adopted       = "payment_adopted" // paid before this ledger was born
	LookedUp      = "looked_up_later" // Stripe has to be asked first
	Followed      = "followed"        // it changed, or may have changed, a payment that is known
	AwaitsPayment = "awaits_payment"  // not paid yet, Stripe will say when it is
	NotOurs       = "not_ours"
	WrongMode     = "wrong_mode"     // a test event for a live key, or the other way round
	PaymentFailed = "payment_failed" // nobody paid in the end
	OfferChanged  = "offer_changed"  // of a link, price or product: the fleet reads how it is now
	Ignored       = "ignored"
	Unreadable    = "unreadable" // a field that is needed is odd
)

// ErrTooBusy is returned by Session when Stripe was asked too often already.
var ErrTooBusy = errors.New("too many look-ups")

// Receive takes in a verified event. When it returns nil, the event and what follows from it are on
// disk; a repeat changes nothing. No vendor is called on the way; but a new payment may be claimed
// in the same transaction, and is then sent at once.
func (b *Bridge) Receive(ctx context.Context, e Event) error {
	if e.Odd != "" {
		return b.receiveOdd(ctx, e)
	}
	if err := b.mayRecord(ctx); err != nil {
		return err
	}
	if e.Type == ChargeSucceeded {
		return b.receiveCharge(ctx, e)
	}
	var outcome string
	var changed change
	place := b.expressPlace(e)
	defer place.leave()
	err := b.c.Ledger.Update(ctx, func(tx *ledger.Tx) (err error) {
		outcome, changed = Duplicate, change{}
		if e.Session == nil { // a session is recorded once in any case, and its first event may have come too early
			if repeat, err := tx.RepeatOfEvent(e.ID); repeat || err != nil {
				return err
			}
		}
		if outcome, changed, err = b.follow(tx, e, place.free()); err != nil {
			return err
		}
		isNew, err := tx.AddEvent(ledger.StripeEvent{ID: e.ID, Type: e.Type, ObjectID: e.ObjectID, Livemode: e.Livemode,
			Created: e.Created, Received: tx.Now, Outcome: outcome, Body: e.Body, PaymentIntent: laterIntent(e)})
		if !isNew && outcome != Recorded && outcome != LookedUp {
			outcome = Duplicate
		}
		return err
	})
	// If we stop here, Stripe was not told yes and sends the event again: a repeat.
	if err != nil {
		return fmt.Errorf("record event %s: %w", e.ID, err)
	}
	if e.Session != nil && !e.Listed {
		b.sent.add(e.ID)
	}
	b.c.Observe.Event(outcome)
	attrs := []any{"event", e.ID, "type", e.Type, "object", e.ObjectID, "outcome", outcome}
	if e.Skipped != "" {
		attrs = append(attrs, "detail", e.Skipped)
	}
	b.c.Log.Info("event received", attrs...)
	if outcome == LookedUp {
		poke(b.look)
	}
	b.committed(changed)
	place.send(changed)
	switch {
	case outcome == OfferChanged:
		b.c.Fleet.OfferChanged(e.Type, e.ObjectID, e.Active, e.Limited)
	case e.Session != nil && e.Session.PaymentLink != "":
		b.c.Fleet.LinkPaid(e.Session.PaymentLink)
	}
	return nil
}

// ChargeSucceeded is the type of the event that comes with every payment by card, and alone tells the card.
const ChargeSucceeded = "charge.succeeded"

// receiveCharge takes in which card paid and where Stripe's receipt is, and keeps nothing else: it
// would be one more event for each payment. A charge is there before its session is complete, so
// that of a payment which is not known yet is let go. It stays unknown, and the next reading of
// Stripe's list has it again.
func (b *Bridge) receiveCharge(ctx context.Context, e Event) error {
	if e.Livemode != b.c.Livemode || e.Foreign || e.Intent == "" {
		return nil
	}
	p, err := b.c.Ledger.Payment(ctx, e.Intent)
	known, err := ledger.Has(err)
	if err == nil && !known && b.oursBy(e.Metadata) {
		b.chargeEarly.Store(true)
	}
	if err == nil && (!known || knowsCharge(p, e.Card, e.ReceiptURL)) {
		return nil
	}
	if err == nil {
		err = b.c.Ledger.Update(ctx, func(tx *ledger.Tx) error { return learnCharge(tx, p, e.Card, e.ReceiptURL) })
	}
	if err != nil {
		return fmt.Errorf("record the card of %s: %w", e.Intent, err)
	}
	b.c.Observe.Event(Followed)
	b.c.Log.Debug("card learned", "event", e.ID, "payment", p.ID)
	return nil
}

// laterIntent is the payment intent of an event that follows a payment, for who asks for the
// payment's story; "" for those that come with every payment, which are found without.
func laterIntent(e Event) string {
	if e.Session != nil || e.Type == "payment_intent.succeeded" ||
		e.Type == "payment_intent.amount_capturable_updated" {
		return ""
	}
	return e.Intent
}

// learnCharge takes in which card paid and where Stripe's receipt is, which only the charge tells;
// "" for what was not told.
func learnCharge(tx *ledger.Tx, p ledger.Payment, last4, receiptURL string) error {
	if knowsCharge(p, last4, receiptURL) {
		return nil
	}
	return tx.SetCharge(p.ID, cmp.Or(last4, p.CardLast4), cmp.Or(receiptURL, p.ReceiptURL))
}

// knowsCharge: a payment has these already, or there is nothing to have.
func knowsCharge(p ledger.Payment, last4, receiptURL string) bool {
	return (last4 == "" || last4 == p.CardLast4) && (receiptURL == "" || receiptURL == p.ReceiptURL)
}

// patience is how long an event of a payment intent waits for the event of its session, which usually follows at once.
const patience = 5 * time.Second

// follow does what an event asks for. Only a session makes a payment, which is claimed at once if
// that is wanted; other objects make their session be looked up.
func (b *Bridge) follow(tx *ledger.Tx, e Event, claim bool) (outcome string, _ change, err error) {
	switch {
	case e.Livemode != b.c.Livemode:
		return WrongMode, change{}, nil
	case e.Foreign:
		return NotOurs, change{}, nil
	case e.Skipped != "":
		return Ignored, change{}, nil
	}
	switch e.Type {
	case "checkout.session.completed", "checkout.session.async_payment_succeeded":
		s := *e.Session
		if s.Handled = b.accepted(e); !b.ours(s) {
			return NotOurs, change{}, nil
		}
		unsure, err := b.unsure(tx, e, s)
		switch {
		case unsure && e.Listed:
			s.Handled = ledger.HandledUnsure
		case unsure && !b.listed.Load():
			return "", change{}, errListUnread
		}
		if unsure || err != nil || s.PaymentStatus == "unpaid" {
			return LookedUp, change{}, errors.Join(err,
				tx.AddLookup(ledger.Lookup{ID: s.ID, PaidAt: e.Created, DueAt: tx.Now, Handled: s.Handled}))
		}
		return b.record(tx, s, claim)
	case "checkout.session.async_payment_failed":
		return PaymentFailed, change{}, nil // nothing was sent, and nothing will be
	case "payment_intent.succeeded", "payment_intent.amount_capturable_updated", "payment_intent.canceled":
		if !b.oursBy(e.Metadata) {
			return NotOurs, change{}, nil
		}
	case "charge.refunded", "charge.refund.updated", "refund.created", "refund.updated", "refund.failed":
	case "charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed":
		return b.disputeTold(tx, e)
	case fleet.LinkUpdated, fleet.PriceUpdated, fleet.ProductUpdated:
		return OfferChanged, change{}, nil
	default:
		return Ignored, change{}, nil
	}
	p, err := tx.PaymentOfIntent(e.Intent)
	known, err := ledger.Has(err)
	if err != nil || e.Intent == "" {
		return Ignored, change{}, err
	}
	if !known {
		return b.early(tx, e)
	}
	if err := learnCharge(tx, p, e.Card, e.ReceiptURL); err != nil {
		return "", change{}, err
	}
	before := p
	switch e.Type {
	case "payment_intent.succeeded":
		p = Captured(p, tx.Now)
	case "payment_intent.canceled":
		p = Canceled(p, tx.Now)
	case "charge.refunded":
		if e.Refunded > p.RefundedAmount { // it may be an old one, of a refund that has failed since
			return LookedUp, change{}, askForMoney(tx, p, e)
		}
	case "refund.created", "refund.updated", "refund.failed", "charge.refund.updated":
		if refundedElsewhere(p, e) && !b.past(e.Created) {
			p = b.twins(p, "a refund that was not ordered here")
		}
		p = RefundChanged(p, *e.Refund, tx.Now)
		if e.Refund.ended() { // perhaps one made in the Dashboard, or before the last of ours
			if err := askForMoney(tx, p, e); err != nil || p == before {
				return LookedUp, change{}, err
			}
		}
	}
	if p == before {
		return Duplicate, change{}, nil
	}
	return Followed, change{before: before, after: p}, tx.ChangePayment(before, p)
}

// askForMoney has Stripe be asked how much of a payment's charge is back: after a call that is
// under way, whose answer may be the older one.
func askForMoney(tx *ledger.Tx, p ledger.Payment, e Event) error {
	due := tx.Now
	if p.InFlight {
		due = latest(due, p.DueAt)
	}
	return tx.AddLookup(ledger.Lookup{ID: e.Intent, PaidAt: e.Created, DueAt: due, Facts: true})
}

// early is an event of a payment that is not known yet. What it says is read from Stripe when the
// event of its session, which usually follows at once, has had its time.
func (b *Bridge) early(tx *ledger.Tx, e Event) (outcome string, _ change, err error) {
	switch {
	case e.Type == "payment_intent.canceled":
		return Ignored, change{}, nil // no payment came of it, or one that Stripe will be asked for
	case len(e.Metadata) > 0 && !b.oursBy(e.Metadata) && e.Refund == nil && e.Dispute == "": // a refund and a dispute carry metadata of their own, or none
		return NotOurs, change{}, nil
	}
	facts := !strings.HasPrefix(e.Type, "payment_intent.")
	return LookedUp, change{}, tx.AddLookup(
		ledger.Lookup{ID: e.Intent, PaidAt: e.Created, DueAt: tx.Now.Add(patience), Facts: facts},
	)
}

func second[T any](_ T, err error) error { return err }

// ours reports whether a session is a purchase of ours. One in setup or subscription mode is
// somebody else's, whatever its metadata say.
func (b *Bridge) ours(s Session) bool {
	return b.oursBy(s.Metadata) && (s.Mode == "" || s.Mode == "payment")
}

// oursBy reports whether metadata name a device, and our project or none (a test event that was
// triggered by hand names none).
func (b *Bridge) oursBy(metadata map[string]string) bool {
	project := metadata["project"]
	return metadata["device_uid"] != "" && (project == "" || project == b.c.Project)
}

// record makes a payment of a session, once, and claims it if that is wanted; of one that is known
// it takes in where its money is.
func (b *Bridge) record(tx *ledger.Tx, s Session, claim bool) (outcome string, _ change, err error) {
	switch {
	case s.Livemode != b.c.Livemode:
		return WrongMode, change{}, nil
	case !b.ours(s):
		return NotOurs, change{}, nil
	}
	p, err := tx.Payment(ledger.CreditID(s.ID))
	known, err := ledger.Has(err)
	if err != nil {
		return "", change{}, err
	}
	if known {
		if err := learnCharge(tx, p, s.CardLast4, s.ReceiptURL); err != nil {
			return "", change{}, err
		}
		c, err := claimsRead(tx, p, s)
		if err != nil {
			return "", change{}, err
		}
		changed := change{before: p, after: standing(p, s, c, tx.Now)}
		if changed.after == changed.before {
			return Duplicate, change{}, nil
		}
		return Followed, changed, tx.ChangePayment(changed.before, changed.after)
	}
	p = ledger.Payment{
		ID: ledger.CreditID(s.ID), SessionID: s.ID, PaymentIntent: s.PaymentIntent, Token: newToken(),
		DeviceUID: uid.Key(
			s.Metadata["device_uid"],
		), PriceID: s.Metadata["price_id"], Amount: s.Amount, Currency: s.Currency, Livemode: s.Livemode,
		Machine: ledger.Queued, PaidAt: s.PaidAt, CreatedAt: tx.Now, MachineAt: tx.Now, MoneyAt: tx.Now,
		CardLast4: s.CardLast4, ReceiptURL: s.ReceiptURL,
	}
	plan, manual, remembered, err := offered(tx, s)
	if err != nil {
		return "", change{}, err
	}
	switch {
	case s.PaymentStatus == "no_payment_required", s.IntentStatus == "succeeded":
		p.Money = ledger.Paid
	case s.IntentStatus == "requires_capture":
		p.Money = ledger.Authorized
	case s.PaymentStatus == "paid" && (b.c.ManualCapture || manual) && s.IntentStatus == "":
		// Whether Checkout calls a hold "paid" is not known (docs/vendors.md, Q8): the intent tells.
		return LookedUp, change{}, tx.AddLookup(ledger.Lookup{ID: s.ID, PaidAt: s.PaidAt, DueAt: tx.Now})
	case s.PaymentStatus == "paid" && s.IntentStatus != "canceled":
		p.Money = ledger.Paid
	default:
		return AwaitsPayment, change{}, nil
	}
	lifetime := b.c.Lifetime
	if d := b.c.Fleet.Device(p.DeviceUID); d != nil {
		p.DeviceName = d.Name
		if own, ok := b.c.Fleet.Lifetime(p.DeviceUID); ok {
			lifetime = own
		}
	}
	if remembered {
		if now, ok := b.c.Fleet.Plan(plan.PriceID); ok && plan.CurrencyOptions == "" {
			plan.CurrencyOptions = now.CurrencyOptions // they may have been added to the price since
		}
		p = sold(p, s, plan)
	}
	p = b.clocks(p, lifetime, p.PaidAt)
	outcome = Recorded
	var ended *change
	born := b.c.Ledger.Born()
	if !b.c.Ledger.Settled() && (born.IsZero() || p.PaidAt.Before(born)) {
		return "", change{}, ErrTimeUnknown
	}
	why, err := b.evidence(tx, s, p)
	if err != nil {
		return "", change{}, err
	}
	if why != "" || p.PaidAt.Before(born) {
		p, outcome = adopted(p), Adopted
	} else if p, ended, err = b.oneAtATime(tx, p); err != nil {
		return "", change{}, err
	}
	c, err := claimsRead(tx, p, s)
	if err != nil {
		return "", change{}, err
	}
	p = Next(standing(p, s, c, tx.Now), tx.Now)
	if claim {
		var also *change
		if p, also, err = b.claimNew(tx, p); err != nil {
			return "", change{}, err
		}
		ended = cmp.Or(ended, also) // it takes its device once
	}
	inserted, err := tx.InsertPayment(p)
	if err == nil && !inserted {
		return Duplicate, change{}, nil
	}
	if err == nil && why != "" {
		err = auditAdoption(tx, p, why)
	}
	if why == handledByTwin {
		b.twins(p, "a machine has a credit that was not sent from here")
	}
	return outcome, change{after: p, ended: ended}, err
}

// offered is the plan that is sold through a session, or through its link, and whether that only
// holds the money; false if neither is remembered.
func offered(tx *ledger.Tx, s Session) (plan ledger.Plan, manual, remembered bool, err error) {
	if s.PaymentLink == "" {
		made, err := tx.Session(s.ID)
		remembered, err = ledger.Has(err)
		return made.Plan, made.Manual, remembered, err
	}
	link, err := tx.Link(s.PaymentLink)
	remembered, err = ledger.Has(err)
	return link.Plan, link.Manual, remembered, err
}

// clocks sets until when a credit lives, and until when a machine that confirms is waited for. A
// machine may tell late what it began in time.
func (b *Bridge) clocks(p ledger.Payment, lifetime time.Duration, from time.Time) ledger.Payment {
	if lifetime <= 0 {
		return p
	}
	p.ExpiresAt = from.Add(lifetime)
	if b.c.ConfirmWithin > 0 {
		confirmBy := from.Add(b.c.ConfirmWithin)
		p.ExpiresAt = earliest(p.ExpiresAt, confirmBy)
		p.ConfirmBy = latest(confirmBy, p.ExpiresAt.Add(grace))
	}
	return p
}

// oneAtATime has a timed credit take its device, or refuses it while another holds that. It returns
// the change of one whose time is over, which the caller publishes.
func (b *Bridge) oneAtATime(tx *ledger.Tx, p ledger.Payment) (_ ledger.Payment, ended *change, err error) {
	if p.Duration == 0 || p.Occupies {
		return p, nil, nil
	}
	other, err := tx.Occupant(p.DeviceUID)
	taken, err := ledger.Has(err)
	if err != nil {
		return p, nil, err
	}
	if taken {
		ended = &change{before: other, after: Next(other, tx.Now)}
		if ended.after.Occupies {
			return failed(p, ReasonBusy), nil, nil
		}
		if err := tx.ChangePayment(ended.before, ended.after); err != nil {
			return p, nil, err
		}
	}
	p.Occupies = true
	return p, ended, nil
}

// standing takes in where a session's money is, as Stripe was asked for it, and what its disputes amount to.
func standing(p ledger.Payment, s Session, c claims, now time.Time) ledger.Payment {
	switch s.IntentStatus {
	case "":
		return p // an event's session tells nothing of it
	case "succeeded":
		p = Captured(p, now)
	case "canceled":
		p = Canceled(p, now)
	}
	if c.known {
		p = Disputed(p, c, now)
	}
	if s.Refunded > 0 || p.RefundedAmount > 0 {
		p = Refunded(p, s.Refunded, true, now)
	}
	return p
}

// sold fills in what was sold. It is honoured whatever is sold now; what was paid has to agree with it.
func sold(p ledger.Payment, s Session, plan ledger.Plan) ledger.Payment {
	p.PriceID, p.Plan, p.Duration, p.DelayedStart = plan.PriceID, plan.Name, plan.Duration, plan.DelayedStart
	p.WithCode = plan.AccessCode
	p = coded(p)
	if !agrees(p, s, plan) && p.Attention == "" {
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

// Session finds the payment of a session, asking Stripe if it is not in the ledger yet: the
// customer may be back from Stripe before the webhook, or there is none. It returns
// ledger.ErrNotFound for a session that is not ours or not paid, ErrTooBusy when Stripe was asked
// too often, and other errors when it could not be asked.
func (b *Bridge) Session(ctx context.Context, id string) (ledger.Payment, error) {
	p, err := b.c.Ledger.Payment(ctx, id)
	if !errors.Is(err, ledger.ErrNotFound) {
		return p, err
	}
	if strings.HasPrefix(id, "cs_live_") != b.c.Livemode || b.misses.lately(id, time.Now()) {
		return p, ledger.ErrNotFound
	}
	_, err, _ = b.asking.Do(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestAsk)
		defer cancel()
		if may, err := b.mayRead(ctx, id); err != nil || !may {
			return nil, cmp.Or(err, ErrTooBusy)
		}
		err := b.ask(ctx, id)
		if errors.Is(err, ledger.ErrNotFound) {
			b.misses.add(id, time.Now())
		}
		return nil, err
	})
	if errors.Is(err, ErrTooBusy) {
		return b.catchUp(ctx, id)
	}
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
	if b.earlier(s.PaidAt) && !b.listed.Load() {
		return ErrTooBusy // Stripe's list, which is being read, may tell that it was handled
	}
	if s.Handled, err = b.pendingNote(ctx, s); err != nil {
		return err
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
	if err := b.mayRecord(ctx); err != nil {
		return "", err
	}
	var changed change
	err = b.c.Ledger.Update(ctx, func(tx *ledger.Tx) (err error) {
		if outcome, changed, err = b.record(tx, s, false); err == nil && also != nil {
			err = also(tx)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("record session %s: %w", s.ID, err)
	}
	if outcome == LookedUp {
		poke(b.look)
	}
	b.committed(changed)
	return outcome, nil
}
