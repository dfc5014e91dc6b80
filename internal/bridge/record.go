package bridge

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"math/big"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
)

// ours reports whether a session is a purchase of this project. A session in setup or subscription
// mode is not, whatever its metadata say.
func (b *Bridge) ours(s payment.CheckoutSession) bool {
	return b.oursBy(s.Metadata) && (s.Mode == "" || s.Mode == "payment")
}

// oursBy reports whether metadata name a device, and our project or none. A test event triggered by
// hand names no project.
func (b *Bridge) oursBy(metadata map[string]string) bool {
	project := metadata["project"]
	return metadata["device_uid"] != "" && (project == "" || project == b.c.Project)
}

// withLink returns a session that was paid through one of our links with the machine and the project
// of that link, if its metadata name others or none. A person can change the metadata of a link in
// Stripe's Dashboard. A ledger that was copied to another project knows links that are not its own, so
// a session that names another project also needs a machine of ours.
func (b *Bridge) withLink(ctx context.Context, s payment.CheckoutSession) (payment.CheckoutSession, error) {
	if s.PaymentLink == "" || b.oursBy(s.Metadata) {
		return s, nil
	}
	link, err := b.c.Ledger.Link(ctx, s.PaymentLink)
	if known, err := ledger.Found(err); err != nil || !known || link.Livemode != s.Livemode {
		return s, err
	}
	other := s.Metadata["project"] != "" && s.Metadata["project"] != b.c.Project
	if other && b.c.Fleet.Device(uid.Key(link.DeviceUID)) == nil {
		return s, nil
	}
	metadata := map[string]string{"price_id": link.Plan.PriceID}
	maps.Copy(metadata, s.Metadata)
	metadata["device_uid"], metadata["project"] = link.DeviceUID, b.c.Project
	if link.Manual {
		metadata["capture"] = "manual"
	}
	if s.Metadata = metadata; b.ours(s) {
		b.c.Log.Warn("link without its metadata, which the ledger knows",
			"link", link.ID, "session", s.ID, "device", link.DeviceUID)
	}
	return s, nil
}

// recordSession inserts the payment of a paid session, and claims it if claim is set. If the
// payment exists, it applies the session's money and disputes. Most payments are new, so it inserts
// first and reads only if that fails. A session whose authorization was released makes a payment only
// if another ledger, or an earlier state of this one, has handled it: its machine may have the credit.
func (b *Bridge) recordSession(tx *update, s payment.CheckoutSession, claim bool) (outcome string, err error) {
	switch {
	case s.Livemode != b.c.Livemode:
		return WrongMode, nil
	case !b.ours(s):
		return NotOurs, nil
	}
	p, outcome, err := b.newPayment(tx.Tx, s)
	if err != nil {
		return "", err
	}
	if outcome == Recorded {
		if inserted, err := b.insertAtOnce(tx, s, p, claim); inserted || err != nil {
			return Recorded, err
		}
	}
	stored, err := tx.Payment(p.ID)
	known, err := ledger.Found(err)
	switch {
	case err != nil:
		return "", err
	case known:
		return applySessionState(tx, stored, s)
	case released(s) && s.Handled == handledLongAgo: // Notehub may still hold its credit, or an answer
		return LookedUp, tx.AddLookup(ledger.Lookup{ID: s.ID, PaidAt: s.PaidAt, DueAt: tx.Now})
	case outcome == LookedUp:
		return LookedUp, tx.AddLookup(ledger.Lookup{ID: s.ID, PaidAt: s.PaidAt, DueAt: tx.Now, Handled: s.Handled})
	case outcome != Recorded:
		return outcome, nil
	}
	if !b.c.Ledger.Settled() && (b.c.Ledger.CreatedAt().IsZero() || b.beforeBirth(p.PaidAt)) {
		return "", ErrTimeUnknown
	}
	why, err := b.evidence(tx.Tx, s, p)
	if err != nil {
		return "", err
	}
	if why == "" && released(s) {
		return AwaitsPayment, nil // nothing shows that its credit was sent
	}
	if why != "" || b.beforeBirth(p.PaidAt) {
		p, outcome = payment.Adopt(p), Adopted
	} else if p, err = b.reserveDevice(tx, p); err != nil {
		return "", err
	}
	c, err := readDisputes(tx.Tx, p, s)
	if err != nil {
		return "", err
	}
	p = payment.Next(payment.ApplySession(p, s, c, tx.Now), tx.Now)
	if claim {
		if p, err = b.claimNew(tx, p); err != nil {
			return "", err
		}
	}
	inserted, err := tx.insert(p)
	if err == nil && !inserted {
		return Duplicate, nil
	}
	if err == nil && why != "" {
		err = auditAdoption(tx.Tx, p, why)
	}
	if why == handledByTwin {
		b.twins(p, "a machine has a credit that was not sent from here")
	}
	return outcome, err
}

