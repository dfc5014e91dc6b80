package bridge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
)

func TestDisputeBeforeItsPayment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		paid := h.pays("cs_test_1", "dev:1")
		h.money.intents[paid.Intent].session.Disputed = true
		h.run()
		h.receive(
			Event{
				ID:       "evt_1",
				Type:     "charge.dispute.created",
				ObjectID: "dp_1",
				Intent:   paid.Intent,
				Created:  time.Now(),
				Dispute:  "warning_needs_response",
			},
		)
		// Names no dispute.
		h.receive(
			Event{
				ID:      "evt_2",
				Type:    "charge.dispute.created",
				Intent:  paid.Intent,
				Created: time.Now(),
				Dispute: "needs_response",
			},
		)
		// Names no payment.
		h.receive(
			Event{
				ID:       "evt_3",
				Type:     "charge.dispute.created",
				ObjectID: "dp_2",
				Created:  time.Now(),
				Dispute:  "needs_response",
			},
		)
		h.receive(paid)
		time.Sleep(2 * sessionEventGrace)
		h.stands("cs_test_1", payment.Sent, "", payment.Paid, "") // an inquiry
		if got := h.outcomes(); !strings.HasPrefix(got["evt_2"], Ignored) || !strings.HasPrefix(got["evt_3"], Ignored) {
			t.Errorf("the events' outcomes are %v; want those that name no dispute or payment ignored", got)
		}
		h.close()
	})
}
