package bridge

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// inUse reports whether a scan finds the device in use.
func (h *house) inUse(device string) bool {
	return h.b.c.Fleet.Availability(device, time.Now()).State == fleet.InUse
}

// commits changes a payment without publishing the change.
func (h *house) commits(before payment.Payment, to func(*payment.Payment)) change {
	h.Helper()
	c := change{before: before, after: before}
	to(&c.after)
	c.after = payment.Next(c.after, time.Now())
	h.told.unchecked = true
	err := h.l.Update(context.Background(), func(tx *ledger.Tx) error { return tx.ChangePayment(c.before, c.after) })
	if err != nil {
		h.Fatal(err)
	}
	return c
}

func TestPublishInAnotherOrderThanCommitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		h.paidTimed("cs_1", "dev:1")
		started := h.commits(h.payment("cs_1"), func(p *payment.Payment) {
			p.Delivery, p.MaybeAccepted = payment.Started, true
			p.SentAt, p.StartedAt, p.EndsAt = time.Now(), time.Now(), time.Now().Add(p.Duration)
		})
		ended := h.commits(started.after, func(p *payment.Payment) { p.Delivery, p.EndsAt = payment.Done, time.Now() })
		h.b.publish(ended)
		if h.inUse("dev:1") {
			t.Error("the machine is in use after its session was over")
		}
		h.b.publish(started) // its goroutine was slower than the other
		if h.inUse("dev:1") {
			t.Error("an older change made a free machine be in use")
		}

		if err := h.b.Pause(t.Context(), "dev:1", Actor{"operator", "leaks"}); err != nil {
			t.Fatal(err)
		}
		resumed := change{before: started.after, after: ended.after}
		if err := h.b.Resume(t.Context(), "dev:1", Actor{"operator", "fixed"}); err != nil {
			t.Fatal(err)
		}
		h.b.publish(resumed)
		if h.b.c.Fleet.Device("dev:1").Pause != nil {
			t.Error("an older change paused the machine")
		}
		h.close()
	})
}

// TestPublishConcurrently changes payments and pauses concurrently. In the end the fleet agrees
// with the ledger.
func TestPublishConcurrently(t *testing.T) {
	t.Parallel()
	h := newHouse(t, confirming)
	for round := range 40 {
		session := fmt.Sprintf("cs_%d", round)
		h.paidTimed(session, "dev:1")
		p := h.payment(session)
		var all sync.WaitGroup
		for _, state := range []string{"started", "done"} {
			all.Go(func() {
				err := h.b.Confirm(
					context.Background(),
					payment.Confirmation{
						EventID:   session + state,
						DeviceUID: "dev:1",
						CreditID:  p.ID,
						State:     state,
						At:        time.Now(),
					},
				)
				if err != nil {
					t.Error(err)
				}
			})
		}
		for range 3 {
			all.Go(func() {
				_ = h.b.Pause(context.Background(), "dev:1", Actor{"operator", "leaks"})
				_ = h.b.Resume(context.Background(), "dev:1", Actor{"operator", "fixed"})
			})
		}
		all.Wait()
		_, err := h.l.Occupant(context.Background(), "dev:1")
		used, _ := ledger.Found(err)
		_, err = h.l.PauseOf(context.Background(), "dev:1")
		paused, _ := ledger.Found(err)
		agrees := func() bool {
			isPaused := h.b.c.Fleet.Device("dev:1").Pause != nil
			return (h.inUse("dev:1") == used || paused) && isPaused == paused
		}
		for tries := 0; !agrees() && tries < 10; tries++ {
			h.b.retryShow() // repeats reads that failed, which they do on a host that is too busy
		}
		if !agrees() {
			t.Fatalf("round %d: in use %v, paused %v; the ledger says %v, %v", round, h.inUse("dev:1"),
				h.b.c.Fleet.Device("dev:1").Pause != nil, used, paused)
		}
		if used {
			h.does(session, payment.StepPostNote)
			h.says(session+"again", "dev:1", session, "done")
		}
	}
}

func TestRetryShow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.paidTimed("cs_1", "dev:1")
	occupant := h.payment("cs_1")
	h.b.unshown.ids = map[string]bool{"dev:1": true}
	h.b.c.Fleet.Free("dev:1")
	h.b.retryShow()
	if !h.inUse("dev:1") || len(h.b.unshown.ids) != 0 {
		t.Errorf("in use %v, %v not shown; want it shown: %+v", h.inUse("dev:1"), h.b.unshown.ids, occupant)
	}
}

func TestPublishIncludesTheCreditThatFreedItsDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := map[string]payment.Payment{}
		h := newHouse(t, func(c *Config) { c.Changed = func(p payment.Payment) { told[p.SessionID] = p } })
		h.paidTimed("cs_1", "dev:1")
		h.does("cs_1", payment.StepPostNote)
		time.Sleep(6 * time.Minute) // its end was not applied yet
		h.paidTimed("cs_2", "dev:1")
		if p := told["cs_1"]; p.HoldsDevice {
			t.Errorf("the page of the first got %+v; want that it no longer holds its device", p)
		}
		h.stands("cs_2", payment.Queued, "", payment.Paid, "")
		h.close()
	})
}
