package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// instances are several services on one PostgreSQL server, behind a proxy that gives each request to
// one of them, and a webhook sometimes to two at once.
type instances struct {
	*testing.T
	d      *database
	pooled bool // they reach the server through a transaction pooler
	w      *apptest.World
	front  *httptest.Server

	mu    sync.Mutex
	procs []*apptest.Process

	kills, crashes int // what a storm has done

	calls callsOfDevices
}

// callsOfDevices notices two calls at once to one device.
type callsOfDevices struct {
	mu       sync.Mutex
	takes    time.Duration // how long a call takes besides, so that a second one would meet it
	open     map[string]int
	calls    int
	overlaps int
}

// watch passes requests on to Notehub.
func (c *callsOfDevices) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		at := slices.IndexFunc(parts, func(s string) bool { return strings.HasPrefix(s, "dev:") })
		if at < 0 || !strings.Contains(r.URL.Path, "/notes/") {
			next.ServeHTTP(w, r)
			return
		}
		device := parts[at]
		c.mu.Lock()
		c.calls++
		if c.open[device]++; c.open[device] > 1 {
			c.overlaps++
		}
		takes := c.takes
		c.mu.Unlock()
		defer func() { // also if the handler cuts the connection by a panic
			c.mu.Lock()
			c.open[device]--
			c.mu.Unlock()
		}()
		time.Sleep(takes)
		next.ServeHTTP(w, r)
	})
}

// take makes each call take longer from now on.
func (c *callsOfDevices) take(longer time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takes = longer
}

// TestCallsOfDevices shows that overlapping calls are found, and only calls to the same device.
func TestCallsOfDevices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		devices  [2]string
		overlaps int
	}{
		"one device":  {[2]string{"dev:1", "dev:1"}, 1},
		"two devices": {[2]string{"dev:1", "dev:2"}, 0},
	} {
		calls := callsOfDevices{open: map[string]int{}}
		began, end := make(chan struct{}, 2), make(chan struct{})
		handler := calls.watch(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			began <- struct{}{}
			<-end
		}))
		var both sync.WaitGroup
		for _, device := range c.devices {
			r := httptest.NewRequest(http.MethodPost, "/v1/projects/p/devices/"+device+"/notes/credits.qi", nil)
			both.Go(func() { handler.ServeHTTP(httptest.NewRecorder(), r) })
		}
		<-began
		<-began
		close(end)
		both.Wait()
		if calls.overlaps != c.overlaps || calls.calls != 2 {
			t.Errorf("%s: %d overlaps of %d calls; want %d of 2", name, calls.overlaps, calls.calls, c.overlaps)
		}
	}
}

func newInstances(t *testing.T, n int, settings ...string) *instances {
	t.Helper()
	d := startPostgres(t)
	return instancesOn(t, d, d.url, n, settings...)
}

// newPooledInstances starts instances that reach the server through a transaction pooler.
func newPooledInstances(t *testing.T, n int, settings ...string) *instances {
	t.Helper()
	d := startPostgres(t)
	s := instancesOn(t, d, pooler(t, d.url), n, settings...)
	s.pooled = true
	return s
}

// instancesOn starts instances that reach the server at a URL.
func instancesOn(t *testing.T, d *database, url string, n int, settings ...string) *instances {
	t.Helper()
	s := &instances{T: t, d: d, calls: callsOfDevices{open: map[string]int{}}}
	s.w = apptest.NewWorld(t).Set("DATABASE_URL", url).Set(settings...)
	hub := httptest.NewServer(s.calls.watch(s.w.Notehub))
	t.Cleanup(hub.Close)
	s.w.Set("NOTEHUB_API_URL", hub.URL)
	s.front = httptest.NewServer(http.HandlerFunc(s.balance))
	t.Cleanup(s.front.Close)
	for range n {
		s.procs = append(s.procs, s.w.Spawn())
	}
	s.w.Stripe.SetEndpoint(s.front.URL+"/webhook/stripe", fixture.TestSecret)
	return s
}

// service returns one of the instances.
func (s *instances) service(n int) *apptest.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &apptest.Service{W: s.w, Url: s.procs[n].Url}
}

