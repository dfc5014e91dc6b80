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
	"notepay/internal/message"
	"notepay/internal/upstream"
)

// sells returns the prices of a device, with a mark at those without a link, and their source.
func (r *running) sells(uid string) string {
	list := r.List()
	i := slices.IndexFunc(list, func(l Listed) bool { return l.UID == uid })
	if i < 0 {
		return "unknown"
	}
	text := string(list[i].Source) + ":"
	for _, o := range list[i].Plans {
		text += " " + o.Plan.PriceID
		if o.URL == "" {
			text += "!"
		}
	}
	return text
}

func (r *running) wantSold(want map[string]string) {
	r.t.Helper()
	for uid, text := range want {
		if got := r.sells(uid); got != text {
			r.t.Errorf("%s sells by %q; want %q", uid, got, text)
		}
	}
}

// hasProblem requires a problem of a device that contains all of these texts.
func (r *running) hasProblem(uid string, says ...string) {
	r.t.Helper()
	problems := r.Device(uid).Problems
	if !slices.ContainsFunc(problems, func(p message.Message) bool {
		return !slices.ContainsFunc(says, func(s string) bool { return !strings.Contains(p.String(), s) })
	}) {
		r.t.Errorf("problems of %s: %q; want one with %q", uid, problems, says)
	}
}

func TestVariablesOfADeviceOverrideFleetAndProject(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(4)}
		v.devices[1].Fleets, v.devices[2].Fleets = []string{"fleet:1"}, []string{"fleet:1"}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_default")
		pass(2 * time.Minute)
		r.wantSold(map[string]string{"dev:0000": "default: price_default", "dev:0001": "default: price_default"})
		v.set(func() {
			v.project = map[string]string{"stripe_price_id": " price_p ", "other": "secret"}
			v.fleets = map[string]map[string]string{
				"fleet:1": {"stripe_price_id": "price_f1, price_f2,,price_f1"},
				"fleet:2": {},
			}
			v.own = map[string]map[string]string{
				"dev:0002": {"stripe_price_id": "price_d"},
				"dev:0003": {"stripe_price_id": ""},
			}
		})
		pass(2 * time.Hour)
		r.wantSold(
			map[string]string{
				"dev:0000": "project: price_p",
				"dev:0001": "fleet: price_f1 price_f2",
				"dev:0002": "device: price_d",
				"dev:0003": "project: price_p",
			},
		)
		v.set(func() { v.project, v.fleets = nil, nil })
		pass(15 * time.Minute)
		r.wantSold(
			map[string]string{
				"dev:0000": "default: price_default",
				"dev:0001": "default: price_default",
				"dev:0002": "device: price_d",
			},
		)
		r.stop()
		for _, l := range copyOf(v, &v.links) {
			sold := func(o Offer) bool { return o.Plan.PriceID == l.Plan.PriceID }
			if want := slices.ContainsFunc(r.Device(l.DeviceUID).Offers, sold); l.Active != want {
				t.Errorf("the link of %s at %s is active: %v; want %v", l.DeviceUID, l.Plan.PriceID, l.Active, want)
			}
		}
	})
}

func TestVariablesOfFleetsThatDisagreeAreAProblem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(2), fleets: map[string]map[string]string{
			"fleet:a": {"stripe_price_id": "price_a"},
			"fleet:b": {"stripe_price_id": "price_b", "credit_lifetime": "5m"},
			"fleet:c": {"credit_lifetime": "5m"},
		}}
		v.devices[0].Fleets = []string{"fleet:b", "fleet:c", "fleet:a"}
		v.devices[1].Fleets = []string{"fleet:b", "fleet:c"}
		v.own = map[string]map[string]string{}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_default")
		pass(time.Minute)
		r.wantSold(map[string]string{"dev:0000": "fleet: price_a", "dev:0001": "fleet: price_b"})
		r.hasProblem("dev:0000", "stripe_price_id", "disagree", "price_a", "fleet:a")
		if p := r.Device("dev:0000").Problems; len(p) != 1 {
			t.Errorf("problems %q; want one: the fleets agree on the lifetime", p)
		}
		if p := r.Device("dev:0001").Problems; len(p) != 0 {
			t.Errorf("problems %q; want none", p)
		}
		v.set(func() { v.own["dev:0000"] = map[string]string{"stripe_price_id": "price_d"} })
		pass(2 * time.Hour)
		if p := r.Device("dev:0000").Problems; len(p) != 0 {
			t.Errorf("problems %q; want none: the device itself decides", p)
		}
	})
}

