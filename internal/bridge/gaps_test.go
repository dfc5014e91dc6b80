package bridge

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// unclearAnswer is a lost reply: the call may have been applied.
var unclearAnswer = &upstream.Error{Outcome: upstream.Unknown}

// stage brings a payment to the moment when a call is due, and names its final state.
type stage struct {
	change  func(*Config)
	until   func(h *house)
	step    payment.Step
	picksUp bool // the Notecard fetches its note later
	machine payment.DeliveryStatus
	money   payment.FundsStatus
}

func stages() map[string]stage {
	fetches := func(h *house) { h.does("cs_test_1", payment.StepPostNote); h.hub.fetch() }
	refusedNote := func(h *house) {
		h.hub.will(payment.StepPostNote, answer{err: &upstream.Error{Outcome: upstream.Rejected, Status: 404}})
		h.does("cs_test_1", payment.StepPostNote)
	}
	return map[string]stage{
		"the note": {nil, func(*house) {}, payment.StepPostNote, true, payment.Fetched, payment.Paid},
		"the note of a machine that confirms and does not": {
			confirming,
			func(*house) {},
			payment.StepPostNote,
			true,
			payment.Failed,
			payment.Refunded,
		},
		"the check of a fetched note": {
			nil,
			fetches,
			payment.StepCheckPending,
			true,
			payment.Fetched,
			payment.Paid,
		},
		"the check of a pending note": {
			nil,
			func(h *house) { h.does("cs_test_1", payment.StepPostNote) },
			payment.StepCheckPending,
			false,
			payment.Failed,
			payment.Refunded,
		},
		"the recall": {nil, func(h *house) {
			h.does("cs_test_1", payment.StepPostNote)
			h.does("cs_test_1", payment.StepCheckPending)
		}, payment.StepRecall, false, payment.Failed, payment.Refunded},
		"the check after the recall": {nil, func(h *house) {
			h.does("cs_test_1", payment.StepPostNote)
			h.does("cs_test_1", payment.StepCheckPending)
			h.does("cs_test_1", payment.StepRecall)
		}, payment.StepCheckPending, false, payment.Failed, payment.Refunded},
		"the refund":  {nil, refusedNote, payment.StepRefund, false, payment.Failed, payment.Refunded},
		"the release": {held, refusedNote, payment.StepCancel, false, payment.Failed, payment.Canceled},
		"the capture": {held, func(h *house) {
			fetches(h)
			h.says("1", "dev:1", "cs_test_1", "started")
		}, payment.StepCapture, false, payment.Started, payment.Paid},
		"the word that a machine is to stop": {confirming, func(h *house) {
			fetches(h)
			h.says("1", "dev:1", "cs_test_1", "started")
			if _, err := h.b.Cancel(context.Background(), "cs_test_1", Actor{"operator", "it is on fire"}); err != nil {
				h.Fatal(err)
			}
		}, payment.StepPostNote, true, payment.Done, payment.Paid},
	}
}

// The process crashes in every gap between two steps (AT-06, AT-07). After the next start, each
// payment ends well.
func TestCrashInEveryGap(t *testing.T) {
	t.Parallel()
	gaps := map[string]func(h *house, s stage){
		"before the claim": func(*house, stage) {},
		"after the claim":  func(h *house, s stage) { h.due("cs_test_1", s.step) },
		"after the call": func(h *house, s stage) {
			p := h.due("cs_test_1", s.step)
			b := h.b
			h.close() // nothing is recorded any more
			b.execute(context.Background(), p)
			h.open()
		},
		"after an unclear call that was applied": func(h *house, s stage) {
			h.hub.will(s.step, answer{err: unclearAnswer, applied: true})
			h.money.will(s.step, answer{err: unclearAnswer, applied: true})
			h.does("cs_test_1", s.step)
		},
		"after an unclear call that was not applied": func(h *house, s stage) {
			h.hub.will(s.step, answer{err: unclearAnswer})
			h.money.will(s.step, answer{err: unclearAnswer})
			h.does("cs_test_1", s.step)
		},
		"after the recordContext": func(h *house, s stage) { h.does("cs_test_1", s.step) },
	}
	for at, s := range stages() {
		for gap, until := range gaps {
			t.Run(at+", "+gap, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := newHouse(t, func(c *Config) {
						if s.change != nil {
							s.change(c)
							c.ConfirmWithin = 2 * time.Minute
						}
						c.Lifetime = 2 * time.Minute
					})
					event := h.pays("cs_test_1", "dev:1")
					h.receive(event)
					h.looksUp()
					s.until(h)
					until(h, s)
					h.reopen()
					h.receive(event) // Stripe got no reply
					h.run()
					if s.picksUp {
						time.Sleep(45 * time.Second)
						h.hub.fetch()
					}
					h.finish("cs_test_1")
					h.open()
					p := h.payment("cs_test_1")
					if p.Delivery != s.machine || p.Funds != s.money || p.Step != payment.NoStep {
						t.Errorf("machine %s %q, money %s, step %q; want %s and %s", p.Delivery, p.Reason, p.Funds,
							p.Step, s.machine, s.money)
					}
					h.close()
				})
			})
		}
	}
}

