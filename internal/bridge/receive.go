package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// The outcomes of an event or a look-up.
const (
	Recorded      = "payment_recorded"
	Duplicate     = "duplicate_payment_ignored"
	Adopted       = "payment_adopted" // paid before this ledger's birth, or handled elsewhere
	LookedUp      = "looked_up_later" // Stripe is read first
	Followed      = "followed"        // it changed, or may have changed, a known payment
	AwaitsPayment = "awaits_payment"  // not paid yet, so Stripe sends another event, or not paid any more
	NotOurs       = "not_ours"
	OtherAccount  = "other_account"  // of a connected account, or of another context
	WrongMode     = "wrong_mode"     // a test event for a live key, or vice versa
	PaymentFailed = "payment_failed" // the payment failed
	OfferChanged  = "offer_changed"  // of a link, price or product, which the fleet reads again
	Ignored       = "ignored"
	Unreadable    = "unreadable" // a required field cannot be read
)

// ErrTooBusy is returned by Session while too many sessions are being read.
var ErrTooBusy = errors.New("too many look-ups")

// Receive records a verified event. When it returns nil, the event and its consequences are
// durable. A repeat changes nothing. A new payment may be claimed in the same transaction, and is
// then sent at once. Receive waits for no vendor, except that the event of a payment from before the
// start waits for the first reading of Stripe's list.
func (b *Bridge) Receive(ctx context.Context, e Event) error {
	err := b.receive(ctx, e)
	if errors.Is(err, errListUnread) && b.awaitList(ctx, e) {
		return b.receive(ctx, e) // Stripe may have given up meanwhile, and then still lists it as pending
	}
	if err == nil && e.Odd == "" && e.Session != nil && !e.Listed {
		b.sent.add(e.ID)
	}
	return err
}

// receive is Receive without waiting. It returns errListUnread if the event needs Stripe's list.
func (b *Bridge) receive(ctx context.Context, e Event) error {
	if e.Odd != "" {
		return b.receiveOdd(ctx, e)
	}
	if err := b.mayRecord(ctx); err != nil {
		return err
	}
	if e.Type == ChargeSucceeded {
		return b.receiveCharge(ctx, e)
	}
	if e.Session != nil && !e.Foreign {
		s, err := b.withLink(ctx, *e.Session)
		if err != nil {
			return fmt.Errorf("record event %s: %w", e.ID, err)
		}
		e.Session, e.Metadata = &s, s.Metadata
	}
	var outcome string
	var inserted payment.Payment
	slot := b.fastPathSlot(e)
	defer slot.release()
	err := b.update(ctx, func(tx *update) (err error) {
		outcome, inserted = Duplicate, payment.Payment{}
		// A session is recorded once in any case, and its first event may have come too early.
		stored := false
		if e.Session == nil {
			var applied bool
			if stored, applied, err = repeatOf(tx.Tx, e); applied || err != nil {
				return err
			}
		}
		if outcome, err = b.applyEvent(tx, e, slot.usable()); err != nil {
			return err
		}
		inserted = tx.inserted()
		isNew, err := storeEvent(tx.Tx, e, outcome, stored)
		if !isNew && outcome != Recorded && outcome != LookedUp {
			outcome = Duplicate
		}
		return err
	})
	// If the process stops here, Stripe got no reply and sends the event again: a repeat.
	if err != nil {
		return fmt.Errorf("record event %s: %w", e.ID, err)
	}
	b.c.Observe.Event(outcome)
	attrs := []any{"event", e.ID, "type", e.Type, "object", e.ObjectID, "outcome", outcome}
	if e.Skipped != "" {
		attrs = append(attrs, "detail", e.Skipped)
	}
	b.c.Log.Info("event received", attrs...)
	if outcome == LookedUp {
		b.lookupsDue.ring()
	}
	slot.send(inserted)
	switch {
	case outcome == OfferChanged:
		b.c.Fleet.OfferChanged(e.Type, e.ObjectID, e.Active, e.Limited)
	case e.Session != nil && e.Session.PaymentLink != "":
		b.c.Fleet.LinkPaid(e.Session.PaymentLink)
	}
	return nil
}

