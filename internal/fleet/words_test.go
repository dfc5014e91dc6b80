package fleet

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
)

func TestVariablesOfWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(3)}
		v.devices[1].Fleets = []string{"fleet:1"}
		v.project = map[string]string{
			"machine_kind": "Washer ", "code_e_door": "Close the door", "code_e_water": "Open the tap",
		}
		v.fleets = map[string]map[string]string{
			"fleet:1": {"machine_kind": "locker", "code_e_door": "Close the locker"},
		}
		v.own = map[string]map[string]string{
			"dev:0002": {"machine_kind": "oven", "code_e_door": strings.Repeat("x", 81), "code_e_belt": "two\nlines"},
		}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_default")
		pass(2 * time.Minute)
		for _, row := range []struct{ uid, kind, code, name string }{
			{"dev:0000", "washer", "E-DOOR", "Close the door"},
			{"dev:0000", "washer", "e water", "Open the tap"},
			{"dev:0000", "washer", "E-BELT", ""},
			{"dev:0000", "washer", "", ""},
			{"dev:0001", "locker", "E_DOOR", "Close the locker"},
			{"dev:0001", "locker", "E_WATER", "Open the tap"},
			{"dev:0002", "", "E-DOOR", ""},
			{"dev:0002", "", "E-WATER", "Open the tap"},
			{"dev:0002", "", "E-BELT", ""},
		} {
			d := r.Device(row.uid)
			if d.Kind() != row.kind || d.CodeName(row.code) != row.name {
				t.Errorf("%s: kind %q, code %s is %q; want %q and %q",
					row.uid, d.Kind(), row.code, d.CodeName(row.code), row.kind, row.name)
			}
		}
		r.hasProblem("dev:0002", "machine_kind", `"oven"`, "washer")
		r.hasProblem("dev:0002", "code_e_door", "80 characters")
		r.hasProblem("dev:0002", "code_e_belt", "one line")
		r.wantSold(map[string]string{"dev:0002": "default: price_default"})
		r.stop()
	})
	var none *Device
	if none.Kind() != "" || none.CodeName("E-DOOR") != "" || (&Device{}).Kind() != "" {
		t.Error("a device without variables has words")
	}
}

// Links of an earlier version show no text. They are changed in place, at the rate of all changes.
func TestTextOfLinksIsChangedInPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		v := &vendors{devices: many(50)}
		r := run(t, path, v, "price_default")
		pass(2 * time.Minute)
		r.stop()
		word := "You pay for "
		text := func(c *Config) {
			c.PageText = func(d *Device) string { return word + d.Name }
		}
		updates := func() int { return len(copyOf(v, &v.updated)) }
		r = runWith(t, path, v, text, "price_default")
		pass(time.Second)
		if n := updates(); n == 0 || n > 2*23 {
			t.Errorf("%d links were changed within a second; want some, and no more than the limit", n)
		}
		pass(2 * time.Minute)
		for _, change := range copyOf(v, &v.updated) {
			if change.SignedBy != "" {
				t.Fatal("a new text signs the link, which may hide the signature of another installation")
			}
		}
		if updates() != 50 || v.madeSoFar() != 50 {
			t.Errorf("%d changes and %d links; want 50 of each", updates(), v.madeSoFar())
		}
		for _, l := range copyOf(v, &v.links) {
			if l.TextSum != ledger.SumText(word+r.Device(l.DeviceUID).Name) {
				t.Errorf("link %s shows another text", l.ID)
			}
		}
		r.stop()
		r = runWith(t, path, v, text, "price_default") // remembers
		pass(20 * time.Minute)
		if updates() != 50 {
			t.Errorf("%d changes after a restart; want none", updates()-50)
		}
		v.set(func() { v.devices[7].Name = "Dryer" })
		pass(20 * time.Minute)
		if updates() != 51 {
			t.Errorf("%d changes after one name changed; want one", updates()-50)
		}
		r.stop()
	})
}

func TestUnclearTextLeavesLinksOnSale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		v := &vendors{devices: many(3)}
		r := run(t, path, v, "price_default")
		pass(2 * time.Minute)
		r.stop()
		v.set(func() { v.updatesLost = true })
		text := func(c *Config) { c.PageText = func(d *Device) string { return "You pay for " + d.Name } }
		r = runWith(t, path, v, text, "price_default")
		pass(2 * time.Minute)
		for _, d := range v.devices {
			if sale := r.Availability(d.UID, time.Now()); sale.State != Open {
				t.Errorf("%s is %s while its text is being changed; want it on sale", d.UID, sale.State)
			}
		}
		v.set(func() { v.updatesLost = false })
		pass(20 * time.Minute)
		if n := len(copyOf(v, &v.updated)); n != 3 {
			t.Errorf("%d changes; want one of each link", n)
		}
		r.stop()
	})
}
