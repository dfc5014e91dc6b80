package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// The variables of Notehub that say what is sold, the device's over the fleet's over the project's. No others are kept.
const (
	priceVariable    = "stripe_price_id"
	enabledVariable  = "payment_enabled"
	lifetimeVariable = "credit_lifetime"
)

// projectOwner owns the project's variables in the ledger.
const projectOwner = "project"

// variables are what is set at one level.
type variables struct {
	values map[string]string // nil: nothing that concerns us
	at     time.Time         // when they were read
}

// Source is the level that decides what a device sells.
type Source string

// The levels, the first that has a price decides. The default is STRIPE_PRICE_ID.
const (
	OfDevice  Source = "device"
	OfFleet   Source = "fleet"
	OfProject Source = "project"
	OfDefault Source = "default"
)

// setting is what the variables say of a device, in their own words.
type setting struct {
	prices, enabled, lifetime string
	source                    Source // of the prices
	conflicts                 string // a problem a line
}

// terms are what a setting means. All devices of the same setting share them.
type terms struct {
	prices   []string
	source   Source
	off      bool          // payment_enabled is false
	lifetime time.Duration // of its credits, if hasLife
	hasLife  bool
	problems []string
}

// termsOf puts together what the levels say of a device. The caller holds the lock or is alone.
func (f *Fleet) termsOf(d ledger.Device) *terms {
	own, project := f.vars[d.UID].values, f.vars[projectOwner].values
	s := setting{source: OfDefault}
	find := func(name string) (string, Source) {
		if v := own[name]; v != "" {
			return v, OfDevice
		}
		if v, conflict := f.ofFleets(d.Fleets, name); v != "" {
			s.conflicts += conflict
			return v, OfFleet
		}
		if v := project[name]; v != "" {
			return v, OfProject
		}
		return "", OfDefault
	}
	s.prices, s.source = find(priceVariable)
	s.enabled, _ = find(enabledVariable)
	s.lifetime, _ = find(lifetimeVariable)
	t, ok := f.shared[s]
	if !ok {
		t = s.terms(f.PriceIDs)
		f.shared[s] = t
	}
	return t
}

// ofFleets is what the fleets of a device say. Which of two fleets wins at Notehub is not known (docs/vendors.md, U9): where they
// disagree the first by uid is taken, and the conflict is a problem, as a line.
func (f *Fleet) ofFleets(fleets []string, name string) (value, conflict string) {
	var first string
	disagree := false
	for _, uid := range fleets {
		v := f.vars[uid].values[name]
		if v == "" {
			continue
		}
		disagree = disagree || (first != "" && v != value)
		if first == "" || uid < first {
			first, value = uid, v
		}
	}
	if disagree {
		conflict = fmt.Sprintf("%s: its fleets disagree; %q of %s is taken, the first by uid\n", name, value, first)
	}
	return value, conflict
}

// NamedPrices are the prices that variables name, in their order. The variables' names are in small letters.
func NamedPrices(variables map[string]string) []string { return pricesIn(variables[priceVariable]) }

