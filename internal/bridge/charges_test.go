package bridge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
)

// charge returns the event that tells which card paid for a session.
func charge(session, last4 string) Event {
	return Event{
		ID:       "evt_ch_" + session,
		Type:     ChargeSucceeded,
		ObjectID: "ch_" + session,
		Intent:   "pi_" + session,
		Created:  time.Now(),
		Card:     last4,
	}
}

func (h *house) card(session, want string) {
	h.Helper()
	if got := h.payment(session).CardLast4; got != want {
		h.Errorf("the card of %s is %q; want %q", session, got, want)
	}
}

func TestChargeIsLearnedFromTheList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		before := charge("cs_test_1", "4242")
		first := h.pays("cs_test_1", "dev:1")
		h.receive(before, first) // the charge's event comes first
		h.card("cs_test_1", "")
		h.money.tells(before, first, charge("cs_test_none", "1111"))
		second := h.pays("cs_test_2", "dev:1")
		h.money.tells(second, charge("cs_test_2", "0005")) // on one page, in the wrong order
		h.money.tells(h.pays("cs_test_3", "dev:2"), charge("cs_test_3", ""))
		if err := h.b.readEvents(t.Context(), &reading{}); err != nil {
			t.Fatal(err)
		}
		h.card("cs_test_1", "4242")
		h.card("cs_test_2", "0005")
		h.card("cs_test_3", "") // no card paid
		for id := range h.outcomes() {
			if strings.HasPrefix(id, "evt_ch_") {
				t.Errorf("%s is kept", id)
			}
		}
		h.close()
	})
}

// The payment's transaction began before the reading, and was committed after its charge was read.
func TestRequestCardsReadsAChargeAgainThatWasBeforeItsPayment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		own, foreign := charge("cs_test_1", "4242"), charge("cs_test_shop", "1111")
		own.Metadata = map[string]string{"device_uid": "dev:1", "project": "app:1"}
		began := time.Now()
		time.Sleep(time.Second)
		recorded := func(session string) {
			p := payment.Payment{
				ID:            payment.CreditID(session),
				SessionID:     session,
				PaymentIntent: "pi_" + session,
				Token:         session,
				DeviceUID:     "dev:1",
				Amount:        350,
				Currency:      "eur",
				Delivery:      payment.Failed,
				Reason:        payment.ReasonExpired,
				Funds:         payment.DisputeLost,
				PaidAt:        began,
				CreatedAt:     began,
			}
			if err := h.b.update(t.Context(), func(tx *update) error { return errorOf(tx.insert(p)) }); err != nil {
				t.Fatal(err)
			}
		}
		reads := func(want bool) {
			t.Helper()
			if reading, err := h.b.RequestCards(t.Context()); err != nil || reading != want {
				t.Errorf("reading %v, %v; want %v", reading, err, want)
			}
			time.Sleep(time.Second)
		}
		h.money.tells(own, foreign)
		h.run()
		time.Sleep(time.Second)
		recorded("cs_test_1")
		reads(true)
		h.card("cs_test_1", "4242")
		reads(false) // a foreign charge is no reason
		h.close()
	})
}

// The session's event comes after its charge was read. The next reading has the charge again.
func TestChargeBeforeItsPaymentIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		e := h.pays("cs_test_1", "dev:1")
		h.money.tells(charge("cs_test_1", "4242"))
		h.run()
		time.Sleep(time.Second)
		h.receive(e)
		if reading, err := h.b.RequestCards(t.Context()); err != nil || !reading {
			t.Errorf("reading %v, %v; want the events read at once", reading, err)
		}
		time.Sleep(time.Second)
		h.card("cs_test_1", "4242")
		h.receive(charge("cs_test_1", "1111")) // by webhook, if the endpoint sends it
		h.card("cs_test_1", "1111")
		live := charge("cs_test_1", "9999")
		live.Livemode = true
		h.receive(live)
		h.card("cs_test_1", "1111")
		h.hub.fetch()
		h.finish("cs_test_1")
	})
}