func TestVariableWithAnInvalidValueIsAProblem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(7), own: map[string]map[string]string{
			"dev:0005": {"credit_lifetime": "1s"},
			"dev:0006": {"stripe_price_id": "price_1,price_1", "credit_lifetime": "10s"},
			"dev:0000": {"payment_enabled": "flase", "credit_lifetime": "soon"},
			"dev:0001": {"payment_enabled": "FALSE", "credit_lifetime": "90s"},
			"dev:0002": {"stripe_price_id": " , ", "credit_lifetime": "-5m"},
			"dev:0003": {"stripe_price_id": "warm wash,price_1", "payment_enabled": "true", "credit_lifetime": "0"}}}
		r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
		pass(3 * time.Minute)
		r.hasProblem("dev:0000", "payment_enabled", "flase")
		r.hasProblem("dev:0000", "credit_lifetime", "soon")
		r.hasProblem("dev:0002", "stripe_price_id", "names no price")
		r.hasProblem("dev:0002", "credit_lifetime", "-5m")
		r.hasProblem("dev:0003", "warm wash", "is not a price id")
		r.hasProblem("dev:0005", "credit_lifetime", "1s", "at least 10s")
		r.hasProblem("dev:0006", "stripe_price_id", "twice")
		if slices.Contains(copyOf(v, &v.pricesGot), "warm wash") {
			t.Error("Stripe was asked for what is no price id")
		}
		for uid, want := range map[string]State{
			"dev:0000": PaymentsOff, "dev:0001": PaymentsOff, "dev:0002": NoOffers, "dev:0003": Open,
			"dev:0004": Open, "dev:0005": Open, "dev:0006": Open,
		} {
			if got := r.Availability(uid, time.Now()).State; got != want {
				t.Errorf("%s: %s; want %s", uid, got, want)
			}
		}
		for uid, want := range map[string]string{
			"dev:0000": "0s false", "dev:0001": "1m30s true", "dev:0002": "0s false", "dev:0003": "0s true",
			"dev:0005": "0s false", "dev:0006": "10s true", "dev:unknown": "0s false",
		} {
			if d, ok := r.Lifetime(uid); fmt.Sprint(d, ok) != want {
				t.Errorf("lifetime of %s: %v %v; want %s", uid, d, ok, want)
			}
		}
	})
}

// withoutLimit configures NOTEHUB_REQUESTS_PER_MINUTE=0, so the fleet does not know Notehub's
// limit.
func withoutLimit(c *Config) { c.NotehubLimiter = upstream.NewLimiter(0, 0) }

func TestVariableReaderIsSlowAndReadsScannedDevicesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendors{devices: many(30)}
		r := runWith(t, filepath.Join(t.TempDir(), "l.db"), v, withoutLimit, "price_1")
		pass(time.Minute + time.Second)
		if got := fmt.Sprint(copyOf(v, &v.asked)); got != "[dev:0000 dev:0001 dev:0002 dev:0003]" {
			t.Fatalf("in a minute %s were read; want four, in order", got)
		}
		for range 5000 {
			r.Availability("dev:0029", time.Now())
			r.Availability("dev:0000", time.Now()) // read a moment ago
		}
		synctest.Wait()
		if got := fmt.Sprint(copyOf(v, &v.asked)[4:]); got != "[dev:0029]" {
			t.Errorf("the scans had %s read; want the one that was never read, at once", got)
		}
		pass(40 * time.Second)
		if got := fmt.Sprint(copyOf(v, &v.asked)[5:]); got != "[dev:0004 dev:0005]" {
			t.Errorf("then %s were read; want the others in their order", got)
		}
		pass(9 * time.Minute)
		if n := len(copyOf(v, &v.asked)); n != 30 {
			t.Errorf("%d reads; want one for each device", n)
		}
		v.set(func() { v.devices = append(v.devices, ledger.Device{UID: "dev:new"}) })
		pass(6 * time.Minute)
		if n := len(copyOf(v, &v.asked)); n != 31 || copyOf(v, &v.asked)[30] != "dev:new" {
			t.Errorf("%d reads, the last of %s; want one of the new device", n, copyOf(v, &v.asked)[n-1])
		}
		pass(10 * time.Hour)
		for i := 6; i < len(copyOf(v, &v.askedAt)); i++ { // after the scanned one
			if gap := copyOf(v, &v.askedAt)[i].Sub(copyOf(v, &v.askedAt)[i-1]); gap < defaultVariableInterval {
				t.Fatalf("two reads within %v", gap)
			}
		}
		if n := len(copyOf(v, &v.asked)); n < 31*8 || n > 31*11 {
			t.Errorf("%d reads in ten hours; want each device about once an hour", n)
		}
	})
}

// Of several instances each has a part of Notehub's limit, and the leader reads with half of its own.
func TestVariableReaderOfSeveralInstances(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := upstream.NewWindow(120)
		limiter.Divide(0, 3)
		r := runWith(t, filepath.Join(t.TempDir(), "l.db"), &vendors{devices: many(100)}, func(c *Config) {
			c.NotehubLimiter = limiter
		}, "price_1")
		pass(5*time.Minute + 10*time.Second)
		if n := r.States()[Unread]; n > 0 {
			t.Errorf("%d of 100 devices are not read after 5 minutes; want none, at 20 and more a minute", n)
		}
	})
}

