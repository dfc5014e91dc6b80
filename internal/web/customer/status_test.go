package customer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// reasons lists all reasons of failed credits. Each has its own text.
var reasons = []string{
	payment.ReasonAdopted,
	payment.ReasonExpired,
	payment.ReasonRefused,
	payment.ReasonUnknownDevice,
	payment.ReasonNotSelling,
	payment.ReasonBusy,
	payment.ReasonFailed,
	payment.ReasonRecalled,
	payment.ReasonRecallUnclear,
	payment.ReasonUnclear,
	payment.ReasonUnconfirmed,
	payment.ReasonReversed,
	payment.ReasonDisputed,
	payment.ReasonEnded,
}

// walk is a random life of a payment, through the functions of internal/payment.
type walk struct {
	*rand.Rand
	p   payment.Payment
	now time.Time
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// newWalk returns a payment that was just recorded.
func newWalk(r *rand.Rand) *walk {
	w := &walk{Rand: r, now: time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)}
	p := payment.Payment{
		ID:         "cr_7k3m9q2xh4abcdef",
		Token:      strings.Repeat("0", 32),
		DeviceUID:  washerUID,
		DeviceName: "Washer 3",
		Plan:       "Warm wash",
		Currency:   "eur",
		Amount:     pick(r, int64(350), 350, 350, 0),
		Funds:      pick(r, payment.Paid, payment.Paid, payment.Authorized),
		Delivery:   payment.Queued,
		PaidAt:     w.now,
		CreatedAt:  w.now,
	}
	if p.Amount == 0 {
		p.Funds = payment.Paid
	} else {
		p.PaymentIntent = "pi_1"
	}
	if r.IntN(2) == 0 {
		p.Duration, p.DelayedStart = 30*time.Minute, pick(r, 0, 5*time.Minute)
	}
	if r.IntN(4) > 0 {
		p.ExpiresAt = w.now.Add(10 * time.Minute)
		if r.IntN(2) == 0 {
			p.ConfirmBy = p.ExpiresAt.Add(30 * time.Second)
		}
	}
	switch r.IntN(12) {
	case 0:
		p.Delivery, p.Reason, p.ReviewReason = payment.Failed, payment.ReasonAdopted, payment.ReasonAdopted
	case 1:
		p.Delivery, p.Reason = payment.Failed, pick(r, payment.ReasonBusy, payment.ReasonNotSelling,
			payment.ReasonUnknownDevice)
	}
	w.p = payment.Next(p, w.now)
	return w
}

// step applies a random next event. Most of the time it executes the due step.
func (w *walk) step() {
	p, now := w.p, w.now
	switch w.IntN(22) {
	case 0, 1:
		w.now = now.Add(pick(w.Rand, time.Second, time.Minute, 5*time.Minute, 15*time.Minute, time.Hour, 24*time.Hour))
		if !p.InFlight {
			w.p = payment.Next(p, w.now)
		}
	case 2, 3, 4:
		w.p, _ = payment.ApplyConfirmation(p, payment.Confirmation{
			CreditID: p.ID,
			State:    pick(w.Rand, "started", "started", "done", "failed", "busy", "expired", "duplicate"),
			Code:     pick(w.Rand, "", "E-DOOR"),
			At:       now,
		}, now)
	case 5:
		w.p = payment.ConfirmationTimedOut(p, now, now)
	case 6:
		if p.Funds != payment.Authorized && w.IntN(3) == 0 {
			w.p = payment.ApplyDisputeStatus(p, pick(w.Rand, "needs_response", "lost", "won"), now)
		}
	case 7:
		if w.IntN(3) == 0 {
			w.p = payment.ApplyRefundedTotal(p, pick(w.Rand, p.Amount, p.Amount/2, 0), w.IntN(2) == 0, now)
		}
	case 8:
		w.p = payment.ApplyRefundUpdate(p, payment.RefundRecord{
			Credit: p.ID,
			Number: p.RefundSeq,
			Amount: p.RefundAmount,
			Status: pick(w.Rand, "succeeded", "failed", "pending"),
		}, now)
	case 9:
		if w.IntN(4) == 0 {
			w.p = payment.ApplyCanceled(p, now)
		} else if w.IntN(4) == 0 {
			w.p = payment.ApplyCaptured(p, now)
		}
	case 10:
		decide := pick(w.Rand,
			func() (payment.Payment, error) { return payment.Resend(p, 10*time.Minute, now) },
			func() (payment.Payment, error) { return payment.Refund(p, pick(w.Rand, 0, p.Amount/2), now) },
			func() (payment.Payment, error) { return payment.Cancel(p, now) })
		if decided, err := decide(); err == nil {
			w.p = decided
		}
	default:
		w.work()
	}
}

