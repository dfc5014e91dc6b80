package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// A refund that a person ordered hangs on nothing that the machine does, and the machine on nothing that Stripe does.
func TestARefundDoesNotWaitForTheMachine(t *testing.T) {
	gives := func(s *tale, amount int64) {
		s.Helper()
		p, err := GiveBack(s.p, amount, s.now)
		if err != nil {
			s.Fatal(err)
		}
		s.is(p)
	}
	tell(t, map[string]row{
		"while the note waits to be fetched": {both, "", func(s *tale) {
			s.post(upstream.Done)
			gives(s, 100)
			s.refunded()
		}, end{ledger.Sent, "", ledger.Paid, 100, "", ledger.CheckPending, true}},
		"while Notehub cannot be reached": {both, "", func(s *tale) {
			s.post(upstream.Again)
			gives(s, 100)
			s.refunded()
			if s.p.Failures != 1 || !s.p.DueAt.After(s.now) {
				s.Errorf("%d failures, next at %v; want Notehub's back-off kept", s.p.Failures, s.p.DueAt)
			}
		}, end{ledger.Queued, "", ledger.Paid, 100, "", ledger.PostNote, true}},
		"while an unclear post cannot be looked for yet": {both, "", func(s *tale) {
			s.post(upstream.Unclear)
			before := s.p.DueAt
			gives(s, 100)
			s.refunded()
			if !s.p.DueAt.Equal(before) {
				s.Errorf("looked for at %v; want %v, when it must be listed", s.p.DueAt, before)
			}
		}, end{ledger.Queued, "", ledger.Paid, 100, "", ledger.CheckPending, true}},
		"all of it, while its note cannot be taken back": {both, "", func(s *tale) {
			s.post(upstream.Done)
			gives(s, 0)
			s.call(ledger.CheckPending, Outcome{Result: upstream.Trouble})
			s.refunded()
		}, end{ledger.Sent, "", ledger.Refunded, 350, "", ledger.CheckPending, true}},
		"and the machine does not wait for Stripe": {both, "", func(s *tale) {
			gives(s, 100)
			s.post(upstream.Again)
			s.call(ledger.Refund, Outcome{Result: upstream.Wait, RetryAfter: time.Hour})
			s.post(upstream.Done)
		}, end{ledger.Sent, "", ledger.Refunding, 0, "", ledger.CheckPending, true}},
	})
}

// While one vendor may not be called at all, what is due for the other is found by its worker.
func TestAStepThatCannotBeClaimedGivesWay(t *testing.T) {
	t.Parallel()
	for name, closed := range map[string]func(*Config, *upstream.Pace){
		"Notehub asks to be left alone": func(c *Config, p *upstream.Pace) { c.NotehubPace = p },
		"Stripe asks to be left alone":  func(c *Config, p *upstream.Pace) { c.StripePace = p },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pace := upstream.NewPace(0, 1)
				h := newHouse(t, func(c *Config) { c.Lifetime = 0; closed(c, pace) })
				pace.Observe(time.Now(), &upstream.Error{Outcome: upstream.Wait, RetryAfter: time.Hour})
				h.paid("cs_1", "dev:1")
				if _, err := h.b.GiveBack(t.Context(), ledger.CreditID("cs_1"), 100, By{"operator", "late"}); err != nil {
					t.Fatal(err)
				}
				h.run()
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if pace == h.b.c.NotehubPace {
					h.stands("cs_1", ledger.Queued, "", ledger.Paid, "")
				} else {
					h.stands("cs_1", ledger.Sent, "", ledger.Refunding, "")
				}
				h.close()
			})
		})
	}
}

// TestCallThatSettlesAfterItsNoteWasTakenBack: a credit whose note was taken back is sent anew. What an earlier call tells of that note says
// nothing of the next one: the credit is neither sent nor refused.
func TestCallThatSettlesAfterItsNoteWasTakenBack(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, o := range map[string]Outcome{
		"a post that was taken":      {Action: ledger.PostNote, Result: upstream.Done},
		"a post that was refused":    {Action: ledger.PostNote, Result: upstream.Refused},
		"a post that is unclear":     {Action: ledger.PostNote, Result: upstream.Unclear},
		"a look that found the note": {Action: ledger.CheckPending, Result: upstream.Done, NoteIDs: []string{"1:1"}},
		"a look that was refused":    {Action: ledger.CheckPending, Result: upstream.Refused},
	} {
		for _, inFlight := range []bool{false, true} {
			p := ledger.Payment{ID: "cr_1", Machine: ledger.Queued, Money: ledger.Paid, Amount: 300, ExpiresAt: now.Add(5 * time.Minute), CreatedAt: now.Add(-time.Minute),
				MachineAt: now.Add(-5 * time.Second), Step: ledger.PostNote, DueAt: now, InFlight: inFlight, Turn: 5}
			o.Began, o.Stale = now.Add(-40*time.Second), true
			if after := Apply(p, o, now); after != p {
				t.Errorf("%s, while it is sent %v: %+v; want it as it was: %+v", name, inFlight, after, p)
			}
			o.Began = now.Add(-time.Second)
			if after := Apply(p, o, now); after == p {
				t.Errorf("%s of the next note, while it is sent %v: nothing follows", name, inFlight)
			}
		}
	}
}

// TestRetryAfterARefusedLook: a post was unclear, and Notehub refused the look for its note. Who sends the credit anew has it looked for first.
func TestRetryAfterARefusedLook(t *testing.T) {
	tell(t, map[string]row{
		"the note is there after all": {confirms, "", func(s *tale) {
			s.post(upstream.Unclear)
			s.call(ledger.CheckPending, Outcome{Result: upstream.Refused, Status: 404})
			p, err := Retry(s.p, 10*time.Minute, s.now)
			if err != nil {
				s.Fatal(err)
			}
			s.is(p)
			s.look("1:1")
		}, end{ledger.Sent, "", ledger.Paid, 0, "", ledger.CheckPending, true}},
	})
}

// TestUnclearPostThatSettlesLate: the result of a post may be written down after a deletion of the note was interrupted. What became
// of the deletion stays unclear, and so the money does not go back as if it were proven.
func TestUnclearPostThatSettlesLate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	p := ledger.Payment{
		ID: "cr_1", Machine: ledger.Sent, Money: ledger.Paid, Amount: 300, Posted: true, SentAt: now.Add(-15 * time.Minute),
		ExpiresAt: now.Add(-5 * time.Minute), Step: ledger.CheckPending, InFlight: true, Turn: 3,
		Recalled: ledger.RecallDeleted, NoteIDs: "1:1", Unclear: true, // a deletion was interrupted
	}
	p = Apply(p, Outcome{Action: ledger.PostNote, Result: upstream.Unclear, Began: now.Add(-15 * time.Minute), Stale: true}, now)
	if !p.Unclear {
		t.Error("a late post has made a deletion clear")
	}
	p = Apply(p, Outcome{Action: ledger.CheckPending, Result: upstream.Done, Began: now}, now)
	if p.Machine != ledger.Failed || p.Reason != ReasonRecallUnclear || p.Attention != ReasonRecallUnclear {
		t.Errorf("the credit is %s (%s), attention %q; want it failed as %s", p.Machine, p.Reason, p.Attention, ReasonRecallUnclear)
	}
}
