package payment

import (
	"testing"
	"time"

	"notepay/internal/upstream"
)

// tale takes one payment through its transitions, and checks each state on the way.
type tale struct {
	*testing.T
	p    Payment
	now  time.Time
	seen bool // the operator has decided that nothing is left to do
}

// firmware says whether a machine confirms.
type firmware int

const (
	both     firmware = iota
	plain             // does not confirm
	confirms          // confirms
)

// beginLife returns a payment of 3.50, paid at noon, whose credit lives for ten minutes.
func beginLife(t *testing.T, f firmware, money FundsStatus) *tale {
	p := queuedPayment()
	p.Funds = money
	if f == confirms {
		p.ConfirmBy = p.ExpiresAt.Add(ConfirmationGrace)
	}
	s := &tale{T: t, now: noon}
	s.is(Next(p, noon))
	return s
}

// is sets the payment's new state, and checks what holds in every state.
func (s *tale) is(p Payment) {
	s.Helper()
	s.p = p
	if again := Next(p, s.now); again != p {
		s.Errorf("Next of %+v is %+v", p, again)
	}
	if again := Next(Next(p, s.now.Add(time.Hour)), s.now.Add(time.Hour)); again != Next(p, s.now.Add(time.Hour)) {
		s.Errorf("an hour later Next is not done at once: %+v", again)
	}
	out := p.Delivery != Queued && p.Delivery != Failed
	outside := func(amount int64) bool { return amount < 0 || amount > p.Amount }
	refunding := p.Funds == Refunding || p.Funds == RefundFailed
	busy := p.CancelReason != "" || p.NoteIDs != "" || p.HoldsDevice
	for what, wrong := range map[string]bool{
		"it is failed for no reason":                       p.Delivery == Failed && p.Reason == "",
		"it is out and was never posted":                   out && (p.SentAt.IsZero() || !p.MaybeAccepted),
		"a post is unclear that was not made":              p.OutcomeUnknown && !p.MaybeAccepted,
		"it has a step without a time, or the converse":    (p.Step == NoStep) != p.DueAt.IsZero(),
		"it has notes to delete and no recall":             p.RecallStatus == NotRecalled && p.NoteIDs != "",
		"the refund order is negative":                     p.RefundAmount < 0,
		"more is back than was paid":                       outside(p.RefundedAmount) || outside(p.RefundTarget),
		"a refund is due and none was ordered":             refunding && p.RefundSeq == 0,
		"there is nothing to be done and it is not closed": p.Step == NoStep && !Closed(p) && !s.seen,
		"a failed credit is recalled, or holds its device": p.Delivery == Failed && busy,
	} {
		if wrong {
			s.Errorf("%s: %+v", what, p)
		}
	}
}

// call waits until a step is due, and applies its outcome.
func (s *tale) call(step Step, o Outcome) {
	s.Helper()
	if s.p.Step != step {
		s.Fatalf("the next step is %q; want %q: %+v", s.p.Step, step, s.p)
	}
	s.now = Later(s.now, s.p.DueAt)
	var interrupted *Outcome
	if s.p, interrupted = Claim(s.p, s.now); !s.p.InFlight || s.p.Step != step || interrupted != nil {
		s.Fatalf("not claimed for %q: %+v", step, s.p)
	}
	o.Action, o.Began = step, s.now
	s.now = s.now.Add(100 * time.Millisecond)
	s.is(ApplyOutcome(s.p, o, s.now))
}

func (s *tale) post(r upstream.Outcome) { s.Helper(); s.call(StepPostNote, Outcome{Result: r}) }

// look checks which notes are pending. An empty list proves something only when Notehub must have
// listed the note.
func (s *tale) look(pending ...string) {
	s.Helper()
	if len(pending) == 0 && (s.p.RecallStatus == NotRecalled || s.p.NotFoundAfterUnclear) {
		s.now = Later(s.now, s.p.SentAt.Add(MaxListingDelay))
	}
	s.call(StepCheckPending, Outcome{NoteIDs: pending})
}
func (s *tale) delete(r upstream.Outcome) {
	s.Helper()
	s.call(StepRecall, Outcome{Result: r, NoteID: NextRecallNote(s.p)})
}