// work claims the due step, or records the outcome of a claimed one.
func (w *walk) work() {
	if !w.p.InFlight {
		if w.p.DueAt.After(w.now) && w.p.Step != payment.NoStep {
			w.now = w.p.DueAt
		}
		w.p, _ = payment.Claim(w.p, w.now)
		return
	}
	o := payment.Outcome{
		Action: w.p.Step,
		Result: pick(w.Rand, upstream.OK, upstream.OK, upstream.OK, upstream.Rejected, upstream.Unknown,
			upstream.Retryable),
		Began: w.now,
	}
	switch w.p.Step {
	case payment.StepCheckPending:
		if w.IntN(2) == 0 {
			o.NoteIDs = []string{"note-1"}
		}
	case payment.StepRecall:
		o.NoteID, _, _ = strings.Cut(w.p.NoteIDs, ",")
	case payment.StepRefund:
		o.Reconciled = w.p.ReconcileRefund
		record := payment.RefundRecord{
			Credit: w.p.ID,
			Number: w.p.RefundSeq,
			Amount: w.p.RefundAmount,
			Status: pick(w.Rand, "succeeded", "pending", "failed"),
		}
		o.Refund, o.Refunds = record, []payment.RefundRecord{record}
	}
	if o.Result == upstream.Rejected {
		o.Err = pick(w.Rand, error(nil), payment.ErrAlreadyRefunded, payment.ErrAlreadyCaptured,
			payment.ErrAlreadyCanceled, payment.ErrDisputed, payment.ErrBalance)
	}
	w.now = w.now.Add(time.Second)
	w.p = payment.ApplyOutcome(w.p, o, w.now)
}

