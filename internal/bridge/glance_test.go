package bridge

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// fetches has the Notecards fetch what is pending.
func (h *house) fetches() {
	h.hub.mu.Lock()
	defer h.hub.mu.Unlock()
	h.hub.pending = nil
}

// watches has a page of a payment be open for so long.
func (h *house) watches(session string, d time.Duration) {
	h.Helper()
	synctest.Wait()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(min(time.Until(end), 15*time.Second)) {
		h.b.Watched(h.payment(session))
	}
	synctest.Wait()
}

func TestAWatchedPaymentIsSeenToBeFetchedBeforeItsTimeIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.run()
		h.paid("cs_1", "dev:1")
		h.watches("cs_1", 0)
		before := h.payment("cs_1")
		h.watches("cs_1", 30*time.Second)
		p := h.payment("cs_1")
		if n := h.hub.called(ledger.CheckPending); n != 2 { // after 2 s and after 12 s; the next is due after 32 s
			t.Errorf("%d looks in half a minute; want 2", n)
		}
		if p != before || p.Machine != ledger.Sent || p.Step != ledger.CheckPending || !p.DueAt.Equal(p.ExpiresAt) || h.hub.called(ledger.Recall) != 0 {
			t.Errorf("while the note was pending the payment became %+v; want it as it was: %+v", p, before)
		}
		h.fetches()
		h.watches("cs_1", 10*time.Second)
		h.stands("cs_1", ledger.Fetched, "", ledger.Paid, "")
		if p := h.payment("cs_1"); !Closed(p) || p.Step != ledger.NoStep || p.MachineAt.IsZero() {
			t.Errorf("the payment is %+v; want it closed", p)
		}
		attempts, err := h.l.Attempts(t.Context(), p.ID)
		if err != nil || len(attempts) != 2 || attempts[1].Action != ledger.CheckPending {
			t.Errorf("attempts %+v, %v; want the note and the look that found it fetched", attempts, err)
		}
		looks := h.hub.called(ledger.CheckPending)
		h.watches("cs_1", time.Minute)
		if n := h.hub.called(ledger.CheckPending); n != looks {
			t.Errorf("%d looks after that; want none", n-looks)
		}
		h.close()
	})
}

func TestAWatchedPaymentThatIsNotFetchedIsRecalledInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.Lifetime = 2 * time.Minute })
		h.run()
		h.paid("cs_1", "dev:1")
		h.watches("cs_1", 2*time.Minute-time.Second)
		if n := h.hub.called(ledger.CheckPending); n != 4 || h.hub.called(ledger.Recall) != 0 {
			t.Errorf("%d looks in two minutes, %d recalls; want 4 looks", n, h.hub.called(ledger.Recall))
		}
		h.stands("cs_1", ledger.Sent, "", ledger.Paid, "")
		h.watches("cs_1", 30*time.Second)
		h.stands("cs_1", ledger.Failed, ReasonRecalled, ledger.Refunded, "")
		h.close()
	})
}

func TestNobodyLooksWhereNobodyWatchesOrThereIsNoRoom(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*Config)
		answer upstream.Outcome
		watch  time.Duration
		looks  int
	}{
		"the page was closed":              {nil, upstream.Done, 3 * time.Second, 2}, // it counts as open for 20 s
		"it is open for two minutes":       {nil, upstream.Done, 2 * time.Minute, 4},
		"there is room for due calls only": {func(c *Config) { c.NotehubPace = upstream.NewPace(10, 10) }, upstream.Done, 2 * time.Minute, 0},
		"there is room for some more":      {func(c *Config) { c.NotehubPace = upstream.NewPace(12, 12) }, upstream.Done, 2 * time.Minute, 4},
		"Notehub asks to be left alone":    {nil, upstream.Wait, 2 * time.Minute, 1},
		"Notehub is in trouble":            {nil, upstream.Unclear, 2 * time.Minute, 4},
		"the machine confirms":             {func(c *Config) { c.ConfirmWithin = 20 * time.Minute }, upstream.Done, 2 * time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				if row.change != nil {
					h.change = append(h.change, row.change)
					h.reopen()
				}
				if row.answer != upstream.Done {
					h.hub.will(ledger.CheckPending, answer{err: &upstream.Error{Outcome: row.answer}})
				}
				h.run()
				h.paid("cs_1", "dev:1")
				h.watches("cs_1", row.watch)
				time.Sleep(2*time.Minute - row.watch)
				if n := h.hub.called(ledger.CheckPending); n != row.looks {
					t.Errorf("%d looks; want %d", n, row.looks)
				}
				h.stands("cs_1", ledger.Sent, "", ledger.Paid, "")
				h.close()
			})
		})
	}
}

