package fleet

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/upstream"
)

func TestListShowsTheStateOfEachDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{
			devices: many(3),
			own: map[string]map[string]string{
				"dev:0001": {"stripe_price_id": "price_2,price_gone", "credit_lifetime": "2m"},
			},
			prices: map[string]error{
				"price_gone": &upstream.Error{Outcome: upstream.Rejected, Detail: "no such price"},
			},
		}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		pass(2 * time.Minute)
		r.pause("dev:0000", false)
		until := time.Now().Add(time.Minute)
		r.InUse("dev:0002", until)
		pass(time.Second)
		list := r.List()
		if len(list) != 3 {
			t.Fatalf("%d devices; want 3", len(list))
		}
		if d := list[0]; d.UID != "dev:0000" || d.State != Paused || d.Reason != "broken" || d.Pause == nil ||
			d.Pause.By != "anna" || d.Plans[0].URL != "" || d.Source != OfDefault {
			t.Errorf("the paused one: %+v", d)
		}
		if d := list[1]; d.State != Open || len(d.Plans) != 1 || d.Plans[0].Plan.PriceID != "price_2" ||
			d.Plans[0].URL == "" || d.Source != OfDevice || d.Lifetime == nil || *d.Lifetime != 2*time.Minute ||
			len(d.Problems) != 1 || d.Variables.IsZero() {
			t.Errorf("the one with plans of its own: %+v", d)
		}
		if d := list[2]; d.State != InUse || !d.Until.Equal(until) || d.Lifetime != nil || len(d.Problems) != 0 ||
			d.Plans[0].URL == "" {
			t.Errorf("the one in use: %+v", d)
		}
	})
}
