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
	"testing"
	"time"

	"notepay/internal/apptest"
	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// TestKill kills the service repeatedly while senders pay and repeat each event until it is
// acknowledged. Each acknowledged payment gets its note, and all notes of a payment carry its one
// credit id.
//
// NOTEPAY_KILL_TIME sets the duration (8s by default), and NOTEPAY_KILL_SEED the moments.
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

	ctx, stop := context.WithTimeout(t.Context(), length) // from here, because load delays the first start
	defer stop()
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
				// Each event is sent until it is acknowledged, even after the time is up.
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
			w.Notehub.Next(fixture.PostNote, sandbox.Outcome{Applied: random.IntN(2) == 0}) // the reply is lost
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

	// Every acknowledged payment is delivered, whatever interrupted it.
	last := &apptest.Service{W: w, Url: p.Url}
	var text string
	defer func() { t.Logf("health at the end: %s", text) }()
	w.Until("an empty queue", func() bool {
		_, _, text = last.Get("/health")
		return strings.Contains(text, `"queued":0,`)
	})
	if err := p.Stop(); err != nil {
		t.Errorf("after SIGTERM: %v; want exit code 0", err)
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

// pause waits in real time, because the service is a separate process.
func pause(d time.Duration) { time.Sleep(d) }
