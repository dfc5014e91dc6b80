package web

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/bridge"
	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// reasons are all for which a credit fails; each has a text of its own.
var reasons = []string{bridge.ReasonAdopted, bridge.ReasonExpired, bridge.ReasonRefused, bridge.ReasonUnknownDevice, bridge.ReasonNotSelling, bridge.ReasonBusy,
	bridge.ReasonFailed, bridge.ReasonRecalled, bridge.ReasonRecallUnclear, bridge.ReasonUnclear, bridge.ReasonUnconfirmed, bridge.ReasonReversed, bridge.ReasonDisputed, bridge.ReasonEnded}

// walk is one life of a payment, by chance, through the bridge's own functions.
type walk struct {
	*rand.Rand
	p   ledger.Payment
	now time.Time
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// begin is a payment as it is recorded.
func begin(r *rand.Rand) *walk {
	w := &walk{Rand: r, now: time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)}
	p := ledger.Payment{ID: "cr_7k3m9q2xh4abcdef", Token: strings.Repeat("0", 32), DeviceUID: washerUID, DeviceName: "Washer 3", Plan: "Warm wash", Currency: "eur",
		Amount: pick(r, int64(350), 350, 350, 0), Money: pick(r, ledger.Paid, ledger.Paid, ledger.Authorized), Machine: ledger.Queued, PaidAt: w.now, CreatedAt: w.now}
	if p.Amount == 0 {
		p.Money = ledger.Paid
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
		p.Machine, p.Reason, p.Attention = ledger.Failed, bridge.ReasonAdopted, bridge.ReasonAdopted
	case 1:
		p.Machine, p.Reason = ledger.Failed, pick(r, bridge.ReasonBusy, bridge.ReasonNotSelling, bridge.ReasonUnknownDevice)
	}
	w.p = bridge.Next(p, w.now)
	return w
}

// step is something that may happen next. Most of the time it is the work that is due.
func (w *walk) step() {
	p, now := w.p, w.now
	switch w.IntN(22) {
	case 0, 1:
		w.now = now.Add(pick(w.Rand, time.Second, time.Minute, 5*time.Minute, 15*time.Minute, time.Hour, 24*time.Hour))
		if !p.InFlight {
			w.p = bridge.Next(p, w.now)
		}
	case 2, 3, 4:
		w.p, _ = bridge.Confirmed(p, bridge.Confirmation{CreditID: p.ID, State: pick(w.Rand, "started", "started", "done", "failed", "busy", "expired", "duplicate"), Code: pick(w.Rand, "", "E-DOOR"), At: now}, now)
	case 5:
		w.p = bridge.Silent(p, now, now)
	case 6:
		if p.Money != ledger.Authorized && w.IntN(3) == 0 {
			w.p = bridge.Dispute(p, pick(w.Rand, "needs_response", "lost", "won"), now)
		}
	case 7:
		if w.IntN(3) == 0 {
			w.p = bridge.Refunded(p, pick(w.Rand, p.Amount, p.Amount/2, 0), w.IntN(2) == 0, now)
		}
	case 8:
		w.p = bridge.RefundChanged(p, bridge.RefundRecord{Credit: p.ID, Number: p.RefundNumber, Amount: p.RefundAmount, Status: pick(w.Rand, "succeeded", "failed", "pending")}, now)
	case 9:
		if w.IntN(4) == 0 {
			w.p = bridge.Canceled(p, now)
		} else if w.IntN(4) == 0 {
			w.p = bridge.Captured(p, now)
		}
	case 10:
		decide := pick(w.Rand,
			func() (ledger.Payment, error) { return bridge.Retry(p, 10*time.Minute, now) },
			func() (ledger.Payment, error) { return bridge.GiveBack(p, pick(w.Rand, 0, p.Amount/2), now) },
			func() (ledger.Payment, error) { return bridge.End(p, now) })
		if decided, err := decide(); err == nil {
			w.p = decided
		}
	default:
		w.work()
	}
}

