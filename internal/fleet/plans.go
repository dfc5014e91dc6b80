package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// plansAnew is how many known prices are read anew at a refresh, those first that were not read for
// the longest time. An account has a limited number of reads a month (docs/vendors.md, Q10).
const plansAnew = 10

// readPlans reads the prices that are sold, those of a listing included. One that cannot be read
// stays as it was.
func (f *Fleet) readPlans(ctx context.Context, listing []ledger.Device, complete bool) error {
	used := f.pricesInUse(listing, complete)
	var fresh, known []string
	f.mu.Lock()
	for id := range used {
		_, ok := f.plans[id]
		if _, refused := f.refused[id]; ok || refused {
			known = append(known, id)
		} else {
			fresh = append(fresh, id)
		}
	}
	slices.SortFunc(known, func(a, b string) int { return f.planRead[a].Compare(f.planRead[b]) })
	maps.DeleteFunc(f.plans, func(id string, _ payment.Offer) bool { return !used[id] })
	maps.DeleteFunc(f.refused, func(id, _ string) bool { return !used[id] })
	maps.DeleteFunc(f.planRead, func(id string, _ time.Time) bool { return !used[id] })
	f.mu.Unlock()
	var errs []error
	for _, id := range append(fresh, known[:min(len(known), plansAnew)]...) {
		if err := f.readPlan(ctx, id); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// pricesInUse are the prices that the devices of a listing sell, if it is not complete also those
// of all others, and the defaults.
func (f *Fleet) pricesInUse(listing []ledger.Device, complete bool) map[string]bool {
	if !complete {
		listing = slices.Clone(listing)
		for _, d := range f.all() {
			listing = append(listing, d.Device)
		}
	}
	distinct := map[*saleTerms]bool{}
	for part := range slices.Chunk(listing, largest) {
		f.mu.Lock()
		for _, d := range part {
			distinct[f.saleTermsOf(d)] = true
		}
		f.mu.Unlock()
	}
	used := map[string]bool{}
	for _, id := range f.PriceIDs {
		used[id] = true
	}
	for t := range distinct {
		for _, id := range t.prices {
			used[id] = true
		}
	}
	return used
}

// readMissingPlans reads the prices of one device that nobody sold before, and reports whether
// there were any. One that cannot be read is left to the next refresh.
func (f *Fleet) readMissingPlans(ctx context.Context, uid string) (any bool) {
	var missing []string
	f.mu.RLock()
	if d := f.devices[uid]; d != nil {
		for _, id := range d.prices {
			_, known := f.plans[id]
			if _, refused := f.refused[id]; !known && !refused {
				missing = append(missing, id)
			}
		}
	}
	f.mu.RUnlock()
	for _, id := range missing {
		if err := f.readPlan(ctx, id); err != nil && ctx.Err() == nil {
			f.Log.Warn("price not read", "price", id, "device", uid, "err", err)
			f.RefreshSoon()
		}
	}
	return len(missing) > 0
}

func (f *Fleet) readPlan(ctx context.Context, id string) error {
	var why string
	plan, err := f.Stripe.Offer(ctx, id)
	switch e, _ := errors.AsType[*upstream.Error](err); {
	case err == nil:
		why = BelowMinimum(plan.Amount, plan.Currency)
	case upstream.OutcomeOf(err) != upstream.Rejected:
		return fmt.Errorf("read price %s: %w", id, err)
	case e.Detail != "":
		why = e.Detail
	default:
		why = e.Error()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.planRead[id] = time.Now()
	if why == "" {
		f.plans[id] = plan
		delete(f.refused, id)
		return nil
	}
	delete(f.plans, id) // the links that were made of it are deactivated, those of other prices are left alone
	f.refused[id] = why
	f.Log.Warn("price not sold", "price", id, "err", why) // asking again sooner changes nothing
	return nil
}

func notSold(id, why string) string { return fmt.Sprintf("price %s is not sold: %s", id, why) }

// BelowMinimum says why an amount in minor units cannot be charged, "" if it can. Stripe's minimum
// holds for the currency that the account is paid out in; what is said here is its published list,
// second-hand (docs/vendors.md, Q20), and holds for accounts paid out in the same currency. A
// currency that is not in it passes: Stripe itself then decides. Nothing at all may be charged,
// too.
func BelowMinimum(amount int64, currency string) string {
	least, known := int64(0), true
	switch currency {
	case "usd", "eur", "chf", "aud", "cad", "nzd", "sgd", "brl", "inr", "jpy":
		least = 50
	case "gbp":
		least = 30
	case "bgn":
		least = 100
	case "aed", "pln", "ron", "myr":
		least = 200
	case "dkk":
		least = 250
	case "nok", "sek":
		least = 300
	case "hkd":
		least = 400
	case "mxn", "thb":
		least = 1000
	case "czk":
		least = 1500
	case "huf":
		least = 17_500
	default:
		known = false
	}
	if !known || amount == 0 || amount >= least {
		return ""
	}
	return fmt.Sprintf(
		"its amount, %d, is below the %d (in the smallest unit of %s) that Stripe charges at least",
		amount,
		least,
		currency,
	)
}
