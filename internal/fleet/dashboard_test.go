package fleet

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
)

// A Payment Link charges what it was created for, whatever its metadata say.
func TestLinkWithEditedMetadataKeepsItsMachineAndPrice(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(l *ledger.Link){
		"another price that is sold": func(l *ledger.Link) { l.Plan.PriceID = "price_2" },
		"another price":              func(l *ledger.Link) { l.Plan.PriceID = "price_9" },
		"no price":                   func(l *ledger.Link) { l.Plan.PriceID = "" },
		"another machine":            func(l *ledger.Link) { l.DeviceUID = "dev:0001" },
		"no machine that is known":   func(l *ledger.Link) { l.DeviceUID = "dev:9999" },
		"another capture method":     func(l *ledger.Link) { l.Manual = !l.Manual },
	} {
		for _, when := range []string{"at work", "after a restart", "after the link was replaced"} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "l.db")
					v := &vendors{devices: many(2)}
					r := run(t, path, v, "price_1", "price_2")
					pass(time.Minute)
					edited := v.links[slices.IndexFunc(v.links, func(l ledger.Link) bool {
						return l.DeviceUID == "dev:0000" && l.Plan.PriceID == "price_1"
					})].ID
					manual := func(*Config) {}
					if when == "after the link was replaced" {
						v.set(func() { v.manual = true })
						manual = func(c *Config) { c.ManualCapture = true }
					}
					if when != "at work" {
						r.stop()
						r = runWith(t, path, v, manual, "price_1", "price_2")
						pass(time.Minute)
					}
					offers := r.offers()
					v.set(func() {
						for i := range v.links {
							if l := &v.links[i]; l.ID == edited {
								l.Active = true
								edit(l)
							}
						}
						v.updated = nil
					})
					if when == "after a restart" {
						r.stop()
						r = run(t, path, v, "price_1", "price_2")
					}
					pass(time.Hour)
					if got := r.offers(); got != offers {
						t.Errorf("the machines sell by\n%s; want\n%s", got, offers)
					}
					changes := len(copyOf(v, &v.updated))
					if kept := when != "after the link was replaced"; kept && changes != 0 || !kept && changes != 1 {
						t.Errorf("%d changes of links; want none on sale, and the end of a replaced one", changes)
					}
					ids := map[string]linkKey{}
					for key, l := range r.links.links {
						if other, twice := ids[l.ID]; twice {
							t.Errorf("the link %s is that of %v and of %v", l.ID, key, other)
						}
						ids[l.ID] = key
					}
				})
			})
		}
	}
}

// offers returns the links of all machines and plans, one a line.
func (r *running) offers() string {
	var lines []string
	for _, d := range r.All() {
		for _, o := range d.Offers {
			lines = append(lines, fmt.Sprint(d.UID, " ", o.Plan.PriceID, " ", o.URL))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// The address of a link changes when the account gets, or loses, a domain of its own.
func TestLinkHasTheAddressThatStripeSays(t *testing.T) {
	t.Parallel()
	const moved = "https://buy.stripe.com/moved"
	move := func(v *vendors) { v.set(func() { v.links[0].URL = moved }) }
	for name, c := range map[string]struct {
		happens func(r *running)
		within  time.Duration
	}{
		"in a list": {func(r *running) { move(r.v) }, 16 * time.Minute},
		"when a link is read": {func(r *running) {
			move(r.v)
			r.v.set(func() { r.v.links[0].Active = false })
			r.OfferChanged(LinkUpdated, r.v.links[0].ID, false, false)
			pass(time.Second)
			r.v.set(func() { r.v.links[0].Active = true })
			r.OfferChanged(LinkUpdated, r.v.links[0].ID, true, false)
		}, time.Second},
		"when a link is activated": {func(r *running) {
			r.pause("dev:0000", false)
			pass(time.Second)
			move(r.v)
			r.resume("dev:0000")
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "l.db")
				v := &vendors{devices: many(1)}
				r := run(t, path, v, "price_1")
				pass(time.Minute)
				before := r.url("dev:0000")
				c.happens(r)
				pass(c.within)
				if got := r.url("dev:0000"); got != moved || before == "" {
					t.Errorf("it sells at %q; want %q", got, moved)
				}
				stored, err := r.Ledger.Link(t.Context(), v.links[0].ID)
				if err != nil || stored.URL != moved {
					t.Errorf("the ledger has %q (%v); want %q", stored.URL, err, moved)
				}
				if n := v.madeSoFar(); n != 1 {
					t.Errorf("%d links were made; want one", n)
				}
			})
		})
	}
}
