package fleet

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/problem"
)

// Tests begin at midnight UTC.
func TestNothingPayable(t *testing.T) {
	t.Parallel()
	out := ledger.MachineState{DeviceUID: "dev:0000", Out: true, Code: "door"}
	service := ledger.Maintenance{DeviceUID: "dev:0000", To: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)}
	for name, c := range map[string]struct {
		hours string
		set   func(r *running)
		want  string // "" for no problem
	}{
		"all closed at this hour": {hours: "Mo-Su 06:00-22:00", set: func(*running) {}},
		"all closed at this hour, and one out of order": {
			hours: "Mo-Su 06:00-22:00",
			set:   func(r *running) { r.setOut("dev:0000", out) },
		},
		"one in maintenance and one paused": {
			set: func(r *running) { r.setMaintenance("dev:0000", service); r.pause("dev:0001", false) },
		},
		"one out of order and one paused": {
			set:  func(r *running) { r.setOut("dev:0000", out); r.pause("dev:0001", false) },
			want: "No machine can be paid for: 1 out_of_order; 1 paused.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				board := &problem.Board{}
				v := &vendors{devices: many(2), project: map[string]string{"open_hours": c.hours}}
				setUp := func(conf *Config) { conf.Problems = board }
				r := runWith(t, filepath.Join(t.TempDir(), "l.db"), v, setUp, "price_1")
				pass(time.Minute)
				c.set(r)
				pass(20 * time.Minute)
				says := ""
				if i := slices.IndexFunc(board.List(), func(p problem.Problem) bool {
					return p.Code == problem.NothingPayable
				}); i >= 0 {
					says = board.List()[i].Text.String()
				}
				if !strings.HasPrefix(says, c.want) || (says == "") != (c.want == "") {
					t.Errorf("problem %q; want %q", says, c.want)
				}
			})
		})
	}
}