// known returns the condition under which each text is true. It follows the texts and not
// status.go.
func known() map[string]func(p payment.Payment, now time.Time) bool {
	machine := func(states ...payment.DeliveryStatus) func(payment.Payment, time.Time) bool {
		return func(p payment.Payment, _ time.Time) bool { return slices.Contains(states, p.Delivery) }
	}
	money := func(states ...payment.FundsStatus) func(payment.Payment, time.Time) bool {
		return func(p payment.Payment, _ time.Time) bool { return slices.Contains(states, p.Funds) }
	}
	ran := func(p payment.Payment, _ time.Time) bool {
		return !p.StartedAt.IsZero() && (p.Delivery == payment.Started || p.Delivery == payment.Done)
	}
	always := func(payment.Payment, time.Time) bool { return true }
	failed := machine(payment.Failed)
	told := func(p payment.Payment, _ time.Time) bool { return p.ReviewReason != "" }
	taken := func(p payment.Payment, _ time.Time) bool {
		return p.Funds != payment.Authorized && p.Funds != payment.Capturing && p.Funds != payment.Canceling &&
			p.Funds != payment.Canceled &&
			p.Funds != payment.CaptureFailed
	}
	held := func(p payment.Payment, now time.Time) bool { return !taken(p, now) }
	onItsWay := func(p payment.Payment, _ time.Time) bool {
		return (p.Delivery == payment.Queued || p.Delivery == payment.Sent) && !p.StartedAt.After(p.CreatedAt)
	}
	waiting := func(p payment.Payment, _ time.Time) bool {
		open := p.Delivery == payment.Queued || p.Delivery == payment.Sent ||
			(p.Delivery == payment.Fetched && !p.ConfirmBy.IsZero())
		return open && (p.Funds == payment.Authorized || (p.Funds == payment.Paid && p.Amount > 0)) &&
			!p.ExpiresAt.IsZero() && (p.CancelReason == "" || p.CancelReason == "retry")
	}
	busy := func(p payment.Payment, _ time.Time) bool {
		return p.Delivery == payment.Failed && p.Reason == payment.ReasonBusy
	}
	k := map[string]func(payment.Payment, time.Time) bool{
		"title.received": machine(
			payment.Queued,
		), "title.held": held, "title.sent": machine(payment.Sent), "title.fetched": machine(payment.Fetched),
		"title.started": ran, "title.confirmed": ran, "title.done": machine(payment.Done),
		"title.ended": machine(payment.Done), "title.stopping": onItsWay, "title.failed": failed,
		"title.doubt": func(p payment.Payment, now time.Time) bool { return failed(p, now) || payment.InDoubt(p, now) },

		"machine.in_doubt": payment.InDoubt,
		"money.if_silent": func(p payment.Payment, now time.Time) bool {
			return payment.InDoubt(p, now) || waiting(p, now) && !p.ConfirmBy.IsZero()
		},
		"money.if_late": func(p payment.Payment, now time.Time) bool {
			return waiting(p, now) && p.ConfirmBy.IsZero() && !now.Before(p.ExpiresAt)
		},
		"money.late_by": func(p payment.Payment, now time.Time) bool {
			return waiting(p, now) && p.ConfirmBy.IsZero() && now.Before(p.ExpiresAt)
		},
		"money.silent_by": func(p payment.Payment, now time.Time) bool {
			return waiting(p, now) && p.Funds == payment.Paid && now.Before(p.ConfirmBy)
		},
		"money.held_by": func(p payment.Payment, now time.Time) bool {
			return waiting(p, now) && p.Funds == payment.Authorized &&
				now.Before(payment.Later(p.ExpiresAt, p.ConfirmBy))
		},
		"title.busy": busy, "step.busy": busy,

		"machine.queued": onItsWay, "machine.delayed": onItsWay, "machine.sent": machine(payment.Sent),
		"machine.stopping": onItsWay,
		"machine.awaited": func(p payment.Payment, _ time.Time) bool {
			return p.Delivery == payment.Fetched && !p.ConfirmBy.IsZero()
		},
		"machine.fetched": func(p payment.Payment, _ time.Time) bool {
			return p.Delivery == payment.Fetched && p.ConfirmBy.IsZero()
		},
		"machine.anyway": machine(payment.Fetched),
		"machine.begins": func(p payment.Payment, now time.Time) bool {
			return ran(p, now) && now.Before(p.StartedAt.Add(p.DelayedStart))
		},
		"machine.running": func(p payment.Payment, now time.Time) bool { return ran(p, now) && now.Before(p.EndsAt) },
		"machine.finishing": func(p payment.Payment, now time.Time) bool {
			return ran(p, now) && !now.Before(p.EndsAt)
		},
		"machine.started": ran, "machine.done": machine(payment.Done),
		"machine.trouble":  func(p payment.Payment, now time.Time) bool { return ran(p, now) && told(p, now) },
		"machine.ended":    machine(payment.Done),
		"machine.reversed": machine(payment.Done),
		"machine.late":     ran,
		"machine.code":     func(p payment.Payment, _ time.Time) bool { return p.MachineCode != "" },

		"money.free": func(p payment.Payment, _ time.Time) bool { return p.Amount == 0 },
		"money.held": money(payment.Authorized), "money.capturing": money(payment.Capturing),
		"money.part_back": func(p payment.Payment, _ time.Time) bool {
			return p.RefundedAmount+p.LostAmount > 0 && payment.Refundable(p) > 0
		},
		"money.owed": func(p payment.Payment, _ time.Time) bool {
			return p.Funds == payment.Paid && (p.Reason == payment.ReasonAdopted || p.Reason == payment.ReasonUnclear)
		},
		"money.releasing": func(p payment.Payment, _ time.Time) bool {
			return p.Funds == payment.Canceling ||
				(p.Funds == payment.Authorized && p.Delivery == payment.Failed && p.InFlight)
		},
		"money.released": money(payment.Canceled), "money.capture_failed": money(payment.CaptureFailed),
		"money.refunding": func(p payment.Payment, _ time.Time) bool {
			return (p.Funds == payment.Refunding && p.RefundAmount > 0) ||
				(p.Funds == payment.Paid && p.Delivery == payment.Failed && p.InFlight)
		},
		"money.refund_stuck": func(p payment.Payment, now time.Time) bool {
			return p.Funds == payment.Refunding && told(p, now)
		},
		"money.refunded": func(p payment.Payment, _ time.Time) bool {
			return p.Funds == payment.Refunded && p.RefundedAmount == p.Amount
		},
		"money.refund_failed": money(
			payment.RefundFailed,
		), "money.disputed": money(payment.Disputed), "money.lost": money(payment.DisputeLost),
		"money.after_stop": onItsWay,

		"next.close": onItsWay, "next.enjoy": failed, "next.ask": always, "next.if_not": machine(payment.Fetched),
		"next.again": func(p payment.Payment, _ time.Time) bool { return p.Delivery == payment.Failed && !owed(p) },
		"next.other": func(p payment.Payment, _ time.Time) bool {
			return p.Delivery == payment.Failed &&
				(p.Reason == payment.ReasonUnknownDevice || p.Reason == payment.ReasonNotSelling)
		},

		"step.received": taken, "step.held": held, "step.sending": machine(payment.Queued),
		"step.sent":    func(p payment.Payment, _ time.Time) bool { return !p.SentAt.IsZero() },
		"step.pick_up": machine(payment.Sent), "step.fetched": machine(payment.Fetched), "step.started": ran,
		"step.confirm": func(p payment.Payment, now time.Time) bool {
			return p.Delivery == payment.Fetched || payment.InDoubt(p, now)
		},
		"step.running": ran, "step.over": machine(payment.Done), "step.ended": machine(payment.Done),
		"step.stopping": onItsWay, "step.not_started": failed, "step.doubt": failed,
		"step.released": money(
			payment.Canceled,
		), "step.refunded": money(payment.Refunded), "step.refund_failed": money(payment.RefundFailed),
		"step.disputed": money(payment.Disputed), "step.lost": money(payment.DisputeLost),
	}
	k["step.releasing"], k["step.refunding"] = k["money.releasing"], func(p payment.Payment, now time.Time) bool {
		return k["money.refunding"](p, now) || k["money.refund_stuck"](p, now)
	}
	for _, reason := range reasons {
		k["failed."+reason] = func(p payment.Payment, _ time.Time) bool {
			return p.Delivery == payment.Failed && p.Reason == reason
		}
	}
	return k
}

