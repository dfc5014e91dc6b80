package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/natural"
	"notepay/internal/uid"
)

// Listed is a device as its operator sees it. It does not change with the fleet.
type Listed struct {
	ledger.Device
	Plans     []Offer
	Source    Source // of the plans' prices
	State     State
	Reason    string               // of a pause or maintenance, or the code of a machine that is out of order
	Until     time.Time            // when a device in use is free again, or opens again; zero: unknown
	Pause     *ledger.Pause        // nil if it is not paused
	Out       *ledger.MachineState // nil if its machine is not out of order
	Planned   *ledger.Maintenance  // nil if none is planned or takes place
	Problems  message.List
	Lifetime  *time.Duration // of its credits; nil for the default
	Variables time.Time      // when its own variables were last read; zero: never
}

// All returns every device in no order.
func (f *Fleet) All() []*Device { return f.all() }

// Listed returns the given devices with their states, in the same order.
func (f *Fleet) Listed(devices ...*Device) []Listed {
	f.mu.RLock()
	observed, now := f.observed, f.Ledger.Now()
	f.mu.RUnlock()
	list := make([]Listed, 0, len(devices))
	for _, d := range devices {
		sale := f.availability(d, now, observed)
		l := Listed{
			Device:    d.Device,
			Plans:     d.Offers,
			Source:    d.source,
			State:     sale.State,
			Reason:    sale.Reason,
			Until:     sale.Until,
			Pause:     d.Pause,
			Out:       d.Out,
			Problems:  d.Problems,
			Variables: d.variablesReadAt,
		}
		if d.Maintenance != nil && now.Before(d.Maintenance.To) {
			l.Planned = d.Maintenance
		}
		if d.hasLife {
			l.Lifetime = &d.lifetime
		}
		list = append(list, l)
	}
	return list
}

// byName compares devices by their names, with "Washer 2" before "Washer 10".
func byName(a, b *Device) int {
	if c := natural.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return cmp.Compare(a.UID, b.UID)
}

// List returns every device by name, and after them those that cannot be sold at all.
func (f *Fleet) List() []Listed {
	devices := f.all()
	slices.SortFunc(devices, byName)
	list := f.Listed(devices...)
	for _, d := range f.Unsold() {
		l := Listed{Device: d, State: Unreadable, Problems: message.List{message.New(d.Problem)}}
		if !uid.Valid(d.UID) {
			l.State = Unscannable
		}
		list = append(list, l)
	}
	return list
}

// States counts the devices by state.
func (f *Fleet) States() map[State]int {
	f.mu.RLock()
	observed, now := f.observed, f.Ledger.Now()
	f.mu.RUnlock()
	count := map[State]int{}
	for _, d := range f.all() {
		count[f.availability(d, now, observed).State]++
	}
	return count
}

// Problem is something that an operator must fix, worded for them.
type Problem struct {
	Text    message.Message
	Devices int // how many devices have it; 0 if it is not about devices
}

// Problems returns what an operator must fix, beginning with what concerns the most devices.
func (f *Fleet) Problems() []Problem {
	found := map[string]Problem{} // by their texts
	add := func(text message.Message, devices int) {
		key := text.String()
		found[key] = Problem{text, found[key].Devices + devices}
	}
	for _, d := range f.all() {
		for _, text := range d.Problems {
			add(text, 1)
		}
	}
	for _, d := range f.Unsold() {
		add(message.New("%s: %s", d.UID, message.New(d.Problem)), 1)
	}
	f.mu.RLock()
	for id, why := range f.rejected {
		add(notSoldText(id, why), 0) // listed even if no device sells it
	}
	for _, text := range []string{f.varsErr, f.keysErr} {
		if text != "" {
			add(message.New(text), 0)
		}
	}
	f.mu.RUnlock()
	list := slices.Collect(maps.Values(found))
	slices.SortFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Text.String(), b.Text.String()))
	})
	return list
}
