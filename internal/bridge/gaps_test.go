package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// hub is the little of Notehub that matters here: it takes notes, and may do so and not say so. What the wire does to calls is
// shown elsewhere; here it is about what is on disk between them.
type hub struct {
	mu      sync.Mutex
	posted  int
	pending []Note
	answers []answer // of the next posts; then yes
	blind   error    // of looks
}

type answer struct {
	err     error
	applied bool
	gate    chan struct{} // the answer comes when this is closed
}

func (h *hub) PostNote(_ context.Context, _ string, n Note) error {
	h.mu.Lock()
	a := answer{applied: true}
	if len(h.answers) > 0 {
		a, h.answers = h.answers[0], h.answers[1:]
	}
	if a.applied {
		h.posted++
		h.pending = append(h.pending, n)
	}
	h.mu.Unlock()
	if a.gate != nil {
		<-a.gate
	}
	return a.err
}

func (h *hub) PendingCredits(context.Context, string) (credits []string, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.blind != nil {
		return nil, h.blind
	}
	for _, n := range h.pending {
		credits = append(credits, n.CreditID)
	}
	return credits, nil
}

type silent struct{}

func (silent) Event(string)                               {}
func (silent) Attempt(ledger.Step, string, time.Duration) {}

// house is a bridge whose steps a test takes by hand, and which it can lose and open again.
type house struct {
	*testing.T
	path string
	hub  *hub
	l    *ledger.Ledger
	b    *Bridge
}

func newHouse(t *testing.T) *house {
	h := &house{T: t, path: filepath.Join(t.TempDir(), "notepay.db"), hub: &hub{}}
	h.open()
	err := h.l.Update(t.Context(), func(tx *ledger.Tx) error {
		return errors.Join(tx.SaveDevice(ledger.Device{UID: "dev:1", Name: "Washer"}), tx.SaveDevice(ledger.Device{UID: "dev:2"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	h.reopen()
	return h
}

func (h *house) open() {
	h.Helper()
	var err error
	if h.l, err = ledger.Open(h.Context(), h.path); err != nil {
		h.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(h.Output(), nil))
	f, err := fleet.New(h.Context(), fleet.Config{Ledger: h.l, Log: log})
	if err != nil {
		h.Fatal(err)
	}
	h.b = New(Config{Ledger: h.l, Fleet: f, Notehub: h.hub, NotehubPace: upstream.NewPace(0, 0), Log: log, Project: "app:1", Lifetime: 10 * time.Minute, Observe: silent{}})
}

// reopen is a crash: nothing that was not on disk is known afterwards.
func (h *house) reopen() {
	h.Helper()
	if err := h.l.Close(); err != nil {
		h.Fatal(err)
	}
	h.open()
}

func (h *house) paid(session, device string) {
	h.Helper()
	err := h.b.Receive(h.Context(), Event{ID: "evt_" + session, Type: "checkout.session.completed", ObjectID: session, Created: time.Now(),
		Session: &Session{ID: session, PaymentStatus: "paid", PaymentIntent: "pi_" + session, Amount: 350, Currency: "eur", PaidAt: time.Now(),
			Metadata: map[string]string{"device_uid": device, "project": "app:1"}}})
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) claim(want int) []ledger.Payment {
	h.Helper()
	claimed, err := h.b.claim(h.Context(), workers, workers)
	if err != nil || len(claimed) != want {
		h.Fatalf("claimed %d (%v); want %d", len(claimed), err, want)
	}
	return claimed
}

// post makes the call of a claim and does not settle it.
func (h *house) post(p ledger.Payment) {
	h.Helper()
	if err := h.hub.PostNote(h.Context(), p.DeviceUID, noteOf(p)); err != nil {
		h.Fatal(err)
	}
}

// finish works until nothing is due any more, and holds the end against the promise.
func (h *house) finish(sessions ...string) {
	h.Helper()
	for range 200 {
		claimed, err := h.b.claim(h.Context(), workers, workers)
		if err != nil {
			h.Fatal(err)
		}
		for _, p := range claimed {
			h.b.work(h.Context(), p)
		}
		stats, err := h.l.Stats(h.Context())
		if err != nil {
			h.Fatal(err)
		}
		if stats.NextDue.IsZero() {
			break
		}
		time.Sleep(max(time.Until(stats.NextDue), 0)) // in a bubble: no time passes outside
	}
	for _, session := range sessions {
		p := h.payment(session)
		if p.Machine != ledger.Sent || p.Step != ledger.NoStep || p.InFlight {
			h.Errorf("payment of %s: %s, step %q, in flight %v; want it sent and done", session, p.Machine, p.Step, p.InFlight)
		}
	}
	if h.hub.posted < len(sessions) {
		h.Errorf("%d notes; want one for each of %v", h.hub.posted, sessions)
	}
	if err := h.l.Close(); err != nil {
		h.Error(err)
	}
}

func (h *house) payment(session string) ledger.Payment {
	h.Helper()
	p, err := h.l.Payment(h.Context(), session)
	if err != nil {
		h.Fatal(err)
	}
	return p
}

// AT-06, AT-07: the power goes in every gap between two steps; opened again, the work is taken up and ends well.
func TestEveryGap(t *testing.T) {
	t.Parallel()
	unclear := &upstream.Error{Outcome: upstream.Unclear}
	for name, c := range map[string]struct {
		until func(h *house) // what was done before the power went
		notes int            // posted in the end
	}{
		"after the event was recorded": {func(*house) {}, 1},
		"after the claim":              {func(h *house) { h.claim(1) }, 1},
		"after the call":               {func(h *house) { h.post(h.claim(1)[0]) }, 1},
		"after the call, and the Notecard has fetched the note": {func(h *house) {
			h.post(h.claim(1)[0])
			h.hub.pending = nil
		}, 2}, // nothing tells that it was there: sent again under the same credit id, which the machine ignores
		"after an unclear call that was applied": {func(h *house) {
			h.hub.answers = []answer{{err: unclear, applied: true}}
			h.b.work(h.Context(), h.claim(1)[0])
		}, 1},
		"after an unclear call that was not applied": {func(h *house) {
			h.hub.answers = []answer{{err: unclear}}
			h.b.work(h.Context(), h.claim(1)[0])
		}, 1},
		"after the claim of the look": {func(h *house) {
			h.hub.answers = []answer{{err: unclear, applied: true}}
			h.b.work(h.Context(), h.claim(1)[0])
			time.Sleep(NotehubTimeLimit)
			if p := h.claim(1)[0]; p.Step != ledger.CheckPending {
				h.Errorf("claimed %s; want a look", p.Step)
			}
		}, 1},
		"after the settling": {func(h *house) { h.b.work(h.Context(), h.claim(1)[0]) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.paid("cs_test_1", "dev:1")
				c.until(h)
				h.reopen()
				h.paid("cs_test_1", "dev:1") // Stripe did not hear the yes
				h.finish("cs_test_1")
				if h.hub.posted != c.notes {
					t.Errorf("%d notes; want %d", h.hub.posted, c.notes)
				}
			})
		})
	}
}

func TestWorkIsTakenUpAtOnceAfterACrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.paid("cs_test_1", "dev:1")
		h.claim(1)
		h.paid("cs_test_2", "dev:1")
		h.claim(0) // one call at a time for a device
		h.reopen()
		p := h.claim(1)[0]
		if p.SessionID != "cs_test_2" {
			t.Errorf("claimed %s; want the payment that no call was under way for", p.SessionID)
		}
		h.b.work(t.Context(), p)
		h.finish("cs_test_1", "cs_test_2")
	})
}