// fetched makes Notehub accept the note and the Notecard fetch it.
func (s *tale) fetched() { s.Helper(); s.post(upstream.OK); s.look() }

func (s *tale) says(state string) {
	s.Helper()
	p, _ := ApplyConfirmation(s.p, Confirmation{State: state, Code: "E-DOOR", At: s.now}, s.now)
	s.is(p)
}

func (s *tale) silence() {
	s.Helper()
	s.now = Later(s.now, s.p.ConfirmBy)
	s.is(ConfirmationTimedOut(s.p, s.now, s.now))
}

// refunded makes the due refund.
func (s *tale) refunded() {
	s.Helper()
	s.call(
		StepRefund,
		Outcome{
			Refund: RefundRecord{Credit: s.p.ID, Number: s.p.RefundSeq, Amount: s.p.RefundAmount, Status: "succeeded"},
		},
	)
}

// later lets time pass.
func (s *tale) later(d time.Duration) { s.Helper(); s.now = s.now.Add(d); s.is(Next(s.p, s.now)) }

// end is the expected state of a payment.
type end struct {
	machine   DeliveryStatus
	reason    string
	money     FundsStatus
	back      int64
	attention string
	step      Step
	open      bool // not payment.Closed
}

func (s *tale) ends(want end) {
	s.Helper()
	p := s.p
	if got := (end{p.Delivery, p.Reason, p.Funds, p.RefundedAmount, p.ReviewReason, p.Step, !Closed(p)}); got != want {
		s.Errorf("got  %+v\nwant %+v", got, want)
	}
}

type row struct {
	firmware firmware
	money    FundsStatus // "" is paid
	story    func(s *tale)
	end      end
}

func confirm(t *testing.T, rows map[string]row) {
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
					money = Paid
				}
				s := beginLife(t, f, money)
				r.story(s)
				s.ends(r.end)
			})
		}
	}
}

