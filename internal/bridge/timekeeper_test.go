package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
)

// Events during a long reading are behind its first page. So the next reading begins where this one
// began.
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
		h.stands("cs_test_1", payment.Failed, payment.ReasonExpired, payment.Refunding, "")
		h.close()
	})
}
