package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// maxPlanReads is how many known prices a refresh reads again, beginning with the oldest reads. An
// account has a limited number of reads a month (docs/vendors.md, Q10).
const maxPlanReads = 10

// readPlans reads the prices that are sold, including those of a listing. It reports whether it read
// any. A price that cannot be read keeps its last state. variablesRead reports that variables may have
// changed since the devices were built.
func (f *Fleet) readPlans(
	ctx context.Context,
	listing []ledger.Device,
	complete, variablesRead bool,
) (read bool, err error) {
	used := f.pricesInUse(listing, complete, variablesRead)
	var fresh, known []string
	f.mu.Lock()
	for id := range used {
		_, ok := f.plans[id]
		if _, refused := f.rejected[id]; ok || refused {
			known = append(known, id)
		} else {
			fresh = append(fresh, id)
		}
	}
	slices.SortFunc(known, func(a, b string) int { return f.planReadAt[a].Compare(f.planReadAt[b]) })
	maps.DeleteFunc(f.plans, func(id string, _ payment.Offer) bool { return !used[id] })
	maps.DeleteFunc(f.rejected, func(id, _ string) bool { return !used[id] })
	maps.DeleteFunc(f.planReadAt, func(id string, _ time.Time) bool { return !used[id] })
	f.mu.Unlock()
	var errs []error
	for _, id := range append(fresh, known[:min(len(known), maxPlanReads)]...) {
		if err := f.readPlan(ctx, id); err != nil {
			errs = append(errs, err)
		} else {
			read = true
		}
	}
	return read, errors.Join(errs...)
}

// pricesInUse returns the default prices and those of the devices in a listing. If the listing is
// incomplete it adds the prices of all known devices.
func (f *Fleet) pricesInUse(listing []ledger.Device, complete, variablesRead bool) map[string]bool {
	distinct := map[*saleTerms]bool{}
	if !complete {
		listing = slices.Clone(listing)
		for _, d := range f.all() {
			if variablesRead {
				listing = append(listing, d.Device)
			} else {
				distinct[d.saleTerms] = true
			}
		}
	}
	for part := range slices.Chunk(listing, batchSize) {
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

// readMissingPlans reads the prices of one device that were never read, and reports whether there
// were any. The next refresh retries those that cannot be read.
func (f *Fleet) readMissingPlans(ctx context.Context, uid string) bool {
	var missing []string
	f.mu.RLock()
	if d := f.devices[uid]; d != nil {
		for _, id := range d.prices {
			_, known := f.plans[id]
			if _, refused := f.rejected[id]; !known && !refused {
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

// readPlan reads a price and records whether it can be sold.
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
	f.planReadAt[id] = time.Now()
	f.Ledger.Tell(ledger.ChangedPlan, planTold(plan, id, why))
	if why == "" {
		f.plans[id] = plan
		delete(f.rejected, id)
		return nil
	}
	delete(f.plans, id) // its links are deactivated
	f.rejected[id] = why
	f.Log.Warn("price not sold", "price", id, "err", why) // no error, because an early retry is no use
	return nil
}

func notSoldText(id, why string) message.Message {
	return message.New("price %s is not sold: %s", id, message.New(why))
}

// BelowMinimum returns why an amount in minor units is too small to charge, or "". An amount of 0
// is free and passes.
//
// The minimums are Stripe's published list, second-hand (docs/vendors.md, Q20). They apply to
// accounts that are paid out in the same currency. Other currencies pass, and Stripe decides.
func BelowMinimum(amount int64, currency string) string {
	minimum, known := int64(0), true
	switch currency {
	case "usd", "eur", "chf", "aud", "cad", "nzd", "sgd", "brl", "inr", "jpy":
		minimum = 50
	case "gbp":
		minimum = 30
	case "bgn":
		minimum = 100
	case "aed", "pln", "ron", "myr":
		minimum = 200
	case "dkk":
		minimum = 250
	case "nok", "sek":
		minimum = 300
	case "hkd":
		minimum = 400
	case "mxn", "thb":
		minimum = 1000
	case "czk":
		minimum = 1500
	case "huf":
		minimum = 17_500
	default:
		known = false
	}
	if !known || amount == 0 || amount >= minimum {
		return ""
	}
	return fmt.Sprintf(
		"its amount, %d, is below the %d (in the smallest unit of %s) that Stripe charges at least",
		amount,
		minimum,
		currency,
	)
}
