package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/terms"
	"notepay/internal/upstream"
)

// Notehub's variables that say what is sold, and in which words. Those of a device override its
// fleet's, and those of a fleet override the project's. The fleet keeps no others, except those that
// name machine codes (terms.CodePrefix).
const (
	priceVariable    = "stripe_price_id"
	enabledVariable  = "payment_enabled"
	lifetimeVariable = "credit_lifetime"
	kindVariable     = "machine_kind"
	hoursVariable    = "open_hours"
)

// projectOwner owns the project's variables in the ledger.
const projectOwner = "project"

// variables holds what is set at one level.
type variables struct {
	values map[string]string // nil if notepay's variables are not set
	at     time.Time         // when they were read
}

// Source is the level that decides what a device sells.
type Source string

// The levels. The first one with a price decides, and the default is STRIPE_PRICE_ID.
const (
	OfDevice  Source = "device"
	OfFleet   Source = "fleet"
	OfProject Source = "project"
	OfDefault Source = "default"
)

// setting holds the values of a device's variables as they are written.
type setting struct {
	prices, enabled, lifetime string
	hours                     string
	kind, codes               string // codes: name=value, one a line, sorted
	source                    Source // of the prices
	conflicts                 string // one a line: variable, quoted value and fleet, separated by tabs
}

// saleTerms is a parsed setting. All devices with the same setting share it.
type saleTerms struct {
	prices   []string
	source   Source
	off      bool              // payment_enabled is false
	lifetime time.Duration     // of its credits, if hasLife
	hasLife  bool              // a variable sets the lifetime
	hours    *terms.Hours      // nil: always open
	kind     string            // one of terms.Kinds, or ""
	codes    map[string]string // names of machine codes, by variable
	problems message.List
}

// saleTermsOf returns the terms that the levels set for a device. The caller holds the lock, or no
// other goroutine runs yet.
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
	s.hours, _ = find(hoursVariable)
	s.kind, _ = find(kindVariable)
	for _, name := range f.codeVariables(d) {
		value, _ := find(name)
		s.codes += name + "=" + strings.ReplaceAll(value, "\n", "\r") + "\n"
	}
	t, ok := f.shared[s]
	if !ok {
		t = s.terms(f.PriceIDs, f.Rules, f.zone())
		f.shared[s] = t
	}
	return t
}

// zone returns the time zone of opening hours that name none.
func (f *Fleet) zone() *time.Location {
	if f.Zone == nil {
		return time.UTC
	}
	return f.Zone
}

// codeVariables returns the sorted names of the variables that name a device's machine codes, at all
// levels. The caller holds the lock, or no other goroutine runs yet.
func (f *Fleet) codeVariables(d ledger.Device) (names []string) {
	add := func(values map[string]string) {
		for name := range values {
			if strings.HasPrefix(name, terms.CodePrefix) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	add(f.vars[d.UID].values)
	for _, uid := range d.Fleets {
		add(f.vars[uid].values)
	}
	add(f.vars[projectOwner].values)
	slices.Sort(names)
	return names
}

// ofFleets returns the value that the fleets of a device set. If they disagree it takes the first
// fleet by UID and returns the conflict as a line of the setting. Which fleet wins at Notehub is not documented
// (docs/vendors.md, U9).
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
		conflict = fmt.Sprintf("%s\t%q\t%s\n", name, value, first)
	}
	return value, conflict
}

// Terms returns the prices that variables name, in their order, and what is wrong with notepay's
// variables. The names of the variables are in lower case.
func Terms(variables map[string]string, rules terms.Rules) (prices []string, wrong message.List) {
	ours := concerning(variables)
	s := setting{
		prices:   ours[priceVariable],
		enabled:  ours[enabledVariable],
		lifetime: ours[lifetimeVariable],
		hours:    ours[hoursVariable],
		kind:     ours[kindVariable],
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if strings.HasPrefix(name, terms.CodePrefix) {
			s.codes += name + "=" + strings.ReplaceAll(ours[name], "\n", "\r") + "\n"
		}
	}
	t := s.terms(nil, rules, time.UTC)
	return t.prices, t.problems
}

