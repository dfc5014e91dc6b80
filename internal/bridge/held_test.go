package bridge

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
)

// restarted returns a house whose bridge was started again a second after a customer has paid. The
// bridge runs, and the reply to its reading of Stripe's list waits for the gate. The list says how
// many endpoints have not accepted the event.
func restarted(t *testing.T, pending int) (h *house, paid Event, gate chan struct{}) {
	t.Helper()
	h = newHouse(t)
	time.Sleep(time.Hour)
	paid = h.pays("cs_test_1", "dev:1")
	listed := paid
	listed.Listed, listed.Pending = true, pending
	h.money.tells(listed)
	time.Sleep(time.Second)
	h.reopen()
	gate = make(chan struct{})
	h.money.will(forEvents, answer{applied: true, gate: gate})
	h.run()
	synctest.Wait()
	return h, paid, gate
}

// receives delivers an event in a goroutine. The channel gets what Receive returns, and took is then
// how long it waited.
func (h *house) receives(ctx context.Context, e Event) (result <-chan error, took *time.Duration) {
	answered, took := make(chan error, 1), new(time.Duration)
	began := time.Now()
	go func() {
		err := h.b.Receive(ctx, e)
		*took = time.Since(began)
		answered <- err
	}()
	synctest.Wait()
	return answered, took
}

func TestReceiveHoldsAnEventUntilStripesListIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, paid, gate := restarted(t, 1)
		result, took := h.receives(t.Context(), paid)
		time.Sleep(maxHold / 2)
		if len(result) != 0 {
			t.Errorf("the event is answered with %v before the list is read", <-result)
		}
		if h.b.fastPath.taken != 0 {
			t.Error("an event that waits has a slot for a call")
		}
		h.noPayment("cs_test_1")
		close(gate)
		if err := <-result; err != nil || *took != maxHold/2 {
			t.Errorf("%v after %v; want it recorded when the list is read", err, *took)
		}
		if h.b.sent.has(paid.ID) {
			t.Error("the event counts as accepted, but Stripe may have given up before the reply")
		}
		time.Sleep(lookupDelay)
		h.stands("cs_test_1", payment.Sent, "", payment.Paid, "")
		h.hub.fetch()
		h.finish("cs_test_1")
		if h.hub.notes() != 1 {
			t.Errorf("%d notes; want 1", h.hub.notes())
		}
	})
}

// Stripe's list tells that another state of the ledger has handled the payment, and Stripe repeats
// the webhook because it has lost the reply.
func TestReceiveHoldsAnEventOfARestoredLedger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, paid, gate := restarted(t, 0)
		result, _ := h.receives(t.Context(), paid)
		close(gate)
		if err := <-result; err != nil {
			t.Error(err)
		}
		time.Sleep(lookupDelay)
		h.stands("cs_test_1", payment.Failed, payment.ReasonAdopted, payment.Paid, payment.ReasonAdopted)
		h.close()
	})
}

func TestReceiveEndsAHold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(h *house, giveUp func())
		want time.Duration
	}{
		"when the list is not read in time": {func(*house, func()) {}, maxHold},
		"when the caller gives up":          {func(_ *house, giveUp func()) { giveUp() }, time.Second},
		"when the service stops":            {func(h *house, _ func()) { go h.stop() }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, paid, gate := restarted(t, 1)
				ctx, giveUp := context.WithCancel(t.Context())
				defer giveUp()
				result, took := h.receives(ctx, paid)
				time.Sleep(time.Second)
				c.end(h, giveUp)
				if err := <-result; !errors.Is(err, errListUnread) || *took != c.want {
					t.Errorf("%v after %v; want %v after %v", err, *took, errListUnread, c.want)
				}
				close(gate)
				synctest.Wait()
				h.close()
			})
		})
	}
}

func TestReceiveHoldsNotTooMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, paid, gate := restarted(t, 1)
		var held []<-chan error
		for range maxHeld {
			result, _ := h.receives(t.Context(), paid)
			held = append(held, result)
		}
		if slices.ContainsFunc(held, func(r <-chan error) bool { return len(r) > 0 }) {
			t.Errorf("not all of %d events are held", maxHeld)
		}
		result, took := h.receives(t.Context(), paid)
		if err := <-result; !errors.Is(err, errListUnread) || *took != 0 {
			t.Errorf("one more: %v after %v; want %v at once", err, *took, errListUnread)
		}
		close(gate)
		for _, r := range held {
			if err := <-r; err != nil {
				t.Error(err)
			}
		}
		if n := h.b.held.Load(); n != 0 {
			t.Errorf("%d events are held after all; want none", n)
		}
		time.Sleep(lookupDelay)
		h.hub.fetch()
		h.finish("cs_test_1")
	})
}

// A repeat of an event whose payment is known needs no list.
func TestReceiveHoldsNoKnownPayment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		time.Sleep(time.Hour)
		paid := h.pays("cs_test_1", "dev:1")
		h.receive(paid)
		time.Sleep(time.Second)
		h.reopen()
		began := time.Now()
		h.receive(paid)
		if took := time.Since(began); took != 0 {
			t.Errorf("the repeat took %v; want it answered at once", took)
		}
		h.close()
	})
}
