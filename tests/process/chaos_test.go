package process

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

const (
	maxPayments    = 1500             // payments in one world, however long it runs
	creditLifetime = 25 * time.Second // shorter than usual, so that credits expire
	// maxQuiet is how long all payments may take to reach their end. It includes the longest backoff
	// after many failures.
	maxQuiet = 4 * time.Minute
)

// TestChaos lets customers pay at machines of every kind while everything fails. A third of all
// calls fails in every way that the sandbox knows. Events are late, repeated or lost, refunds fail,
// machines break, and clocks step. The test kills the service about every second, and replaces the
// ledger by older copies. Then all trouble ends, and every payment must end. The machine has its
// one credit, the customer has the money, or the payment needs attention.
//
// With NOTEPAY_TEST_POSTGRES two more worlds have one process and three on a server of their own.
// The server crashes twice, and no ledger is replaced. The seed decides on the kind of their machines.
//
// NOTEPAY_CHAOS_TIME sets the duration (6s by default), and NOTEPAY_CHAOS_SEED the seed. With a
// duration, there are three processes on PostgreSQL with machines of each kind.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("real time passes")
	}
	length, err := time.ParseDuration(cmp.Or(os.Getenv("NOTEPAY_CHAOS_TIME"), "6s"))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("NOTEPAY_CHAOS_SEED"); given != "" {
		if _, err := fmt.Sscan(given, &seed); err != nil {
			t.Fatal(err)
		}
	}
	kinds := []*chaos{
		{name: "three keys"},
		{
			name:     "confirming",
			confirms: true,
			settings: []string{"CONFIRM_WITHIN", "10s", "NOTEHUB_ROUTE_TOKEN", apptest.RouteToken},
		},
		{
			name:     "money held",
			confirms: true,
			held:     true,
			settings: []string{"CONFIRM_WITHIN", "12s", "CAPTURE", "on_start"},
		},
	}
	onPostgres := func(kind *chaos, processes int) {
		name := fmt.Sprintf("%s, %d on PostgreSQL", kind.name, processes)
		kinds = append(kinds, &chaos{
			name:      name,
			confirms:  kind.confirms,
			held:      kind.held,
			settings:  kind.settings,
			processes: processes,
		})
	}
	usual, drawn := kinds, int(seed%3)
	onPostgres(usual[(drawn+1)%3], 1)
	if os.Getenv("NOTEPAY_CHAOS_TIME") == "" {
		usual = usual[drawn : drawn+1]
	}
	for _, kind := range usual {
		onPostgres(kind, 3)
	}
	t.Cleanup(func() { // once more, because the log of the others may be long
		t.Logf("seed %d", seed)
		for _, kind := range kinds {
			if kind.world == nil {
				continue // -run has left it out, or there is no server
			}
			for _, problem := range kind.world.Errors() {
				t.Logf("%s: %s", kind.name, problem)
			}
		}
	})
	for n, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			kind.random = &dice{r: rand.New(rand.NewPCG(seed, uint64(n)))}
			kind.run(t, length)
		})
	}
}

// chaos is a world of one kind in which everything fails.
type chaos struct {
	name           string
	confirms, held bool
	settings       []string
	random         *dice
	processes      int // on one PostgreSQL server; 0: one, on SQLite

	database *database
	others   []*apptest.Process // besides the one that is killed next

	world   *apptest.World
	mu      sync.Mutex
	quiet   bool
	calls   int // to the vendors
	hurt    int // of these had a scripted outcome
	kills   int
	crashes int // of the database

	restores *restores
}

// dice is a random source for concurrent use.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (d *dice) under(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

func (d *dice) between(low, high time.Duration) time.Duration {
	return low + time.Duration(d.under(int(high-low)))
}

