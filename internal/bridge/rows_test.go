package bridge

import (
	"testing"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// tale takes one payment through its life by the pure functions, and looks at each state on the way.
type tale struct {
	*testing.T
	p    ledger.Payment
	now  time.Time
	seen bool // a person has decided that nothing is to be done
}

// firmware is what machines do with their credits.
type firmware int

const (
	both     firmware = iota
	plain             // it says nothing
	confirms          // it confirms
)

// begin is a payment of 3.50, paid at noon, whose credit lives for ten minutes.
func begin(t *testing.T, f firmware, money ledger.Money) *tale {
	p := queued()
	p.Money = money
	if f == confirms {
		p.ConfirmBy = p.ExpiresAt.Add(grace)
	}
	s := &tale{T: t, now: noon}
	s.is(Next(p, noon))
	return s
}

// is takes the payment's new state, and checks what holds in every state.
func (s *tale) is(p ledger.Payment) {
	s.Helper()
	s.p = p
	if again := Next(p, s.now); again != p {
		s.Errorf("Next of %+v is %+v", p, again)
	}
	if again := Next(Next(p, s.now.Add(time.Hour)), s.now.Add(time.Hour)); again != Next(p, s.now.Add(time.Hour)) {
		s.Errorf("an hour later Next is not done at once: %+v", again)
	}
	out := p.Machine != ledger.Queued && p.Machine != ledger.Failed
	for what, wrong := range map[string]bool{
		"it is failed for no reason":                        p.Machine == ledger.Failed && p.Reason == "",
		"it is out and was never posted":                    out && (p.SentAt.IsZero() || !p.Posted),
		"a post is unclear that was not made":               p.Unclear && !p.Posted,
		"it has a step without a time, or the converse":     (p.Step == ledger.NoStep) != p.DueAt.IsZero(),
		"it has notes to delete and no recall":              p.Recalled == ledger.NotRecalled && p.NoteIDs != "",
		"more is back than was paid":                        p.RefundedAmount < 0 || p.RefundedAmount > p.Amount || p.RefundGoal > p.Amount || p.RefundAmount < 0,
		"a refund is under way and none was ordered":        (p.Money == ledger.Refunding || p.Money == ledger.RefundFailed) && p.RefundNumber == 0,
		"there is nothing to be done and it is not closed":  p.Step == ledger.NoStep && !Closed(p) && !s.seen,
		"a credit that failed is taken back, or the device": p.Machine == ledger.Failed && (p.Stop != "" || p.NoteIDs != "" || p.Occupies),
	} {
		if wrong {
			s.Errorf("%s: %+v", what, p)
		}
	}
}

// call waits until a step is due, and has its call come to something.
func (s *tale) call(step ledger.Step, o Outcome) {
	s.Helper()
	if s.p.Step != step {
		s.Fatalf("the next step is %q; want %q: %+v", s.p.Step, step, s.p)
	}
	s.now = latest(s.now, s.p.DueAt)
	var interrupted *Outcome
	if s.p, interrupted = Claim(s.p, s.now); !s.p.InFlight || s.p.Step != step || interrupted != nil {
		s.Fatalf("not claimed for %q: %+v", step, s.p)
	}
	o.Action, o.Began = step, s.now
	s.now = s.now.Add(100 * time.Millisecond)
	s.is(Apply(s.p, o, s.now))
}

func (s *tale) post(r upstream.Outcome) { s.Helper(); s.call(ledger.PostNote, Outcome{Result: r}) }

// look sees what is pending. That nothing is proves something only when Notehub must have listed it.
func (s *tale) look(pending ...string) {
	s.Helper()
	if len(pending) == 0 && (s.p.Recalled == ledger.NotRecalled || s.p.Vanished) {
		s.now = latest(s.now, s.p.SentAt.Add(listedWithin))
	}
	s.call(ledger.CheckPending, Outcome{NoteIDs: pending})
}
func (s *tale) delete(r upstream.Outcome) {
	s.Helper()
	s.call(ledger.Recall, Outcome{Result: r, NoteID: firstNote(s.p)})
}

// fetched has the credit sent, and the Notecard fetch it.
func (s *tale) fetched() { s.Helper(); s.post(upstream.Done); s.look() }

func (s *tale) says(state string) {
	s.Helper()
	p, _ := Confirmed(s.p, Confirmation{State: state, Code: "E-DOOR", At: s.now}, s.now)
	s.is(p)
}

func (s *tale) silence() {
	s.Helper()
	s.now = latest(s.now, s.p.ConfirmBy)
	s.is(Silent(s.p, s.now, s.now))
}

// refunded has the refund that is due be made.
func (s *tale) refunded() {
	s.Helper()
	s.call(ledger.Refund, Outcome{Refund: RefundRecord{Credit: s.p.ID, Number: s.p.RefundNumber, Amount: s.p.RefundAmount, Status: "succeeded"}})
}

// later is what time alone decides.
func (s *tale) later(d time.Duration) { s.Helper(); s.now = s.now.Add(d); s.is(Next(s.p, s.now)) }

// end is how a payment stands.
type end struct {
	machine   ledger.Machine
	reason    string
	money     ledger.Money
	back      int64
	attention string
	step      ledger.Step
	open      bool // something is left to be done
}

func (s *tale) ends(want end) {
	s.Helper()
	p := s.p
	if got := (end{p.Machine, p.Reason, p.Money, p.RefundedAmount, p.Attention, p.Step, !Closed(p)}); got != want {
		s.Errorf("got  %+v\nwant %+v", got, want)
	}
}

type row struct {
	firmware firmware
	money    ledger.Money // "" is paid
	story    func(s *tale)
	end      end
}

func tell(t *testing.T, rows map[string]row) {
	t.Parallel()
	for name, r := range rows {
		for f, called := range map[firmware]string{plain: "", confirms: ", of a machine that confirms"} {
			if r.firmware != both && r.firmware != f {
				continue
			}
			t.Run(name+called, func(t *testing.T) {
				t.Parallel()
				money := r.money
				if money == "" {
					money = ledger.Paid
				}
				s := begin(t, f, money)
				r.story(s)
				s.ends(r.end)
			})
		}
	}
}

// What becomes of the credit, row by row of the design's section 4.
func TestTheLifeOfACredit(t *testing.T) {
	recalled := func(s *tale) {
		s.post(upstream.Done)
		s.look("1:1")
		s.delete(upstream.Done)
		s.look()
	}
	tell(t, map[string]row{
		"a credit that is due is sent": {both, "", func(*tale) {}, end{ledger.Queued, "", ledger.Paid, 0, "", ledger.PostNote, true}},
		"recorded after its lifetime, the money goes back without a note": {both, "", func(s *tale) {
			s.later(10 * time.Minute)
			s.refunded()
		}, end{ledger.Failed, ReasonExpired, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"an accepted note is sent": {both, "", func(s *tale) { s.post(upstream.Done) }, end{ledger.Sent, "", ledger.Paid, 0, "", ledger.CheckPending, true}},

		"429 is tried again":                             {both, "", func(s *tale) { s.post(upstream.Wait) }, end{ledger.Queued, "", ledger.Paid, 0, "", ledger.PostNote, true}},
		"401 is tried again":                             {both, "", func(s *tale) { s.post(upstream.Trouble) }, end{ledger.Queued, "", ledger.Paid, 0, "", ledger.PostNote, true}},
		"nothing done is tried again":                    {both, "", func(s *tale) { s.post(upstream.Again) }, end{ledger.Queued, "", ledger.Paid, 0, "", ledger.PostNote, true}},
		"an unclear post is looked for before another":   {both, "", func(s *tale) { s.post(upstream.Unclear) }, end{ledger.Queued, "", ledger.Paid, 0, "", ledger.CheckPending, true}},
		"found pending it was sent":                      {both, "", func(s *tale) { s.post(upstream.Unclear); s.look("1:1") }, end{ledger.Sent, "", ledger.Paid, 0, "", ledger.CheckPending, true}},
		"not found it is posted again, with the same id": {both, "", func(s *tale) { s.post(upstream.Unclear); s.look() }, end{ledger.Queued, "", ledger.Paid, 0, "", ledger.PostNote, true}},

		"a refusal of this device gives the money back": {both, "", func(s *tale) {
			s.post(upstream.Refused)
			s.refunded()
		}, end{ledger.Failed, ReasonRefused, ledger.Refunded, 350, ReasonRefused, ledger.NoStep, false}},
		"a refusal after an unclear post is left to a person": {plain, "", func(s *tale) {
			s.post(upstream.Unclear)
			s.look()
			s.post(upstream.Refused)
		}, end{ledger.Failed, ReasonUnclear, ledger.Paid, 0, ReasonUnclear, ledger.NoStep, false}},
		"a refusal after an unclear post is left to the machine": {confirms, "", func(s *tale) {
			s.post(upstream.Unclear)
			s.look()
			s.post(upstream.Refused)
			s.silence()
			s.refunded()
		}, end{ledger.Failed, ReasonRefused, ledger.Refunded, 350, ReasonRefused, ledger.NoStep, false}},

		"not listed yet, it is looked for again before it counts as fetched": {both, "", func(s *tale) {
			s.now = s.p.ExpiresAt.Add(-time.Second)
			s.post(upstream.Done)
			s.call(ledger.CheckPending, Outcome{})
			if d := s.p.DueAt.Sub(s.p.SentAt); s.p.Machine != ledger.Sent || d != listedWithin {
				s.Errorf("%s, looked for again %v after it was sent; want sent, and %v", s.p.Machine, d, listedWithin)
			}
			s.call(ledger.CheckPending, Outcome{NoteIDs: []string{"1:1"}})
			s.delete(upstream.Done)
			s.look()
		}, end{ledger.Failed, ReasonRecalled, ledger.Refunding, 0, "", ledger.Refund, true}},
		"the second note of a credit may not be listed when the first is recalled": {plain, "", func(s *tale) {
			s.post(upstream.Unclear)
			s.look()
			s.now = s.p.ExpiresAt.Add(-time.Second)
			s.post(upstream.Done)
			s.call(ledger.CheckPending, Outcome{NoteIDs: []string{"1:1"}})
			s.delete(upstream.Done)
			s.call(ledger.CheckPending, Outcome{})
			s.call(ledger.CheckPending, Outcome{NoteIDs: []string{"1:2"}})
			s.delete(upstream.Done)
		}, end{ledger.Sent, "", ledger.Paid, 0, "", ledger.CheckPending, true}},
		"no longer pending, the machine has it":         {plain, "", (*tale).fetched, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"no longer pending, the machine has to say":     {confirms, "", (*tale).fetched, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.Wait, true}},
		"started from sent":                             {confirms, "", func(s *tale) { s.post(upstream.Done); s.says("started") }, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"started from fetched":                          {confirms, "", func(s *tale) { s.fetched(); s.says("started") }, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"started after an unclear post":                 {confirms, "", func(s *tale) { s.post(upstream.Unclear); s.says("started") }, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"started in the middle of a recall":             {confirms, "", func(s *tale) { s.post(upstream.Done); s.look("1:1"); s.says("started") }, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"done without started":                          {confirms, "", func(s *tale) { s.fetched(); s.says("done") }, end{ledger.Done, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"done, and then started comes late":             {confirms, "", func(s *tale) { s.fetched(); s.says("done"); s.says("started") }, end{ledger.Done, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"an answer before there was a post is nobody's": {confirms, "", func(s *tale) { s.says("started") }, end{ledger.Queued, "", ledger.Paid, 0, "", ledger.PostNote, true}},
		"started while the post is under way": {confirms, "", func(s *tale) {
			p, _ := Claim(s.p, s.now)
			p, outcome := Confirmed(p, Confirmation{State: "started"}, s.now)
			if outcome != ConfirmationTaken {
				s.Errorf("the answer is %s; want it taken", outcome)
			}
			s.is(Apply(p, Outcome{Action: ledger.PostNote, Result: upstream.Unclear, Began: s.now}, s.now))
		}, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"failed while the post is under way": {confirms, "", func(s *tale) {
			p, _ := Claim(s.p, s.now)
			p, _ = Confirmed(p, Confirmation{State: "failed"}, s.now)
			s.is(Apply(p, Outcome{Action: ledger.PostNote, Began: s.now}, s.now))
			s.refunded()
		}, end{ledger.Failed, ReasonFailed, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"duplicate means fetched":                                       {confirms, "", func(s *tale) { s.post(upstream.Done); s.says("duplicate") }, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.Wait, true}},
		"duplicate after started changes nothing":                       {confirms, "", func(s *tale) { s.fetched(); s.says("started"); s.says("duplicate") }, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"a machine that is not expected to answer is taken at its word": {plain, "", func(s *tale) { s.fetched(); s.says("started") }, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},

		"failed before started":   {both, "", func(s *tale) { s.fetched(); s.says("failed"); s.refunded() }, end{ledger.Failed, ReasonFailed, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"busy before fetched":     {both, "", func(s *tale) { s.post(upstream.Done); s.says("busy"); s.refunded() }, end{ledger.Failed, ReasonBusy, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"expired, as the machine": {both, "", func(s *tale) { s.fetched(); s.says("expired"); s.refunded() }, end{ledger.Failed, ReasonExpired, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"failed after started is kept, and told": {both, "", func(s *tale) {
			s.fetched()
			s.says("started")
			s.says("failed")
		}, end{ledger.Started, "", ledger.Paid, 0, AttentionFailedAfter, ledger.NoStep, false}},

		"lifetime over, never posted": {both, "", func(s *tale) { s.post(upstream.Again); s.later(10 * time.Minute) }, end{ledger.Failed, ReasonExpired, ledger.Refunding, 0, "", ledger.Refund, true}},
		"lifetime over after an unclear post that vanished is left to a person": {plain, "", func(s *tale) {
			s.post(upstream.Unclear)
			s.look()
			s.later(10 * time.Minute)
		}, end{ledger.Failed, ReasonUnclear, ledger.Paid, 0, ReasonUnclear, ledger.NoStep, false}},
		"lifetime over after an unclear post that vanished is left to the machine": {confirms, "", func(s *tale) {
			s.post(upstream.Unclear)
			s.look()
			s.later(10 * time.Minute)
		}, end{ledger.Queued, "", ledger.Paid, 0, "", ledger.Wait, true}},
		"never taken by Notehub and silent, the money goes back and the machine is not blamed": {confirms, "", func(s *tale) {
			s.post(upstream.Unclear)
			s.look()
			s.later(10 * time.Minute)
			s.silence()
			if leftAlone(s.p) {
				s.Error("it counts as left alone by the machine")
			}
			s.refunded()
		}, end{ledger.Failed, ReasonExpired, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"never taken by Notehub as far as is known, and the machine starts": {confirms, "", func(s *tale) {
			s.post(upstream.Unclear)
			s.look()
			s.later(10 * time.Minute)
			s.says("started")
		}, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},

		"lifetime over and still pending, it is recalled": {both, "", func(s *tale) { recalled(s); s.refunded() },
			end{ledger.Failed, ReasonRecalled, ledger.Refunded, 350, "", ledger.NoStep, false}},
		"two notes of the credit are recalled one by one": {both, "", func(s *tale) {
			s.post(upstream.Done)
			s.look("1:1", "1:2")
			s.delete(upstream.Done)
			s.delete(upstream.Done)
			s.look()
		}, end{ledger.Failed, ReasonRecalled, ledger.Refunding, 0, "", ledger.Refund, true}},
		"a recall that came too late: it was fetched": {plain, "", func(s *tale) {
			s.post(upstream.Done)
			s.look("1:1")
			s.delete(upstream.Refused)
			s.look()
		}, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"a recall that came too late for one of two": {plain, "", func(s *tale) {
			s.post(upstream.Done)
			s.look("1:1", "1:2")
			s.delete(upstream.Refused)
			s.delete(upstream.Done)
			s.look()
		}, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"a recall that came too late and a machine that started": {confirms, "", func(s *tale) {
			s.post(upstream.Done)
			s.look("1:1")
			s.delete(upstream.Refused)
			s.look()
			s.says("started")
		}, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"an unclear deletion, and the note is gone: the customer first": {plain, "", func(s *tale) {
			s.post(upstream.Done)
			s.look("1:1")
			s.delete(upstream.Unclear)
			s.look()
			s.refunded()
		}, end{ledger.Failed, ReasonRecallUnclear, ledger.Refunded, 350, ReasonRecallUnclear, ledger.NoStep, false}},
		"an unclear deletion, and the machine will say": {confirms, "", func(s *tale) {
			s.post(upstream.Done)
			s.look("1:1")
			s.delete(upstream.Unclear)
			s.look()
		}, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.Wait, true}},
		"an unclear deletion that was not applied is repeated": {both, "", func(s *tale) {
			s.post(upstream.Done)
			s.look("1:1")
			s.delete(upstream.Unclear)
			s.look("1:1")
			s.delete(upstream.Done)
			s.look()
		}, end{ledger.Failed, ReasonRecalled, ledger.Refunding, 0, "", ledger.Refund, true}},
		"a deletion that was not made is repeated": {both, "", func(s *tale) {
			s.post(upstream.Done)
			s.look("1:1")
			s.delete(upstream.Trouble)
		}, end{ledger.Sent, "", ledger.Paid, 0, "", ledger.Recall, true}},

		"expected to confirm, and silent": {confirms, "", func(s *tale) { s.fetched(); s.silence(); s.refunded() },
			end{ledger.Failed, ReasonUnconfirmed, ledger.Refunded, 350, ReasonUnconfirmed, ledger.NoStep, false}},
		"silence is no evidence before the deadline": {confirms, "", func(s *tale) {
			s.fetched()
			s.is(Silent(s.p, s.p.ConfirmBy.Add(-1), s.now))
		}, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.Wait, true}},
		"nobody listens for a quarter of an hour": {confirms, "", func(s *tale) {
			s.fetched()
			s.later(overdue + grace)
		}, end{ledger.Fetched, "", ledger.Paid, 0, AttentionOverdue, ledger.NoStep, false}},
		"nobody listened, and then it was heard": {confirms, "", func(s *tale) {
			s.fetched()
			s.later(overdue + grace)
			s.says("started")
		}, end{ledger.Started, "", ledger.Paid, 0, "", ledger.NoStep, false}},
		"started after the money went back": {confirms, "", func(s *tale) {
			s.fetched()
			s.silence()
			s.refunded()
			s.says("started")
		}, end{ledger.Started, ReasonStartedAfter, ledger.Refunded, 350, ReasonStartedAfter, ledger.NoStep, false}},
		"started while the money is on its way back: it goes": {confirms, "", func(s *tale) {
			s.fetched()
			s.silence()
			s.says("started")
			s.refunded()
		}, end{ledger.Started, ReasonStartedAfter, ledger.Refunded, 350, ReasonStartedAfter, ledger.NoStep, false}},
		"a credit without end waits for its machine": {plain, "", func(s *tale) {
			p := s.p
			p.ExpiresAt = time.Time{}
			s.is(Next(p, s.now))
			s.post(upstream.Done)
			s.look("1:1")
			s.look("1:1")
			s.look()
		}, end{ledger.Fetched, "", ledger.Paid, 0, "", ledger.NoStep, false}},
	})
}
