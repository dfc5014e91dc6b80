package bridge

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// fetches makes the Notecards fetch all pending notes.
func (h *house) fetches() {
	h.hub.mu.Lock()
	defer h.hub.mu.Unlock()
	h.hub.pending = nil
}

// watches keeps a payment's page open for a time.
func (h *house) watches(session string, d time.Duration) {
	h.Helper()
	time.Sleep(ledger.MaxPatience) // for the outcome of the last call
	synctest.Wait()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(min(time.Until(end), 15*time.Second)) {
		h.b.PageOpen(h.payment(session))
	}
	synctest.Wait()
}

func TestEarlyCheckFindsFetchedNote(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.run()
		h.paid("cs_1", "dev:1")
		h.watches("cs_1", 0)
		before := h.payment("cs_1")
		h.watches("cs_1", 30*time.Second)
		p := h.payment("cs_1")
		if n := h.hub.called(payment.StepCheckPending); n != 2 { // after 2 s and after 12 s; the next is due after 32 s
			t.Errorf("%d checks in half a minute; want 2", n)
		}
		if p != before || p.Delivery != payment.Sent || p.Step != payment.StepCheckPending ||
			!p.DueAt.Equal(p.ExpiresAt) ||
			h.hub.called(payment.StepRecall) != 0 {
			t.Errorf("while the note was pending the payment became %+v; want it as it was: %+v", p, before)
		}
		h.fetches()
		h.watches("cs_1", 10*time.Second)
		h.stands("cs_1", payment.Fetched, "", payment.Paid, "")
		if p := h.payment("cs_1"); !payment.Closed(p) || p.Step != payment.NoStep || p.DeliveryAt.IsZero() {
			t.Errorf("the payment is %+v; want it closed", p)
		}
		attempts, err := h.l.Attempts(t.Context(), p.ID)
		if err != nil || len(attempts) != 2 || attempts[1].Action != payment.StepCheckPending {
			t.Errorf("attempts %+v, %v; want the note, and the check that found it fetched", attempts, err)
		}
		looks := h.hub.called(payment.StepCheckPending)
		h.watches("cs_1", time.Minute)
		if n := h.hub.called(payment.StepCheckPending); n != looks {
			t.Errorf("%d checks after that; want none", n-looks)
		}
		h.close()
	})
}

func TestEarlyCheckLeavesRecallToTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.Lifetime = 2 * time.Minute })
		h.run()
		h.paid("cs_1", "dev:1")
		h.watches("cs_1", 2*time.Minute-time.Second)
		if n := h.hub.called(payment.StepCheckPending); n != 4 || h.hub.called(payment.StepRecall) != 0 {
			t.Errorf("%d checks in two minutes, %d recalls; want 4 checks", n, h.hub.called(payment.StepRecall))
		}
		h.stands("cs_1", payment.Sent, "", payment.Paid, "")
		h.watches("cs_1", 30*time.Second)
		h.stands("cs_1", payment.Failed, payment.ReasonRecalled, payment.Refunded, "")
		h.close()
	})
}

func TestEarlyCheckNeedsAnOpenPageAndFreeCalls(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*Config)
		answer upstream.Outcome
		watch  time.Duration
		looks  int
	}{
		"the page was closed":        {nil, upstream.OK, 3 * time.Second, 2}, // the page counts as open for 20 s
		"it is open for two minutes": {nil, upstream.OK, 2 * time.Minute, 4},
		"there is room for due calls only": {
			func(c *Config) { c.NotehubLimiter = upstream.NewLimiter(10, 10) }, upstream.OK, 2 * time.Minute,
			0,
		},
		"there is room for some more": {
			func(c *Config) { c.NotehubLimiter = upstream.NewLimiter(12, 12) }, upstream.OK, 2 * time.Minute,
			4,
		},
		"Notehub limits the rate": {nil, upstream.RateLimited, 2 * time.Minute, 1},
		"Notehub is in trouble":   {nil, upstream.Unknown, 2 * time.Minute, 4},
		"the machine confirms": {
			func(c *Config) { c.ConfirmWithin = 20 * time.Minute }, upstream.OK, 2 * time.Minute, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				if row.change != nil {
					h.change = append(h.change, row.change)
					h.reopen()
				}
				if row.answer != upstream.OK {
					h.hub.will(payment.StepCheckPending, answer{err: &upstream.Error{Outcome: row.answer}})
				}
				h.run()
				h.paid("cs_1", "dev:1")
				h.watches("cs_1", row.watch)
				time.Sleep(2*time.Minute - row.watch)
				if n := h.hub.called(payment.StepCheckPending); n != row.looks {
					t.Errorf("%d checks; want %d", n, row.looks)
				}
				h.stands("cs_1", payment.Sent, "", payment.Paid, "")
				h.close()
			})
		})
	}
}

func TestEarlyCheckOfANoteThatWasNeverListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		h := newHouse(t, func(c *Config) { c.Changed = func(payment.Payment) { told.Add(1) } })
		h.run()
		h.paid("cs_1", "dev:1")
		h.watches("cs_1", 0)
		h.fetches()
		before, news := h.payment("cs_1"), told.Load()
		h.watches("cs_1", 3*time.Minute)
		if p := h.payment("cs_1"); p != before || p.Delivery != payment.Sent || !h.b.NoteMissing(p) {
			t.Errorf("the payment became %+v, missing %v; want no change but an update of the page: %+v", p,
				h.b.NoteMissing(p), before)
		}
		if n := h.hub.called(payment.StepCheckPending); n != 2 || told.Load() != news+1 {
			t.Errorf(
				"%d checks, %d updates of the page; want a check before and after the listing delay, and one update",
				n,
				told.Load()-news,
			)
		}
		time.Sleep(time.Until(before.ExpiresAt) + time.Second)
		h.stands("cs_1", payment.Fetched, "", payment.Paid, "")
		h.close()
	})
}

func TestEarlyCheckForgetsAnEarlierNote(t *testing.T) {
	t.Parallel()
	g, p := earlyChecks{}, unsent()
	p.Delivery, p.MaybeAccepted, p.SentAt = payment.Sent, true, midday
	g.add(p.ID, midday)
	g.saw(p, true, midday)
	p.FencingToken += 2 // recalled and sent again
	if fetched, _ := g.saw(p, false, midday); fetched {
		t.Error("a note that was not listed yet counts as fetched, because an earlier one was listed")
	}
}
