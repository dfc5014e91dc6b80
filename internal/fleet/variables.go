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
	"notepay/internal/terms"
	"notepay/internal/upstream"
)

// The variables of Notehub that say what is sold, the device's over the fleet's over the project's.
// No others are kept.
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

// saleTerms are what a setting means. All devices of the same setting share them.
type saleTerms struct {
	prices   []string
	source   Source
	off      bool          // payment_enabled is false
	lifetime time.Duration // of its credits, if hasLife
	hasLife  bool
	problems []string
}

// saleTermsOf puts together what the levels say of a device. The caller holds the lock or is alone.
func (f *Fleet) saleTermsOf(d ledger.Device) *saleTerms {
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
		t = s.terms(f.PriceIDs, f.Rules)
		f.shared[s] = t
	}
	return t
}

// ofFleets is what the fleets of a device say. Which of two fleets wins at Notehub is not known
// (docs/vendors.md, U9): where they disagree the first by uid is taken, and the conflict is a
// problem, as a line.
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

// Terms returns the prices that variables name, in their order, and what is wrong with the
// variables that concern us. The names of the variables are in small letters.
func Terms(variables map[string]string, rules terms.Rules) (prices, wrong []string) {
	ours := concerning(variables)
	t := setting{
		prices:   ours[priceVariable],
		enabled:  ours[enabledVariable],
		lifetime: ours[lifetimeVariable],
	}.terms(
		nil,
		rules,
	)
	return t.prices, t.problems
}

// terms reads a setting. What cannot be read is a problem: a price is then not sold, the machine
// takes no payments where it is not clear whether it should, and the lifetime is the default one,
// which the operator has chosen for all machines. What a variable said before it was wrong does not
// count, because that would be gone with the next restart.
func (s setting) terms(defaults []string, rules terms.Rules) *saleTerms {
	t := &saleTerms{
		source:   s.source,
		prices:   defaults,
		problems: strings.FieldsFunc(s.conflicts, func(r rune) bool { return r == '\n' }),
	}
	wrong := func(format string, args ...any) { t.problems = append(t.problems, fmt.Sprintf(format, args...)) }
	if s.prices != "" {
		var bad []terms.BadPrice
		t.prices, bad = terms.Prices(s.prices)
		for _, why := range bad {
			wrong("%s: %s", priceVariable, why)
		}
	}
	if s.enabled != "" {
		on, ok := terms.Switch(s.enabled)
		if t.off = !on; !ok {
			wrong("%s: %.60q is neither true nor false; the machine takes no payments", enabledVariable, s.enabled)
		}
	}
	if s.lifetime != "" {
		d, why := rules.ParseLifetime(s.lifetime)
		if t.lifetime, t.hasLife = d, why == ""; why != "" {
			wrong("%s: %.60q: %s; CREDIT_LIFETIME holds", lifetimeVariable, s.lifetime, why)
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

// unread reports whether variables that decide what a device sells were never read: its own, those
// of one of its fleets, or the project's. What a ledger remembers of an earlier run counts as read.
// The caller holds the lock or is alone.
func (f *Fleet) unread(d ledger.Device) bool {
	if _, ok := f.vars[d.UID]; !ok {
		return true
	}
	if _, ok := f.vars[projectOwner]; !ok {
		return true
	}
	return slices.ContainsFunc(d.Fleets, func(uid string) bool { _, ok := f.vars[uid]; return !ok })
}

// fleetsUnread reports whether the variables of one of a device's fleets were never read.
func (f *Fleet) fleetsUnread(d ledger.Device) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.ContainsFunc(d.Fleets, func(uid string) bool { _, ok := f.vars[uid]; return !ok })
}

// readVariables reads those of the project and of the fleets, in one call each, after the devices
// were listed. If they cannot be read they stay as they were.
func (f *Fleet) readVariables(ctx context.Context, listing []ledger.Device) error {
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
		_, known := f.vars[projectOwner]
		f.mu.Unlock()
		if outcome := upstream.OutcomeOf(err); known &&
			(outcome == upstream.Rejected || outcome == upstream.Misconfigured) {
			f.Log.Warn(
				"variables not read, last known values kept",
				"err",
				err,
			) // a person has to mend it: asking again sooner changes nothing
			return nil
		}
		return err
	}
	read := map[string]map[string]string{projectOwner: concerning(project)}
	for uid, values := range fleets {
		read[uid] = concerning(values)
	}
	// a fleet that Notehub does not list after it has listed the device has no variables
	none := func(fleets []string) {
		for _, uid := range fleets {
			if _, listed := read[uid]; !listed {
				read[uid] = nil
			}
		}
	}
	for _, d := range listing {
		none(d.Fleets)
	}
	for _, d := range f.all() {
		none(d.Fleets)
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
	clear(
		f.shared,
	) // terms that nobody has any more would stay for ever; the refresh goes through all devices in a moment
	return nil
}

const (
	// variableEvery: the smallest plan of Notehub allows seven requests a minute (docs/vendors.md),
	// and notes go first.
	variableEvery = 20 * time.Second
	// variablesHold is how long the variables of a device are believed that nobody scans.
	variablesHold = time.Hour
	// mostScanned is how many scanned devices may wait to be read before the others.
	mostScanned = 64
	// scansPerMinute and scansAtOnce limit the reads for customers who stand before a device that
	// was never read.
	scansPerMinute, scansAtOnce = 60, 3
	// spareCheck is how often the reader checks whether calls are left that nobody else needs.
	spareCheck = time.Second
)

// variableReader reads the variables of single devices, each in a call of its own: first those that
// were scanned and never read, then those that were scanned, then those that were never read, then
// the ones that were read the longest time ago.
//
// A device that was never read does not sell, so these reads may use half of the calls that
// Notehub's limit allows. The other half is for notes and for customers who wait. Where no limit is
// set, they wait for the slow pace like all others, except for those that somebody scanned.
type variableReader struct {
	fleet   *Fleet
	pace    *upstream.Limiter // of all reads
	scans   *upstream.Limiter // of reads for customers who wait, beside it
	wake    chan struct{}     // the fleet was refreshed
	scanned chan string
	waiting chan chan struct{} // to be closed when nothing that was scanned before waits to be read

	// of run alone
	waiters []chan struct{}
	urgent  []string
	queue   []string
	rests   map[string]retry // devices whose variables could not be read
	rest    retry            // of the queue, while reads fail
}

// retry keeps calls that fail from being repeated too often.
type retry struct {
	failures int
	until    time.Time
}

func (r retry) after(now time.Time) retry {
	r.failures++
	r.until = now.Add(upstream.Backoff(r.failures, 0.5))
	return r
}

func newVariableReader(f *Fleet) *variableReader {
	perMinute := float64(time.Minute) / float64(cmp.Or(f.VariableEvery, variableEvery))
	return &variableReader{
		fleet:   f,
		pace:    upstream.NewLimiter(perMinute, 1),
		scans:   upstream.NewLimiter(scansPerMinute, scansAtOnce),
		wake:    make(chan struct{}, 1),
		scanned: make(chan string, mostScanned),
		waiting: make(chan chan struct{}),
		rests:   map[string]retry{},
	}
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
			continue
		case uid := <-r.scanned:
			r.hurry(uid)
			continue
		case w := <-r.waiting:
			r.waiters = append(r.waiters, w)
			continue
		default:
		}
		// Only with a slot in hand is it decided for whom: a customer may scan while we wait.
		d, urgent, wait := r.next(time.Now())
		if !urgent {
			for _, w := range r.waiters {
				close(w)
			}
			r.waiters = nil
		}
		if d != nil && wait == 0 {
			r.take(d, urgent)
			r.read(ctx, d, urgent)
			continue
		}
		r.waitForNews(ctx, wait)
	}
}