func pricesIn(commas string) (ids []string) {
	for id := range strings.SplitSeq(commas, ",") {
		if id = strings.TrimSpace(id); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// terms reads a setting. What cannot be read is a problem: a price is then not sold, the machine takes no payments where it is not
// clear whether it should, and the lifetime is the default one.
func (s setting) terms(defaults []string) *terms {
	t := &terms{source: s.source, prices: defaults, problems: strings.FieldsFunc(s.conflicts, func(r rune) bool { return r == '\n' })}
	if s.prices != "" {
		if t.prices = pricesIn(s.prices); len(t.prices) == 0 {
			t.problems = append(t.problems, fmt.Sprintf("%s: %q names no price", priceVariable, s.prices))
		}
	}
	switch strings.ToLower(s.enabled) {
	case "", "true", "1", "yes", "on":
	case "false", "0", "no", "off":
		t.off = true
	default:
		t.off = true
		t.problems = append(t.problems, fmt.Sprintf("%s: %q is neither true nor false; the machine takes no payments", enabledVariable, s.enabled))
	}
	if s.lifetime != "" {
		d, err := time.ParseDuration(s.lifetime)
		if err != nil || d < 0 {
			t.problems = append(t.problems, fmt.Sprintf("%s: %q is no duration such as 10m; the default holds", lifetimeVariable, s.lifetime))
		} else {
			t.lifetime, t.hasLife = d, true
		}
	}
	return t
}

// concerning is the part of a level's variables that concerns us; nil if there is none.
func concerning(all map[string]string) (ours map[string]string) {
	for _, name := range []string{priceVariable, enabledVariable, lifetimeVariable} {
		if v := strings.TrimSpace(all[name]); v != "" {
			if ours == nil {
				ours = map[string]string{}
			}
			ours[name] = v
		}
	}
	return ours
}

// readVariables reads those of the project and of the fleets, in one call each. If they cannot be read they stay as they were.
func (f *Fleet) readVariables(ctx context.Context) error {
	now := f.Ledger.Now()
	project, err := f.Notehub.ProjectVariables(ctx)
	var fleets map[string]map[string]string
	if err == nil {
		fleets, err = f.Notehub.FleetVariables(ctx)
	}
	if err != nil {
		err = fmt.Errorf("read variables: %w", err)
		f.mu.Lock()
		f.varsFail = err.Error()
		f.mu.Unlock()
		if outcome := upstream.OutcomeOf(err); outcome == upstream.Refused || outcome == upstream.Trouble {
			f.Log.Warn("variables not read, what was known of them holds", "err", err) // a person has to mend it: asking again sooner changes nothing
			return nil
		}
		return err
	}
	read := map[string]map[string]string{projectOwner: concerning(project)}
	for uid, values := range fleets {
		read[uid] = concerning(values)
	}
	var changed []ledger.Variables
	var gone []string
	f.mu.RLock()
	for owner, values := range read {
		if old, ok := f.vars[owner]; !ok || !maps.Equal(old.values, values) {
			changed = append(changed, ledger.Variables{Owner: owner, Values: values, ReadAt: now})
		}
	}
	for owner := range f.vars {
		if _, still := read[owner]; !still && strings.HasPrefix(owner, "fleet:") {
			gone = append(gone, owner)
		}
	}
	f.mu.RUnlock()
	err = f.Ledger.Update(ctx, func(tx *ledger.Tx) error {
		for _, v := range changed {
			if err := tx.SaveVariables(v); err != nil {
				return err
			}
		}
		for _, owner := range gone {
			if err := tx.RemoveVariables(owner); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save variables: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.varsFail = ""
	for _, v := range changed {
		f.vars[v.Owner] = variables{v.Values, now}
	}
	for _, owner := range gone {
		delete(f.vars, owner)
	}
	clear(f.shared) // terms that nobody has any more would stay for ever; the refresh goes through all devices in a moment
	return nil
}

const (
	// variableEvery: the smallest plan of Notehub allows seven requests a minute (docs/vendors.md), and notes go first.
	variableEvery = 20 * time.Second
	// variablesHold is how long the variables of a device are believed that nobody scans.
	variablesHold = time.Hour
	// mostScanned is how many scanned devices may wait to be read before the others.
	mostScanned = 64
)

// variableReader reads the variables of single devices, each in a call of its own and so slowly: first those that were scanned,
// then those that were never read, then the ones that were read the longest time ago.
type variableReader struct {
	fleet   *Fleet
	pace    *upstream.Pace
	wake    chan struct{} // the fleet was refreshed
	scanned chan string

	// of run alone
	urgent []string
	queue  []string
}

func newVariableReader(f *Fleet) *variableReader {
	perMinute := float64(time.Minute) / float64(cmp.Or(f.VariableEvery, variableEvery))
	return &variableReader{fleet: f, pace: upstream.NewPace(perMinute, 1), wake: make(chan struct{}, 1), scanned: make(chan string, mostScanned)}
}

func (r *variableReader) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// scan notes that a customer stands before a device. It never waits: it is on the way of each scan.
func (r *variableReader) scan(uid string) {
	select {
	case r.scanned <- uid:
	default:
	}
}

func (r *variableReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-r.wake:
			r.plan()
		case uid := <-r.scanned:
			r.hurry(uid)
		default:
			if len(r.urgent)+len(r.queue) == 0 {
				select {
				case <-ctx.Done():
				case <-r.wake:
					r.plan()
				case uid := <-r.scanned:
					r.hurry(uid)
				}
				continue
			}
			// Only with a slot in hand is it decided for whom: a customer may scan while we wait.
			if r.pace.Delay(time.Now()) > 0 {
				r.waitForSlot(ctx)
				continue
			}
			if uid, ok := r.next(); ok {
				r.pace.Spend(time.Now())
				r.read(ctx, uid)
			}
		}
	}
}

// waitForSlot waits for a slot or for news, whichever comes first.
func (r *variableReader) waitForSlot(ctx context.Context) {
	slot := time.NewTimer(r.pace.Delay(time.Now()))
	defer slot.Stop()
	select {
	case <-ctx.Done():
	case <-slot.C:
	case <-r.wake:
		r.plan()
	case uid := <-r.scanned:
		r.hurry(uid)
	}
}

// lately reports whether something was read within a duration. A time that has not come was stored by a clock that was ahead.
func lately(read, now time.Time, within time.Duration) bool {
	age := now.Sub(read)
	return age >= 0 && age < within
}

func (r *variableReader) hurry(uid string) {
	if len(r.urgent) < mostScanned && !slices.Contains(r.urgent, uid) {
		r.urgent = append(r.urgent, uid)
	}
}

// plan queues the devices that are to be read.
func (r *variableReader) plan() {
	now := r.fleet.Ledger.Now()
	due := slices.DeleteFunc(r.fleet.all(), func(d *Device) bool { return lately(d.asked, now, variablesHold) })
	slices.SortFunc(due, func(a, b *Device) int { return cmp.Or(a.asked.Compare(b.asked), cmp.Compare(a.UID, b.UID)) })
	r.queue = r.queue[:0]
	for _, d := range due {
		r.queue = append(r.queue, d.UID)
	}
}

// next takes the next device, leaving out those that are gone or were read meanwhile.
func (r *variableReader) next() (uid string, ok bool) {
	for len(r.urgent)+len(r.queue) > 0 {
		if len(r.urgent) > 0 {
			uid, r.urgent = r.urgent[0], r.urgent[1:]
		} else {
			uid, r.queue = r.queue[0], r.queue[1:]
		}
		if d := r.fleet.Device(uid); d != nil && !lately(d.asked, r.fleet.Ledger.Now(), r.fleet.Interval) {
			return uid, true
		}
	}
	return "", false
}

func (r *variableReader) read(ctx context.Context, uid string) {
	f := r.fleet
	all, err := f.Notehub.DeviceVariables(ctx, uid)
	v := ledger.Variables{Owner: uid, Values: concerning(all), ReadAt: f.Ledger.Now()}
	if upstream.OutcomeOf(err) == upstream.Refused { // there is no such device, the next listing will show; what was known of it holds
		f.mu.RLock()
		v.Values, err = f.vars[uid].values, nil
		f.mu.RUnlock()
	}
	if err == nil {
		err = f.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.SaveVariables(v) })
	}
	if err != nil {
		if ctx.Err() == nil {
			f.Log.Info("variables not read", "device", uid, "err", err) // the next refresh queues it again
		}
		return
	}
	set := func() { f.vars[uid] = variables{v.Values, v.ReadAt} }
	f.change(uid, set)
	f.readMissingPlans(ctx, uid)
	f.Hurry(uid)
	f.Log.Debug("variables read", "device", uid)
}
