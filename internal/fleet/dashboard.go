package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// This file keeps up with what somebody changes in Stripe's Dashboard, and with calls whose result
// nobody has seen.
//
// A link that somebody deactivated or limited in the Dashboard stays as it is: that person wants
// nobody to pay through it, and we cannot know why. The device says so, and sells again when the
// link is activated in the Dashboard.

// The types of Stripe's events that say that something which is sold may have changed.
const (
	LinkUpdated    = "payment_link.updated"
	PriceUpdated   = "price.updated"
	ProductUpdated = "product.updated"
)

// maxHints is how many hints may wait. If there are more, a refresh finds what they would have
// told.
const maxHints = 256

// changeHint says that something may have changed at Stripe.
type changeHint struct {
	kind, id        string
	active, limited bool // of a link, as the event says
}

// OfferChanged notes that a link, price or product may have changed at Stripe, by the type of the
// event, the id of its object, and whether a link is active and limited. It returns at once. What
// the event says is not believed, because events arrive late and in any order: where it differs
// from what is known, Stripe is asked.
func (f *Fleet) OfferChanged(eventType, id string, active, limited bool) {
	select {
	case f.hints <- changeHint{eventType, id, active, limited}:
	default:
		f.RefreshSoon()
	}
}

// LinkPaid notes a payment through a link. It returns at once, and only a link that Stripe ends
// after some payments is read.
func (f *Fleet) LinkPaid(id string) {
	f.mu.RLock()
	_, limited := f.links.limited[id]
	f.mu.RUnlock()
	if limited {
		f.OfferChanged(LinkUpdated, id, true, true)
	}
}

// followHints reads what the hints name, until the context ends.
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
			f.links.examineSoon(h)
			f.links.sharedChanged(ctx, h.id)
		case signatureDue:
			f.links.sign(ctx, h.id)
		case signatureRead:
			f.links.mark.on = h.id
		case PriceUpdated:
			f.readPlansNow(ctx, h.id)
		case ProductUpdated: // which prices are of a product is not kept; there are few, and products are changed rarely
			f.readPlansNow(ctx, "")
		}
	}
}

// readPlansNow reads a price that is sold, or all of them, and shows what changed on the devices.
func (f *Fleet) readPlansNow(ctx context.Context, id string) {
	var ids []string
	f.mu.RLock()
	for sold := range f.planRead {
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
	for part := range slices.Chunk(f.all(), largest) {
		f.mu.Lock()
		for _, d := range part {
			f.show(d.UID)
		}
		f.mu.Unlock()
	}
	f.mu.RLock()
	complete := f.links.complete
	f.mu.RUnlock()
	f.links.plan(complete)
}

// show puts a device together again. The caller holds the lock.
func (f *Fleet) show(uid string) {
	if d, ok := f.devices[uid]; ok {
		f.devices[uid] = f.build(d.Device)
	}
}

// examineSoon has a link read before all others, unless it is as it is known. Each change of ours
// comes back as a hint, too.
func (w *linkReconciler) examineSoon(h changeHint) {
	var found *linkKey
	w.fleet.mu.RLock()
	for key, l := range w.links {
		if l.ID == h.id {
			found = &key
			break
		}
	}
	w.fleet.mu.RUnlock()
	if found == nil {
		return
	}
	w.fleet.mu.Lock()
	link := w.links[*found]
	if w.working[*found] { // it may be what we are just changing
		w.fleet.mu.Unlock()
		time.AfterFunc(time.Second, func() { w.fleet.OfferChanged(h.kind, h.id, h.active, h.limited) })
		return
	}
	if h.active != link.Active || h.limited || link.Limited {
		if _, known := w.look[*found]; !known {
			w.look[*found] = !h.active // then nobody is led there until it was read
		}
		w.prioritize(*found)
		w.fleet.show(link.DeviceUID)
	}
	w.fleet.mu.Unlock()
	w.signal()
}

// examine reads a link, and takes over how it is at Stripe. The worker has the key to itself, so
// that no call of ours is under way.
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
	switch {
	case gone: // it is another account's: a new one is made
		changed.Active = false
	case found.Active:
		changed.Active, changed.Closed, changed.ReturnURL = true, "", found.ReturnURL
	default:
		changed.Active = false
		if (link.Active && !unsure || link.Closed != "") && !elsewhere { // else we did that
			changed.Closed = found.Closed
		}
	}
	if err := w.store(ctx, changed); err != nil {
		return err
	}
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	delete(w.look, key)
	delete(w.unsure, link.ID)
	w.remember(changed)
	if gone {
		delete(w.links, key)
	}
	if elsewhere { // two installations that disagree change a link once a refresh, not all the time
		w.rests[key] = time.Now().Add(untilRefresh)
		w.fleet.Log.Warn("link deactivated by another process of notepay", "link", link.ID, "device", key.device)
	}
	w.fleet.show(key.device)
	if changed.Closed != link.Closed {
		w.fleet.Log.Warn(
			"link changed in the dashboard",
			"link",
			link.ID,
			"device",
			key.device,
			"closed",
			changed.Closed,
		)
	}
	return nil
}