func (c *chaos) run(t *testing.T, length time.Duration) {
	if c.processes > 0 {
		c.database = startPostgres(t)
		length -= length / 6 // leases are longer there, so the quiet is, too
	}
	w := apptest.NewWorld(t).Set("CREDIT_LIFETIME", creditLifetime.String(), "POLL_INTERVAL", "10s")
	w.Set(c.settings...)
	if c.database != nil {
		w.Set("DATABASE_URL", c.database.url)
		w.Inspected = true
	}
	c.world = w
	running, powerOff := context.WithCancel(t.Context())
	var hosting sync.WaitGroup
	defer hosting.Wait()
	defer powerOff()
	const count = 5
	for n := range count {
		uid := fmt.Sprintf("dev:%d", n)
		w.Notehub.AddDevice(sandbox.Device{UID: uid, LastActivity: time.Now()})
		m := w.Machine(
			sandbox.MachineConfig{
				Device:   uid,
				Original: !c.confirms && n%2 == 0,
				Confirms: c.confirms,
				Every:    200 * time.Millisecond,
			},
		)
		hosting.Go(func() { m.Run(running) })
	}
	ahead := c.random.between(-110*time.Second, 110*time.Second) // more would stop sales
	w.Clocks(ahead)
	c.restores = c.newRestores()
	p := c.spawn()
	for len(c.others) < c.processes-1 {
		c.others, p = append(c.others, p), c.spawn()
	}
	links := make([]string, count)
	for n := range links {
		links[n] = (&apptest.Service{W: w, Url: p.Url}).Selling(fmt.Sprintf("dev:%d", n))
	}

	w.Stripe.Watch(func(sandbox.Exchange) { c.hurtNext(&w.Stripe.Script, stripeTroubles) })
	w.Notehub.Watch(func(sandbox.Exchange) { c.hurtNext(&w.Notehub.Script, notehubTroubles) })
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var going sync.WaitGroup
	going.Go(func() { c.pay(ctx, links) })
	going.Go(func() { c.shake(ctx) })
	storm := time.Now()
	for ctx.Err() == nil {
		rest(ctx, c.random.between(200*time.Millisecond, 2*time.Second))
		if c.database != nil && c.crashes < 2 && time.Since(storm) > time.Duration(c.crashes+1)*length/3 {
			c.database.do("crash")
			c.crashes++
		}
		var restored *apptest.Rewind
		if c.processes == 0 {
			c.backUp()
		} else if len(c.others) > 0 {
			p, c.others = c.others[0], append(c.others[1:], p)
		}
		killed := w.Stripe.Now()
		p.Kill(t)
		if c.processes < 2 && c.random.under(6) == 0 { // the host slept, or its clock was set back
			ahead += c.random.between(5*time.Second, 90*time.Second)
			w.Clocks(ahead)
		}
		if c.processes == 0 { // with the clocks as they stay, because the restore's time counts
			restored = c.restoreOrCopy(killed)
		}
		p = c.spawn()
		if restored != nil {
			c.started(restored)
		}
		c.kills++
	}
	going.Wait()

	c.calm()
	began := time.Now()
	open := c.untilClosed(p)
	for _, other := range c.others {
		if err := other.Stop(); err != nil {
			t.Errorf("after SIGTERM: %v; want exit code 0", err)
		}
	}
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-p.Ended; err != nil {
		w.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
	if len(open) > 0 {
		w.Errorf("after %v of quiet these are not at an end:\n%s", maxQuiet, strings.Join(open, "\n"))
	}
	for _, m := range w.Machines { // runs the credits that were fetched last
		m.Step()
	}
	c.sum(time.Since(began))
}

// spawn starts the service and gives the vendors its address.
func (c *chaos) spawn() *apptest.Process {
	p := c.world.Spawn()
	c.world.Stripe.SetEndpoint(p.Url+"/webhook/stripe", fixture.TestSecret)
	if c.world.Env["NOTEHUB_ROUTE_TOKEN"] != "" {
		c.world.Notehub.SetRoute(p.Url+"/webhook/notehub", apptest.RouteToken)
	}
	return p
}

// hurtNext makes a third of all calls fail, and the second one in any case. Each call decides about
// the next one.
func (c *chaos) hurtNext(s *sandbox.Script, troubles []sandbox.Outcome) {
	c.mu.Lock()
	if !c.quiet {
		c.calls++
	}
	hurt := !c.quiet && (c.random.under(3) == 0 || c.calls == 1)
	if hurt {
		c.hurt++
	}
	c.mu.Unlock()
	if !hurt {
		return
	}
	o := troubles[c.random.under(len(troubles))]
	if c.random.under(4) == 0 {
		o.Delay = c.random.between(10*time.Millisecond, 1500*time.Millisecond)
		o.DelayEffect = c.random.under(2) == 0
	}
	s.Next("{any} /{rest...}", o)
}

// The troubles of both vendors are lost replies, with or without the effect, failures of a server
// or a gateway, and general refusals.
var (
	commonTroubles = []sandbox.Outcome{
		{},
		{Applied: true},
		{Status: 500},
		{Status: 502, Body: "<html>bad gateway</html>"},
		{Status: 503},
		{Status: 504, Body: "<html>timeout</html>"},
		{Status: 500, Applied: true},
		{Status: 502, Applied: true, Body: "<html>bad gateway</html>"},
		{Status: 504, Applied: true, Body: "<html>timeout</html>"},
		{Status: 401},
		{Status: 403},
		{Status: 404, Body: "<html>no such page</html>"},
		{Status: 429},
		{Status: 429, Header: http.Header{"Retry-After": {"1"}}},
		{Status: 200, Applied: true},
	}
	stripeTroubles  = slices.Concat(commonTroubles, []sandbox.Outcome{{Status: 409}})
	notehubTroubles = slices.Concat(commonTroubles, []sandbox.Outcome{
		{
			Status: 400,
			Body: `{"err":"a maximum of 100 notes may be pending for device (currently 100)",` +
				`"code":400,"status":"Bad Request"}`,
		},
	})
)

// pay lets customers pay until the chaos ends.
func (c *chaos) pay(ctx context.Context, links []string) {
	for n := 0; n < maxPayments && ctx.Err() == nil; n++ {
		session, err := c.world.Stripe.Pay(
			links[c.random.under(len(links))],
			sandbox.PayOptions{
				NoWebhook:   c.random.under(10) == 0,
				EventsFirst: []string{"session", "intent", "only-session", "only-intent"}[c.random.under(4)],
				Free:        c.random.under(20) == 0,
			},
		)
		if err != nil {
			c.world.Error(err)
			return
		}
		rest(ctx, c.random.between(50*time.Millisecond, 900*time.Millisecond))
		switch c.random.under(25) { // an action in the Dashboard or of the bank
		case 0:
			c.world.Stripe.Refund(session.ID, 0)
			c.world.Stripe.CancelAuthorization(session.ID)
		case 1:
			c.world.Stripe.Refund(session.ID, 100)
		case 2:
			c.world.Stripe.Dispute(session.ID)
		case 3:
			c.world.Stripe.OpenDispute(session.ID,
				[]string{"warning_needs_response", "prevented"}[c.random.under(2)], 0)
		}
	}
}

// shake changes the delivery of events, the result of refunds, and the behavior of machines.
func (c *chaos) shake(ctx context.Context) {
	flag := func(one int) bool { return c.random.under(one) == 0 }
	for ctx.Err() == nil {
		d := sandbox.Delivery{Lost: flag(4), Doubled: flag(3)}
		if flag(3) {
			d.Late = c.random.between(0, 3*time.Second)
		}
		c.world.Stripe.SetDelivery(d)
		c.world.Notehub.SetDelivery(d)
		c.world.Notehub.SetListedLate(time.Duration(c.random.under(3)) * 4 * time.Second)
		modes := []sandbox.RefundMode{
			sandbox.RefundsSucceed,
			sandbox.RefundsSucceed,
			sandbox.RefundsPend,
			sandbox.RefundsFail,
			sandbox.RefundsLackBalance,
		}
		c.world.Stripe.SetRefunds(modes[c.random.under(len(modes))])
		m := c.world.Machines[c.random.under(len(c.world.Machines))]
		b := sandbox.Behavior{Twice: flag(4), Silent: flag(5), LosePower: flag(5)}
		if flag(3) {
			b.Refuse, b.Code = []string{"failed", "busy"}[c.random.under(2)], "E-DOOR"
		}
		if flag(4) {
			b.AnswerLate = c.random.between(0, 20*time.Second)
		}
		m.SetBehavior(b)
		m.SetOnline(!flag(4))
		m.SetPower(!flag(6))
		rest(ctx, c.random.between(50*time.Millisecond, 400*time.Millisecond))
	}
}

// calm ends all trouble.
func (c *chaos) calm() {
	c.mu.Lock()
	c.quiet = true
	c.mu.Unlock()
	for _, s := range []*sandbox.Script{&c.world.Stripe.Script, &c.world.Notehub.Script} {
		s.Clear("{any} /{rest...}")
	}
	c.world.Stripe.SetDelivery(sandbox.Delivery{})
	c.world.Notehub.SetDelivery(sandbox.Delivery{})
	c.world.Notehub.SetListedLate(0)
	c.world.Stripe.SetRefunds(sandbox.RefundsSucceed)
	for _, m := range c.world.Machines {
		m.SetBehavior(sandbox.Behavior{})
		m.SetOnline(true)
		m.SetPower(true)
	}
	for _, session := range c.world.Stripe.Sessions() {
		c.world.Stripe.SettleRefund(session.ID, true)
	}
}

// rest waits in real time, because the service is a separate process.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
