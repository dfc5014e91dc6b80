package fleet

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// apply makes the calls of an action.
func (w *linkReconciler) apply(ctx context.Context, key linkKey, act action, link ledger.Link) error {
	f := w.fleet
	switch act {
	case create:
		return w.create(ctx, key)
	case activate, redirect:
		text := f.pageText(f.Device(key.device))
		link.Active, link.ReturnURL, link.PromotionCodes = true, f.ReturnURL, f.PromotionCodes
		if text != "" {
			link.TextSum = ledger.SumText(text)
		}
		return w.change(ctx, link, text, act == activate)
	case deactivate:
		link.Active = false
		return w.change(ctx, link, "", true)
	case examine:
		return w.examine(ctx, key, link)
	}
	return nil
}

// create creates the link of a key, unless an earlier try did.
func (w *linkReconciler) create(ctx context.Context, key linkKey) error {
	f := w.fleet
	device, plan := f.Device(key.device), payment.Offer{}
	if device != nil {
		plan, _ = f.Offer(key.price)
	}
	if plan.PriceID == "" {
		return nil // the device or the price is gone
	}
	if created, err := w.settleDoubt(ctx, key); err != nil || created {
		return err
	}
	f.mu.RLock()
	c, lost := w.lost[key]
	if !lost { // otherwise repeat the same request, because the idempotency key is the same
		c = creation{at: time.Now(), request: NewLink{
			Device:         device.Device,
			Plan:           plan,
			ReturnURL:      f.ReturnURL,
			Text:           f.pageText(device),
			PromotionCodes: f.PromotionCodes,
			SignedBy:       w.nonce,
			IdempotencyKey: w.idempotencyKey(key, w.tries[key]),
		}}
	}
	f.mu.RUnlock()
	link, err := f.Stripe.CreateLink(ctx, c.request)
	w.recordCreation(key, c, err)
	if err != nil {
		return fmt.Errorf("create link: %w", err)
	}
	// If the process stops here, the link is at Stripe and not on disk. The next start finds it in
	// Stripe's list.
	w.made.Add(1)
	if err := w.save(ctx, link); err != nil {
		return err
	}
	w.shareFirst(link)
	if link.Manual != f.ManualCapture { // an error, or it would be replaced again and again
		return &upstream.Error{
			Outcome: upstream.Rejected,
			Detail:  "link " + link.ID + " was created with the wrong capture method",
		}
	}
	return nil
}

// change updates a link at Stripe and in the ledger. A deactivation is on disk before the call. If
// the process stops after the call, the next start must not take it for a deactivation in the
// Dashboard. If it stops before the call, the next start finds the link active.
//
// switches reports whether the call activates or deactivates the link. Only then does an unclear
// reply leave open whether the link sells.
func (w *linkReconciler) change(ctx context.Context, link ledger.Link, text string, switches bool) error {
	if !link.Active {
		if err := w.store(ctx, link); err != nil {
			return err
		}
	}
	sent := link
	sent.SignedBy = "" // a new text must not hide what another installation has signed
	if switches {
		link.SignedBy = w.nonce
		sent.SignedBy = w.nonce
	}
	address, err := w.fleet.Stripe.UpdateLink(ctx, sent, text)
	w.fleet.mu.Lock()
	if outcome := upstream.OutcomeOf(err); outcome == upstream.Unknown && switches {
		w.unsure[link.ID] = true
		w.fleet.rebuild(link.DeviceUID)
	} else if outcome == upstream.OK {
		delete(w.unsure, link.ID)
	}
	w.fleet.mu.Unlock()
	if err != nil {
		return fmt.Errorf("update link %s: %w", link.ID, err)
	}
	link.URL = cmp.Or(address, link.URL)
	return w.save(ctx, link)
}

// saveTimeout bounds the write after a change at Stripe.
const saveTimeout = 4 * time.Second

// store writes a link to the ledger. It does not stop with ctx, because Stripe has the change.
func (w *linkReconciler) store(ctx context.Context, link ledger.Link) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	err := w.fleet.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.SaveLink(link) })
	if err != nil {
		return fmt.Errorf("save link %s: %w", link.ID, err)
	}
	return nil
}

// save stores a link in the ledger and in memory.
func (w *linkReconciler) save(ctx context.Context, link ledger.Link) error {
	if err := w.store(ctx, link); err != nil {
		return err
	}
	w.fleet.mu.Lock()
	if w.touched != nil {
		w.touched[linkKey{link.DeviceUID, link.Plan.PriceID}] = true
	}
	w.fleet.mu.Unlock()
	w.fleet.relink(link)
	w.fleet.Log.Debug("link saved",
		"link", link.ID, "device", link.DeviceUID, "price", link.Plan.PriceID, "active", link.Active)
	return nil
}
