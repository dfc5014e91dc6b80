package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
)

// adoptTimeout bounds a read of Stripe's list. At 100 links a call, 100,000 take about ten minutes.
const adoptTimeout = time.Hour

// minListAge is the minimum age of the last read of Stripe's list, for each of its pages, before
// the next read. So a large account is not read all the time.
const minListAge = 10 * time.Second

// adopt reads Stripe's active links at the start and at each refresh. A lost ledger is restored
// from them, and a person may change them in the Dashboard. No link is created before it succeeded
// once.
func (w *linkReconciler) adopt(ctx context.Context) error {
	w.fleet.mu.RLock()
	adopted, pages := w.adopted, 1+w.listed/100
	due := time.Since(w.listedAt) >= time.Duration(pages)*minListAge
	w.fleet.mu.RUnlock()
	if adopted && (!due || w.fleet.Sessions) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adoptTimeout)
	defer cancel()
	defer context.AfterFunc(w.fleet.life, cancel)()
	w.listing.Lock()
	defer w.listing.Unlock()
	return w.list(ctx)
}

// list reads Stripe's active links and reconciles the known ones with them. The caller holds
// listing.
func (w *linkReconciler) list(ctx context.Context) error {
	began := time.Now()
	w.fleet.mu.Lock()
	w.touched = map[linkKey]bool{}
	w.fleet.mu.Unlock()
	listed, err := w.fleet.Stripe.Links(ctx)
	if err == nil {
		err = w.identify(ctx, listed)
	}
	w.fleet.mu.Lock()
	var changed, duplicates []ledger.Link
	var unverified []linkKey
	if err == nil {
		changed, duplicates, unverified = w.compare(listed)
	}
	w.touched = nil
	w.fleet.mu.Unlock()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for i, l := range changed {
		if l.Active && l.Plan.Currency == "" {
			changed[i].Plan = w.planOf(ctx, l.Plan.PriceID)
		}
	}
	// If the process stops between two batches, the next start compares again.
	for part := range slices.Chunk(changed, batchSize) {
		err := w.fleet.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			for _, active := range []bool{false, true} { // a key has one active link, so old ones are deactivated first
				for _, l := range part {
					if l.Active == active {
						if err := tx.SaveLink(l); err != nil {
							return err
						}
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("save links: %w", err)
		}
		w.fleet.relink(part...)
	}
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	for _, l := range duplicates {
		if !slices.ContainsFunc(w.duplicates, func(known ledger.Link) bool { return known.ID == l.ID }) {
			w.duplicates = append(w.duplicates, l)
			w.occupied()
		}
	}
	w.adopted, w.listedAt, w.listed = true, began, len(listed)
	w.shareListed(listed)
	for _, key := range unverified {
		w.unverified[key] = true
		w.fleet.rebuild(key.device)
		w.prioritize(key)
	}
	w.signal()
	return nil
}

// identify gives the listed links that the ledger knows the device, the price and the capture method
// of the ledger. A person can change the metadata that name them in the Dashboard, but not what a
// link charges.
func (w *linkReconciler) identify(ctx context.Context, listed []ledger.Link) error {
	type identity struct {
		device, price string
		manual        bool
	}
	w.fleet.mu.RLock()
	known := make(map[string]identity, len(w.links))
	for key, l := range w.links {
		known[l.ID] = identity{key.device, key.price, l.Manual}
	}
	w.fleet.mu.RUnlock()
	for i, l := range listed {
		is, ok := known[l.ID]
		if !ok && len(known) > 0 { // with none the ledger is new; a replaced link is only in the ledger
			old, err := w.fleet.Ledger.Link(ctx, l.ID)
			if ok, err = ledger.Found(err); err != nil {
				return fmt.Errorf("read link %s: %w", l.ID, err)
			}
			is = identity{uid.Key(old.DeviceUID), old.Plan.PriceID, old.Manual}
		}
		if ok && is != (identity{l.DeviceUID, l.Plan.PriceID, l.Manual}) {
			w.fleet.Log.Warn("changed metadata of a link ignored",
				"link", l.ID, "device", is.device, "price", is.price)
			listed[i].DeviceUID, listed[i].Plan.PriceID, listed[i].Manual = is.device, is.price, is.manual
		}
	}
	return nil
}

// choose returns the id of the link to keep for each key. It is the first active one with the right
// capture method, or else the first one. The choice depends only on the list, so that two
// installations keep the same link.
func (w *linkReconciler) choose(listed []ledger.Link) map[linkKey]string {
	chosen, right := map[linkKey]string{}, map[linkKey]bool{}
	for _, l := range listed {
		key := linkKey{l.DeviceUID, l.Plan.PriceID}
		if better := l.Active && l.Manual == w.fleet.ManualCapture && !right[key]; chosen[key] == "" || better {
			chosen[key], right[key] = l.ID, better
		}
	}
	return chosen
}

// compare compares Stripe's active links with the known ones. It returns the changed records, the
// duplicates, and the keys that must be read because another program seems to have changed their
// links. The caller holds the lock.
func (w *linkReconciler) compare(
	listed []ledger.Link,
) (changed, duplicates []ledger.Link, unverified []linkKey) {
	busy := func(key linkKey) bool { // the list may be older than a call of this process
		_, doubted := w.doubt[key]
		return (w.working[key] || w.touched[key]) && !doubted
	}
	chosen := w.choose(listed)
	atStripe := map[string]bool{}
	for _, l := range listed {
		atStripe[l.ID] = true
	}
	w.readSignatures(listed, busy)
	for key, old := range w.links {
		switch {
		case !old.Active || busy(key) || atStripe[old.ID] && chosen[key] == old.ID:
		case atStripe[old.ID]: // a duplicate, deactivated on disk before the link that stays is saved
			old.Active = false
			changed = append(changed, old)
		case chosen[key] == "" || w.adopted:
			unverified = append(unverified, key)
		default: // an earlier process replaced it
			old.Active = false
			changed = append(changed, old)
		}
	}
	for _, l := range listed {
		key := linkKey{l.DeviceUID, l.Plan.PriceID}
		old := w.links[key]
		known := old.ID == l.ID
		switch {
		case busy(key):
		case chosen[key] != l.ID:
			duplicates = append(duplicates, l)
		case !known && old.Active && !atStripe[old.ID] && w.adopted:
			// The known link is read first. The next list applies this one.
		case known && w.adopted && (old.Active != l.Active || old.Closed != l.Closed):
			unverified = append(unverified, key)
		case known && old.Active == l.Active && old.Closed == l.Closed &&
			old.URL == l.URL && old.ReturnURL == l.ReturnURL && old.Limited == l.Limited &&
			old.PromotionCodes == l.PromotionCodes: // nothing changed
		default:
			if known {
				l.Plan, l.TextSum = old.Plan, old.TextSum
			}
			changed = append(changed, l)
		}
	}
	return changed, duplicates, unverified
}

// planOf returns the plan of an adopted link. If the price cannot be read the plan holds only its
// id.
func (w *linkReconciler) planOf(ctx context.Context, priceID string) payment.Offer {
	if p, ok := w.fleet.Offer(priceID); ok {
		return p
	}
	p, err := w.fleet.Stripe.Offer(ctx, priceID)
	if err != nil {
		w.fleet.Log.Warn("price of an adopted link not read", "price", priceID, "err", err)
		return payment.Offer{PriceID: priceID}
	}
	return p
}
