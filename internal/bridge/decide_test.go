package bridge

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// What a person may decide, in every state that a payment can be in; what is not allowed changes nothing.
func TestWhatAPersonMayDecide(t *testing.T) {
	t.Parallel()
	type state struct {
		money                ledger.Money
		story                func(*tale)
		retry, giveBack, end bool // allowed
	}
	fails := func(s *tale) { s.post(upstream.Refused) }
	for name, c := range map[string]state{
		"queued":               {"", func(*tale) {}, true, true, true},
		"queued, held":         {ledger.Authorized, func(*tale) {}, true, true, true},
		"post unclear":         {"", func(s *tale) { s.post(upstream.Unclear) }, true, true, true},
		"sent":                 {"", func(s *tale) { s.post(upstream.Done) }, true, true, true},
		"being recalled":       {"", func(s *tale) { s.post(upstream.Done); s.look("1:1") }, true, true, true},
		"fetched":              {"", (*tale).fetched, false, true, false},
		"started":              {"", (*tale).starts, false, true, true},
		"started, being taken": {ledger.Authorized, (*tale).starts, false, false, true},
		"done":                 {"", func(s *tale) { s.starts(); s.says("done") }, false, true, false},
		"being refunded":       {"", fails, false, false, true}, // it waits for a person, who has seen it
		"refunded":             {"", func(s *tale) { fails(s); s.refunded() }, false, false, true},
		"being released":       {ledger.Authorized, fails, false, false, true},
		"released":             {ledger.Authorized, func(s *tale) { fails(s); s.call(ledger.Release, Outcome{}) }, false, false, true},
		"capture failed":       {ledger.Authorized, func(s *tale) { s.starts(); s.refuses(ledger.Capture, ErrAlreadyCanceled) }, false, false, true},
		"refund failed":        {"", func(s *tale) { fails(s); s.refundComesTo("failed") }, false, false, true},
		"refund failed for good": {"", func(s *tale) {
			fails(s)
			for n := 1; n < mostRefunds; n++ {
				s.refundComesTo("failed")
				s.refundsAre(s.refund(n, 350, "failed"))
			}
			s.refundComesTo("failed")
		}, false, true, true},
		"disputed":      {"", func(s *tale) { s.starts(); s.dispute("needs_response") }, false, false, true},
		"lost":          {"", func(s *tale) { s.starts(); s.dispute("lost") }, false, false, true},
		"adopted":       {"", func(s *tale) { p := failed(s.p, ReasonAdopted); p.Attention = ReasonAdopted; s.is(Next(p, s.now)) }, true, true, true},
		"money is back": {"", func(s *tale) { s.starts(); s.back(350) }, false, false, false},
	} {
		for f, called := range map[firmware]string{plain: "", confirms: ", of a machine that confirms"} {
			t.Run(name+called, func(t *testing.T) {
				t.Parallel()
				money := c.money
				if money == "" {
					money = ledger.Paid
				}
				s := begin(t, f, money)
				c.story(s)
				before := s.p
				if name == "money is back" && before.Attention != "" {
					t.Fatalf("attention %q", before.Attention)
				}
				for what, d := range map[string]struct {
					allowed bool
					decide  func() (ledger.Payment, error)
				}{
					"Retry":    {c.retry, func() (ledger.Payment, error) { return Retry(before, 10*time.Minute, s.now) }},
					"GiveBack": {c.giveBack, func() (ledger.Payment, error) { return GiveBack(before, 0, s.now) }},
					"End":      {c.end, func() (ledger.Payment, error) { return End(before, s.now) }},
				} {
					p, err := d.decide()
					if d.allowed && err != nil || !d.allowed && !errors.Is(err, ErrState) {
						t.Errorf("%s: %v; want it allowed: %v", what, err, d.allowed)
					}
					if s.seen = what == "End"; err == nil {
						s.is(p)
					} else if p != before {
						t.Errorf("%s was refused and made %+v of %+v", what, p, before)
					}
				}
			})
		}
	}
}

