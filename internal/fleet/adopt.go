package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"notepay/internal/ledger"
)

// longestAdoption: Stripe lists 100 links a call, so 100,000 take some ten minutes.
const longestAdoption = time.Hour

// adopt reads Stripe's active links, once a process: with a lost ledger they are all there is, and an operator may have
// deactivated some by hand. Until it has succeeded nothing is made.
func (w *linkWork) adopt(ctx context.Context) error {
	w.fleet.mu.Lock()
	adopted := w.adopted
	w.fleet.mu.Unlock()
	if adopted {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestAdoption)
	defer cancel()
	defer context.AfterFunc(w.fleet.life, cancel)()
	listed, err := w.fleet.Stripe.Links(ctx)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	w.fleet.mu.Lock()
	keep, spare := w.compare(listed)
	w.fleet.mu.Unlock()
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
	w.adopted, w.spare = true, spare
	w.fleet.mu.Unlock()
	return nil
}

// compare holds Stripe's active links against those remembered, and says which records change and which links are one too many.
// The one that is remembered as active stays; else the first.
func (w *linkWork) compare(listed []ledger.Link) (change, spare []ledger.Link) {
	chosen := map[linkKey]string{}
	atStripe := map[string]ledger.Link{}
	for _, l := range listed {
		atStripe[l.ID] = l
		key := linkKey{l.DeviceUID, l.Plan.PriceID}
		if old := w.links[key]; chosen[key] == "" || (old.Active && old.ID == l.ID) {
			chosen[key] = l.ID
		}
	}
	for _, old := range w.links {
		if _, still := atStripe[old.ID]; old.Active && !still {
			old.Active = false
			change = append(change, old)
		}
	}
	for _, l := range listed {
		key := linkKey{l.DeviceUID, l.Plan.PriceID}
		old := w.links[key]
		switch {
		case chosen[key] != l.ID:
			spare = append(spare, l)
		case old.ID == l.ID && old.Active && old.ReturnURL == l.ReturnURL:
		default:
			if old.ID == l.ID {
				l.Plan = old.Plan
			}
			change = append(change, l)
		}
	}
	return change, spare
}

// planOf is the plan of a link that was adopted. One whose price cannot be read is remembered by the price's id alone.
func (w *linkWork) planOf(ctx context.Context, priceID string) ledger.Plan {
	if p, ok := w.fleet.Plan(priceID); ok {
		return p
	}
	p, err := w.fleet.Stripe.Plan(ctx, priceID)
	if err != nil {
		w.fleet.Log.Warn("price of an adopted link not read", "price", priceID, "err", err)
		return ledger.Plan{PriceID: priceID}
	}
	return p
}