// repeatOf counts a repeat of an event, and reports whether it is stored and whether it was applied.
// An organization's webhook names the account of each event, also of our own. If the same event then
// comes without an account, or is listed with our own key, it is ours and was not applied.
func repeatOf(tx *ledger.Tx, e Event) (stored, applied bool, err error) {
	if stored, err = tx.RepeatOfEvent(e.ID); !stored || err != nil {
		return stored, false, err
	}
	outcome, err := tx.EventOutcome(e.ID)
	return true, e.Foreign || outcome != OtherAccount, err
}

// storeEvent stores an event with its outcome, also in the place of the same event of another account.
// It returns false for a repeat, which it counts unless stored is set.
func storeEvent(tx *ledger.Tx, e Event, outcome string, stored bool) (isNew bool, err error) {
	row := ledger.StripeEvent{
		ID:            e.ID,
		Type:          e.Type,
		ObjectID:      e.ObjectID,
		Livemode:      e.Livemode,
		Created:       e.Created,
		Received:      tx.Now,
		Outcome:       outcome,
		Body:          e.Body,
		PaymentIntent: laterIntent(e),
	}
	if !stored {
		if isNew, err = tx.AddEvent(row); isNew || err != nil {
			return isNew, err
		}
	}
	return tx.ReplaceEvent(row, OtherAccount)
}

// ChargeSucceeded is the type of the event of each charge. Only it tells which card paid.
const ChargeSucceeded = "charge.succeeded"