func TestWhatFollowsFromADecision(t *testing.T) {
	decides := func(s *tale) func(ledger.Payment, error) {
		return func(p ledger.Payment, err error) {
			s.Helper()
			if err != nil {
				s.Fatal(err)
			}
			s.is(p)
		}
	}
	tell(t, map[string]row{
		"retried while it waits: the old note is taken back first": {confirms, "", func(s *tale) {
			s.post(upstream.Done)
			s.later(5 * time.Minute)
			decides(s)(Retry(s.p, 10*time.Minute, s.now))
			end := s.p.ExpiresAt
			if !end.Equal(s.now.Add(10 * time.Minute)) {
				s.Errorf("it ends at %v; want ten minutes from now", end)
			}
			s.look("1:1")
			s.delete(upstream.Done)
			s.look()
			s.post(upstream.Done)
			s.look()
		}, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.Wait, true}},
		"retried and fetched already: nothing is sent again": {plain, "", func(s *tale) {
			s.post(upstream.Done)
			decides(s)(Retry(s.p, 10*time.Minute, s.now))
			s.look()
		}, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"retried after it was adopted": {plain, "", func(s *tale) {
			p := failed(s.p, ReasonAdopted)
			p.Attention = ReasonAdopted
			s.is(Next(p, s.now))
			decides(s)(Retry(s.p, 10*time.Minute, s.now))
			s.fetched()
		}, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"given back before the note": {both, "", func(s *tale) {
			decides(s)(GiveBack(s.p, 0, s.now))
			s.refunded()
		}, end{ledger.Failed, ReasonReversed, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"given back while it waits": {both, "", func(s *tale) {
			s.post(upstream.Done)
			decides(s)(GiveBack(s.p, 0, s.now))
			s.look("1:1")
			s.delete(upstream.Done)
			s.look()
			s.refunded()
		}, end{ledger.Failed, ReasonReversed, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"given back in two parts": {plain, "", func(s *tale) {
			s.fetched()
			decides(s)(GiveBack(s.p, 100, s.now))
			s.refunded()
			s.ends(end{ledger.Fetched, "", ledger.Paid, 100, "", ledger.NoStep, false})
			decides(s)(GiveBack(s.p, 250, s.now))
			s.refunded()
		}, end{ledger.Fetched, "", ledger.Refunded, 350, "", ledger.NoStep, false}},
		"more than is left is not given": {plain, "", func(s *tale) {
			s.fetched()
			s.back(100)
			for _, amount := range []int64{251, -1} {
				if _, err := GiveBack(s.p, amount, s.now); !errors.Is(err, ErrState) {
					s.Errorf("giving %d back: %v; want %v", amount, err, ErrState)
				}
			}
		}, end{ledger.Fetched, "", ledger.Paid, 100, "", ledger.NoStep, false}},
		"a hold is let go as a whole": {plain, ledger.Authorized, func(s *tale) {
			if _, err := GiveBack(s.p, 100, s.now); !errors.Is(err, ErrState) {
				s.Errorf("a part of a hold: %v; want %v", err, ErrState)
			}
			decides(s)(GiveBack(s.p, 0, s.now))
			s.call(ledger.Release, Outcome{})
		}, end{ledger.Failed, ReasonReversed, ledger.Released, 0, "", ledger.NoStep, false}},
		"ended while it waits": {both, "", func(s *tale) {
			s.post(upstream.Done)
			decides(s)(End(s.p, s.now))
			s.look("1:1")
			s.delete(upstream.Done)
			s.look()
			s.refunded()
		}, end{ledger.Failed, ReasonEnded, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"ended while it runs, the money stays and the machine is told": {confirms, "", func(s *tale) {
			s.starts()
			decides(s)(End(s.p, s.now))
			if n := noteOf(s.p); n.PaymentStatus != "ended" || n.CreditID != s.p.ID {
				s.Errorf("the word is %+v; want the credit ended", n)
			}
			s.post(upstream.Done)
		}, end{ledger.Done, ReasonEnded, ledger.Paid, 0, "", ledger.NoStep, false}},
	})
}

var person = By{"a person", "the customer called"}

func TestADecisionIsWrittenDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx := context.Background()
		h.paid("cs_test_1", "dev:1")
		h.paid("cs_test_2", "dev:2")
		if _, err := h.b.Retry(ctx, "cs_test_1", person); err != nil {
			t.Error(err)
		}
		if _, err := h.b.End(ctx, "pi_cs_test_1", person); err != nil {
			t.Error(err)
		}
		if _, err := h.b.GiveBack(ctx, ledger.CreditID("cs_test_2"), 0, person); err != nil {
			t.Error(err)
		}
		for what, decide := range map[string]func(id string) error{
			"retry":  func(id string) error { return second(h.b.Retry(ctx, id, person)) },
			"refund": func(id string) error { return second(h.b.GiveBack(ctx, id, 0, person)) },
		} {
			if err := decide("cs_test_1"); !errors.Is(err, ErrState) {
				t.Errorf("%s of what was ended: %v; want %v", what, err, ErrState)
			}
			if err := decide("cs_unknown"); !errors.Is(err, ledger.ErrNotFound) {
				t.Errorf("%s of an unknown payment: %v; want %v", what, err, ledger.ErrNotFound)
			}
		}
		var got []string
		for _, session := range []string{"cs_test_1", "cs_test_2"} {
			audits, _, err := h.l.Audits(ctx, ledger.CreditID(session), 10, "")
			if err != nil {
				t.Error(err)
			}
			for _, a := range slices.Backward(audits) {
				got = append(got, strings.Join([]string{a.Who, a.What, a.Why, a.Before, a.After}, "|"))
			}
		}
		slices.Sort(got) // two in one moment have no order
		want := []string{
			"a person|end|the customer called|paid queued  0|refunding failed ended 0",
			"a person|refund|the customer called|paid queued  0|refunding failed payment_reversed 0",
			"a person|retry|the customer called|paid queued  0|paid queued  0",
		}
		if !slices.Equal(got, want) {
			t.Errorf("audit %q; want %q", got, want)
		}
		h.finish("cs_test_1", "cs_test_2")
	})
}

// The credit is sent anew with the same id, and the device's own lifetime.
func TestARetryTakesTheOldNoteBackFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.run()
		h.paid("cs_test_1", "dev:1")
		time.Sleep(9 * time.Minute)
		if _, err := h.b.Retry(context.Background(), "cs_test_1", person); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // past its first end
		h.stands("cs_test_1", ledger.Sent, "", ledger.Paid, "")
		if n := h.hub.posted; len(n) != 2 || len(h.hub.pending) != 1 || n[0].CreditID != n[1].CreditID || n[1].Expires-n[0].Expires != 9*60 {
			t.Errorf("posted %+v; want the same credit twice, the second to end nine minutes later, and one of them waiting", n)
		}
		h.hub.fetch()
		h.finish("cs_test_1")
	})
}

func TestAFreeStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx := context.Background()
		if _, err := h.b.StartFree(ctx, "dev:9", person); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("of an unknown device: %v; want %v", err, ledger.ErrNotFound)
		}
		if err := h.b.Pause(ctx, "dev:1", person); err != nil { // a paused machine is the one to be tested
			t.Fatal(err)
		}
		h.run()
		first, err := h.b.StartFree(ctx, "dev:1", person)
		if err != nil {
			t.Fatal(err)
		}
		second, err := h.b.StartFree(ctx, "dev:1", person)
		if err != nil || first.ID == second.ID {
			t.Errorf("two starts have the credits %s and %s (%v); want one each", first.ID, second.ID, err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := h.hub.posted; len(n) != 2 || n[0].CreditID == n[1].CreditID || n[0].PaymentStatus != "completed" {
			t.Errorf("posted %+v; want two credits", n)
		}
		time.Sleep(11 * time.Minute) // never fetched, and recalled: there is nothing to give back
		for _, p := range []ledger.Payment{first, second} {
			h.stands(p.SessionID, ledger.Failed, ReasonRecalled, ledger.Paid, "")
			if p := h.payment(p.SessionID); !Closed(p) || p.Step != ledger.NoStep || p.Amount != 0 {
				t.Errorf("%+v; want it closed and free", p)
			}
		}
		if n := h.money.called(ledger.Refund); n != 0 {
			t.Errorf("%d refunds of what nobody paid", n)
		}
		audits, _, err := h.l.Audits(ctx, "dev:1", 10, "")
		if starts := slices.DeleteFunc(audits, func(a ledger.Audit) bool { return a.What != "start" }); err != nil || len(starts) != 2 || starts[0].Why != person.Why {
			t.Errorf("audit %+v (%v); want two starts", starts, err)
		}
		h.close()
	})
}

