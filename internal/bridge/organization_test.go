package bridge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/payment"
)

// foreign returns an event as an organization's webhook delivers it, of which nothing is decoded.
func foreign(e Event) Event {
	return Event{ID: e.ID, Type: e.Type, Created: e.Created, Livemode: e.Livemode, Foreign: true}
}

// An event that a webhook delivered with a context counts when it comes without one, by either door.
func TestReceiveAnEventThatCameWithAContext(t *testing.T) {
	t.Parallel()
	refund := payment.RefundRecord{ID: "re_1", Amount: 350, Status: "succeeded"}
	for name, c := range map[string]struct {
		event func(h *house) Event
		odd   bool // the event cannot be read
		money payment.FundsStatus
	}{
		"a payment":             {func(h *house) Event { return h.pays("cs_test_1", "dev:1") }, false, payment.Paid},
		"an unreadable payment": {func(h *house) Event { return h.pays("cs_test_1", "dev:1") }, true, payment.Paid},
		"a refund": {func(h *house) Event {
			h.paid("cs_test_1", "dev:1")
			h.money.intent("cs_test_1").refunds = []payment.RefundRecord{refund}
			return Event{
				ID: "evt_1", Type: "charge.refunded", ObjectID: "ch_1", Intent: "pi_cs_test_1", Created: time.Now(),
				Refunded: 350,
			}
		}, false, payment.Refunded},
		"a dispute": {func(h *house) Event {
			h.paid("cs_test_1", "dev:1")
			return Event{
				ID: "evt_1", Type: "charge.dispute.created", ObjectID: "dp_1", Intent: "pi_cs_test_1",
				Created: time.Now(), Dispute: "needs_response", DisputeAmount: 350, DisputeCurrency: "eur",
			}
		}, false, payment.Disputed},
	} {
		for _, listed := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", listed", false: ", delivered"}[listed], func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := newHouse(t)
					e := c.event(h)
					whole, other := e, foreign(e)
					if whole.Listed = listed; c.odd {
						whole.Session, whole.Odd, other.Odd = nil, "field created: no time", "field created: no time"
					}
					h.receive(other, other)
					if got := h.outcomes()[e.ID]; got != OtherAccount+", 1 repeats" {
						t.Errorf("with a context: %s", got)
					}
					for range 3 {
						if !listed {
							h.receive(whole)
							continue
						}
						h.money.events = nil
						h.money.tells(whole)
						if err := h.b.readEvents(t.Context(), &reading{}); err != nil {
							t.Fatal(err)
						}
					}
					h.looksUp()
					h.receive(other)
					if p := h.payment("cs_test_1"); p.Funds != c.money {
						t.Errorf("the money is %s; want it %s", p.Funds, c.money)
					}
					stored, err := h.l.Event(t.Context(), e.ID)
					if err != nil || stored.Outcome == OtherAccount || stored.ObjectID != whole.ObjectID ||
						stored.PaymentIntent != laterIntent(whole) {
						t.Errorf("stored %+v (%v); want the event without a context", stored, err)
					}
					if listed && stored.Repeats > 3 {
						t.Errorf("%d repeats; want none for each reading", stored.Repeats)
					}
					h.close()
				})
			})
		}
	}
}

// That this ledger accepted the event with a context does not prove that the payment was handled.
func TestReconcileAnAcceptedEventOfAnotherContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		time.Sleep(time.Hour)
		h.run()
		time.Sleep(time.Minute)
		e := h.pays("cs_test_1", "dev:1")
		h.receive(foreign(e))
		e.Listed, e.Pending = true, 0
		h.money.tells(e)
		time.Sleep(time.Second)
		h.reopen()
		h.run()
		time.Sleep(time.Minute)
		h.stands("cs_test_1", payment.Sent, "", payment.Paid, "")
		if got := h.outcomes()[e.ID]; !strings.HasPrefix(got, LookedUp) {
			t.Errorf("the outcome is %s", got)
		}
		h.hub.fetch()
		h.finish("cs_test_1")
	})
}
