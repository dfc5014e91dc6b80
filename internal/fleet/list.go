package fleet

import (
	"cmp"
	"slices"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/uid"
)

// Listed is a device as its operator sees it. It shares nothing that changes with the fleet.
type Listed struct {
	ledger.Device
	Plans     []Offer
	Source    Source // of the plans' prices
	State     State
	Reason    string        // of a pause
	Until     time.Time     // when it is free again, if it is in use; zero: not known
	Pause     *ledger.Pause // nil: it is not paused
	Problems  []string
	Lifetime  *time.Duration // of its credits; nil: the default
	Variables time.Time      // when its own variables were last read; zero: never
}

// All is every device, in no order.
func (f *Fleet) All() []*Device { return f.all() }

// Listed says how devices stand, in their order.
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
			Problems:  d.Problems,
			Variables: d.asked,
		}
		if d.hasLife {
			l.Lifetime = &d.lifetime
		}
		list = append(list, l)
	}
	return list
}

// List is every device as it stands, by uid, and behind them those that cannot be sold at all.
func (f *Fleet) List() []Listed {
	devices := f.all()
	slices.SortFunc(devices, func(a, b *Device) int { return cmp.Compare(a.UID, b.UID) })
	list := f.Listed(devices...)
	for _, d := range f.Unsold() {
		l := Listed{Device: d, State: Unreadable, Problems: []string{d.Problem}}
		if !uid.Valid(d.UID) {
			l.State = Unscannable
		}
		list = append(list, l)
	}
	return list
}

// States is how many devices are in each state.
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

// Problem is something that an operator has to mend, in words for them.
type Problem struct {
	Text    string
	Devices int // on how many it stands; 0 for what is about no device
}

// Problems is what an operator has to mend, what concerns most devices first.
func (f *Fleet) Problems() []Problem {
	count := map[string]int{}
	for _, d := range f.all() {
		for _, text := range d.Problems {
			count[text]++
		}
	}
	for _, d := range f.Unsold() {
		count[d.UID+": "+d.Problem] = 1
	}
	f.mu.RLock()
	for id, why := range f.refused {
		count[notSold(id, why)] += 0 // also if no device sells it
	}
	if f.varsFail != "" {
		count[f.varsFail] = 0
	}
	f.mu.RUnlock()
	list := make([]Problem, 0, len(count))
	for text, n := range count {
		list = append(list, Problem{text, n})
	}
	slices.SortFunc(
		list,
		func(a, b Problem) int { return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Text, b.Text)) },
	)
	return list
}