// newPayment returns the payment of a session that the ledger may not know yet. The outcome is
// Recorded, LookedUp if Stripe has to be read first, or AwaitsPayment.
func (b *Bridge) newPayment(tx *ledger.Tx, s payment.CheckoutSession) (p payment.Payment, outcome string, err error) {
	p = payment.Payment{
		ID:            payment.CreditID(s.ID),
		SessionID:     s.ID,
		PaymentIntent: s.PaymentIntent,
		DeviceUID:     uid.Of(s.Metadata["device_uid"]),
		PriceID:       s.Metadata["price_id"],
		Amount:        s.Amount,
		Discount:      s.Discount,
		Currency:      s.Currency,
		Livemode:      s.Livemode,
		CardLast4:     s.CardLast4,
		ReceiptURL:    s.ReceiptURL,
		Delivery:      payment.Queued,
		PaidAt:        s.PaidAt,
		CreatedAt:     tx.Now,
		DeliveryAt:    tx.Now,
		FundsAt:       tx.Now,
	}
	p.Token = newToken(p.ID)
	device, plan, manual, remembered, err := offered(tx, s)
	if err != nil {
		return p, "", err
	}
	if device != "" {
		p.DeviceUID = device
	}
	switch {
	case s.PaymentStatus == "no_payment_required", s.IntentStatus == "succeeded":
		p.Funds = payment.Paid
	case s.IntentStatus == "requires_capture", released(s):
		p.Funds = payment.Authorized // ApplySession applies a release
	case s.PaymentStatus == "paid" && (b.c.ManualCapture || manual) && s.IntentStatus == "":
		// It is not known whether Checkout calls an authorization "paid" (docs/vendors.md, Q8). The
		// intent tells.
		return p, LookedUp, nil
	case s.PaymentStatus == "paid":
		p.Funds = payment.Paid
	default:
		return p, AwaitsPayment, nil
	}
	if d := b.c.Fleet.Device(p.DeviceUID); d != nil {
		p.DeviceName = d.Name
	}
	if remembered {
		if now, ok := b.c.Fleet.Offer(plan.PriceID); ok {
			plan = payment.Complete(plan, now)
		}
		p = payment.ApplyOffer(p, s, plan, newAccessCode())
	}
	return b.setDeadlines(p, b.lifetimeOf(p.DeviceUID), p.PaidAt), Recorded, nil
}

// lifetimeOf returns how long a credit of a device waits to be fetched.
func (b *Bridge) lifetimeOf(device string) time.Duration {
	if own, ok := b.c.Fleet.Lifetime(device); ok {
		return own
	}
	return b.c.Lifetime
}

