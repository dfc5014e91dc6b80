package fleet

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/uid"
	"notepay/internal/upstream"
)

// Of several instances one leads: it lists devices, reads variables and prices, and changes links.
// The others follow what it stores, and tell it what they wish.

// The wishes that an instance has for the leader.
const (
	wishRefresh   = "refresh"
	wishPlans     = "plans"     // what was read of prices
	wishLookup    = "lookup"    // an unknown device that was scanned
	wishLinks     = "links"     // of a device that was scanned
	wishVariables = "variables" // of a device that was scanned
	wishOffer     = "offer"     // the arguments of OfferChanged
)

// wish tells the leader what this instance wishes. It returns false if this instance leads.
func (f *Fleet) wish(words ...string) bool {
	if f.Ledger.Leads() {
		return false
	}
	f.Ledger.Tell(ledger.Wished, strings.Join(words, " "))
	return true
}

// wishInterval is how long an instance does not repeat what scans make it wish, and at most maxScanned
// wishes of scans are told in that time.
const wishInterval = 10 * time.Second

// scanWishes are what scans have made this instance wish lately.
type scanWishes struct {
	mu    sync.Mutex
	since time.Time
	told  map[string]bool
}

// take reports whether a wish may be told now. Anyone can scan at any rate, and a wish that is told
// costs a row of the database and the attention of all instances.
func (w *scanWishes) take(now time.Time, wish string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.since) >= wishInterval {
		w.since, w.told = now, map[string]bool{}
	}
	if w.told[wish] || len(w.told) >= maxScanned {
		return false
	}
	w.told[wish] = true
	return true
}

// wishForScan is wish for a device that a customer scanned.
func (f *Fleet) wishForScan(what, uid string) bool {
	if f.Ledger.Leads() {
		return false
	}
	return !f.scans.take(time.Now(), what+" "+uid) || f.wish(what, uid)
}

// grant does what another instance wishes, if this one leads.
func (f *Fleet) grant(words []string) {
	if !f.Ledger.Leads() || len(words) == 0 {
		return
	}
	switch what, args := words[0], words[1:]; {
	case what == wishRefresh:
		f.RefreshSoon()
	case what == wishPlans:
		f.tellPlans()
	case what == wishLookup && len(args) == 1:
		f.RequestLookup(args[0])
	case what == wishLinks && len(args) == 1:
		f.Prioritize(args[0])
	case what == wishVariables && len(args) == 1:
		f.reader.scan(args[0])
	case what == wishOffer && len(args) == 4:
		active, _ := strconv.ParseBool(args[2])
		limited, _ := strconv.ParseBool(args[3])
		f.OfferChanged(args[0], args[1], active, limited)
	}
}

// Follow applies what other instances did. After an error, the caller repeats it. A listing counts
// only if its devices were read.
func (f *Fleet) Follow(ctx context.Context, changes []ledger.Change) error {
	uids, owners := map[string]bool{}, []string{}
	all, missed, listed := false, false, ""
	for _, c := range changes {
		switch c.Kind {
		case ledger.ChangedDevice:
			uids[uid.Key(c.Subject)] = true
		case ledger.ChangedVariables:
			owners = append(owners, c.Subject)
		case ledger.ChangedListing:
			listed = c.Subject
		case ledger.ChangedPlan:
			f.followPlan(c.Subject)
			all = true
		case ledger.Wished:
			f.grant(c.Cut())
		case ledger.Missed:
			missed = true
		}
	}
	if missed {
		f.plansMissed()
		return f.followAll(ctx)
	}
	var errs []error
	if len(owners) > 0 {
		all = true
		errs = append(errs, f.followVariables(ctx, owners))
	}
	for part := range slices.Chunk(keysOf(uids), batchSize) {
		errs = append(errs, f.followDevices(ctx, part))
	}
	if all {
		f.rebuildAll()
	}
	if err := errors.Join(errs...); err != nil || listed == "" {
		return err
	}
	f.followListing(listed)
	if err := f.readKeys(ctx); err != nil { // the next listing repeats it
		f.Log.Warn("public keys not read", "err", err)
	}
	return nil
}