// work claims what is due, or settles what was claimed.
func (w *walk) work() {
	if !w.p.InFlight {
		if w.p.DueAt.After(w.now) && w.p.Step != ledger.NoStep {
			w.now = w.p.DueAt
		}
		w.p, _ = bridge.Claim(w.p, w.now)
		return
	}
	o := bridge.Outcome{Action: w.p.Step, Result: pick(w.Rand, upstream.Done, upstream.Done, upstream.Done, upstream.Refused, upstream.Unclear, upstream.Again), Began: w.now}
	switch w.p.Step {
	case ledger.CheckPending:
		if w.IntN(2) == 0 {
			o.NoteIDs = []string{"note-1"}
		}
	case ledger.Recall:
		o.NoteID, _, _ = strings.Cut(w.p.NoteIDs, ",")
	case ledger.Refund:
		o.Looked = w.p.RefundLook
		record := bridge.RefundRecord{Credit: w.p.ID, Number: w.p.RefundNumber, Amount: w.p.RefundAmount, Status: pick(w.Rand, "succeeded", "pending", "failed")}
		o.Refund, o.Refunds = record, []bridge.RefundRecord{record}
	}
	if o.Result == upstream.Refused {
		o.Err = pick(w.Rand, error(nil), bridge.ErrAlreadyRefunded, bridge.ErrAlreadyCaptured, bridge.ErrAlreadyCanceled, bridge.ErrDisputed, bridge.ErrBalance)
	}
	w.now = w.now.Add(time.Second)
	w.p = bridge.Apply(w.p, o, w.now)
}