// terms parses a setting. An invalid value is a problem. An invalid price is not sold, an invalid
// switch stops payments, and an invalid lifetime leaves the operator's default. Invalid opening hours
// close nothing, because a slip of the pen must not end all sales. An invalid kind or name of a code
// changes only words, and is ignored. The earlier value of a variable does not count,
// because a restart would lose it.
func (s setting) terms(defaults []string, rules terms.Rules, zone *time.Location) *saleTerms {
	t := &saleTerms{
		source: s.source,
		prices: defaults,
	}
	wrong := func(format string, args ...any) { t.problems = append(t.problems, message.New(format, args...)) }
	for line := range strings.Lines(s.conflicts) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		value, first, _ := strings.Cut(rest, "\t")
		wrong("%s: its fleets disagree; %s of %s is taken, the first by uid", name, value, first)
	}
	if s.prices != "" {
		var bad []terms.BadPrice
		t.prices, bad = terms.Prices(s.prices)
		for _, why := range bad {
			if why.ID == "" {
				wrong("%s: %s", priceVariable, message.New(why.Why))
			} else {
				wrong("%s: %.60q %s", priceVariable, why.ID, message.New(why.Why))
			}
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
			wrong("%s: %.60q: %s; CREDIT_LIFETIME holds", lifetimeVariable, s.lifetime, message.New(why))
		}
	}
	if s.hours != "" {
		var why string
		if t.hours, why = terms.ParseHours(s.hours, zone); why != "" {
			wrong("%s: %.60q %s; the machine sells at all hours", hoursVariable, s.hours, message.New(why))
		}
	}
	if s.kind != "" {
		kind, ok := terms.Kind(s.kind)
		if t.kind = kind; !ok {
			t.kind = ""
			wrong("%s: %.60q is none of %s; customers read neutral words", kindVariable, s.kind,
				strings.Join(terms.Kinds(), ", "))
		}
	}
	for line := range strings.Lines(s.codes) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if why := terms.CodeName(value); why != "" {
			wrong("%s: %.60q %s; customers read the code alone", name, value, message.New(why))
			continue
		}
		if t.codes == nil {
			t.codes = map[string]string{}
		}
		t.codes[name] = value
	}
	return t
}

// concerning returns notepay's variables of a level, or nil if there are none.
func concerning(all map[string]string) (ours map[string]string) {
	keep := func(name, value string) {
		if value = strings.TrimSpace(value); value != "" {
			if ours == nil {
				ours = map[string]string{}
			}
			ours[name] = value
		}
	}
	for _, name := range []string{
		priceVariable, enabledVariable, lifetimeVariable, kindVariable, hoursVariable, terms.FleetLabel,
	} {
		keep(name, all[name])
	}
	for name, value := range all {
		if strings.HasPrefix(name, terms.CodePrefix) {
			keep(name, value)
		}
	}
	return ours
}

// Kind returns the kind of machine that a device's variables name, one of terms.Kinds, or "".
func (d *Device) Kind() string {
	if d == nil || d.saleTerms == nil {
		return ""
	}
	return d.kind
}

// Lifetime returns the lifetime of credits that a device's variables set, if they do.
func (d *Device) Lifetime() (lifetime time.Duration, ok bool) {
	if d == nil || d.saleTerms == nil {
		return 0, false
	}
	return d.lifetime, d.hasLife
}

// CodeName returns the name that a device's variables give to a machine code, or "".
func (d *Device) CodeName(code string) string {
	if d == nil || d.saleTerms == nil || code == "" {
		return ""
	}
	return d.codes[terms.CodeVariable(code)]
}

// unread reports whether variables that decide what a device sells were never read: its own, those
// of one of its fleets, or the project's. Variables in the ledger count as read. The caller holds
// the lock, or no other goroutine runs yet.
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

// readVariables reads the variables of the project and of the fleets, after the devices were
// listed. If they cannot be read they keep their values, as do those of a fleet whose record cannot be
// read. Without earlier values such a fleet stays unread, so its devices take no payments.
func (f *Fleet) readVariables(ctx context.Context, listing []ledger.Device) error {
	now := f.Ledger.Now()
	project, err := f.Notehub.ProjectVariables(ctx)
	var fleets map[string]map[string]string
	complete := false
	if err == nil {
		fleets, complete, err = f.Notehub.FleetVariables(ctx)
	}
	if err != nil {
		err = fmt.Errorf("read variables: %w", err)
		f.mu.Lock()
		f.varsErr = err.Error()
		_, known := f.vars[projectOwner]
		f.mu.Unlock()
		if outcome := upstream.OutcomeOf(err); known &&
			(outcome == upstream.Rejected || outcome == upstream.Misconfigured) {
			f.Log.Warn("variables not read, last known values kept", "err", err)
			return nil // only a person can fix it, so an early retry is no use
		}
		return err
	}
	read := map[string]map[string]string{projectOwner: concerning(project)}
	for uid, values := range fleets {
		if values != nil {
			read[uid] = concerning(values)
		}
	}
	missing := func(uid string) bool { _, listed := fleets[uid]; return complete && !listed }
	// A fleet that Notehub did not list after the device has no variables.
	none := func(fleets []string) {
		for _, uid := range fleets {
			if missing(uid) {
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
		if _, used := read[owner]; !used && strings.HasPrefix(owner, "fleet:") && missing(owner) {
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
	f.varsErr = ""
	for _, v := range changed {
		f.vars[v.Owner] = variables{v.Values, now}
	}
	for _, owner := range gone {
		delete(f.vars, owner)
	}
	clear(f.shared) // drop unused terms; the refresh rebuilds all devices in a moment
	return nil
}