func TestStatusClaimsOnlyWhatIsKnown(t *testing.T) {
	t.Parallel()
	claims, said := known(), map[string]bool{}
	type combination struct {
		payment.FundsStatus
		payment.DeliveryStatus
		reason, attention string
	}
	seen := map[combination]bool{}
	tongues := []Language{speaking("en"), speaking("de")}
	for seed := range uint64(3_000) {
		w := newWalk(rand.New(rand.NewPCG(seed, 7)))
		for range 25 {
			p, now := w.p, w.now
			s := statusOf(p, now, time.UTC)
			all := append([]Message{s.Title}, s.Lines...)
			for _, step := range s.Steps {
				all = append(all, step.Text)
			}
			for _, text := range all {
				said[text.Key] = true
				if holds, ok := claims[text.Key]; !ok || !holds(p, now) {
					t.Fatalf("%q is not known of the payment:\n%+v", text.Key, p)
				}
				for _, l := range tongues {
					if words := l.Translate(text); words == "" || strings.ContainsAny(words, "{}") {
						t.Fatalf("%s in %s is %q", text.Key, l.Tag, words)
					}
				}
			}
			if len(s.Lines) == 0 {
				t.Fatalf("nothing is said of %+v", p)
			}
			if p.Funds == payment.RefundFailed && !s.Help || owed(p) && !s.Help {
				t.Fatalf("a customer whose money is not back is not told whom to ask: %+v", p)
			}
			if p.Step != payment.NoStep && p.Step != payment.StepWait && p.DueAt.Before(now.Add(time.Minute)) &&
				p.Failures == 0 &&
				p.PendingNotice == "" &&
				p.Funds != payment.RefundFailed &&
				s.Refresh == 0 {
				t.Fatalf("a page does not renew itself while something moves: %+v", p)
			}
			seen[combination{p.Funds, p.Delivery, p.Reason, p.ReviewReason}] = true
			w.step()
		}
	}
	for key := range claims {
		if !said[key] {
			t.Errorf("%s was never said: the walks, or the page, miss something", key)
		}
	}
	t.Logf("%d combinations of money, machine, reason and attention", len(seen))
}

const washerUID = "dev:864475044215258"