// After a crash, a missing note may have been fetched or never accepted. It is posted again under
// the same credit id, and the machine ignores a repeat.
func TestCrashWhileTheNoteWasFetched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.paid("cs_test_1", "dev:1")
		p := h.due("cs_test_1", payment.StepPostNote)
		b := h.b
		h.close()
		b.execute(context.Background(), p)
		h.hub.fetch()
		h.open()
		h.run()
		time.Sleep(time.Minute)
		h.hub.fetch()
		h.finish("cs_test_1")
		if len(h.hub.posted) != 2 || h.hub.posted[0] != h.hub.posted[1] {
			t.Errorf("posted %+v; want the same note twice", h.hub.posted)
		}
	})
}

func TestCrashDelaysNoOtherWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.paid("cs_test_1", "dev:1")
		h.claim(h.b.notehub(), 1)
		h.paid("cs_test_2", "dev:1")
		h.claim(h.b.notehub(), 0) // one call at a time per device
		h.reopen()
		p := h.claim(h.b.notehub(), 1)[0]
		if p.SessionID != "cs_test_2" {
			t.Errorf("claimed %s; want the payment without a call in flight", p.SessionID)
		}
		h.b.execute(t.Context(), p)
		h.run()
		time.Sleep(time.Minute)
		h.hub.fetch()
		h.finish("cs_test_1", "cs_test_2")
	})
}

// A worker's lease has ended before it records its outcome. The facts count, but the worker chooses
// no step.
func TestStaleWorkerRecordsLate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		saw  error
		took bool
	}{
		"with a yes":             {nil, true},
		"with an unclear answer": {&upstream.Error{Outcome: upstream.Unknown}, false},
		"with a no":              {&upstream.Error{Outcome: upstream.RateLimited, RetryAfter: time.Hour}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.paid("cs_test_1", "dev:1")
				gate, asleep := make(chan struct{}), make(chan struct{})
				h.hub.will(payment.StepPostNote, answer{err: c.saw, applied: c.took, gate: gate})
				first := h.due("cs_test_1", payment.StepPostNote)
				go func() { h.b.execute(t.Context(), first); close(asleep) }()
				synctest.Wait()
				time.Sleep(payment.Lease)
				second := h.claim(h.b.notehub(), 1)[0] // a check, because the first call is unclear
				if second.Step != payment.StepCheckPending || second.FencingToken <= first.FencingToken {
					t.Fatalf("claimed %+v; want a check with a later fencing token", second)
				}
				close(gate)
				<-asleep
				p := h.payment("cs_test_1")
				if p.FencingToken != second.FencingToken || !p.InFlight || p.Step != payment.StepCheckPending {
					t.Errorf("turn %d, in flight %v, step %q: the stale worker touched the claim", p.FencingToken,
						p.InFlight, p.Step)
				}
				if (p.Delivery == payment.Sent) != (c.saw == nil) {
					t.Errorf("machine %s; want what the stale worker saw to count", p.Delivery)
				}
				attempts, err := h.l.Attempts(t.Context(), p.ID)
				if err != nil || len(attempts) != 2 { // the interrupted call, and the stale worker's
					t.Errorf("%d attempts (%v); want 2", len(attempts), err)
				}
				h.b.execute(t.Context(), second)
				h.run()
				time.Sleep(time.Minute)
				h.hub.fetch()
				h.finish("cs_test_1")
			})
		})
	}
}

func TestRunQueueKeepsSlotsForNewWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		var all []string
		for i := range 10 {
			session := fmt.Sprintf("cs_test_%02d", i)
			all = append(all, session)
			h.paid(session, "dev:1")
		}
		h.hub.will(payment.StepPostNote, answer{err: &upstream.Error{Outcome: upstream.Retryable}})
		h.b.execute(t.Context(), h.claim(h.b.notehub(), 1)[0])
		h.paid("cs_test_other", "dev:2")
		claimed := h.claim(h.b.notehub(), 2)
		if !slices.ContainsFunc(claimed, func(p payment.Payment) bool { return p.DeviceUID == "dev:2" }) {
			t.Errorf("claimed %v; want one of them for the other machine", claimed)
		}
		for _, p := range claimed {
			h.b.execute(t.Context(), p)
		}
		h.run()
		time.Sleep(time.Minute)
		h.hub.fetch()
		h.finish(append(all, "cs_test_other")...)
	})
}