func TestNewKeepsWhatWasKnownBeforeARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		v := &vendors{devices: many(5), project: map[string]string{"stripe_price_id": "price_p"},
			fleets: map[string]map[string]string{"fleet:1": {"stripe_price_id": "price_f"}},
			own: map[string]map[string]string{
				"dev:0002": {"stripe_price_id": "price_d", "credit_lifetime": "3m"},
				"dev:0003": {"payment_enabled": "false"},
			}}
		v.devices[1].Fleets = []string{"fleet:1"}
		r := run(t, path, v, "price_1")
		pass(5 * time.Minute)
		r.pause("dev:0004", false)
		pass(time.Second)
		asked, made := len(copyOf(v, &v.asked)), v.madeSoFar()
		r.stop()

		down := &upstream.Error{Outcome: upstream.Unknown}
		v.set(func() {
			v.broken, v.silent = down, down
			v.prices = map[string]error{"price_1": down, "price_p": down, "price_f": down, "price_d": down}
		})
		r = run(t, path, v, "price_1")
		want := map[string]string{
			"dev:0000": "project: price_p",
			"dev:0001": "fleet: price_f",
			"dev:0002": "device: price_d",
		}
		states := map[string]State{
			"dev:0000": Open,
			"dev:0001": Open,
			"dev:0002": Open,
			"dev:0003": PaymentsOff,
			"dev:0004": Paused,
		}
		check := func() {
			t.Helper()
			r.wantSold(want)
			for uid, state := range states {
				if got := r.Availability(uid, time.Now()).State; got != state {
					t.Errorf("%s: %s; want %s", uid, got, state)
				}
			}
		}
		check()
		if d, ok := r.Lifetime("dev:0002"); !ok || d != 3*time.Minute {
			t.Errorf("lifetime %v %v; want 3m", d, ok)
		}
		pass(5 * time.Minute)
		check()
		if n := len(copyOf(v, &v.asked)) - asked; n != 0 {
			t.Errorf("%d devices were read again; want none within the hour", n)
		}
		v.set(func() { v.broken, v.silent, v.prices = nil, nil, nil })
		pass(time.Hour)
		check()
		if n := v.madeSoFar() - made; n != 0 {
			t.Errorf("%d links were made again; want none", n)
		}
	})
}

func TestVariablesThatCannotBeReadStayTheSame(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		outcome  upstream.Outcome
		listings int // in the 15 minutes after
	}{
		"Notehub rejects the credentials":    {upstream.Misconfigured, 1},
		"no reply, so it is read again soon": {upstream.Unknown, 16},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				v := &vendors{
					devices: many(1),
					project: map[string]string{"stripe_price_id": "price_p"},
					own:     map[string]map[string]string{"dev:0000": {"credit_lifetime": "1m"}},
				}
				r := run(t, filepath.Join(t.TempDir(), "l.db"), v, "price_1")
				pass(14 * time.Minute)
				v.set(func() {
					v.listings, v.silent = 0, &upstream.Error{Outcome: c.outcome, Detail: "no way"}
					v.devices = append(v.devices, ledger.Device{UID: "dev:new"})
				})
				pass(15 * time.Minute)
				r.wantSold(map[string]string{"dev:0000": "project: price_p"})
				r.wantState("dev:new", Unread)
				var listings int
				v.set(func() { listings = v.listings })
				if listings < c.listings || listings > c.listings+5 {
					t.Errorf("%d listings in a quarter of an hour; want %d or some more", listings, c.listings)
				}
				if p := r.Problems(); len(p) != 1 || !strings.Contains(p[0].Text.String(), "read variables") {
					t.Errorf("problems %+v; want that the variables could not be read", p)
				}
				v.set(func() { v.silent = nil })
				pass(16 * time.Minute)
				if p := r.Problems(); len(p) != 0 {
					t.Errorf("problems %+v; want none any more", p)
				}
				r.wantState("dev:new", Open)
				if d, _ := r.Lifetime("dev:0000"); d != time.Minute {
					t.Errorf("lifetime %v; want 1m", d)
				}
			})
		})
	}
}

func TestRefreshRemovesTheVariablesOfARemovedDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.db")
		v := &vendors{devices: many(2), own: map[string]map[string]string{"dev:0001": {"stripe_price_id": "price_d"}}}
		r := run(t, path, v, "price_1")
		pass(2 * time.Minute)
		r.wantSold(map[string]string{"dev:0001": "device: price_d"})
		v.set(func() { v.devices, v.own = v.devices[:1], nil })
		pass(15 * time.Minute)
		stored, err := r.Ledger.Variables(t.Context())
		if err != nil || len(stored) != 2 {
			t.Errorf("%v (%v); want those of the project and of the device that is left", stored, err)
		}
		v.set(func() { v.devices = many(2) })
		pass(15*time.Minute + 5*time.Second)
		r.wantSold(map[string]string{"dev:0001": "default: price_1"})
	})
}