func TestStatus(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 2, 10, 0, 0, time.UTC)
	base := payment.Payment{
		ID:        "cr_1",
		DeviceUID: washerUID,
		Amount:    350,
		Currency:  "eur",
		Funds:     payment.Paid,
		Delivery:  payment.Queued,
		Step:      payment.StepPostNote,
		PaidAt:    now.Add(-time.Minute),
		CreatedAt: now,
	}
	for _, row := range []struct {
		name   string
		change func(p *payment.Payment)
		want   string // title, lines and steps by key
	}{
		{
			"on its way", func(*payment.Payment) {},
			"title.received machine.queued next.close | step.received step.sending",
		},
		{
			"late", func(p *payment.Payment) { p.Failures = 3 },
			"title.received machine.delayed next.close | step.received step.sending",
		},
		{
			"held", func(p *payment.Payment) { p.Funds = payment.Authorized },
			"title.held machine.queued money.held next.close | step.held step.sending",
		},
		{
			"sent", func(p *payment.Payment) { p.Delivery, p.SentAt = payment.Sent, now },
			"title.sent machine.sent next.close | step.received step.sent step.pick_up",
		},
		{"sent, with an end", func(p *payment.Payment) {
			p.Delivery, p.SentAt, p.ExpiresAt = payment.Sent, now, now.Add(time.Minute)
		},
			"title.sent machine.sent money.late_by next.close | step.received step.sent step.pick_up"},
		{"sent to one that confirms", func(p *payment.Payment) {
			p.Delivery, p.SentAt = payment.Sent, now
			p.ExpiresAt, p.ConfirmBy = now.Add(time.Minute), now.Add(2*time.Minute)
		}, "title.sent machine.sent money.silent_by next.close | step.received step.sent step.pick_up"},
		{"recalled by its operator", func(p *payment.Payment) {
			p.Delivery, p.SentAt, p.CancelReason = payment.Sent, now, payment.ReasonEnded
		},
			"title.stopping machine.stopping money.after_stop next.close | step.received step.sent step.stopping"},
		{
			"resent", func(p *payment.Payment) { p.Delivery, p.SentAt, p.CancelReason = payment.Sent, now, "retry" },
			"title.sent machine.sent next.close | step.received step.sent step.pick_up",
		},
		{
			"fetched", func(p *payment.Payment) { p.Delivery, p.SentAt = payment.Fetched, now },
			"title.fetched machine.fetched next.if_not | step.received step.sent step.fetched",
		},
		{
			"fetched by one that confirms",
			func(p *payment.Payment) { p.Delivery, p.SentAt, p.ConfirmBy = payment.Fetched, now, now },
			"title.fetched machine.awaited money.if_silent | step.received step.sent step.fetched step.confirm",
		},
		{"begins later", func(p *payment.Payment) {
			p.Delivery, p.SentAt = payment.Started, now
			p.StartedAt, p.DelayedStart, p.EndsAt = now, time.Minute, now.Add(time.Hour)
		}, "title.confirmed machine.begins | step.received step.sent step.started step.running"},
		{"runs", func(p *payment.Payment) {
			p.Delivery, p.SentAt, p.StartedAt, p.EndsAt = payment.Started, now, now, now.Add(time.Hour)
		}, "title.started machine.running | step.received step.sent step.started step.running"},
		{
			"is over",
			func(p *payment.Payment) { p.Delivery, p.SentAt, p.StartedAt, p.EndsAt = payment.Done, now, now, now },
			"title.done machine.done | step.received step.sent step.started step.over",
		},
		{"ended by the operator", func(p *payment.Payment) {
			p.Delivery, p.Reason, p.SentAt, p.StartedAt, p.EndsAt = payment.Done, payment.ReasonEnded, now, now, now
		}, "title.ended machine.ended | step.received step.sent step.started step.ended"},
		{"refunded in the Dashboard while it ran", func(p *payment.Payment) {
			p.Delivery, p.Reason, p.SentAt = payment.Done, payment.ReasonReversed, now
			p.StartedAt, p.EndsAt, p.Funds, p.RefundedAmount = now, now, payment.Refunded, 350
		},
			"title.ended machine.reversed money.refunded | " +
				"step.received step.sent step.started step.ended step.refunded"},
		{"door open, hold canceled", func(p *payment.Payment) {
			p.Delivery, p.SentAt = payment.Failed, now
			p.Reason, p.MachineCode, p.Funds = payment.ReasonFailed, "E-DOOR", payment.Canceled
		},
			"title.failed failed.failed machine.code money.released next.again | " +
				"step.held step.sent step.not_started step.released"},
		{"unconfirmed, refund ordered", func(p *payment.Payment) {
			p.Delivery, p.SentAt, p.Reason = payment.Failed, now, payment.ReasonUnconfirmed
			p.Funds, p.RefundAmount, p.RefundTarget = payment.Refunding, 350, 350
		},
			"title.doubt failed.unconfirmed money.refunding next.enjoy | " +
				"step.received step.sent step.doubt step.refunding"},
		{"refunded", func(p *payment.Payment) {
			p.Delivery, p.Reason = payment.Failed, payment.ReasonExpired
			p.Funds, p.RefundedAmount = payment.Refunded, 350
		}, "title.failed failed.expired money.refunded next.again | step.received step.not_started step.refunded"},
		{"refund failed", func(p *payment.Payment) {
			p.Delivery, p.Reason = payment.Failed, payment.ReasonBusy
			p.Funds, p.RefundAmount = payment.RefundFailed, 350
		}, "title.busy failed.busy money.refund_failed next.ask | step.received step.busy step.refund_failed"},
		{"too little balance", func(p *payment.Payment) {
			p.Delivery, p.Reason = payment.Failed, payment.ReasonBusy
			p.Funds, p.RefundAmount, p.ReviewReason = payment.Refunding, 350, payment.ReviewBalance
		}, "title.busy failed.busy money.refund_stuck next.ask | step.received step.busy step.refunding"},
		{"nobody knows", func(p *payment.Payment) {
			p.Delivery, p.Reason = payment.Failed, payment.ReasonUnclear
			p.MaybeAccepted, p.ReviewReason = true, payment.ReasonUnclear
		}, "title.doubt failed.delivery_unclear money.owed next.ask | step.received step.doubt"},
		{"expired, and a note got out late", func(p *payment.Payment) {
			p.Delivery, p.Reason, p.MaybeAccepted = payment.Failed, payment.ReasonExpired, true
			p.ReviewReason, p.Funds, p.RefundedAmount = payment.ReasonUnclear, payment.Refunded, 350
		}, "title.doubt failed.expired money.refunded next.enjoy | step.received step.doubt step.refunded"},
		{"disputed while it runs", func(p *payment.Payment) {
			p.Delivery, p.SentAt, p.StartedAt, p.Funds = payment.Started, now, now, payment.Disputed
		}, "title.started machine.started money.disputed | step.received step.sent step.started step.disputed"},
	} {
		p := base
		row.change(&p)
		s := statusOf(p, now, time.UTC)
		got := s.Title.Key
		for _, line := range s.Lines {
			got += " " + line.Key
		}
		got += " |"
		for _, step := range s.Steps {
			got += " " + step.Text.Key
		}
		if got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, got, row.want)
		}
	}
}