// The ledger that a copy was made of has gone on: what the copy believes to be under way is not done again.
func TestARestoredCopyDoesNothingAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told sync.Map
		h := newHouse(t, func(c *Config) { c.Changed = func(p ledger.Payment) { told.Store(p.SessionID, p.Reason) } })
		h.paid("cs_sent", "dev:2")
		h.does("cs_sent", ledger.PostNote)
		h.hub.will(ledger.PostNote, answer{err: &upstream.Error{Outcome: upstream.Refused, Status: 400}})
		h.paid("cs_refunding", "dev:2")
		h.does("cs_refunding", ledger.PostNote)
		h.paid("cs_queued", "dev:1")
		if err := h.b.readEvents(context.Background(), &reading{}); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "copy.db")
		if err := ledger.Backup(context.Background(), h.path, copied); err != nil {
			t.Fatal(err)
		}

		time.Sleep(time.Minute)
		h.does("cs_refunding", ledger.Refund)
		h.does("cs_queued", ledger.PostNote)
		h.money.tells(h.pays("cs_missed", "dev:1"))
		h.close()
		h.hub.fetch()
		time.Sleep(25 * time.Hour) // Stripe has forgotten the key of the refund by then

		h.path = copied
		h.open()
		h.run()
		time.Sleep(time.Minute)
		h.stands("cs_queued", ledger.Failed, ReasonAdopted, ledger.Paid, ReasonAdopted)
		if reason, _ := told.Load("cs_queued"); reason != ReasonAdopted {
			t.Errorf("its page was told %v; want that it is adopted", reason)
		}
		h.stands("cs_missed", ledger.Failed, ReasonAdopted, ledger.Paid, ReasonAdopted)
		h.stands("cs_sent", ledger.Fetched, "", ledger.Paid, "")
		h.stands("cs_refunding", ledger.Failed, ReasonRefused, ledger.Refunded, ReasonRefused)
		if notes, refunds := h.hub.notes(), h.money.called(ledger.Refund); notes != 2 || refunds != 1 {
			t.Errorf("%d notes and %d refunds in all; want the two and the one of the first ledger", notes, refunds)
		}
		h.paid("cs_new", "dev:2") // it is a ledger like any other now
		time.Sleep(time.Second)
		h.hub.fetch()
		h.reopen()
		h.finish("cs_sent", "cs_refunding", "cs_new")
		h.open()
		h.stands("cs_new", ledger.Fetched, "", ledger.Paid, "")
		h.close()
	})
}