// One case for each transition of the credit.
func TestDeliveryTransitions(t *testing.T) {
	recalled := func(s *tale) {
		s.post(upstream.OK)
		s.look("1:1")
		s.delete(upstream.OK)
		s.look()
	}
	confirm(t, map[string]row{
		"a credit that is due is sent": {both, "", func(*tale) {}, end{Queued, "", Paid, 0, "", StepPostNote, true}},
		"recorded after its lifetime, the money goes back without a note": {both, "", func(s *tale) {
			s.later(10 * time.Minute)
			s.refunded()
		}, end{Failed, ReasonExpired, Refunded, 350, "", NoStep, false}},
		"an accepted note is sent": {
			both,
			"",
			func(s *tale) { s.post(upstream.OK) },
			end{Sent, "", Paid, 0, "", StepCheckPending, true},
		},

		"429 is tried again": {
			both,
			"",
			func(s *tale) { s.post(upstream.RateLimited) },
			end{Queued, "", Paid, 0, "", StepPostNote, true},
		},
		"401 is tried again": {
			both,
			"",
			func(s *tale) { s.post(upstream.Misconfigured) },
			end{Queued, "", Paid, 0, "", StepPostNote, true},
		},
		"nothing done is tried again": {
			both,
			"",
			func(s *tale) { s.post(upstream.Retryable) },
			end{Queued, "", Paid, 0, "", StepPostNote, true},
		},
		"an unclear post is checked before another": {
			both,
			"",
			func(s *tale) { s.post(upstream.Unknown) },
			end{Queued, "", Paid, 0, "", StepCheckPending, true},
		},
		"found pending it was sent": {
			both,
			"",
			func(s *tale) { s.post(upstream.Unknown); s.look("1:1") },
			end{Sent, "", Paid, 0, "", StepCheckPending, true},
		},
		"not found it is posted again, with the same id": {
			both,
			"",
			func(s *tale) { s.post(upstream.Unknown); s.look() },
			end{Queued, "", Paid, 0, "", StepPostNote, true},
		},

		"a rejected note is refunded": {both, "", func(s *tale) {
			s.post(upstream.Rejected)
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, ReasonRefused, NoStep, false}},
		"a rejection after an unclear post is left to the operator": {plain, "", func(s *tale) {
			s.post(upstream.Unknown)
			s.look()
			s.post(upstream.Rejected)
		}, end{Failed, ReasonUnclear, Paid, 0, ReasonUnclear, NoStep, false}},
		"a rejection after an unclear post is left to the machine": {confirms, "", func(s *tale) {
			s.post(upstream.Unknown)
			s.look()
			s.post(upstream.Rejected)
			s.silence()
			s.refunded()
		}, end{Failed, ReasonRefused, Refunded, 350, ReasonRefused, NoStep, false}},

		"not listed yet, it is checked again before it counts as fetched": {both, "", func(s *tale) {
			s.now = s.p.ExpiresAt.Add(-time.Second)
			s.post(upstream.OK)
			s.call(StepCheckPending, Outcome{})
			if d := s.p.DueAt.Sub(s.p.SentAt); s.p.Delivery != Sent || d != MaxListingDelay {
				s.Errorf("%s, checked again %v after it was sent; want sent, and %v", s.p.Delivery, d,
					MaxListingDelay)
			}
			s.call(StepCheckPending, Outcome{NoteIDs: []string{"1:1"}})
			s.delete(upstream.OK)
			s.look()
		}, end{Failed, ReasonRecalled, Refunding, 0, "", StepRefund, true}},
		"the second note of a credit may not be listed when the first is recalled": {plain, "", func(s *tale) {
			s.post(upstream.Unknown)
			s.look()
			s.now = s.p.ExpiresAt.Add(-time.Second)
			s.post(upstream.OK)
			s.call(StepCheckPending, Outcome{NoteIDs: []string{"1:1"}})
			s.delete(upstream.OK)
			s.call(StepCheckPending, Outcome{})
			s.call(StepCheckPending, Outcome{NoteIDs: []string{"1:2"}})
			s.delete(upstream.OK)
		}, end{Sent, "", Paid, 0, "", StepCheckPending, true}},
		"no longer pending, the machine has it": {
			plain,
			"",
			(*tale).fetched,
			end{Fetched, "", Paid, 0, "", NoStep, false},
		},
		"no longer pending, the machine has to say": {
			confirms,
			"",
			(*tale).fetched,
			end{Fetched, "", Paid, 0, "", StepWait, true},
		},
		"started from sent": {
			confirms,
			"",
			func(s *tale) { s.post(upstream.OK); s.says("started") },
			end{Started, "", Paid, 0, "", NoStep, false},
		},
		"started from fetched": {
			confirms,
			"",
			func(s *tale) { s.fetched(); s.says("started") },
			end{Started, "", Paid, 0, "", NoStep, false},
		},
		"started after an unclear post": {
			confirms,
			"",
			func(s *tale) { s.post(upstream.Unknown); s.says("started") },
			end{Started, "", Paid, 0, "", NoStep, false},
		},
		"started in the middle of a recall": {
			confirms,
			"",
			func(s *tale) { s.post(upstream.OK); s.look("1:1"); s.says("started") },
			end{Started, "", Paid, 0, "", NoStep, false},
		},
		"done without started": {
			confirms,
			"",
			func(s *tale) { s.fetched(); s.says("done") },
			end{Done, "", Paid, 0, "", NoStep, false},
		},
		"done, and then started comes late": {
			confirms,
			"",
			func(s *tale) { s.fetched(); s.says("done"); s.says("started") },
			end{Done, "", Paid, 0, "", NoStep, false},
		},
		"a confirmation before a post is ignored": {
			confirms,
			"",
			func(s *tale) { s.says("started") },
			end{Queued, "", Paid, 0, "", StepPostNote, true},
		},
		"started while the post is in flight": {confirms, "", func(s *tale) {
			p, _ := Claim(s.p, s.now)
			p, outcome := ApplyConfirmation(p, Confirmation{State: "started"}, s.now)
			if outcome != ConfirmationTaken {
				s.Errorf("the answer is %s; want it accepted", outcome)
			}
			s.is(ApplyOutcome(p, Outcome{Action: StepPostNote, Result: upstream.Unknown, Began: s.now}, s.now))
		}, end{Started, "", Paid, 0, "", NoStep, false}},
		"failed while the post is in flight": {confirms, "", func(s *tale) {
			p, _ := Claim(s.p, s.now)
			p, _ = ApplyConfirmation(p, Confirmation{State: "failed"}, s.now)
			s.is(ApplyOutcome(p, Outcome{Action: StepPostNote, Began: s.now}, s.now))
			s.refunded()
		}, end{Failed, ReasonFailed, Refunded, 350, "", NoStep, false}},
		"duplicate means fetched": {
			confirms,
			"",
			func(s *tale) { s.post(upstream.OK); s.says("duplicate") },
			end{Fetched, "", Paid, 0, "", StepWait, true},
		},
		"duplicate after started changes nothing": {
			confirms,
			"",
			func(s *tale) { s.fetched(); s.says("started"); s.says("duplicate") },
			end{Started, "", Paid, 0, "", NoStep, false},
		},
		"a machine that is not expected to answer is believed": {
			plain,
			"",
			func(s *tale) { s.fetched(); s.says("started") },
			end{Started, "", Paid, 0, "", NoStep, false},
		},

		"failed before started": {
			both,
			"",
			func(s *tale) { s.fetched(); s.says("failed"); s.refunded() },
			end{Failed, ReasonFailed, Refunded, 350, "", NoStep, false},
		},
		"busy before fetched": {
			both,
			"",
			func(s *tale) { s.post(upstream.OK); s.says("busy"); s.refunded() },
			end{Failed, ReasonBusy, Refunded, 350, "", NoStep, false},
		},
		"expired, as the machine": {
			both,
			"",
			func(s *tale) { s.fetched(); s.says("expired"); s.refunded() },
			end{Failed, ReasonExpired, Refunded, 350, "", NoStep, false},
		},
		"failed after started is kept and reported": {both, "", func(s *tale) {
			s.fetched()
			s.says("started")
			s.says("failed")
		}, end{Started, "", Paid, 0, ReviewFailedAfter, NoStep, false}},

		"lifetime over, never posted": {
			both,
			"",
			func(s *tale) { s.post(upstream.Retryable); s.later(10 * time.Minute) },
			end{Failed, ReasonExpired, Refunding, 0, "", StepRefund, true},
		},
		"expired after an unclear post that was not found: left to the operator": {plain, "", func(s *tale) {
			s.post(upstream.Unknown)
			s.look()
			s.later(10 * time.Minute)
		}, end{Failed, ReasonUnclear, Paid, 0, ReasonUnclear, NoStep, false}},
		"expired after an unclear post that was not found: left to the machine": {confirms, "", func(s *tale) {
			s.post(upstream.Unknown)
			s.look()
			s.later(10 * time.Minute)
		}, end{Queued, "", Paid, 0, "", StepWait, true}},
		"never taken by Notehub and silent, the money goes back and the machine is not blamed": {
			confirms,
			"",
			func(s *tale) {
				s.post(upstream.Unknown)
				s.look()
				s.later(10 * time.Minute)
				s.silence()
				if Unanswered(s.p) {
					s.Error("it counts as unanswered")
				}
				s.refunded()
			},
			end{Failed, ReasonExpired, Refunded, 350, "", NoStep, false},
		},
		"never taken by Notehub as far as is known, and the machine starts": {confirms, "", func(s *tale) {
			s.post(upstream.Unknown)
			s.look()
			s.later(10 * time.Minute)
			s.says("started")
		}, end{Started, "", Paid, 0, "", NoStep, false}},

		"lifetime over and still pending, it is recalled": {both, "", func(s *tale) { recalled(s); s.refunded() },
			end{Failed, ReasonRecalled, Refunded, 350, "", NoStep, false}},
		"two notes of the credit are recalled one by one": {both, "", func(s *tale) {
			s.post(upstream.OK)
			s.look("1:1", "1:2")
			s.delete(upstream.OK)
			s.delete(upstream.OK)
			s.look()
		}, end{Failed, ReasonRecalled, Refunding, 0, "", StepRefund, true}},
		"a recall that came too late: it was fetched": {plain, "", func(s *tale) {
			s.post(upstream.OK)
			s.look("1:1")
			s.delete(upstream.Rejected)
			s.look()
		}, end{Fetched, "", Paid, 0, "", NoStep, false}},
		"a recall that came too late for one of two": {plain, "", func(s *tale) {
			s.post(upstream.OK)
			s.look("1:1", "1:2")
			s.delete(upstream.Rejected)
			s.delete(upstream.OK)
			s.look()
		}, end{Fetched, "", Paid, 0, "", NoStep, false}},
		"a recall that came too late and a machine that started": {confirms, "", func(s *tale) {
			s.post(upstream.OK)
			s.look("1:1")
			s.delete(upstream.Rejected)
			s.look()
			s.says("started")
		}, end{Started, "", Paid, 0, "", NoStep, false}},
		"an unclear deletion, and the note is gone: the customer first": {plain, "", func(s *tale) {
			s.post(upstream.OK)
			s.look("1:1")
			s.delete(upstream.Unknown)
			s.look()
			s.refunded()
		}, end{Failed, ReasonRecallUnclear, Refunded, 350, ReasonRecallUnclear, NoStep, false}},
		"an unclear deletion, and the machine will say": {confirms, "", func(s *tale) {
			s.post(upstream.OK)
			s.look("1:1")
			s.delete(upstream.Unknown)
			s.look()
		}, end{Fetched, "", Paid, 0, "", StepWait, true}},
		"an unclear deletion that was not applied is repeated": {both, "", func(s *tale) {
			s.post(upstream.OK)
			s.look("1:1")
			s.delete(upstream.Unknown)
			s.look("1:1")
			s.delete(upstream.OK)
			s.look()
		}, end{Failed, ReasonRecalled, Refunding, 0, "", StepRefund, true}},
		"a deletion that was not made is repeated": {both, "", func(s *tale) {
			s.post(upstream.OK)
			s.look("1:1")
			s.delete(upstream.Misconfigured)
		}, end{Sent, "", Paid, 0, "", StepRecall, true}},

		"expected to confirm, and silent": {confirms, "", func(s *tale) { s.fetched(); s.silence(); s.refunded() },
			end{Failed, ReasonUnconfirmed, Refunded, 350, ReasonUnconfirmed, NoStep, false}},
		"silence is no evidence before the deadline": {confirms, "", func(s *tale) {
			s.fetched()
			s.is(ConfirmationTimedOut(s.p, s.p.ConfirmBy.Add(-1), s.now))
		}, end{Fetched, "", Paid, 0, "", StepWait, true}},
		"no confirmations are read for 15 minutes": {confirms, "", func(s *tale) {
			s.fetched()
			s.later(overdueAfter + ConfirmationGrace)
		}, end{Fetched, "", Paid, 0, ReviewOverdue, NoStep, false}},
		"confirmations are read late": {confirms, "", func(s *tale) {
			s.fetched()
			s.later(overdueAfter + ConfirmationGrace)
			s.says("started")
		}, end{Started, "", Paid, 0, "", NoStep, false}},
		"started after the money went back": {confirms, "", func(s *tale) {
			s.fetched()
			s.silence()
			s.refunded()
			s.says("started")
		}, end{Started, ReasonStartedAfter, Refunded, 350, ReasonStartedAfter, NoStep, false}},
		"started while the refund is due: it is made": {confirms, "", func(s *tale) {
			s.fetched()
			s.silence()
			s.says("started")
			s.refunded()
		}, end{Started, ReasonStartedAfter, Refunded, 350, ReasonStartedAfter, NoStep, false}},
		"a credit without end waits for its machine": {plain, "", func(s *tale) {
			p := s.p
			p.ExpiresAt = time.Time{}
			s.is(Next(p, s.now))
			s.post(upstream.OK)
			s.look("1:1")
			s.look("1:1")
			s.look()
		}, end{Fetched, "", Paid, 0, "", NoStep, false}},
	})
}
