package bridge

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/upstream"
)

// Guards that a history cannot tell apart: their loss is mended later, or hurts nobody in it.

// guarded is a bridge with a ledger and without loops or vendors.
func guarded(t *testing.T) *Bridge {
	t.Helper()
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "notepay.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	log := slog.New(slog.DiscardHandler)
	devices, err := fleet.New(t.Context(), fleet.Config{Ledger: l, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Ledger: l, Fleet: devices, Log: log, Project: "app:1", Lifetime: 10 * time.Minute, ConfirmWithin: 2 * time.Minute, Observe: nobody{}})
}

func (b *Bridge) stored(t *testing.T, p ledger.Payment) {
	t.Helper()
	err := b.c.Ledger.Update(t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.InsertPayment(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sentNote is a credit whose note Notehub has.
func sentNote(now time.Time) ledger.Payment {
	return Next(ledger.Payment{ID: ledger.CreditID("cs_test_1"), SessionID: "cs_test_1", PaymentIntent: "pi_1", Token: "t", DeviceUID: "dev:1", Amount: 300, Currency: "eur",
		Money: ledger.Paid, Machine: ledger.Sent, Posted: true, SentAt: now, PaidAt: now, CreatedAt: now,
		ExpiresAt: now.Add(2 * time.Minute), ConfirmBy: now.Add(2*time.Minute + grace)}, now)
}

func TestAnotherMachinesAnswerChangesNothing(t *testing.T) {
	t.Parallel()
	b, p := guarded(t), sentNote(time.Now())
	b.stored(t, p)
	if err := b.Confirm(t.Context(), Confirmation{EventID: "e1", DeviceUID: "dev:2", CreditID: p.ID, State: "started"}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.c.Ledger.Payment(t.Context(), p.ID); err != nil || got.Machine != ledger.Sent {
		t.Errorf("machine %s, %v; want it still sent", got.Machine, err)
	}
}

func TestAnAnswerThatComesTwiceIsTakenOnce(t *testing.T) {
	t.Parallel()
	b, p := guarded(t), sentNote(time.Now())
	b.stored(t, p)
	first := Confirmation{EventID: "e1", DeviceUID: "dev:1", CreditID: p.ID, State: "duplicate"}
	for _, state := range []string{"duplicate", "failed"} { // the second has the first's id: it is not looked at
		first.State = state
		if err := b.Confirm(t.Context(), first); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.c.Ledger.Payment(t.Context(), p.ID); err != nil || got.Machine != ledger.Fetched {
		t.Errorf("machine %s, %v; want it fetched", got.Machine, err)
	}
}

func TestATestEventMakesNoPaymentInLiveMode(t *testing.T) {
	t.Parallel()
	b := guarded(t)
	b.c.Livemode = true
	s := &Session{ID: "cs_test_1", PaymentStatus: "paid", PaymentIntent: "pi_1", Amount: 300, Currency: "eur", Livemode: true, PaidAt: time.Now().Add(time.Minute),
		Metadata: map[string]string{"device_uid": "dev:1", "project": "app:1"}}
	if err := b.Receive(t.Context(), Event{ID: "evt_1", Type: "checkout.session.completed", ObjectID: s.ID, Created: time.Now(), Session: s, Body: "{}"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.c.Ledger.Payment(t.Context(), s.ID); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("got %v; want no payment of it", err)
	}
}

func TestAnOldRefundEventIsNotBelieved(t *testing.T) {
	t.Parallel()
	b, p := guarded(t), sentNote(time.Now())
	b.stored(t, p)
	if err := b.Receive(t.Context(), Event{ID: "evt_1", Type: "charge.refunded", ObjectID: "ch_1", Intent: "pi_1", Refunded: 300, Created: time.Now(), Body: "{}"}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.c.Ledger.Payment(t.Context(), p.ID); err != nil || got.RefundedAmount != 0 {
		t.Errorf("%d refunded, %v; want the charge to be read first", got.RefundedAmount, err)
	}
}

func TestWhatWasPaidHasToAgreeWithThePlan(t *testing.T) {
	t.Parallel()
	p := sold(ledger.Payment{Amount: 300, Currency: "eur", PaymentIntent: "pi_1"}, Session{}, ledger.Plan{Amount: 350, Currency: "eur"})
	if p.Attention != AttentionAmount {
		t.Errorf("attention %q; want %q", p.Attention, AttentionAmount)
	}
}

func TestAnAnswerWithoutANoteIsNotTheMachines(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Machine, p.Posted, p.SentAt = ledger.Queued, false, time.Time{}
	if after, outcome := Confirmed(p, Confirmation{State: "started"}, now); outcome != ConfirmationNoPost || after.Machine != ledger.Queued {
		t.Errorf("%s, machine %s; want it ignored", outcome, after.Machine)
	}
}

func TestAFetchedCreditThatFailedIsPaidBackAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Machine = ledger.Fetched
	after, _ := Confirmed(p, Confirmation{State: "failed", Code: "E-DOOR"}, now)
	if after.Machine != ledger.Failed || after.Code != "E-DOOR" || after.Step != ledger.Refund {
		t.Errorf("machine %s, code %q, step %q; want it failed and refunded", after.Machine, after.Code, after.Step)
	}
}

func TestATimedCreditThatIsDoneFreesItsDevice(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Duration, p.Occupies = time.Hour, true
	p, _ = Confirmed(p, Confirmation{State: "started"}, now)
	if !p.Occupies {
		t.Error("a session that runs does not hold its device")
	}
	p, _ = Confirmed(p, Confirmation{State: "done"}, now.Add(time.Minute))
	if p.Occupies {
		t.Error("a session that is done holds its device")
	}
}

func TestAReleaseThatCameTooLate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := failed(sentNote(now), ReasonUnconfirmed)
	p.Money = ledger.Releasing
	refusal := func(reason error) Outcome {
		return Outcome{Action: ledger.Release, Result: upstream.Refused, Err: &upstream.Error{Outcome: upstream.Refused, Err: reason}, Began: now}
	}
	if after := Apply(p, refusal(ErrAlreadyCaptured), now); after.Step != ledger.Refund {
		t.Errorf("taken meanwhile: step %q, money %s; want a refund", after.Step, after.Money)
	}
	if after := Apply(p, refusal(ErrAlreadyCanceled), now); after.Money != ledger.Released || after.Attention != "" {
		t.Errorf("released already: money %s, attention %q; want it released", after.Money, after.Attention)
	}
}

func TestTheGraceOfALateAnswer(t *testing.T) {
	t.Parallel()
	b := New(Config{ConfirmWithin: 2 * time.Minute})
	now := time.Now()
	for lifetime, want := range map[time.Duration]time.Duration{time.Minute: 2 * time.Minute, 10 * time.Minute: 2*time.Minute + 30*time.Second} {
		if p := b.clocks(ledger.Payment{}, lifetime, now); p.ConfirmBy.Sub(now) != want {
			t.Errorf("a credit of %v is given up after %v; want %v", lifetime, p.ConfirmBy.Sub(now), want)
		}
	}
}

func TestAnUnclearCallIsLookedAtWhenItCannotBeAppliedAnyMore(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Machine, p.Posted, p.SentAt = ledger.Queued, false, time.Time{}
	p, _ = Claim(Next(p, now), now)
	if p.DueAt.Sub(now) <= TimeLimit {
		t.Errorf("the lease is %v; want more than the time limit", p.DueAt.Sub(now))
	}
	p = Apply(p, Outcome{Action: ledger.PostNote, Result: upstream.Unclear, Began: now}, now.Add(time.Second))
	if p.Step != ledger.CheckPending || p.DueAt.Sub(now) < TimeLimit {
		t.Errorf("step %q after %v; want a look after the time limit", p.Step, p.DueAt.Sub(now))
	}
}

func TestSilenceCountsOnlyInAReadingAfterTheDeadline(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Machine = ledger.Fetched
	p = Next(p, now)
	if after := Silent(p, p.ConfirmBy.Add(-time.Millisecond), p.ConfirmBy.Add(time.Minute)); after.Machine != ledger.Fetched {
		t.Errorf("machine %s; want it still awaited", after.Machine)
	}
}

func TestATimedCreditThatFailedFreesItsDevice(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Duration, p.Occupies = time.Hour, true
	if p, _ = Confirmed(p, Confirmation{State: "busy"}, now); p.Occupies {
		t.Error("a credit that failed holds its device")
	}
}

func TestARefusalAfterAnEarlierPostLeavesItToTheMachine(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Machine, p.SentAt = ledger.Queued, time.Time{} // posted before, and not found
	p = Apply(p, Outcome{Action: ledger.PostNote, Result: upstream.Refused, Began: now}, now)
	if !InDoubt(p, now) || p.Step == ledger.PostNote || !p.SentAt.IsZero() {
		t.Errorf("%+v; want it not sent any more, never said to be sent, and the answer awaited", p)
	}
}

func TestWhatAStaleWorkerSawDoesNotEndTheClaimOfAnother(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := sentNote(now)
	p.Stop, p.SentAt = ReasonEnded, now.Add(-time.Hour)
	p, _ = Claim(Next(p, now), now)
	if p = Apply(p, Outcome{Action: ledger.CheckPending, Stale: true, Began: now.Add(-time.Minute)}, now); !p.InFlight || p.Machine != ledger.Sent {
		t.Errorf("in flight %v, machine %s; want it left to who has the claim", p.InFlight, p.Machine)
	}
	p.InFlight = false
	if p = Apply(p, Outcome{Action: ledger.CheckPending, Stale: true, Began: now.Add(-time.Minute)}, now); p.Machine != ledger.Sent || !p.DueAt.Equal(now) {
		t.Errorf("machine %s, due %v; want a new look at once, for an old one says nothing of what was done since", p.Machine, p.DueAt)
	}
}

func TestARefundCountsWhatIsBackAlready(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := Next(failed(sentNote(now), ReasonUnconfirmed), now)
	p.RefundLook = true
	looked := Apply(p, Outcome{Action: ledger.Refund, Looked: true, Refunds: []RefundRecord{{Amount: 100, Status: "succeeded"}}, Began: now}, now)
	if looked.RefundedAmount != 100 || looked.RefundAmount != 200 || looked.RefundNumber != 2 {
		t.Errorf("%d is back, refund %d is of %d; want 100, and the second of 200", looked.RefundedAmount, looked.RefundNumber, looked.RefundAmount)
	}
	refusal := &upstream.Error{Outcome: upstream.Refused, Err: ErrAlreadyRefunded}
	p.RefundLook = false
	if p = Apply(p, Outcome{Action: ledger.Refund, Result: upstream.Refused, Err: refusal, Began: now}, now); !p.RefundLook || p.Attention != "" {
		t.Errorf("already refunded: look %v, attention %q; want the refunds read, and nobody asked", p.RefundLook, p.Attention)
	}
}
