package process

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// TestKill: senders pay and repeat each event until it is acknowledged, while the service is killed
// again and again. Whatever was acknowledged gets its note, and all notes of a payment carry its
// one credit id.
//
// NOTEPAY_KILL_TIME sets how long (8s if it is not set), NOTEPAY_KILL_SEED which moments.
func TestKill(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("NOTEPAY_KILL_TIME"), "8s"))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("NOTEPAY_KILL_SEED"); given != "" {
		if _, err := fmt.Sscan(given, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	w := apptest.NewWorld(t)
	const machines, senders = 8, 6
	links := make([]string, machines)
	for i := range machines {
		w.Notehub.AddDevice(sandbox.Device{UID: fmt.Sprintf("dev:%d", i)})
	}
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	running, powerOff := context.WithCancel(t.Context())
	hosts := make([]*sandbox.Machine, machines)
	var hosting sync.WaitGroup
	for i := range machines {
		hosts[i] = w.Machine(sandbox.MachineConfig{Device: fmt.Sprintf("dev:%d", i), Every: 50 * time.Millisecond})
		hosting.Go(func() { hosts[i].Run(running) })
	}
	defer hosting.Wait()
	defer powerOff()

	p := w.Spawn()
	w.Stripe.SetEndpoint(p.Url+"/webhook/stripe", fixture.TestSecret)
	for i := range machines {
		links[i] = (&apptest.Service{W: w, Url: p.Url}).Selling(fmt.Sprintf("dev:%d", i))
	}

	var acknowledged sync.Map // session ids
	var sent, refused atomic.Int64
	var sending sync.WaitGroup
	for n := range senders {
		mine := rand.New(rand.NewPCG(seed, uint64(n)+1))
		sending.Go(func() {
			for ctx.Err() == nil {
				session, err := w.Stripe.Pay(links[mine.IntN(machines)], sandbox.PayOptions{NoWebhook: true})
				if err != nil {
					t.Error(err)
					return
				}
				var event string
				for _, e := range w.Stripe.Events() {
					if e.ObjectID == session.ID {
						event = e.ID
					}
				}
				// The event's name is known; it is sent until it is acknowledged, also after the
				// time is up: nothing may stay half told.
				for {
					status, err := w.Stripe.Send(event)
					if err == nil && status == http.StatusOK {
						acknowledged.Store(session.ID, true)
						sent.Add(1)
						break
					}
					refused.Add(1)
					pause(time.Duration(5+mine.IntN(20)) * time.Millisecond)
				}
				pause(time.Duration(mine.IntN(40)) * time.Millisecond)
			}
		})
	}

	rounds := 0
	for ; ctx.Err() == nil; rounds++ {
		if random.IntN(4) == 0 {
			w.Notehub.Next(fixture.PostNote, sandbox.Outcome{Applied: random.IntN(2) == 0}) // a reply is lost, too
		}
		pause(time.Duration(20+random.IntN(700)) * time.Millisecond)
		if err := p.Cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.Ended
		p = w.Spawn()
		w.Stripe.SetEndpoint(p.Url+"/webhook/stripe", fixture.TestSecret)
	}
	sending.Wait()

	// Everything that was acknowledged is delivered, however it was interrupted.
	last := &apptest.Service{W: w, Url: p.Url}
	var text string
	defer func() { t.Logf("health at the end: %s", text) }()
	w.Until("an empty queue", func() bool {
		_, _, text = last.Get("/health")
		return strings.Contains(text, `"queued":0,`)
	})
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := <-p.Ended; err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %v; want at most 10 s", took)
	}
	notes := map[any]int{}
	for _, n := range w.Notehub.Notes("") {
		notes[n.Body["credit_id"]]++
	}
	starts := map[string]int{}
	for _, h := range hosts {
		h.Step()
		for _, start := range h.Starts() {
			starts[start.CreditID]++
		}
	}
	lost, repeated := 0, 0
	acknowledged.Range(func(session, _ any) bool {
		credit := payment.CreditID(session.(string))
		if n := starts[credit]; n != 1 {
			t.Errorf("the machine started %d times for session %s; want once", n, session)
		}
		switch n := notes[credit]; {
		case n == 0:
			lost++
			t.Errorf("session %s was acknowledged and has no note", session)
		case n > 1:
			repeated++
		}
		return true
	})
	if sent.Load() == 0 || rounds == 0 {
		t.Errorf("%d payments, %d kills: nothing was tested", sent.Load(), rounds)
	}
	t.Logf(
		"%d payments acknowledged, %d tries refused, %d kills, %d lost, %d sent again under the same credit id",
		sent.Load(),
		refused.Load(),
		rounds,
		lost,
		repeated,
	)
}

// pause is real time: a process that is killed has no other.
func pause(d time.Duration) { time.Sleep(d) }
