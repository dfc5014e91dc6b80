package console

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/natural"
	"notepay/internal/uid"
	"notepay/internal/web"
)

// entry is a device with its names.
type entry struct {
	UID, Name string
	folded    string // the name in lower case
}

// deviceIndex caches all devices in the order of their names, because sorting 100,000 takes a tenth
// of a second. It is rebuilt after the fleet was read, or when the number of devices changes. It is
// safe for concurrent use.
type deviceIndex struct {
	mu      sync.Mutex
	devices int
	read    time.Time
	sorted  []entry

	sites   []fleet.Site
	states  []stateCount
	counted time.Time // when sites and states were
}

// maxCountAge is the maximum age of the sites and states that a filter offers. To count those of
// 100,000 devices takes some hundredths of a second.
const maxCountAge = 5 * time.Second

// filters returns the sites and states that devices have, for the choice of a filter.
func (r *deviceIndex) filters(f *fleet.Fleet) ([]fleet.Site, []stateCount) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counted.IsZero() || time.Since(r.counted) >= maxCountAge {
		r.sites, r.states, r.counted = f.Sites(), inWords(f.States()), time.Now()
	}
	return r.sites, r.states
}

// of returns the sorted devices of a fleet. The caller must not change them.
func (r *deviceIndex) of(f *fleet.Fleet) []entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	devices, _, read := f.Counts()
	if devices != r.devices || !read.Equal(r.read) {
		r.devices, r.read, r.sorted = devices, read, byName(f.All())
	}
	return r.sorted
}

// byName sorts devices by their names, with "Washer 2" before "Washer 10".
func byName(devices []*fleet.Device) []entry {
	list := make([]entry, len(devices))
	for i, d := range devices {
		name := web.MachineName(d.Name, d.UID)
		list[i] = entry{d.UID, name, strings.ToLower(name)}
	}
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(natural.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID))
	})
	return list
}

// matching returns the devices of a list whose name or UID contains a text.
func matching(list []entry, text string) []entry {
	if text = strings.ToLower(text); text == "" {
		return list
	}
	var found []entry
	for _, d := range list {
		if strings.Contains(d.folded, text) || strings.Contains(d.UID, text) {
			found = append(found, d)
		}
	}
	if len(found) > 0 || strings.Contains(text, " ") || !strings.ContainsAny(text, "0123456789") {
		return found
	}
	for _, d := range list { // "washer3"
		if strings.Contains(unspaced(d.folded), text) {
			found = append(found, d)
		}
	}
	return found
}

// unspaced returns a text without its spaces.
func unspaced(text string) string { return strings.ReplaceAll(text, " ", "") }

// isCalled reports whether a text is the name of a device, in any case and with or without spaces.
func (d entry) isCalled(text string) bool {
	return unspaced(d.folded) == unspaced(strings.ToLower(text))
}

// named returns the devices whose name or UID contains a text, in the order of their names, or the
// devices with this code on their stickers.
func (c *Console) named(text string) []entry {
	found := matching(c.roster.of(c.Fleet), text)
	if code, ok := uid.ParseCode(text); ok && len(found) == 0 {
		return byName(c.Fleet.ByCode(code))
	}
	return found
}

// devicesOf returns the current state of devices. It leaves out devices that were removed.
func (c *Console) devicesOf(list []entry) []*fleet.Device {
	devices := make([]*fleet.Device, 0, len(list))
	for _, one := range list {
		if d := c.Fleet.Device(one.UID); d != nil {
			devices = append(devices, d)
		}
	}
	return devices
}
