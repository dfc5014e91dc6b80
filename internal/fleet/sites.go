package fleet

import (
	"cmp"
	"slices"
	"strings"

	"notepay/internal/natural"
	"notepay/internal/terms"
)

// Site is a fleet of Notehub, which the console calls a site.
type Site struct {
	UID, Name string // Name is the UID if the fleet has no name
	Devices   int
}

// Sites returns the sites that have devices, by name.
func (f *Fleet) Sites() []Site {
	count := map[string]int{}
	for _, d := range f.all() {
		for _, uid := range d.Fleets {
			count[uid]++
		}
	}
	list := make([]Site, 0, len(count))
	for uid, n := range count {
		list = append(list, Site{uid, f.SiteName(uid), n})
	}
	slices.SortFunc(list, func(a, b Site) int {
		return cmp.Or(natural.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID))
	})
	return list
}

// SiteName returns the name of a site, or its UID if it has none.
func (f *Fleet) SiteName(uid string) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return cmp.Or(f.vars[uid].values[terms.FleetLabel], uid)
}