// insertAtOnce inserts the payment of an ordinary event without reading anything first. It returns
// false if the session needs a closer look, or the row of another payment is in the way. Then it
// has changed nothing.
func (b *Bridge) insertAtOnce(tx *update, s payment.CheckoutSession, p payment.Payment, claim bool) (bool, error) {
	unusual := s.Handled != "" || s.IntentStatus != "" || p.Plan == "" || b.unknownConfirmed.Load() ||
		!b.c.Ledger.Settled() || b.beforeBirth(p.PaidAt) || b.earlierState(p.PaidAt)
	if unusual {
		return false, nil
	}
	p.HoldsDevice = p.Duration > 0 // the schema rejects it if another credit holds the device
	p = payment.Next(payment.ApplySession(p, s, payment.DisputeTotals{}, tx.Now), tx.Now)
	if claim {
		var err error
		if p, err = b.claimNew(tx, p); err != nil {
			return false, err
		}
	}
	return tx.tryInsert(p)
}

// applySessionState applies the money, disputes and charge of a session to its payment.
func applySessionState(tx *update, p payment.Payment, s payment.CheckoutSession) (outcome string, err error) {
	if p, err = tx.setCharge(p, s.CardLast4, s.ReceiptURL); err != nil {
		return "", err
	}
	c, err := readDisputes(tx.Tx, p, s)
	if err != nil {
		return "", err
	}
	after := payment.ApplySession(p, s, c, tx.Now)
	if after == p {
		return Duplicate, nil
	}
	return Followed, tx.change(p, after)
}

// mayBeHeld reports whether the money of a session may be only authorized.
func (b *Bridge) mayBeHeld(tx *ledger.Tx, s payment.CheckoutSession) (bool, error) {
	_, _, manual, _, err := offered(tx, s)
	return b.c.ManualCapture || manual, err
}

// offered returns the offer of a session or its link, and whether it only authorizes the money. It
// also returns the device of the link, whose metadata a person may have changed in the Dashboard, and
// "" without a link. remembered is false if the ledger knows neither.
func offered(
	tx *ledger.Tx,
	s payment.CheckoutSession,
) (device string, plan payment.Offer, manual, remembered bool, err error) {
	if s.PaymentLink == "" {
		made, err := tx.Session(s.ID)
		remembered, err = ledger.Found(err)
		return "", made.Plan, made.Manual, remembered, err
	}
	device, plan, manual, err = tx.Terms(s.PaymentLink)
	remembered, err = ledger.Found(err)
	return uid.Key(device), plan, manual, remembered, err
}

// setDeadlines sets when a credit expires, and until when its machine has to confirm. A machine may
// confirm late what it began in time.
func (b *Bridge) setDeadlines(p payment.Payment, lifetime time.Duration, from time.Time) payment.Payment {
	if lifetime <= 0 {
		return p
	}
	p.ExpiresAt = from.Add(lifetime)
	if b.c.ConfirmWithin > 0 {
		confirmBy := from.Add(b.c.ConfirmWithin)
		p.ExpiresAt = payment.Earlier(p.ExpiresAt, confirmBy)
		p.ConfirmBy = payment.Later(confirmBy, p.ExpiresAt.Add(payment.ConfirmationGrace))
	}
	return p
}

// reserveDevice makes a timed credit hold its device. It fails the credit if another one holds the
// device, and frees the device from a credit whose time is over.
func (b *Bridge) reserveDevice(tx *update, p payment.Payment) (payment.Payment, error) {
	if p.Duration == 0 || p.HoldsDevice {
		return p, nil
	}
	other, err := tx.Occupant(p.DeviceUID)
	taken, err := ledger.Found(err)
	if err != nil {
		return p, err
	}
	if taken {
		ended := payment.Next(other, tx.Now)
		if ended.HoldsDevice {
			return payment.Fail(p, payment.ReasonBusy), nil
		}
		if err := tx.change(other, ended); err != nil {
			return p, err
		}
	}
	p.HoldsDevice = true
	return p, nil
}

// newToken returns a token for a payment's page, with 128 random bits.
func newToken(credit string) string {
	var random [16]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	return payment.TokenOf(credit, random)
}

// newAccessCode returns six random digits.
func newAccessCode() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(1_000_000)) // never fails (crypto/rand)
	return fmt.Sprintf("%06d", n)
}