// creation is what a link is made of, and when.
type creation struct {
	device ledger.Device
	plan   payment.Offer
	at     time.Time
}

// lostKeyHolds is how long a creation whose reply was lost may be repeated under its idempotency
// key: Stripe keeps keys for a day.
const lostKeyHolds = 23 * time.Hour

// judgeCreation decides under which idempotency key a creation is tried next. While a link may have
// been made under a key, another key could make a second one: it is taken only when Stripe's list
// was read after that.
func (w *linkReconciler) judgeCreation(key linkKey, c creation, err error) {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	e, _ := errors.AsType[*upstream.Error](err)
	_, lost := w.lost[key]
	switch outcome := upstream.OutcomeOf(err); {
	case outcome == upstream.OK:
		delete(w.lost, key)
	case outcome == upstream.RateLimited || outcome == upstream.Retryable: // it says nothing about an earlier try
	case outcome == upstream.Unknown && (e == nil || e.Status == 0):
		w.lost[key] = c // with the time of the first that was lost
	case outcome == upstream.Unknown || lost: // Stripe stores a 500 under the key, and would say so again and again
		w.doubt[key] = time.Now()
	default:
		w.tries[key]++
	}
}

// settleDoubt reads Stripe's list where a creation may have made a link under a key that cannot be
// used again. It reports whether there is one; if there is none, the next creation has a new key.
func (w *linkReconciler) settleDoubt(ctx context.Context, key linkKey) (created bool, err error) {
	w.fleet.mu.Lock()
	since, doubted := w.doubt[key]
	if lost, ok := w.lost[key]; ok && time.Since(lost.at) > lostKeyHolds && !doubted {
		since, doubted = lost.at, true
		w.doubt[key] = since
	}
	w.fleet.mu.Unlock()
	if !doubted {
		return false, nil
	}
	if err := w.listAfter(ctx, since); err != nil {
		return false, err
	}
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	delete(w.doubt, key)
	delete(w.lost, key)
	w.tries[key]++
	return w.links[key].Active, nil
}

// listAfter reads Stripe's list unless it was read since a time, together with all others who want
// that.
func (w *linkReconciler) listAfter(ctx context.Context, since time.Time) error {
	w.listing.Lock()
	defer w.listing.Unlock()
	w.fleet.mu.RLock()
	done := w.listedAt.After(since)
	w.fleet.mu.RUnlock()
	if done {
		return nil
	}
	return w.list(ctx)
}

// idempotencyKey is that of a creation. Stripe takes 255 characters; what would be longer is made
// short by its hash.
func (w *linkReconciler) idempotencyKey(key linkKey, try int) string {
	name := key.device + ":" + key.price
	if len(name) > 200 {
		name = fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
	}
	return fmt.Sprintf("link:%s:%s:%d", name, w.nonce, try)
}