// receiveCharge stores which card paid and where Stripe's receipt is. It does not store the event,
// because that would be one more row per payment. A charge may come before its session is complete.
// Then it is dropped, and the next reading of Stripe's list has it again.
func (b *Bridge) receiveCharge(ctx context.Context, e Event) error {
	if e.Livemode != b.c.Livemode || e.Foreign || e.Intent == "" {
		return nil
	}
	p, err := b.c.Ledger.Payment(ctx, e.Intent)
	known, err := ledger.Found(err)
	if err == nil && !known && b.oursBy(e.Metadata) {
		b.chargeEarly.Store(b.now().UnixMilli())
	}
	if err == nil && (!known || payment.KnowsCharge(p, e.Card, e.ReceiptURL)) {
		return nil
	}
	if err == nil {
		err = b.update(ctx, func(tx *update) error {
			current, err := tx.Payment(p.ID)
			if err == nil {
				_, err = tx.setCharge(current, e.Card, e.ReceiptURL)
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("record the card of %s: %w", e.Intent, err)
	}
	b.c.Observe.Event(Followed)
	b.c.Log.Debug("card learned", "event", e.ID, "payment", p.ID)
	return nil
}

// laterIntent returns the PaymentIntent of an event that belongs in the payment's timeline. It
// returns "" for the events of every payment, which are found by other columns.
func laterIntent(e Event) string {
	if e.Session != nil || e.Type == "payment_intent.succeeded" ||
		e.Type == "payment_intent.amount_capturable_updated" {
		return ""
	}
	return e.Intent
}

// sessionEventGrace is how long an event of an unknown payment waits for the event of its session,
// which usually follows at once.
const sessionEventGrace = 5 * time.Second

// applyEvent applies an event. Only a session creates a payment, which is claimed at once if claim
// is set. Other events of an unknown payment make its session be read from Stripe.
func (b *Bridge) applyEvent(tx *update, e Event, claim bool) (outcome string, err error) {
	switch {
	case e.Foreign:
		return OtherAccount, nil
	case e.Livemode != b.c.Livemode:
		return WrongMode, nil
	case e.Skipped != "":
		return Ignored, nil
	}
	switch e.Type {
	case "checkout.session.completed", "checkout.session.async_payment_succeeded":
		s := *e.Session
		if s.Handled = b.accepted(e); !b.ours(s) {
			return NotOurs, nil
		}
		unsure, err := b.unsure(tx.Tx, e, s)
		switch {
		case unsure && e.Listed:
			s.Handled = ledger.HandledUnsure
		case unsure && !b.listed.Load():
			return "", errListUnread
		}
		if unsure || err != nil || s.PaymentStatus != "paid" && s.PaymentStatus != "no_payment_required" {
			return LookedUp, errors.Join(err,
				tx.AddLookup(ledger.Lookup{ID: s.ID, PaidAt: e.Created, DueAt: tx.Now, Handled: s.Handled}))
		}
		return b.recordSession(tx, s, claim)
	case "checkout.session.async_payment_failed":
		return PaymentFailed, nil // no note was or will be sent
	case "payment_intent.succeeded", "payment_intent.amount_capturable_updated", "payment_intent.canceled":
		if !b.oursBy(e.Metadata) {
			return NotOurs, nil
		}
	case "charge.refunded", "charge.refund.updated", "refund.created", "refund.updated", "refund.failed":
	case "charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed":
		return b.applyDispute(tx, e)
	case fleet.LinkUpdated, fleet.PriceUpdated, fleet.ProductUpdated:
		return OfferChanged, nil
	default:
		return Ignored, nil
	}
	p, err := tx.PaymentOfIntent(e.Intent)
	known, err := ledger.Found(err)
	if err != nil || e.Intent == "" {
		return Ignored, err
	}
	if !known {
		return b.deferEvent(tx.Tx, e)
	}
	if p, err = tx.setCharge(p, e.Card, e.ReceiptURL); err != nil {
		return "", err
	}
	before := p
	switch e.Type {
	case "payment_intent.succeeded":
		p = payment.ApplyCaptured(p, tx.Now)
	case "payment_intent.canceled":
		p = payment.ApplyCanceled(p, tx.Now)
	case "charge.refunded":
		if e.Refunded > p.RefundedAmount { // the event may be old, and its refund may have failed since
			return LookedUp, scheduleRefundCheck(tx.Tx, p, e)
		}
	case "refund.created", "refund.updated", "refund.failed", "charge.refund.updated":
		if refundedElsewhere(p, e) && !b.beforeStart(e.Created) {
			p = b.twins(p, "a refund that was not ordered here")
		}
		p = payment.ApplyRefundUpdate(p, *e.Refund, tx.Now)
		if e.Refund.Final() { // it may be a refund by others, or an earlier one of ours
			if err := scheduleRefundCheck(tx.Tx, p, e); err != nil || p == before {
				return LookedUp, err
			}
		}
	}
	if p == before {
		return Duplicate, nil
	}
	return Followed, tx.change(before, p)
}

// scheduleRefundCheck schedules a read of the charge's refunded total. If a call is in flight, the
// read waits for it, because the call's result may be older. The read is due when the lease ends,
// and recordOutcome hastens it.
func scheduleRefundCheck(tx *ledger.Tx, p payment.Payment, e Event) error {
	due := tx.Now
	if p.InFlight {
		due = payment.Later(due, p.DueAt)
		if err := tx.Touch(p.ID); err != nil {
			return err
		}
	}
	return tx.AddLookup(ledger.Lookup{ID: e.Intent, PaidAt: e.Created, DueAt: due, Reconcile: true})
}

// deferEvent schedules a look-up for an event of an unknown payment. The look-up waits for the
// event of the session, which usually follows at once.
func (b *Bridge) deferEvent(tx *ledger.Tx, e Event) (outcome string, err error) {
	switch {
	case e.Type == "payment_intent.canceled":
		// There is no payment, or one that will be read from Stripe.
		return Ignored, nil
	case len(e.Metadata) > 0 && !b.oursBy(e.Metadata) && e.Refund == nil && e.Dispute == "":
		// Refunds and disputes have metadata of their own, or none.
		return NotOurs, nil
	}
	facts := !strings.HasPrefix(e.Type, "payment_intent.")
	return LookedUp, tx.AddLookup(
		ledger.Lookup{ID: e.Intent, PaidAt: e.Created, DueAt: tx.Now.Add(sessionEventGrace), Reconcile: facts},
	)
}

func errorOf[T any](_ T, err error) error { return err }
