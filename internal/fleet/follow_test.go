package fleet

import (
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// A device that was added while another instance listed the devices may be on a page that the listing
// had already read. So a payment made after the listing's beginning says nothing.
func TestFollowALongListing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "l.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		v := &vendors{}
		c := Config{Ledger: l, Notehub: v, Stripe: v, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
		c.Interval, c.LinkLimiter = 15*time.Minute, upstream.NewLimiter(0, 1)
		r, err := New(t.Context(), c) // it does not run, so it lists nothing itself
		if err != nil {
			t.Fatal(err)
		}
		begins := time.Now()
		time.Sleep(30 * time.Second)
		paid := time.Now()
		time.Sleep(30 * time.Second)
		err = l.Update(t.Context(), func(tx *ledger.Tx) error {
			return tx.SetMeta(ledger.MetaFleetLoaded, tx.Now)
		})
		if err != nil {
			t.Fatal(err)
		}
		told := ledger.Change{Kind: ledger.ChangedListing, Subject: strconv.FormatInt(begins.UnixMilli(), 10)}
		for name, changes := range map[string][]ledger.Change{
			"a listing":      {told},
			"missed changes": {{Kind: ledger.Missed}},
		} {
			if err := r.Follow(t.Context(), changes); err != nil {
				t.Fatal(err)
			}
			if got := r.Eligibility("dev:new", paid); got != Unsure {
				t.Errorf("after %s: %v for a payment during it; want unsure", name, got)
			}
			if at := r.Observed(); !at.Equal(begins) && name == "a listing" {
				t.Errorf("observed at %v; want the beginning of the listing, %v", at, begins)
			}
		}
		if got := r.Eligibility("dev:new", begins.Add(-time.Second)); got != Unknown {
			t.Errorf("%v for a payment before the listing; want unknown", got)
		}
	})
}

// An instance that does not lead sells through the address that the leader has stored.
func TestFollowTheAddressOfALink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(1)}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		pass(time.Minute)
		follower, err := New(t.Context(), r.Config) // it does not run, so it only follows
		if err != nil {
			t.Fatal(err)
		}
		const moved = "https://buy.stripe.com/moved"
		v.set(func() { v.links[0].URL = moved })
		pass(15 * time.Minute)
		changes := []ledger.Change{{Kind: ledger.ChangedDevice, Subject: "dev:0000"}}
		if err := follower.Follow(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		if got := follower.Device("dev:0000").Offers[0].URL; got != moved {
			t.Errorf("the follower sells at %q; want %q", got, moved)
		}
	})
}
