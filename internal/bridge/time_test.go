package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
)

// A machine's start is believed only between the payment and now: its end, and who may pay next,
// follow from it.
func TestReportedStartTime(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ said, want time.Time }{
		"after the payment":  {noon.Add(30 * time.Second), noon.Add(30 * time.Second)},
		"with the payment":   {noon, noon},
		"before the payment": {noon.Add(-time.Second), noon.Add(time.Minute)},
		"years before":       {time.Unix(1, 0), noon.Add(time.Minute)},
		"in the future":      {noon.Add(time.Hour), noon.Add(time.Minute)},
		"without a time":     {time.Time{}, noon.Add(time.Minute)},
	} {
		for _, state := range []string{"started", "done"} {
			p := ledger.Payment{ID: "cr_1", Machine: ledger.Sent, Money: ledger.Paid, Posted: true, PaidAt: noon, CreatedAt: noon, SentAt: noon,
				Duration: 30 * time.Minute, DelayedStart: time.Minute, ConfirmBy: noon.Add(5 * time.Minute), Occupies: true}
			p, outcome := Confirmed(p, Confirmation{EventID: "1", State: state, At: c.said}, noon.Add(time.Minute))
			ends := c.want.Add(31 * time.Minute)
			if state == "done" {
				ends = c.want
			}
			if outcome != ConfirmationTaken || !p.StartedAt.Equal(c.want) || !p.EndsAt.Equal(ends) {
				t.Errorf("%s, %s: %s, started at %v, ends at %v; want %v and %v", name, state, outcome, p.StartedAt, p.EndsAt, c.want, ends)
			}
		}
	}
}

// What happens while a long reading goes on is behind its first page. So the next reading begins
// where this one began.
func TestEventsReadIsWhenTheReadingBegan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		time.Sleep(time.Hour)
		gate := make(chan struct{})
		h.money.will(forEvents, answer{applied: true, gate: gate})
		began, read := time.Now(), make(chan error)
		go func() { read <- h.b.readEvents(t.Context(), &reading{}) }()
		time.Sleep(time.Minute)
		h.money.tells(h.pays("cs_test_1", "dev:1"))
		time.Sleep(2 * overlap)
		close(gate)
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		if until, err := h.b.readUntil(t.Context()); err != nil || until.Sub(began).Abs() > time.Second {
			t.Errorf("events were read until %v (%v); want %v", until, err, began)
		}
		h.noPayment("cs_test_1")
		if err := h.b.readEvents(t.Context(), &reading{}); err != nil {
			t.Fatal(err)
		}
		h.stands("cs_test_1", ledger.Failed, ReasonExpired, ledger.Refunding, "")
		h.close()
	})
}

func TestWaitsOfAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ahead := now.Add(48 * time.Hour)
	for name, c := range map[string]struct {
		p    ledger.Payment
		want time.Duration // of the wait
	}{
		"a note that failed":          {ledger.Payment{Step: ledger.PostNote, Failures: 3, NotBefore: ahead}, maxBackoff},
		"a look after an unclear one": {ledger.Payment{Step: ledger.CheckPending, NotBefore: ahead}, maxBackoff},
		"a refund that failed":        {ledger.Payment{Money: ledger.Refunding, MoneyFailures: 1, MoneyNotBefore: ahead}, maxBackoff},
		"a refund that rests":         {ledger.Payment{Money: ledger.Refunding, MoneyNotBefore: ahead}, refundRests},
		"a capture that was refused":  {ledger.Payment{Money: ledger.Capturing, MoneyNotBefore: ahead}, moneyRests},
		"a release that failed":       {ledger.Payment{Money: ledger.Releasing, MoneyFailures: 1, MoneyNotBefore: ahead}, maxBackoff},
		"what is right already":       {ledger.Payment{Step: ledger.PostNote, Failures: 3, NotBefore: now.Add(time.Minute)}, time.Minute},
	} {
		p := noFuture(c.p, now)
		until := p.NotBefore
		if !p.MoneyNotBefore.IsZero() {
			until = p.MoneyNotBefore
		}
		if got := until.Sub(now); got != c.want {
			t.Errorf("%s waits %v; want %v", name, got, c.want)
		}
	}
	p := noFuture(ledger.Payment{SentAt: ahead, StartedAt: ahead, EndsAt: ahead.Add(time.Hour), RefundAt: ahead, ExpiresAt: ahead}, now)
	if !p.SentAt.Equal(now) || !p.StartedAt.Equal(now) || !p.EndsAt.Equal(now.Add(time.Hour)) || !p.RefundAt.Equal(now) {
		t.Errorf("sent %v, started %v until %v, refunded %v; want now", p.SentAt, p.StartedAt, p.EndsAt, p.RefundAt)
	}
	if !p.ExpiresAt.Equal(ahead) {
		t.Errorf("it expires at %v; want what the machine was told, %v", p.ExpiresAt, ahead)
	}
}