func keysOf(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for key := range set {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

// followAll reads everything again.
func (f *Fleet) followAll(ctx context.Context) error {
	devices, err := f.Ledger.Devices(ctx)
	var stored []ledger.Variables
	if err == nil {
		stored, err = f.Ledger.Variables(ctx)
	}
	if err != nil {
		return err
	}
	uids, owners := map[string]bool{}, []string{}
	for _, d := range devices {
		uids[d.UID] = true
	}
	for _, d := range f.all() {
		uids[d.UID] = true
	}
	for _, v := range stored {
		if !strings.HasPrefix(v.Owner, "dev:") {
			owners = append(owners, v.Owner)
		}
	}
	err = f.followVariables(ctx, owners)
	for part := range slices.Chunk(keysOf(uids), batchSize) {
		err = errors.Join(err, f.followDevices(ctx, part))
	}
	if err != nil {
		return err
	}
	return f.followLoaded(ctx)
}

// followDevices reads some devices with their variables and links.
func (f *Fleet) followDevices(ctx context.Context, uids []string) error {
	devices, err := f.Ledger.DevicesOf(ctx, uids)
	if err != nil {
		return err
	}
	stored, err := f.Ledger.VariablesOf(ctx, uids)
	if err != nil {
		return err
	}
	links, err := f.Ledger.LinksOf(ctx, f.Livemode, uids)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.Ledger.Leads() {
		f.links.trust(uids)
	}
	kept := map[string]bool{}
	for _, uid := range uids {
		delete(f.vars, uid)
	}
	for _, v := range stored {
		f.vars[v.Owner] = variables{v.Values, v.ReadAt}
	}
	for _, active := range []bool{false, true} { // a key has one active link, and the other ones are old
		for _, l := range links {
			if l.Active == active {
				l.DeviceUID = uid.Key(l.DeviceUID)
				f.links.remember(l)
				if _, known := f.plans[l.Plan.PriceID]; l.Active && !known {
					f.plans[l.Plan.PriceID] = l.Plan
				}
			}
		}
	}
	for _, d := range devices {
		kept[d.UID] = true
		f.devices[d.UID] = f.build(d)
	}
	for _, uid := range uids {
		if !kept[uid] {
			delete(f.devices, uid)
		}
	}
	return nil
}

// followVariables reads the variables of the project or of fleets.
func (f *Fleet) followVariables(ctx context.Context, owners []string) error {
	for part := range slices.Chunk(owners, batchSize) {
		stored, err := f.Ledger.VariablesOf(ctx, part)
		if err != nil {
			return err
		}
		f.mu.Lock()
		for _, owner := range part {
			delete(f.vars, owner)
		}
		for _, v := range stored {
			f.vars[v.Owner] = variables{v.Values, v.ReadAt}
		}
		f.mu.Unlock()
	}
	return nil
}

// rebuildAll rebuilds every device, because a variable or a plan of many has changed.
func (f *Fleet) rebuildAll() {
	for part := range slices.Chunk(f.all(), batchSize) {
		f.mu.Lock()
		for _, d := range part {
			f.rebuild(d.UID)
		}
		f.mu.Unlock()
	}
}

// listingTold returns what the others have to know of a complete listing: when it began.
func listingTold(began time.Time) string { return strconv.FormatInt(began.UnixMilli(), 10) }

// followListing applies a complete listing of another instance, whose devices were read.
func (f *Fleet) followListing(told string) {
	ms, err := strconv.ParseInt(told, 10, 64)
	if err != nil {
		return
	}
	at := time.UnixMilli(ms)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded, f.listedAt, f.observed, f.refreshedAt = true, at, at, f.Ledger.Now()
}

// followLoaded reads when the last complete listing was stored. It does not tell when the listing
// began, so payments that need one wait for the next.
func (f *Fleet) followLoaded(ctx context.Context) error {
	at, err := f.Ledger.Meta(ctx, ledger.MetaFleetLoaded)
	if known, err := ledger.Found(err); err != nil || !known {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded, f.observed, f.refreshedAt = true, at, at
	return nil
}

// planTold returns what the others have to know of a price that was read.
func planTold(plan payment.Offer, id, why string) string {
	text, err := json.Marshal(toldPlan{id, why, plan})
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

type toldPlan struct {
	ID, Why string
	Plan    payment.Offer
}

// followPlan applies what another instance read of a price.
func (f *Fleet) followPlan(subject string) {
	text, err := base64.RawURLEncoding.DecodeString(subject)
	var told toldPlan
	if err != nil || json.Unmarshal(text, &told) != nil || told.ID == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.planReadAt[told.ID] = time.Now()
	if told.Why == "" && told.Plan.PriceID == told.ID {
		f.plans[told.ID] = told.Plan
		delete(f.rejected, told.ID)
		return
	}
	delete(f.plans, told.ID)
	f.rejected[told.ID] = told.Why
}

const (
	// plansInterval is how long an instance that lacks plans waits for them.
	plansInterval = 2 * time.Second
	// maxPlansAsked is how often it asks until it wants a refresh. The leader may not know it yet.
	maxPlansAsked = 5
)

// askForPlans gets what the leader read of prices before this instance started, or while this instance
// did not read what the others did, until ctx ends.
func (f *Fleet) askForPlans(ctx context.Context) {
	for {
		for asked := 0; f.lacksPlans(); asked++ {
			if asked == maxPlansAsked {
				f.RefreshSoon()
				break
			}
			f.wish(wishPlans)
			if upstream.Sleep(ctx, plansInterval) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-f.plansWanted:
		}
	}
}

// plansMissed makes askForPlans get every price again, because the known ones may have changed.
func (f *Fleet) plansMissed() {
	f.mu.Lock()
	f.plansMissedAt = time.Now()
	f.mu.Unlock()
	select {
	case f.plansWanted <- struct{}{}:
	default:
	}
}

// tellPlans tells the other instances of all prices that were read.
func (f *Fleet) tellPlans() {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for id, plan := range f.plans {
		f.Ledger.Tell(ledger.ChangedPlan, planTold(plan, id, ""))
	}
	for id, why := range f.rejected {
		f.Ledger.Tell(ledger.ChangedPlan, planTold(payment.Offer{}, id, why))
	}
}

// lacksPlans reports whether a price of some device is unknown to an instance that does not lead, or
// may have changed since.
func (f *Fleet) lacksPlans() bool {
	if f.Ledger.Leads() {
		return false
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, d := range f.devices {
		for _, id := range d.prices {
			_, known := f.plans[id]
			if !known && f.rejected[id] == "" || f.planReadAt[id].Before(f.plansMissedAt) {
				return true
			}
		}
	}
	return false
}

// elsewhereTimeout is how long Refresh waits for the leader.
const elsewhereTimeout = minRefreshInterval + 15*time.Second

var errNoRefresh = errors.New("the leading instance did not list the devices in time")

// refreshElsewhere makes the leader refresh and waits until it has.
func (f *Fleet) refreshElsewhere(ctx context.Context) (Result, error) {
	before := f.Observed()
	f.RefreshSoon()
	for began := time.Now(); time.Since(began) < elsewhereTimeout; {
		if !f.Observed().Equal(before) {
			devices, _, _ := f.Counts()
			return Result{Devices: devices}, nil
		}
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return Result{}, errNoRefresh
}