func TestAnEarlyLookThatWasOvertakenSaysNothing(t *testing.T) {
	t.Parallel()
	sent := Next(sent(queued(), noon), noon)
	if p := Glanced(sent, sent.Turn, noon.Add(time.Second)); p.Machine != ledger.Fetched || !Closed(p) {
		t.Fatalf("a note that is not pending any more makes %+v; want it fetched", p)
	}
	for name, change := range map[string]func(p *ledger.Payment){
		"sent anew":                 func(p *ledger.Payment) { p.Turn += 2 },
		"a call is under way":       func(p *ledger.Payment) { p.InFlight = true },
		"to be taken back":          func(p *ledger.Payment) { p.Stop = ReasonEnded },
		"being taken back":          func(p *ledger.Payment) { p.Recalled = ledger.RecallDeleted },
		"a deletion was unclear":    func(p *ledger.Payment) { p.Unclear = true },
		"the machine will say so":   func(p *ledger.Payment) { p.ConfirmBy = noon.Add(time.Minute) },
		"to be sent":                func(p *ledger.Payment) { p.Machine = ledger.Queued },
		"the customer has it back":  func(p *ledger.Payment) { p.Machine = ledger.Failed },
		"the machine has confirmed": func(p *ledger.Payment) { p.Machine = ledger.Started },
	} {
		before := sent
		change(&before)
		if after := Glanced(before, sent.Turn, noon.Add(time.Second)); after != before {
			t.Errorf("%s: the look made %+v of it; want it as it was", name, after)
		}
	}
}

func TestAnEarlyLookAtANoteThatWasNeverListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		h := newHouse(t, func(c *Config) { c.Changed = func(ledger.Payment) { told.Add(1) } })
		h.run()
		h.paid("cs_1", "dev:1")
		h.watches("cs_1", 0)
		h.fetches()
		before, news := h.payment("cs_1"), told.Load()
		h.watches("cs_1", 3*time.Minute)
		if p := h.payment("cs_1"); p != before || p.Machine != ledger.Sent || !h.b.Missing(p) {
			t.Errorf("the payment became %+v, missing %v; want it as it was, and the page told: %+v", p, h.b.Missing(p), before)
		}
		if n := h.hub.called(ledger.CheckPending); n != 2 || told.Load() != news+1 {
			t.Errorf("%d looks, the page was told %d times; want one look before Notehub must list the note, one after, and the page told once", n, told.Load()-news)
		}
		time.Sleep(time.Until(before.ExpiresAt) + time.Second)
		h.stands("cs_1", ledger.Fetched, "", ledger.Paid, "")
		h.close()
	})
}

func TestAnEarlyLookForgetsWhatItSawOfAnEarlierNote(t *testing.T) {
	t.Parallel()
	g, p := glances{}, Next(sent(queued(), noon), noon)
	g.add(p.ID, noon)
	g.saw(p, true, noon)
	p.Turn += 2 // it was taken back and sent again
	if fetched, _ := g.saw(p, false, noon); fetched {
		t.Error("a note that was not listed yet counts as fetched, because an earlier one was listed")
	}
}
