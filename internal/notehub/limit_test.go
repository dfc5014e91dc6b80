package notehub

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fixture"
	"notepay/internal/sandbox"
)

// group is a set of processes that share Notehub's limit. Each sees with a delay who is there.
type group struct {
	hub   *testHub
	limit uint

	mu      sync.Mutex
	running sync.WaitGroup
	there   map[int]span
}

// seenFor is how long the others see a process that has died.
const seenFor = 5 * time.Second

// span is when the others see a process.
type span struct{ from, to time.Time }

// start starts a process that makes as many calls as it may, until the returned function kills it.
func (g *group) start(ctx context.Context, id int, delay time.Duration) (kill func()) {
	s := testConfig("http://notehub.test")
	s.PerMinute, s.Transport = g.limit, sandbox.InProcess(g.hub)
	client := New(s)
	began := time.Now()
	g.mu.Lock()
	if len(g.there) > 0 {
		client.Limiter.Join()
	}
	g.there[id] = span{began, began.Add(time.Hour)}
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	g.running.Go(func() {
		for ctx.Err() == nil {
			client.Limiter.Divide(g.part(id, time.Now().Add(-delay)))
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	g.running.Go(func() {
		for ctx.Err() == nil {
			_, _ = client.DeviceVariables(ctx, fixture.Washer)
		}
	})
	return func() {
		cancel()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.there[id] = span{began, time.Now().Add(seenFor)}
	}
}

// part returns the number of a process among those that were seen at a time, and how many these are.
func (g *group) part(id int, at time.Time) (number, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for other, s := range g.there {
		if other != id && (at.Before(s.from) || at.After(s.to)) {
			continue
		}
		if n++; other < id {
			number++
		}
	}
	return number, n
}

// Processes that share Notehub's limit keep it in any minute together, while they join, leave and are
// replaced, and use it.
func TestLimitOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{2, 7, 60} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				at := func(d time.Duration) { time.Sleep(time.Until(began.Add(d))) }
				g := &group{hub: newTestHub(t, nil), limit: uint(limit), there: map[int]span{}}
				ctx, end := context.WithCancel(t.Context())
				one := g.start(ctx, 1, time.Second)
				at(30 * time.Second)
				g.start(ctx, 5, 3*time.Second)
				at(150 * time.Second)
				last := g.start(ctx, 4, 2*time.Second)
				for n := range 3 { // replaced, at once and before it has a part
					at(time.Duration(300+20*n) * time.Second)
					last()
					last = g.start(ctx, -n, time.Duration(n)*time.Second)
				}
				at(500 * time.Second)
				one()
				at(700 * time.Second)
				last()
				at(900 * time.Second)
				end()
				g.running.Wait()
				wantKept(t, g.hub.Requests("{any} /v1/{rest...}"), limit, began)
			})
		})
	}
}

// wantKept checks that no minute has more calls than limit, and that most have about as many, but for
// some after each change.
func wantKept(t *testing.T, made []sandbox.Request, limit int, began time.Time) {
	t.Helper()
	var times []time.Duration
	for _, r := range made {
		times = append(times, r.At.Sub(began))
	}
	slices.Sort(times)
	for n := range max(len(times)-limit, 0) {
		if took := times[n+limit] - times[n]; took < time.Minute {
			t.Errorf("%d calls within %v, from %v on; want %d a minute", limit+1, took, times[n], limit)
			break
		}
	}
	if usual := 15 * limit; len(times) < usual*6/10 {
		t.Errorf("%d calls in 15 minutes; want most of %d", len(times), usual)
	}
	t.Logf("%d calls of %d", len(times), 15*limit)
}
