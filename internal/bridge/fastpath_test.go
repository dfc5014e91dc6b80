package bridge

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// The queue does not run in these tests. A payment that is sent was claimed by the transaction that
// recorded it.

func TestFastPathClaimsInTheRecordingTransaction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.b.fastPath.open(context.Background())
		answers := make(chan struct{})
		h.hub.will(payment.StepPostNote, answer{applied: true, gate: answers})
		event := h.pays("cs_test_1", "dev:1")
		h.receive(event)
		if p := h.payment("cs_test_1"); !p.InFlight || p.FencingToken != 1 || p.Step != payment.StepPostNote {
			t.Errorf("on disk is %+v; want it claimed", p)
		}
		h.receive(event) // a repeat sends nothing
		h.paid("cs_test_2", "dev:1")
		if p := h.payment("cs_test_2"); p.InFlight || p.Step != payment.StepPostNote {
			t.Errorf("the same device's second payment is %+v; want it to wait for the first one's call", p)
		}
		h.paid("cs_test_3", "dev:2")
		close(answers)
		h.b.fastPath.close()
		for session, want := range map[string]payment.DeliveryStatus{
			"cs_test_1": payment.Sent,
			"cs_test_2": payment.Queued,
			"cs_test_3": payment.Sent,
		} {
			if p := h.payment(session); p.Delivery != want {
				t.Errorf("%s is %s; want %s", session, p.Delivery, want)
			}
		}
		if n := h.hub.notes(); n != 2 {
			t.Errorf("%d notes; want 2", n)
		}
		select {
		case <-h.b.notehubDue.wake: // for the waiting payment
		default:
			t.Error("the queue was not woken when the device was free again")
		}
		h.finish("cs_test_1", "cs_test_2", "cs_test_3")
	})
}

func TestFastPathLeavesPaymentToTheQueue(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(h *house){
		"the bridge has stopped": func(h *house) { h.b.fastPath.close() },
		"what is left is for those on their way": func(h *house) {
			h.b.c.NotehubLimiter = upstream.NewLimiter(60, 3)
			h.b.c.NotehubLimiter.Reserve(3)
		},
		"no slot is free": func(h *house) { h.b.fastPath.taken = fastPathSlots },
		"Notehub wants to be left": func(h *house) {
			limited := &upstream.Error{Outcome: upstream.RateLimited, RetryAfter: time.Minute}
			h.b.c.NotehubLimiter.Observe(time.Now(), limited)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.b.fastPath.open(context.Background())
				prepare(h)
				taken := h.b.fastPath.taken
				h.paid("cs_test_1", "dev:1")
				synctest.Wait()
				if p := h.payment("cs_test_1"); p.InFlight || h.hub.notes() != 0 || h.b.fastPath.taken != taken {
					t.Errorf("%+v, %d notes, %d slots taken; want it in the queue", p, h.hub.notes(),
						h.b.fastPath.taken)
				}
				h.close()
			})
		})
	}
}

// The process crashes between the commit and the call's result. The next one checks the note before
// it repeats the post.
func TestFastPathInterruptedByACrash(t *testing.T) {
	t.Parallel()
	for name, applied := range map[string]bool{"Notehub has the note": true, "Notehub has nothing": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.b.fastPath.open(context.Background())
				never := make(chan struct{})
				h.hub.will(payment.StepPostNote, answer{applied: applied, err: unclearAnswer, gate: never})
				event := h.pays("cs_test_1", "dev:1")
				h.receive(event)
				lost := h.b
				h.close()
				close(never)
				lost.fastPath.close()
				h.open()
				h.receive(event)
				h.run()
				time.Sleep(time.Minute)
				if n := h.hub.notes(); n != 1 {
					t.Errorf("%d notes; want 1", n)
				}
				h.hub.fetch()
				h.finish("cs_test_1")
			})
		})
	}
}

func TestFastPathRejectsAMissingDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		if err := h.l.Update(t.Context(), func(tx *ledger.Tx) error {
			return tx.Pause(ledger.Pause{DeviceUID: "dev:1", Reason: "it leaks", By: "operator", At: time.Now()})
		}); err != nil {
			t.Fatal(err)
		}
		h.reopen()
		h.b.fastPath.open(context.Background())
		h.paid("cs_test_1", "dev:1")
		h.b.fastPath.close()
		if p := h.payment("cs_test_1"); p.Reason != payment.ReasonNotSelling || p.Step != payment.StepRefund ||
			h.hub.notes() != 0 {
			t.Errorf("%+v, %d notes; want its money on the way back", p, h.hub.notes())
		}
		h.finish("cs_test_1")
	})
}