// known is what has to be so for a text to be said. It does not follow status.go: it is what the text claims.
func known() map[string]func(p ledger.Payment, now time.Time) bool {
	machine := func(states ...ledger.Machine) func(ledger.Payment, time.Time) bool {
		return func(p ledger.Payment, _ time.Time) bool { return slices.Contains(states, p.Machine) }
	}
	money := func(states ...ledger.Money) func(ledger.Payment, time.Time) bool {
		return func(p ledger.Payment, _ time.Time) bool { return slices.Contains(states, p.Money) }
	}
	ran := func(p ledger.Payment, _ time.Time) bool {
		return !p.StartedAt.IsZero() && (p.Machine == ledger.Started || p.Machine == ledger.Done)
	}
	always := func(ledger.Payment, time.Time) bool { return true }
	failed := machine(ledger.Failed)
	told := func(p ledger.Payment, _ time.Time) bool { return p.Attention != "" }
	taken := func(p ledger.Payment, _ time.Time) bool {
		return p.Money != ledger.Authorized && p.Money != ledger.Capturing && p.Money != ledger.Releasing && p.Money != ledger.Released && p.Money != ledger.CaptureFailed
	}
	held := func(p ledger.Payment, now time.Time) bool { return !taken(p, now) }
	onItsWay := func(p ledger.Payment, _ time.Time) bool {
		return (p.Machine == ledger.Queued || p.Machine == ledger.Sent) && !p.StartedAt.After(p.CreatedAt)
	}
	waiting := func(p ledger.Payment, _ time.Time) bool {
		return p.Machine == ledger.Sent && p.Money == ledger.Paid && p.Amount > 0 && !p.ExpiresAt.IsZero() && (p.Stop == "" || p.Stop == "retry")
	}
	k := map[string]func(ledger.Payment, time.Time) bool{
		"title.received": machine(ledger.Queued), "title.held": held, "title.sent": machine(ledger.Sent), "title.fetched": machine(ledger.Fetched),
		"title.started": ran, "title.confirmed": ran, "title.done": machine(ledger.Done), "title.ended": machine(ledger.Done), "title.stopping": onItsWay, "title.failed": failed,
		"title.doubt": func(p ledger.Payment, now time.Time) bool { return failed(p, now) || bridge.InDoubt(p, now) },

		"machine.in_doubt": bridge.InDoubt,
		"money.if_silent": func(p ledger.Payment, now time.Time) bool {
			return bridge.InDoubt(p, now) || waiting(p, now) && !p.ConfirmBy.IsZero()
		},
		"money.if_late": func(p ledger.Payment, now time.Time) bool { return waiting(p, now) && p.ConfirmBy.IsZero() },

		"machine.queued": onItsWay, "machine.delayed": onItsWay, "machine.sent": machine(ledger.Sent), "machine.stopping": onItsWay,
		"machine.awaited": func(p ledger.Payment, _ time.Time) bool { return p.Machine == ledger.Fetched && !p.ConfirmBy.IsZero() },
		"machine.fetched": func(p ledger.Payment, _ time.Time) bool { return p.Machine == ledger.Fetched && p.ConfirmBy.IsZero() },
		"machine.anyway":  machine(ledger.Fetched),
		"machine.begins": func(p ledger.Payment, now time.Time) bool {
			return ran(p, now) && now.Before(p.StartedAt.Add(p.DelayedStart))
		},
		"machine.running":   func(p ledger.Payment, now time.Time) bool { return ran(p, now) && now.Before(p.EndsAt) },
		"machine.finishing": func(p ledger.Payment, now time.Time) bool { return ran(p, now) && !now.Before(p.EndsAt) },
		"machine.started":   ran, "machine.done": machine(ledger.Done),
		"machine.trouble":  func(p ledger.Payment, now time.Time) bool { return ran(p, now) && told(p, now) },
		"machine.ended":    machine(ledger.Done),
		"machine.reversed": machine(ledger.Done),
		"machine.late":     ran,
		"machine.code":     func(p ledger.Payment, _ time.Time) bool { return p.Code != "" },

		"money.free": func(p ledger.Payment, _ time.Time) bool { return p.Amount == 0 },
		"money.held": money(ledger.Authorized), "money.capturing": money(ledger.Capturing),
		"money.part_back": func(p ledger.Payment, _ time.Time) bool {
			return p.RefundedAmount+p.LostAmount > 0 && bridge.Owing(p) > 0
		},
		"money.owed": func(p ledger.Payment, _ time.Time) bool {
			return p.Money == ledger.Paid && (p.Reason == bridge.ReasonAdopted || p.Reason == bridge.ReasonUnclear)
		},
		"money.releasing": func(p ledger.Payment, _ time.Time) bool {
			return p.Money == ledger.Releasing || (p.Money == ledger.Authorized && p.Machine == ledger.Failed && p.InFlight)
		},
		"money.released": money(ledger.Released), "money.capture_failed": money(ledger.CaptureFailed),
		"money.refunding": func(p ledger.Payment, _ time.Time) bool {
			return (p.Money == ledger.Refunding && p.RefundAmount > 0) || (p.Money == ledger.Paid && p.Machine == ledger.Failed && p.InFlight)
		},
		"money.refund_stuck": func(p ledger.Payment, now time.Time) bool { return p.Money == ledger.Refunding && told(p, now) },
		"money.refunded": func(p ledger.Payment, _ time.Time) bool {
			return p.Money == ledger.Refunded && p.RefundedAmount == p.Amount
		},
		"money.refund_failed": money(ledger.RefundFailed), "money.disputed": money(ledger.Disputed), "money.lost": money(ledger.Lost),
		"money.after_stop": onItsWay,

		"next.close": onItsWay, "next.enjoy": failed, "next.ask": always, "next.if_not": machine(ledger.Fetched),
		"next.again": func(p ledger.Payment, _ time.Time) bool { return p.Machine == ledger.Failed && !owed(p) },
		"next.other": func(p ledger.Payment, _ time.Time) bool {
			return p.Machine == ledger.Failed && (p.Reason == bridge.ReasonUnknownDevice || p.Reason == bridge.ReasonNotSelling)
		},

		"step.received": taken, "step.held": held, "step.sending": machine(ledger.Queued),
		"step.sent":    func(p ledger.Payment, _ time.Time) bool { return !p.SentAt.IsZero() },
		"step.pick_up": machine(ledger.Sent), "step.fetched": machine(ledger.Fetched), "step.started": ran,
		"step.confirm": func(p ledger.Payment, now time.Time) bool {
			return p.Machine == ledger.Fetched || bridge.InDoubt(p, now)
		},
		"step.running": ran, "step.over": machine(ledger.Done), "step.ended": machine(ledger.Done), "step.stopping": onItsWay, "step.not_started": failed, "step.doubt": failed,
		"step.released": money(ledger.Released), "step.refunded": money(ledger.Refunded), "step.refund_failed": money(ledger.RefundFailed),
		"step.disputed": money(ledger.Disputed), "step.lost": money(ledger.Lost),
	}
	k["step.releasing"], k["step.refunding"] = k["money.releasing"], func(p ledger.Payment, now time.Time) bool {
		return k["money.refunding"](p, now) || k["money.refund_stuck"](p, now)
	}
	for _, reason := range reasons {
		k["failed."+reason] = func(p ledger.Payment, _ time.Time) bool { return p.Machine == ledger.Failed && p.Reason == reason }
	}
	return k
}