// balance passes a request on.
func (s *instances) balance(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	order := rand.Perm(len(s.procs))
	urls := []string{s.procs[order[0]].Url}
	if len(order) > 1 && r.Method == http.MethodPost && rand.IntN(3) == 0 {
		urls = append(urls, s.procs[order[1]].Url)
	}
	s.mu.Unlock()
	statuses := make([]int, len(urls))
	var all sync.WaitGroup
	for n, url := range urls {
		all.Go(func() {
			statuses[n] = http.StatusBadGateway
			to := url + r.URL.RequestURI()
			passed, err := http.NewRequestWithContext(r.Context(), r.Method, to, bytes.NewReader(body))
			if err != nil {
				return
			}
			passed.Header = r.Header.Clone()
			resp, err := apptest.NoRedirects.Do(passed)
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				statuses[n] = resp.StatusCode
			}
		})
	}
	all.Wait()
	w.WriteHeader(slices.Min(statuses)) // one 200 is a promise
}

// kill kills an instance and starts another one in its place.
func (s *instances) kill(n int) {
	s.mu.Lock()
	old := s.procs[n]
	s.mu.Unlock()
	old.Kill(s.T)
	next := s.w.Spawn()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs[n] = next
	s.kills++
}

func (s *instances) stop() {
	for _, p := range s.procs {
		if err := p.Stop(); err != nil {
			s.Errorf("after SIGTERM: %v; want exit code 0", err)
		}
	}
}

// oneLeads checks that the instances agree on one leader soon, by their metrics, and stay with it for
// a few heartbeats.
func (s *instances) oneLeads(when string) {
	s.Helper()
	leaders := func() (list []int) {
		for n := range s.procs {
			if s.leading(n) {
				list = append(list, n)
			}
		}
		return list
	}
	var first []int
	s.w.Until("one instance leads "+when, func() bool { first = leaders(); return len(first) == 1 })
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); pause(250 * time.Millisecond) {
		if list := leaders(); !slices.Equal(list, first) {
			s.Errorf("%s the instances %v lead after %v did; want the same one", when, list, first)
			return
		}
	}
}

// stormTime returns how long a storm lasts: NOTEPAY_STORM_TIME, or else usual.
func stormTime(t *testing.T, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("NOTEPAY_STORM_TIME")
	if text == "" {
		return usual
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("NOTEPAY_STORM_TIME: %v", err)
	}
	return length
}

// killAndCrash kills an instance each second, and crashes the database twice.
func killAndCrash(length time.Duration) func(*instances, context.Context) {
	return func(s *instances, ctx context.Context) {
		began := time.Now()
		for n := 0; ctx.Err() == nil || s.crashes < 2 || s.kills < 3; n++ {
			pause(time.Second)
			if s.crashes < 2 && time.Since(began) > time.Duration(s.crashes+1)*length/3 {
				s.d.do("crash")
				s.crashes++
				continue
			}
			s.kill(n % 3)
		}
	}
}

// Three instances share the payments of some machines. Each second one is killed, the database crashes
// twice, events arrive at two instances at once, and a third of all replies is lost. Nothing that was
// acknowledged is lost, no device has two calls at once, and each note beyond the first of a credit
// follows a call whose outcome was not known. In the end every payment is closed.
func TestInstances(t *testing.T) {
	if testing.Short() {
		t.Skip("real time passes")
	}
	length := stormTime(t, 15*time.Second)
	testInstances(t, newInstances, length, killAndCrash(length))
}

// The same behind a pooler that gives each transaction another session.
func TestInstancesStormBehindAPooler(t *testing.T) {
	if testing.Short() {
		t.Skip("real time passes")
	}
	length := stormTime(t, 6*time.Second)
	testInstances(t, newPooledInstances, length, killAndCrash(length))
}

// The lead changes ten times a second, and every instance leads again and again.
func TestInstancesWithoutALeader(t *testing.T) {
	if testing.Short() {
		t.Skip("real time passes")
	}
	testInstances(t, newInstances, stormTime(t, 15*time.Second), func(s *instances, ctx context.Context) {
		for ctx.Err() == nil {
			pause(100 * time.Millisecond)
			s.d.query(`UPDATE leader SET term = term + 1, until = 0,
				holder = (SELECT id FROM instances ORDER BY random() LIMIT 1) RETURNING 1`)
		}
	})
}

