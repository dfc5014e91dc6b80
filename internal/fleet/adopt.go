package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// longestAdoption: Stripe lists 100 links a call, so 100,000 take some ten minutes.
const maxAdoption = time.Hour

// listPause is how long a reading of Stripe's list of links is good for each of its pages: a large
// account is not read all the time.
const listPause = 10 * time.Second

// adopt reads Stripe's active links, at the start and then at each refresh: with a lost ledger they
// are all there is, and somebody may change them in the Dashboard. Until it has succeeded once
// nothing is made.
func (w *linkReconciler) adopt(ctx context.Context) error {
	w.fleet.mu.RLock()
	adopted, pages := w.adopted, 1+w.listed/100
	due := time.Since(w.listedAt) >= time.Duration(pages)*listPause
	w.fleet.mu.RUnlock()
	if adopted && (!due || w.fleet.Sessions) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxAdoption)
	defer cancel()
	defer context.AfterFunc(w.fleet.life, cancel)()
	w.listing.Lock()
	defer w.listing.Unlock()
	return w.list(ctx)
}

// list reads Stripe's active links and holds them against those remembered. The caller holds
// listing.
func (w *linkReconciler) list(ctx context.Context) error {
	began := time.Now()
	w.fleet.mu.Lock()
	w.touched = map[linkKey]bool{}
	w.fleet.mu.Unlock()
	listed, err := w.fleet.Stripe.Links(ctx)
	w.fleet.mu.Lock()
	var keep, spare []ledger.Link
	var look []linkKey
	if err == nil {
		keep, spare, look = w.compare(listed)
	}
	w.touched = nil
	w.fleet.mu.Unlock()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for i, l := range keep {
		if l.Active && l.Plan.Currency == "" {
			keep[i].Plan = w.planOf(ctx, l.Plan.PriceID)
		}
	}
	// If we stop between two of these, the next start compares again.
	for part := range slices.Chunk(keep, largest) {
		err := w.fleet.Ledger.Update(ctx, func(tx *ledger.Tx) error {
			for _, active := range []bool{false, true} { // one active link a key: the old ones give way first
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
	for _, l := range spare {
		if !slices.ContainsFunc(w.spare, func(known ledger.Link) bool { return known.ID == l.ID }) {
			w.spare = append(w.spare, l)
			w.occupied()
		}
	}
	w.adopted, w.listedAt, w.listed = true, began, len(listed)
	w.shareListed(listed)
	for _, key := range look {
		w.look[key] = true
		w.fleet.show(key.device)
		w.prioritize(key)
	}
	w.signal()
	return nil
}

// choose returns the id of the link that stays of each key: the first one that can be paid in the
// right way, else the first. It does not depend on what this process remembers, so that two
// installations keep the same one.
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

// compare holds Stripe's active links against those remembered, and says which records change,
// which links are one too many, and which have to be read because somebody else seems to have
// changed them, or because we did while the list was read. The caller holds the lock.
func (w *linkReconciler) compare(listed []ledger.Link) (change, spare []ledger.Link, look []linkKey) {
	busy := func(key linkKey) bool { // what was listed may be older than what we have done or are doing
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
		case atStripe[old.ID]: // it is one too many, and gives way on disk before the one that stays
			old.Active = false
			change = append(change, old)
		case chosen[key] == "" || w.adopted:
			look = append(look, key)
		default: // there is another one, which an earlier process made in its place
			old.Active = false
			change = append(change, old)
		}
	}
	for _, l := range listed {
		key := linkKey{l.DeviceUID, l.Plan.PriceID}
		old := w.links[key]
		switch {
		case busy(key):
		case chosen[key] != l.ID:
			spare = append(spare, l)
		case old.ID != l.ID && old.Active && !atStripe[old.ID] && w.adopted: // it is read first, and this one is found by the next reading
		case old.ID == l.ID && w.adopted && (old.Active != l.Active || old.Closed != l.Closed):
			look = append(look, key)
		case old.ID == l.ID && old.Active == l.Active && old.Closed == l.Closed && old.ReturnURL == l.ReturnURL && old.Limited == l.Limited:
		default:
			if old.ID == l.ID {
				l.Plan = old.Plan
			}
			change = append(change, l)
		}
	}
	return change, spare, look
}

// planOf is the plan of a link that was adopted. One whose price cannot be read is remembered by
// the price's id alone.
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
