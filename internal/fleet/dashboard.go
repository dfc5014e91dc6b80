package fleet

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// This file follows changes in Stripe's Dashboard, and calls whose result was lost.
//
// A link that a person deactivated or limited in the Dashboard stays closed, because notepay cannot
// know why. The device shows it, and sells again when the link is activated in the Dashboard.

// The types of Stripe's events about changed links, prices and products.
const (
	LinkUpdated    = "payment_link.updated"
	PriceUpdated   = "price.updated"
	ProductUpdated = "product.updated"
)

// maxHints is the maximum number of waiting hints. If there are more, a refresh finds the changes.
const maxHints = 256

// changeHint names an object that may have changed at Stripe.
type changeHint struct {
	kind, id        string
	active, limited bool // the state of a link in the event
}

// OfferChanged queues a hint that a link, price or product may have changed at Stripe. active and
// limited are the state of a link in the event. It returns at once. Events arrive late and in any
// order, so notepay reads the object if the event differs from its own state.
func (f *Fleet) OfferChanged(eventType, id string, active, limited bool) {
	if f.wish(wishOffer, eventType, id, strconv.FormatBool(active), strconv.FormatBool(limited)) {
		return
	}
	select {
	case f.hints <- changeHint{eventType, id, active, limited}:
	default:
		f.RefreshSoon()
	}
}

// LinkPaid queues a hint that a payment was made through a link. It returns at once. Only a link
// that Stripe deactivates after some payments is read.
func (f *Fleet) LinkPaid(id string) {
	f.mu.RLock()
	_, limited := f.links.limited[id]
	f.mu.RUnlock()
	if limited {
		f.OfferChanged(LinkUpdated, id, true, true)
	}
}

// followHints reads the objects of the hints, until ctx ends.
func (f *Fleet) followHints(ctx context.Context) {
	for {
		var h changeHint
		select {
		case <-ctx.Done():
			return
		case h = <-f.hints:
		}
		switch h.kind {
		case LinkUpdated:
			f.links.checkHint(h)
			f.links.sharedChanged(ctx, h.id)
		case signatureDue:
			f.links.sign(ctx, h.id)
		case signatureRead:
			f.links.signatureListed(ctx, h.id)
		case PriceUpdated:
			f.rereadPlans(ctx, h.id)
		case ProductUpdated: // the prices of a product are not known, so all are read
			f.rereadPlans(ctx, "")
		}
	}
}

// rereadPlans reads a price that is sold, or all prices if id is "", and rebuilds the devices.
func (f *Fleet) rereadPlans(ctx context.Context, id string) {
	var ids []string
	f.mu.RLock()
	for sold := range f.planReadAt {
		if id == "" || sold == id {
			ids = append(ids, sold)
		}
	}
	f.mu.RUnlock()
	for _, id := range ids {
		if err := f.readPlan(ctx, id); err != nil && ctx.Err() == nil {
			f.Log.Warn("price not read", "price", id, "err", err)
			f.RefreshSoon()
		}
	}
	if len(ids) == 0 {
		return
	}
	f.rebuildAll()
	f.mu.RLock()
	complete := f.links.complete
	f.mu.RUnlock()
	f.links.plan(complete)
}

// rebuild rebuilds a device after a change of its links or plans. The caller holds the lock.
func (f *Fleet) rebuild(uid string) {
	if d, ok := f.devices[uid]; ok {
		f.devices[uid] = f.build(d.Device)
	}
}

// checkHint reads a link before all others if the hint differs from its known state. Each change by
// notepay also returns as a hint.
func (w *linkReconciler) checkHint(h changeHint) {
	w.fleet.mu.RLock()
	found, ok := w.keyOf(h.id)
	w.fleet.mu.RUnlock()
	if !ok {
		return
	}
	w.fleet.mu.Lock()
	link := w.links[found]
	if w.working[found] { // the hint may come from the call in flight
		w.fleet.mu.Unlock()
		time.AfterFunc(time.Second, func() { w.fleet.OfferChanged(h.kind, h.id, h.active, h.limited) })
		return
	}
	if h.active != link.Active || h.limited || link.Limited {
		if _, known := w.unverified[found]; !known {
			w.unverified[found] = !h.active
		}
		w.prioritize(found)
		w.fleet.rebuild(link.DeviceUID)
	}
	w.fleet.mu.Unlock()
	w.signal()
}

// keyOf returns the key of the link with an id. The caller holds the lock.
func (w *linkReconciler) keyOf(id string) (key linkKey, ok bool) {
	for key, l := range w.links {
		if l.ID == id {
			return key, true
		}
	}
	return linkKey{}, false
}

// examine reads a link and applies its state at Stripe. Only one worker has the key, so no other
// call for it is in flight.
func (w *linkReconciler) examine(ctx context.Context, key linkKey, link ledger.Link) error {
	found, err := w.fleet.Stripe.Link(ctx, link.ID)
	gone := upstream.OutcomeOf(err) == upstream.Rejected
	if err != nil && !gone {
		return fmt.Errorf("read link %s: %w", link.ID, err)
	}
	w.fleet.mu.Lock()
	unsure := w.unsure[link.ID]
	w.fleet.mu.Unlock()
	elsewhere := !gone && !found.Active && w.signedElsewhere(link, found)
	changed := link
	changed.Limited, changed.SignedBy = found.Limited && !gone, found.SignedBy
	changed.URL = cmp.Or(found.URL, link.URL)
	switch {
	case gone: // it belongs to another account, so a new one is created
		changed.Active = false
	case found.Active:
		changed.Active, changed.Closed, changed.ReturnURL = true, "", found.ReturnURL
		changed.PromotionCodes = found.PromotionCodes
	default:
		changed.Active = false
		if (link.Active && !unsure || link.Closed != "") && !elsewhere { // otherwise notepay deactivated it
			changed.Closed = found.Closed
		}
	}
	if err := w.store(ctx, changed); err != nil {
		return err
	}
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	delete(w.unverified, key)
	delete(w.unsure, link.ID)
	w.remember(changed)
	if gone {
		delete(w.links, key)
	}
	if elsewhere { // two installations that disagree change a link only once for each refresh
		w.backoffUntil[key] = time.Now().Add(untilRefresh)
		w.fleet.Log.Warn("link deactivated by another process of notepay", "link", link.ID, "device", key.device)
	}
	w.fleet.rebuild(key.device)
	if changed.Closed != link.Closed {
		w.fleet.Log.Warn("link changed in the dashboard",
			"link", link.ID, "device", key.device, "closed", changed.Closed)
	}
	return nil
}