func testInstances(
	t *testing.T,
	start func(t *testing.T, n int, settings ...string) *instances,
	length time.Duration,
	disturb func(*instances, context.Context),
) {
	t.Parallel()
	began := time.Now()
	since := func() time.Duration { return time.Since(began).Round(100 * time.Millisecond) }
	s := start(t, 0)
	w := s.w
	w.Inspected = true
	const machines, senders, callTime = 5, 4, 40 * time.Millisecond
	s.calls.take(callTime) // so that a second call of a device would meet the first
	running, powerOff := context.WithCancel(t.Context())
	var hosting sync.WaitGroup
	defer hosting.Wait()
	defer powerOff()
	hosts := make([]*sandbox.Machine, machines)
	for i := range machines {
		uid := fmt.Sprintf("dev:%d", i)
		w.Notehub.AddDevice(sandbox.Device{UID: uid, LastActivity: time.Now()})
		hosts[i] = w.Machine(sandbox.MachineConfig{Device: uid, Every: 100 * time.Millisecond})
		hosting.Go(func() { hosts[i].Run(running) })
	}
	for range 3 {
		s.procs = append(s.procs, w.Spawn())
	}
	links := make([]string, machines)
	for i := range links {
		links[i] = s.service(i % 3).Selling(fmt.Sprintf("dev:%d", i))
	}

	var quiet atomic.Bool
	var hurt atomic.Int64
	lose := func(script *sandbox.Script) func(sandbox.Exchange) {
		return func(sandbox.Exchange) {
			if !quiet.Load() && rand.IntN(3) == 0 {
				hurt.Add(1)
				script.Next("{any} /{rest...}", sandbox.Outcome{Applied: rand.IntN(3) > 0})
			}
		}
	}
	w.Stripe.Watch(lose(&w.Stripe.Script))
	w.Notehub.Watch(lose(&w.Notehub.Script))

	ctx, end := context.WithTimeout(t.Context(), length)
	defer end()
	var acknowledged sync.Map
	var sent, refused atomic.Int64
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for ctx.Err() == nil {
				session, err := w.Stripe.Pay(links[rand.IntN(machines)], sandbox.PayOptions{NoWebhook: true})
				if err != nil {
					t.Error(err)
					return
				}
				events := w.Stripe.Events()
				at := slices.IndexFunc(events, func(e sandbox.Event) bool { return e.ObjectID == session.ID })
				for {
					status, err := w.Stripe.Send(events[at].ID)
					if err == nil && status == http.StatusOK {
						acknowledged.Store(session.ID, true)
						sent.Add(1)
						break
					}
					refused.Add(1)
					pause(20 * time.Millisecond)
				}
				pause(time.Duration(rand.IntN(150)) * time.Millisecond)
			}
		})
	}
	var added []string
	sending.Go(func() { added = s.addMachines(ctx, length) })
	made := w.Stripe.Count(createLink)
	t.Logf("the storm begins after %v", since())
	disturb(s, ctx)
	end()
	sending.Wait()
	t.Logf("the storm is over after %v, with %d calls to create links", since(), w.Stripe.Count(createLink)-made)
	quiet.Store(true)
	for _, script := range []*sandbox.Script{&w.Stripe.Script, &w.Notehub.Script} {
		script.Clear("{any} /{rest...}")
	}
	for end := time.Now().Add(2 * time.Minute); ; pause(500 * time.Millisecond) {
		open := s.d.query(`SELECT count(*) FROM payments WHERE machine = 'queued' OR in_flight <> 0`)
		waiting := s.d.query(`SELECT count(*) FROM lookups`)
		if open+waiting == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("%d payments and %d look-ups are not at an end after 2 minutes of quiet", open, waiting)
			break
		}
	}
	t.Logf("all payments are at an end after %v", since())
	s.oneLeads("when it is quiet")
	for n := range machines {
		added = append(added, fmt.Sprintf("dev:%d", n))
	}
	s.agree(append(added, fixture.Washer))
	t.Logf("all machines sell after %v", since())
	s.stop()
	t.Logf("all instances have stopped after %v", since())
	s.judge(hosts, &acknowledged)
	t.Logf("%d kills, %d crashes, %d payments acknowledged, %d tries refused, %d replies lost, %d calls of devices",
		s.kills, s.crashes, sent.Load(), refused.Load(), hurt.Load(), s.calls.calls)
	if sent.Load() == 0 || hurt.Load() == 0 || s.calls.calls < int(sent.Load()) {
		t.Error("nothing was tested")
	}
}

// addMachines adds machines while a storm lasts, and has an instance list them. It returns their UIDs.
func (s *instances) addMachines(ctx context.Context, length time.Duration) (added []string) {
	for n := range 6 {
		uid := fmt.Sprintf("dev:added%d", n)
		s.w.Notehub.AddDevice(sandbox.Device{UID: uid, LastActivity: time.Now()})
		added = append(added, uid)
		s.askForListing()
		rest(ctx, length/8)
	}
	return added
}

// askForListing asks any instance to list the devices, and does not wait for it to be done.
func (s *instances) askForListing() {
	ctx, cancel := context.WithTimeout(s.Context(), 500*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.front.URL+"/refresh-devices", nil)
	if err != nil {
		s.Error(err)
		return
	}
	r.Header.Set("Authorization", "Bearer "+apptest.OperatorToken)
	if resp, err := http.DefaultClient.Do(r); err == nil { // or it takes long, or the instance was killed
		resp.Body.Close()
	}
}