func TestStatusShowsTheTimeOfAnEnd(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 2, 10, 0, 0, time.UTC)
	failed, back := now.Add(-2*time.Minute), now.Add(-time.Minute)
	p := payment.Payment{
		ID:             "cr_1",
		DeviceUID:      washerUID,
		Amount:         350,
		Currency:       "eur",
		Funds:          payment.Refunded,
		RefundedAmount: 350,
		Delivery:       payment.Failed,
		Reason:         payment.ReasonFailed,
		PaidAt:         now.Add(-time.Hour),
		CreatedAt:      now.Add(-time.Hour),
		DeliveryAt:     failed,
		FundsAt:        back,
	}
	times := func() (at []time.Time) {
		for _, s := range statusOf(p, now, time.UTC).Steps {
			at = append(at, s.At)
		}
		return at
	}
	if got := times(); !slices.Equal(got, []time.Time{p.PaidAt, failed, back}) {
		t.Errorf("the steps have the times %v; want those of payment, failure and refund", got)
	}
	p.DeliveryAt, p.FundsAt = time.Time{}, time.Time{} // as in ledgers of earlier versions
	if got := times(); !slices.Equal(got, []time.Time{p.PaidAt, {}, {}}) {
		t.Errorf("the steps have the times %v; want none that is not known", got)
	}
}