func TestNothingIsSaidThatIsNotKnown(t *testing.T) {
	t.Parallel()
	claims, said := known(), map[string]bool{}
	type combination struct {
		ledger.Money
		ledger.Machine
		reason, attention string
	}
	seen := map[combination]bool{}
	tongues := []Language{speaking("en"), speaking("de")}
	for seed := range uint64(3_000) {
		w := begin(rand.New(rand.NewPCG(seed, 7)))
		for range 25 {
			p, now := w.p, w.now
			s := statusOf(p, now)
			all := append([]Phrase{s.Title}, s.Lines...)
			for _, step := range s.Steps {
				all = append(all, step.Text)
			}
			for _, text := range all {
				said[text.Key] = true
				if holds, ok := claims[text.Key]; !ok || !holds(p, now) {
					t.Fatalf("%q is said of a payment of which it is not known:\n%+v", text.Key, p)
				}
				for _, l := range tongues {
					if words := l.Say(text); words == "" || strings.ContainsAny(words, "{}") {
						t.Fatalf("%s in %s is %q", text.Key, l.Tag, words)
					}
				}
			}
			if len(s.Lines) == 0 {
				t.Fatalf("nothing is said of %+v", p)
			}
			if p.Money == ledger.RefundFailed && !s.Help || owed(p) && !s.Help {
				t.Fatalf("a customer whose money is not back is not told whom to ask: %+v", p)
			}
			if p.Step != ledger.NoStep && p.Step != ledger.Wait && p.DueAt.Before(now.Add(time.Minute)) && p.Failures == 0 && p.Tell == "" && p.Money != ledger.RefundFailed && s.Renewed == 0 {
				t.Fatalf("a page does not renew itself while something moves: %+v", p)
			}
			seen[combination{p.Money, p.Machine, p.Reason, p.Attention}] = true
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

func TestWhatACustomerReads(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 2, 10, 0, 0, time.UTC)
	base := ledger.Payment{ID: "cr_1", DeviceUID: washerUID, Amount: 350, Currency: "eur", Money: ledger.Paid, Machine: ledger.Queued, Step: ledger.PostNote, PaidAt: now.Add(-time.Minute), CreatedAt: now}
	for _, row := range []struct {
		name   string
		change func(p *ledger.Payment)
		want   string // title, lines and steps by key
	}{
		{"on its way", func(*ledger.Payment) {}, "title.received machine.queued next.close | step.received step.sending"},
		{"late", func(p *ledger.Payment) { p.Failures = 3 }, "title.received machine.delayed next.close | step.received step.sending"},
		{"held", func(p *ledger.Payment) { p.Money = ledger.Authorized }, "title.held machine.queued money.held next.close | step.held step.sending"},
		{"sent", func(p *ledger.Payment) { p.Machine, p.SentAt = ledger.Sent, now }, "title.sent machine.sent next.close | step.received step.sent step.pick_up"},
		{"sent, with an end", func(p *ledger.Payment) { p.Machine, p.SentAt, p.ExpiresAt = ledger.Sent, now, now.Add(time.Minute) },
			"title.sent machine.sent money.if_late next.close | step.received step.sent step.pick_up"},
		{"sent to one that confirms", func(p *ledger.Payment) {
			p.Machine, p.SentAt, p.ExpiresAt, p.ConfirmBy = ledger.Sent, now, now.Add(time.Minute), now.Add(2*time.Minute)
		}, "title.sent machine.sent money.if_silent next.close | step.received step.sent step.pick_up"},
		{"recalled by its operator", func(p *ledger.Payment) { p.Machine, p.SentAt, p.Stop = ledger.Sent, now, bridge.ReasonEnded },
			"title.stopping machine.stopping money.after_stop next.close | step.received step.sent step.stopping"},
		{"sent anew", func(p *ledger.Payment) { p.Machine, p.SentAt, p.Stop = ledger.Sent, now, "retry" }, "title.sent machine.sent next.close | step.received step.sent step.pick_up"},
		{"fetched", func(p *ledger.Payment) { p.Machine, p.SentAt = ledger.Fetched, now }, "title.fetched machine.fetched next.if_not | step.received step.sent step.fetched"},
		{"fetched by one that confirms", func(p *ledger.Payment) { p.Machine, p.SentAt, p.ConfirmBy = ledger.Fetched, now, now }, "title.fetched machine.awaited | step.received step.sent step.fetched step.confirm"},
		{"begins later", func(p *ledger.Payment) {
			p.Machine, p.SentAt, p.StartedAt, p.DelayedStart, p.EndsAt = ledger.Started, now, now, time.Minute, now.Add(time.Hour)
		}, "title.confirmed machine.begins | step.received step.sent step.started step.running"},
		{"runs", func(p *ledger.Payment) {
			p.Machine, p.SentAt, p.StartedAt, p.EndsAt = ledger.Started, now, now, now.Add(time.Hour)
		}, "title.started machine.running | step.received step.sent step.started step.running"},
		{"is over", func(p *ledger.Payment) { p.Machine, p.SentAt, p.StartedAt, p.EndsAt = ledger.Done, now, now, now }, "title.done machine.done | step.received step.sent step.started step.over"},
		{"ended by the operator", func(p *ledger.Payment) {
			p.Machine, p.Reason, p.SentAt, p.StartedAt, p.EndsAt = ledger.Done, bridge.ReasonEnded, now, now, now
		}, "title.ended machine.ended | step.received step.sent step.started step.ended"},
		{"given back in the Dashboard while it ran", func(p *ledger.Payment) {
			p.Machine, p.Reason, p.SentAt, p.StartedAt, p.EndsAt, p.Money, p.RefundedAmount = ledger.Done, bridge.ReasonReversed, now, now, now, ledger.Refunded, 350
		}, "title.ended machine.reversed money.refunded | step.received step.sent step.started step.ended step.refunded"},
		{"door open, hold cancelled", func(p *ledger.Payment) {
			p.Machine, p.SentAt, p.Reason, p.Code, p.Money = ledger.Failed, now, bridge.ReasonFailed, "E-DOOR", ledger.Released
		}, "title.failed failed.failed machine.code money.released next.again | step.held step.sent step.not_started step.released"},
		{"unconfirmed, refund ordered", func(p *ledger.Payment) {
			p.Machine, p.SentAt, p.Reason, p.Money, p.RefundAmount, p.RefundGoal = ledger.Failed, now, bridge.ReasonUnconfirmed, ledger.Refunding, 350, 350
		}, "title.doubt failed.unconfirmed money.refunding next.enjoy | step.received step.sent step.doubt step.refunding"},
		{"refunded", func(p *ledger.Payment) {
			p.Machine, p.Reason, p.Money, p.RefundedAmount = ledger.Failed, bridge.ReasonExpired, ledger.Refunded, 350
		}, "title.failed failed.expired money.refunded next.again | step.received step.not_started step.refunded"},
		{"refund failed", func(p *ledger.Payment) {
			p.Machine, p.Reason, p.Money, p.RefundAmount = ledger.Failed, bridge.ReasonBusy, ledger.RefundFailed, 350
		}, "title.failed failed.busy money.refund_failed next.ask | step.received step.not_started step.refund_failed"},
		{"too little balance", func(p *ledger.Payment) {
			p.Machine, p.Reason, p.Money, p.RefundAmount, p.Attention = ledger.Failed, bridge.ReasonBusy, ledger.Refunding, 350, bridge.AttentionBalance
		}, "title.failed failed.busy money.refund_stuck next.ask | step.received step.not_started step.refunding"},
		{"nobody knows", func(p *ledger.Payment) {
			p.Machine, p.Reason, p.Posted, p.Attention = ledger.Failed, bridge.ReasonUnclear, true, bridge.ReasonUnclear
		}, "title.doubt failed.delivery_unclear money.owed next.ask | step.received step.doubt"},
		{"expired, and a note got out late", func(p *ledger.Payment) {
			p.Machine, p.Reason, p.Posted, p.Attention, p.Money, p.RefundedAmount = ledger.Failed, bridge.ReasonExpired, true, bridge.ReasonUnclear, ledger.Refunded, 350
		}, "title.doubt failed.expired money.refunded next.enjoy | step.received step.doubt step.refunded"},
		{"disputed while it runs", func(p *ledger.Payment) {
			p.Machine, p.SentAt, p.StartedAt, p.Money = ledger.Started, now, now, ledger.Disputed
		}, "title.started machine.started money.disputed | step.received step.sent step.started step.disputed"},
	} {
		p := base
		row.change(&p)
		s := statusOf(p, now)
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

func TestAnEndingHasItsTimeWhereThatIsKnown(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 2, 10, 0, 0, time.UTC)
	failed, back := now.Add(-2*time.Minute), now.Add(-time.Minute)
	p := ledger.Payment{ID: "cr_1", DeviceUID: washerUID, Amount: 350, Currency: "eur", Money: ledger.Refunded, RefundedAmount: 350, Machine: ledger.Failed,
		Reason: bridge.ReasonFailed, PaidAt: now.Add(-time.Hour), CreatedAt: now.Add(-time.Hour), MachineAt: failed, MoneyAt: back}
	times := func() (at []time.Time) {
		for _, s := range statusOf(p, now).Steps {
			at = append(at, s.At)
		}
		return at
	}
	if got := times(); !slices.Equal(got, []time.Time{p.PaidAt, failed, back}) {
		t.Errorf("the steps have the times %v; want those of payment, failure and refund", got)
	}
	p.MachineAt, p.MoneyAt = time.Time{}, time.Time{} // it ended before the ledger kept that
	if got := times(); !slices.Equal(got, []time.Time{p.PaidAt, {}, {}}) {
		t.Errorf("the steps have the times %v; want none that is not known", got)
	}
}
