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

// Older versions of Stripe's API call a dispute "charge_refunded" that ended because the operator
// refunded the charge. It is over, and the charge tells how much is back.
func TestDisputeThatEndedWithARefund(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"prevented", "charge_refunded"} {
		for back, want := range map[int64]payment.FundsStatus{350: payment.Refunded, 0: payment.Paid} {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				h.paid("cs_test_1", "dev:1")
				dispute := func(id, status string) Event {
					time.Sleep(time.Second)
					return Event{ID: id, Type: "charge.dispute.updated", ObjectID: "dp_1", Intent: "pi_cs_test_1",
						Created: time.Now(), Dispute: status, DisputeAmount: 350, DisputeCurrency: "eur"}
				}
				h.does("cs_test_1", payment.StepPostNote)
				h.hub.fetch()
				time.Sleep(11 * time.Minute)
				h.does("cs_test_1", payment.StepCheckPending)
				h.receive(dispute("evt_1", "needs_response"))
				h.stands("cs_test_1", payment.Fetched, "", payment.Disputed, payment.ReasonDisputed)
				if back > 0 {
					i := h.money.intent("cs_test_1")
					i.refunds = append(i.refunds, payment.RefundRecord{ID: "re_1", Amount: back, Status: "succeeded"})
				}
				h.receive(dispute("evt_2", status))
				h.looksUp()
				if got := h.payment("cs_test_1"); got.Funds != want || h.outcomes()["evt_2"] != LookedUp+", 0 repeats" {
					t.Errorf("%s with %d refunded: %s, %v; want %s", status, back, got.Funds, h.outcomes(), want)
				}
				h.close()
			})
		}
	}
}