// Notehub may limit the rate for longer than a credit lives. The credit expires in time all the
// same, and the money goes back.
func TestRunQueueExpiresCreditsDuringARateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.b.c.NotehubLimiter.Observe(time.Now(),
			&upstream.Error{Outcome: upstream.RateLimited, Status: 429, RetryAfter: 24 * time.Hour})
		h.paid("cs_test_1", "dev:1")
		h.paid("cs_test_2", "dev:1")
		h.run()
		time.Sleep(6 * time.Minute)
		if !h.b.Late() {
			t.Error("past half a lifetime it still sells")
		}
		time.Sleep(5 * time.Minute)
		for _, session := range []string{"cs_test_1", "cs_test_2"} {
			if p := h.payment(session); p.Delivery != payment.Failed || p.Reason != payment.ReasonExpired ||
				p.Funds != payment.Refunded ||
				p.ReviewReason != "" {
				t.Errorf("payment of %s: %s %q, %s, attention %q; want it expired and refunded", session,
					p.Delivery, p.Reason, p.Funds, p.ReviewReason)
			}
		}
		h.finish("cs_test_1", "cs_test_2")
		if h.hub.notes() != 0 {
			t.Errorf("%d notes while Notehub wanted none", h.hub.notes())
		}
	})
}

// The rate limit allows one note a minute, and ten payments arrive at once. The last notes would
// come too late.
func TestLateWhenTheQueueExceedsTheRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.NotehubLimiter = upstream.NewLimiter(1, 1) })
		h.run()
		for i := range 10 {
			h.paid(fmt.Sprintf("cs_test_%02d", i), "dev:1")
		}
		time.Sleep(4 * time.Minute)
		if h.b.Late() {
			t.Error("after four minutes nothing is sold; want half a lifetime")
		}
		time.Sleep(2 * time.Minute)
		if !h.b.Late() || h.b.LateFor("dev:1") {
			t.Errorf(
				"after six minutes late is %v, for the machine %v; want all sales stopped, and no machine blamed",
				h.b.Late(),
				h.b.LateFor("dev:1"),
			)
		}
		h.close()
	})
}

// A post has an unknown outcome, and Notehub never tells. The operator learns after 15 minutes,
// and other payments are not affected.
func TestOverdueReviewAfterFifteenMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.hub.will(payment.StepPostNote, answer{err: unclearAnswer})
		h.hub.will(
			payment.StepCheckPending,
			slices.Repeat([]answer{{err: &upstream.Error{Outcome: upstream.Misconfigured, Status: 401}}}, 1000)...)
		h.paid("cs_test_1", "dev:1")
		h.run()
		time.Sleep(14 * time.Minute)
		if p := h.payment("cs_test_1"); p.ReviewReason != "" || p.Delivery != payment.Queued {
			t.Errorf("after 14 minutes: %s, attention %q; want it queued without a review", p.Delivery, p.ReviewReason)
		}
		time.Sleep(2 * time.Minute)
		if p := h.payment("cs_test_1"); p.ReviewReason != payment.ReviewOverdue || p.Delivery != payment.Queued {
			t.Errorf("after 16 minutes: %s, attention %q; want it queued and marked", p.Delivery, p.ReviewReason)
		}
		if h.b.Late() {
			t.Error("a credit that has run out keeps the others from being sold")
		}
		h.hub.will(payment.StepCheckPending)
		time.Sleep(2 * time.Minute)
		// The machine cannot confirm, so the operator has to decide.
		if p := h.payment("cs_test_1"); p.Delivery != payment.Failed || p.Reason != payment.ReasonUnclear ||
			p.ReviewReason != payment.ReasonUnclear ||
			p.Funds != payment.Paid {
			t.Errorf("when Notehub speaks again: %s %q, %s, attention %q; want it failed and doubtful", p.Delivery,
				p.Reason, p.Funds, p.ReviewReason)
		}
		h.close()
	})
}

func TestBackoffOfUnclearPosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.hub.will(
			payment.StepPostNote,
			slices.Repeat([]answer{{err: &upstream.Error{Outcome: upstream.Unknown, Status: 500, Over: true}}},
				1000)...)
		h.paid("cs_test_1", "dev:1")
		h.run()
		time.Sleep(9 * time.Minute)
		if posts := h.hub.called(payment.StepPostNote); posts < 5 || posts > 30 {
			t.Errorf("%d posts in nine minutes; want a handful", posts)
		}
		h.close()
	})
}

// The session's event usually comes first. Then the event of its intent costs no read.
func TestLookupOfARecordedSessionCallsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		paid := h.pays("cs_test_1", "dev:1")
		h.receive(
			Event{
				ID:       "evt_pi",
				Type:     "payment_intent.succeeded",
				ObjectID: "pi_cs_test_1",
				Intent:   "pi_cs_test_1",
				Created:  time.Now(),
				Metadata: map[string]string{"device_uid": "dev:1", "project": "app:1"},
			},
			paid,
		)
		h.run()
		time.Sleep(time.Minute)
		stats, err := h.l.Stats(t.Context())
		if err != nil || !stats.NextLookup.IsZero() {
			t.Errorf("a look-up is left for %v (%v)", stats.NextLookup, err)
		}
		if asked := h.money.called(forSession); asked != 0 {
			t.Errorf("Stripe was asked %d times; want never", asked)
		}
		h.hub.fetch()
		h.finish("cs_test_1")
	})
}