// A worker that slept through its lease wakes up: what it saw counts, and it sends nobody anywhere.
func TestAStaleWorkerThatWakesLate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		saw  error
		took bool
	}{
		"with a yes":             {nil, true},
		"with an unclear answer": {&upstream.Error{Outcome: upstream.Unclear}, false},
		"with a no":              {&upstream.Error{Outcome: upstream.Wait, RetryAfter: time.Hour}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.paid("cs_test_1", "dev:1")
				gate, asleep := make(chan struct{}), make(chan struct{})
				h.hub.answers = []answer{{err: c.saw, applied: c.took, gate: gate}}
				first := h.claim(1)[0]
				go func() { h.b.work(t.Context(), first); close(asleep) }()
				synctest.Wait()
				time.Sleep(lease)
				second := h.claim(1)[0] // a look, for the first call is unclear
				if second.Step != ledger.CheckPending || second.Turn <= first.Turn {
					t.Fatalf("claimed %+v; want a look of a later turn", second)
				}
				close(gate)
				<-asleep
				p := h.payment("cs_test_1")
				if p.Turn != second.Turn || !p.InFlight || p.Step != ledger.CheckPending {
					t.Errorf("turn %d, in flight %v, step %q: the stale worker touched the claim", p.Turn, p.InFlight, p.Step)
				}
				if (p.Machine == ledger.Sent) != (c.saw == nil) {
					t.Errorf("machine %s; want what the stale worker saw to count", p.Machine)
				}
				attempts, err := h.l.Attempts(t.Context(), p.ID)
				if err != nil || len(attempts) != 2 { // the interruption, and what the stale worker saw
					t.Errorf("%d attempts (%v); want 2", len(attempts), err)
				}
				h.b.work(t.Context(), second)
				h.finish("cs_test_1")
			})
		})
	}
}

func TestAResultThatCannotBeWrittenDownIsLeftToTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.paid("cs_test_1", "dev:1")
		p := h.claim(1)[0]
		if err := h.l.Close(); err != nil {
			t.Fatal(err)
		}
		h.b.work(t.Context(), p)
		h.open()
		h.finish("cs_test_1")
		if h.hub.posted != 1 {
			t.Errorf("%d notes; want the one that was found pending", h.hub.posted)
		}
	})
}

func TestRetriesDoNotCrowdOutFreshWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		var all []string
		for i := range 40 {
			session := fmt.Sprintf("cs_test_%02d", i)
			all = append(all, session)
			h.paid(session, "dev:1")
		}
		h.hub.answers = []answer{{err: &upstream.Error{Outcome: upstream.Again}}}
		h.b.work(t.Context(), h.claim(1)[0])
		h.paid("cs_test_other", "dev:2")
		claimed := h.claim(2)
		if !slices.ContainsFunc(claimed, func(p ledger.Payment) bool { return p.DeviceUID == "dev:2" }) {
			t.Errorf("claimed %v; want one of them for the other machine", claimed)
		}
		for _, p := range claimed {
			h.b.work(t.Context(), p)
		}
		h.finish(append(all, "cs_test_other")...)
	})
}

// Notehub may ask to be left alone for longer than a credit lives: it runs out in time all the same.
func TestCreditsRunOutWhileNotehubIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		h.hub.answers = []answer{{err: &upstream.Error{Outcome: upstream.Wait, Status: 429, RetryAfter: 24 * time.Hour}}}
		h.b.c.NotehubPace.Observe(time.Now(), h.hub.answers[0].err)
		h.paid("cs_test_1", "dev:1")
		h.paid("cs_test_2", "dev:1")
		go func() { h.b.deliver(ctx, ctx); close(done) }()
		time.Sleep(6 * time.Minute)
		if !h.b.Late() {
			t.Error("past half a lifetime it still sells")
		}
		time.Sleep(5 * time.Minute)
		for _, session := range []string{"cs_test_1", "cs_test_2"} {
			if p := h.payment(session); p.Machine != ledger.Failed || p.Reason != ReasonExpired || p.Attention != AttentionMoneyKept {
				t.Errorf("payment of %s: %s %q %q; want it expired", session, p.Machine, p.Reason, p.Attention)
			}
		}
		stop()
		<-done
		if h.hub.posted != 0 {
			t.Errorf("%d notes while Notehub wanted none", h.hub.posted)
		}
		if err := h.l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A post that may have been taken, and Notehub never says: the customer's money hangs, so a person is told, and nobody else is kept from paying.
func TestWhatCannotBeFoundOutIsToldAfterAQuarterOfAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		h.hub.answers = []answer{{err: &upstream.Error{Outcome: upstream.Unclear}}}
		h.hub.blind = &upstream.Error{Outcome: upstream.Trouble, Status: 401}
		h.paid("cs_test_1", "dev:1")
		go func() { h.b.deliver(ctx, ctx); close(done) }()
		time.Sleep(14 * time.Minute)
		if p := h.payment("cs_test_1"); p.Attention != "" || p.Machine != ledger.Queued {
			t.Errorf("after 14 minutes: %s, attention %q; want it queued and nobody told", p.Machine, p.Attention)
		}
		time.Sleep(2 * time.Minute)
		if p := h.payment("cs_test_1"); p.Attention != AttentionOverdue || p.Machine != ledger.Queued {
			t.Errorf("after 16 minutes: %s, attention %q; want it queued and told", p.Machine, p.Attention)
		}
		if h.b.Late() {
			t.Error("a credit that has run out keeps the others from being sold")
		}
		h.hub.mu.Lock()
		h.hub.blind = nil
		h.hub.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if p := h.payment("cs_test_1"); p.Machine != ledger.Failed || p.Attention != AttentionDeliveryUnclear {
			t.Errorf("when Notehub speaks again: %s, attention %q; want it failed and doubtful", p.Machine, p.Attention)
		}
		stop()
		<-done
		if err := h.l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAPostAndALookAndAPostAgainBackOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		for range 1000 {
			h.hub.answers = append(h.hub.answers, answer{err: &upstream.Error{Outcome: upstream.Unclear, Status: 500, Over: true}})
		}
		h.paid("cs_test_1", "dev:1")
		go func() { h.b.deliver(ctx, ctx); close(done) }()
		time.Sleep(9 * time.Minute)
		stop()
		<-done
		if posts := 1000 - len(h.hub.answers); posts < 5 || posts > 30 {
			t.Errorf("%d posts in nine minutes; want a handful", posts)
		}
		if err := h.l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The session's own event comes first, as it usually does: the event of its intent costs Stripe no read.
func TestALookUpThatTimeHasAnsweredAsksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		err := h.b.Receive(t.Context(), Event{ID: "evt_pi", Type: "payment_intent.succeeded", ObjectID: "pi_cs_test_1", Created: time.Now(),
			Metadata: map[string]string{"device_uid": "dev:1", "project": "app:1"}})
		if err != nil {
			t.Fatal(err)
		}
		h.paid("cs_test_1", "dev:1")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { h.b.lookUp(ctx, ctx); close(done) }() // there is no Stripe to ask: it would panic
		time.Sleep(time.Minute)
		stats, err := h.l.Stats(t.Context())
		if err != nil || !stats.NextLookup.IsZero() {
			t.Errorf("a look-up is left for %v (%v)", stats.NextLookup, err)
		}
		stop()
		<-done
		h.finish("cs_test_1")
	})
}