// agree waits until all instances sell on these machines through the same links. A machine has one
// active link, and no instance takes another one for a second installation.
func (s *instances) agree(devices []string) {
	s.Helper()
	s.refresh(0)
	for _, uid := range devices {
		want := s.service(0).Selling(uid)
		for n := range s.procs {
			s.w.Until("all instances sell through one link on "+uid, func() bool {
				return s.service(n).Selling(uid) == want
			})
		}
	}
	active := map[string]int{}
	s.w.Until("each machine has one active link", func() bool {
		clear(active)
		sum := 0
		for _, link := range s.w.Stripe.Links() {
			if link.Active {
				active[link.DeviceUID]++
				sum++
			}
		}
		return sum == len(devices) && len(active) == len(devices)
	})
	for n := range s.procs {
		if _, _, text := s.service(n).Get("/health"); strings.Contains(text, apptest.TwinsText) {
			s.Errorf("instance %d takes the others for a second installation: %s", n, text)
		}
	}
	if n := s.d.query(`SELECT count(*) FROM payments WHERE attention = 'twins'`); n > 0 {
		s.Errorf("%d payments are said to be touched by another installation", n)
	}
}

// judge compares what the machines did with what was acknowledged.
func (s *instances) judge(hosts []*sandbox.Machine, acknowledged *sync.Map) {
	starts, notes := map[string]int{}, map[string]int{}
	for _, h := range hosts {
		h.Step()
		for _, start := range h.Starts() {
			starts[start.CreditID]++
		}
	}
	for _, n := range s.w.Notehub.Notes("") {
		credit, _ := n.Body["credit_id"].(string)
		notes[credit]++
	}
	l, err := ledger.Open(s.w.Context(), s.d.url)
	if err != nil {
		s.Fatal(err)
	}
	defer l.Close()
	again := 0
	for credit, n := range notes {
		if n < 2 {
			continue
		}
		again++
		attempts, err := l.Attempts(s.w.Context(), credit)
		if err != nil {
			s.Fatal(err)
		}
		unclear := 0
		for _, a := range attempts {
			if a.Action == payment.StepPostNote && a.Outcome == "retry" {
				unclear++
			}
		}
		if unclear < n-1 {
			s.Errorf("credit %s has %d notes and %d unclear posts: %+v", credit, n, unclear, attempts)
		}
	}
	acknowledged.Range(func(session, _ any) bool {
		if credit := payment.CreditID(session.(string)); starts[credit] != 1 {
			s.Errorf("the machine started %d times for session %s; want once", starts[credit], session)
		}
		return true
	})
	if s.calls.overlaps > 0 {
		s.Errorf("%d calls began while the device had another one", s.calls.overlaps)
	}
	s.Logf("%d credits were sent again", again)
}

// When the leader is killed or stopped, another instance leads soon.
func TestInstancesReplaceTheLeader(t *testing.T) {
	t.Parallel()
	s := newInstances(t, 2)
	if !s.leading(0) || s.leading(1) {
		t.Error("the first instance does not lead alone")
	}
	began := time.Now() // the first instance has led from its start
	if err := s.procs[0].Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	taken := func() bool {
		return s.d.query(`SELECT count(*) FROM leader JOIN instances ON id = holder
			WHERE until > extract(epoch FROM clock_timestamp()) * 1000
			AND (SELECT count(*) FROM instances) = 1`) == 1
	}
	for !taken() {
		if time.Since(began) > 20*time.Second {
			t.Fatal("no instance leads 20 s after SIGTERM")
		}
		pause(20 * time.Millisecond)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the other one leads alone %v after SIGTERM; want at most a second", took)
	}
	if err := <-s.procs[0].Ended; err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
	s.procs[0] = s.w.Spawn()
	s.procs[1].Kill(t)
	began = time.Now()
	lead := `SELECT count(*) FROM leader WHERE until > extract(epoch FROM clock_timestamp()) * 1000 AND term > ` +
		fmt.Sprint(s.d.query(`SELECT term FROM leader`))
	for s.d.query(lead) == 0 {
		if time.Since(began) > 15*time.Second {
			t.Fatal("no instance leads 15 s after the death of the leader")
		}
		pause(20 * time.Millisecond)
	}
	t.Logf("the next one leads %v after a death", time.Since(began))
	s.w.Terminated(s.procs[0])
}