// waitScanned waits until the devices that were scanned before are read or could not be, or for the
// context.
func (r *variableReader) waitScanned(ctx context.Context) {
	done := make(chan struct{})
	select {
	case r.waiting <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// waitForNews waits for a scan, a refresh or the end, but no longer than d unless that is 0.
func (r *variableReader) waitForNews(ctx context.Context, d time.Duration) {
	var slot <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		slot = timer.C
	}
	select {
	case <-ctx.Done():
	case <-slot:
	case <-r.wake:
		r.plan()
	case uid := <-r.scanned:
		r.hurry(uid)
	case w := <-r.waiting:
		r.waiters = append(r.waiters, w)
	}
}

// lately reports whether something was read within a duration. A time that has not come was stored
// by a clock that was ahead.
func lately(read, now time.Time, within time.Duration) bool {
	age := now.Sub(read)
	return age >= 0 && age < within
}

func (r *variableReader) hurry(uid string) {
	if len(r.urgent) < mostScanned && !slices.Contains(r.urgent, uid) {
		r.urgent = append(r.urgent, uid)
	}
}

// plan queues the devices that are to be read, and forgets the failures of those that are gone.
func (r *variableReader) plan() {
	now := r.fleet.Ledger.Now()
	due := slices.DeleteFunc(r.fleet.all(), func(d *Device) bool { return lately(d.asked, now, variablesHold) })
	slices.SortFunc(due, func(a, b *Device) int { return cmp.Or(a.asked.Compare(b.asked), cmp.Compare(a.UID, b.UID)) })
	r.queue = r.queue[:0]
	for _, d := range due {
		r.queue = append(r.queue, d.UID)
	}
	maps.DeleteFunc(r.rests, func(uid string, _ retry) bool { return r.fleet.Device(uid) == nil })
}

// next returns the device to be read next and how long that has to wait, nil if there is none. A
// device without one that rests after a failure is left out; wait then says when it may be asked
// for again, 0 for not before there is news.
func (r *variableReader) next(now time.Time) (d *Device, urgent bool, wait time.Duration) {
	stripes := r.fleet.Ledger.Now()
	fresh := func(uid string) bool { // gone, or read meanwhile
		d := r.fleet.Device(uid)
		return d == nil || lately(d.asked, stripes, r.fleet.Interval)
	}
	r.urgent = slices.DeleteFunc(r.urgent, fresh)
	var scanned *Device // that was read before
	for _, uid := range r.urgent {
		d := r.fleet.Device(uid)
		switch rests := r.rests[uid].until.Sub(now); {
		case d == nil:
		case rests > 0:
			wait = sooner(wait, rests)
		case d.asked.IsZero():
			return d, true, r.delay(now, true, true)
		case scanned == nil:
			scanned = d
		}
	}
	if scanned != nil {
		return scanned, true, r.delay(now, false, true)
	}
	for len(r.queue) > 0 && fresh(r.queue[0]) {
		r.queue = r.queue[1:]
	}
	if len(r.queue) == 0 {
		return nil, false, wait
	}
	if rests := r.rest.until.Sub(now); rests > 0 {
		return nil, false, sooner(wait, rests)
	}
	d = r.fleet.Device(r.queue[0])
	if d == nil {
		return nil, false, sooner(wait, time.Millisecond) // it left just now
	}
	return d, false, r.delay(now, false, d.asked.IsZero())
}

// sooner is the shorter of two waits, of which 0 is for ever.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// delay is how long a read has to wait: for the slow pace, or for one of those beside it that may
// be used for it.
func (r *variableReader) delay(now time.Time, forCustomer, spare bool) time.Duration {
	d := r.pace.Delay(now)
	if forCustomer {
		d = min(d, r.scans.Delay(now))
	}
	hub := r.fleet.NotehubLimiter
	if hub == nil {
		return d
	}
	if limit := r.fleet.NotehubPerMinute; d > 0 && spare && limit > 0 {
		if uint(hub.Available()) > (limit+1)/2 {
			d = 0
		}
		d = min(d, spareCheck)
	}
	return max(d, hub.Delay(now))
}

// take takes a device out of the queue, and the slot for its read.
func (r *variableReader) take(d *Device, urgent bool) {
	now := time.Now()
	if urgent {
		r.urgent = slices.DeleteFunc(r.urgent, func(uid string) bool { return uid == d.UID })
	} else {
		r.queue = r.queue[1:]
	}
	switch {
	case r.pace.Delay(now) == 0:
		r.pace.Use(now)
	case urgent && d.asked.IsZero() && r.scans.Delay(now) == 0:
		r.scans.Use(now)
	}
}

func (r *variableReader) read(ctx context.Context, d *Device, urgent bool) {
	f, uid := r.fleet, d.UID
	all, err := f.Notehub.DeviceVariables(ctx, uid)
	v := ledger.Variables{Owner: uid, Values: concerning(all), ReadAt: f.Ledger.Now()}
	if upstream.OutcomeOf(err) == upstream.Rejected &&
		!d.asked.IsZero() { // there is no such device, the next listing will show; what was known of it holds
		f.mu.RLock()
		v.Values, err = f.vars[uid].values, nil
		f.mu.RUnlock()
	}
	if err == nil {
		err = f.Ledger.Update(ctx, func(tx *ledger.Tx) error { return tx.SaveVariables(v) })
	}
	if err != nil {
		r.failed(ctx, d, urgent, err)
		return
	}
	r.rest = retry{}
	delete(r.rests, uid)
	queue := f.links.add
	if urgent {
		queue = f.links.prioritize
	}
	f.changeAnd(uid, func() { f.vars[uid] = variables{v.Values, v.ReadAt} }, queue)
	if f.readMissingPlans(ctx, uid) {
		f.changeAnd(uid, func() {}, queue)
	}
	f.Log.Debug("variables read", "device", uid)
}

// failed lets a device whose variables could not be read rest for a while. One that was never read
// does not sell, so it is queued again at once, behind all others; one that was is queued by the
// next refresh.
func (r *variableReader) failed(ctx context.Context, d *Device, urgent bool, err error) {
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	r.rests[d.UID] = r.rests[d.UID].after(now)
	if !urgent && upstream.OutcomeOf(err) != upstream.Rejected { // else it is about this device alone
		r.rest = r.rest.after(now)
		if d.asked.IsZero() {
			r.queue = append(r.queue, d.UID)
		}
	}
	r.fleet.Log.Info("variables not read", "device", d.UID, "err", err)
}
