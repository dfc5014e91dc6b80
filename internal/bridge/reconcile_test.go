package bridge

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// tells adds events to Stripe's list, whether or not they are delivered.
func (a *account) tells(events ...Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, events...)
}

// lists adds a session to Stripe's list, and removes its events.
func (a *account) lists(s payment.CheckoutSession) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions = append(a.sessions, s)
}

// outcomes returns the outcomes of the events by their ids.
func (h *house) outcomes() map[string]string {
	h.Helper()
	list, err := h.l.Events(h.Context(), 100)
	if err != nil {
		h.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range list {
		got[e.ID] = fmt.Sprintf("%s, %d repeats", e.Outcome, e.Repeats)
	}
	return got
}

func (h *house) noPayment(session string) {
	h.Helper()
	if p, err := h.l.Payment(h.Context(), session); !errors.Is(err, ledger.ErrNotFound) {
		h.Errorf("%s is a payment (%+v, %v); want none", session, p, err)
	}
}

func TestReconcileWithoutWebhooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.run()
		time.Sleep(time.Minute)
		var sessions []string
		for n := range 5 {
			session := fmt.Sprintf("cs_test_%d", n)
			sessions = append(sessions, session)
			h.money.tells(h.pays(session, "dev:1"))
		}
		time.Sleep(5 * time.Minute)
		for _, session := range sessions {
			h.stands(session, payment.Sent, "", payment.Paid, "")
		}
		h.hub.fetch()
		h.finish(sessions...)
	})
}

func TestReconcileOfADeliveredEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		e := h.pays("cs_test_1", "dev:1")
		h.receive(e)
		h.money.tells(e)
		if err := h.b.readEvents(t.Context(), &reading{}); err != nil {
			t.Fatal(err)
		}
		h.receive(e)
		if got := h.outcomes()[e.ID]; got != "payment_recorded, 1 repeats" {
			t.Errorf("the outcome is %q", got)
		}
		h.run()
		time.Sleep(time.Minute)
		h.hub.fetch()
		h.finish("cs_test_1")
		if h.hub.notes() != 1 {
			t.Errorf("%d notes; want 1", h.hub.notes())
		}
	})
}

// Changes of the money while the bridge was down are known before anything else is done.
func TestReconcileRefundsByOthers(t *testing.T) {
	t.Parallel()
	event := func(kind string, change func(*Event)) func(*house) {
		return func(h *house) {
			e := Event{ID: "evt_" + kind, Type: kind, ObjectID: "ch_1", Intent: "pi_cs_test_1", Created: time.Now()}
			change(&e)
			h.money.tells(e)
		}
	}
	for name, c := range map[string]struct {
		change  func(*Config)
		did     func(*house)
		machine payment.DeliveryStatus
		reason  string
		money   payment.FundsStatus
		told    string
	}{
		"refunded it": {confirming, func(h *house) {
			i := h.money.intent("cs_test_1")
			i.refunds = append(i.refunds, payment.RefundRecord{ID: "re_1", Amount: 350, Status: "succeeded"})
			event("charge.refunded", func(e *Event) { e.Refunded = 350 })(h)
		}, payment.Failed, payment.ReasonReversed, payment.Refunded, ""},
		"disputed it": {
			confirming, event("charge.dispute.created", func(e *Event) { e.Dispute = "needs_response" }),
			payment.Failed, payment.ReasonDisputed, payment.Disputed, payment.ReasonDisputed,
		},
		"let the hold go": {held, func(h *house) {
			h.money.intent("cs_test_1").status = "canceled"
			event("payment_intent.canceled", func(e *Event) {
				e.Metadata = map[string]string{"device_uid": "dev:1", "project": "app:1"}
			})(h)
		}, payment.Failed, payment.ReasonReversed, payment.Canceled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, c.change)
				h.paid("cs_test_1", "dev:1")
				h.looksUp()
				h.reopen()
				c.did(h)
				time.Sleep(time.Hour)
				h.run()
				time.Sleep(time.Minute)
				h.stands("cs_test_1", c.machine, c.reason, c.money, c.told)
				calls := h.money.called(payment.StepRefund) + h.money.called(payment.StepCancel) + h.hub.notes()
				if calls != 0 {
					t.Errorf("%d notes, refunds and releases; want none", calls)
				}
				h.close()
			})
		})
	}
}

func TestReconcileResumesAfterAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for n := range 5 {
			h.money.tells(h.pays(fmt.Sprintf("cs_test_%d", n), "dev:1"))
		}
		h.money.will(forEvents, answer{applied: true}, answer{err: outage})
		if err := h.b.readEvents(t.Context(), &reading{}); !errors.Is(err, error(outage)) {
			t.Errorf("got %v; want %v", err, outage)
		}
		if _, err := h.l.Meta(t.Context(), ledger.MetaEventsRead); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("until when events were read: %v; want it not to be known", err)
		}
		h.reopen()
		if err := h.b.readEvents(t.Context(), &reading{}); err != nil {
			t.Fatal(err)
		}
		for n := range 5 {
			h.stands(fmt.Sprintf("cs_test_%d", n), payment.Queued, "", payment.Paid, "")
		}
		h.close()
	})
}

// Stripe may list an event some minutes late, and clocks differ.
func TestReconcileOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		time.Sleep(time.Hour)
		late := h.pays("cs_test_1", "dev:1")
		time.Sleep(5 * time.Minute)
		if err := h.b.readEvents(t.Context(), &reading{}); err != nil {
			t.Fatal(err)
		}
		h.money.tells(late)
		if err := h.b.readEvents(t.Context(), &reading{}); err != nil {
			t.Fatal(err)
		}
		h.stands("cs_test_1", payment.Queued, "", payment.Paid, "")
		h.close()
	})
}

// Stripe lists events for 30 days. A ledger that was unused for longer reads the sessions instead.
func TestReconcileAfterMoreThanThirtyDays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		away  time.Duration
		reads bool
	}{"four weeks": {28 * 24 * time.Hour, false}, "six weeks": {42 * 24 * time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				time.Sleep(time.Hour)
				if err := h.b.readEvents(t.Context(), &reading{}); err != nil {
					t.Fatal(err)
				}
				for n := range 3 {
					e := h.pays(fmt.Sprintf("cs_test_%d", n), "dev:1")
					if s := *e.Session; c.reads {
						h.money.lists(s) // its events are no longer listed
					} else {
						e.Listed, e.Pending = true, 1 // never accepted by the endpoint
						h.money.tells(e)
					}
				}
				h.close()
				time.Sleep(c.away)
				h.open()
				h.run()
				time.Sleep(time.Minute)
				for n := range 3 {
					// Nothing tells whether it was handled before.
					if session := fmt.Sprintf("cs_test_%d", n); c.reads {
						h.stands(session, payment.Failed, payment.ReasonAdopted, payment.Paid, payment.ReasonAdopted)
					} else {
						h.stands(session, payment.Failed, payment.ReasonExpired, payment.Refunded, "")
					}
				}
				if asked := h.money.called(forSessions) > 0; asked != c.reads {
					t.Errorf("sessions were read: %v; want %v", asked, c.reads)
				}
				if h.hub.notes() != 0 {
					t.Errorf("%d notes; want none for what is long over", h.hub.notes())
				}
				if c.reads {
					h.close()
					return
				}
				h.finish("cs_test_0", "cs_test_1", "cs_test_2")
			})
		})
	}
}

// One case for each way in which a session becomes a payment, or does not.
func TestRecordSessionOutcomes(t *testing.T) {
	t.Parallel()
	unpaid := func(s *payment.CheckoutSession) { s.PaymentStatus = "unpaid" }
	for name, c := range map[string]struct {
		change  func(*payment.CheckoutSession)
		status  string // of its intent; "" for succeeded
		outcome string
		machine payment.DeliveryStatus // "" without a payment
		money   payment.FundsStatus
		told    string
	}{
		"paid": {nil, "", Recorded, payment.Queued, payment.Paid, ""},
		"free": {func(s *payment.CheckoutSession) {
			s.PaymentStatus, s.PaymentIntent, s.Amount = "no_payment_required", "", 0
		}, "", Recorded, payment.Queued, payment.Paid, ""},
		"unpaid, and the money is held": {
			unpaid, "requires_capture", LookedUp, payment.Queued, payment.Authorized, "",
		},
		"unpaid, and the money came":           {unpaid, "succeeded", LookedUp, payment.Queued, payment.Paid, ""},
		"unpaid, and the money is yet to come": {unpaid, "processing", LookedUp, "", "", ""},
		"of the other mode": {
			func(s *payment.CheckoutSession) { s.Livemode = true }, "", WrongMode, "", "", "",
		},
		"of another project": {
			func(s *payment.CheckoutSession) { s.Metadata["project"] = "app:2" }, "", NotOurs, "", "", "",
		},
		"of no project": {
			func(s *payment.CheckoutSession) { delete(s.Metadata, "project") }, "", Recorded, payment.Queued,
			payment.Paid, "",
		},
		"for no device": {
			func(s *payment.CheckoutSession) { delete(s.Metadata, "device_uid") }, "", NotOurs, "", "", "",
		},
		"paid before this ledger was born": {
			func(s *payment.CheckoutSession) { s.PaidAt = s.PaidAt.Add(-time.Hour) }, "", Adopted,
			payment.Failed, payment.Paid, payment.ReasonAdopted,
		},
		"through a link, as sold": {
			func(s *payment.CheckoutSession) { s.PaymentLink = "plink_old" }, "", Recorded, payment.Queued,
			payment.Paid, "",
		},
		"through a link, and not what it costs": {
			func(s *payment.CheckoutSession) { s.PaymentLink, s.Amount = "plink_old", 100 }, "", Recorded,
			payment.Queued, payment.Paid, payment.ReviewAmount,
		},
		"through a link, in another currency": {
			func(s *payment.CheckoutSession) { s.PaymentLink, s.Currency = "plink_old", "usd" }, "", Recorded,
			payment.Queued, payment.Paid, payment.ReviewAmount,
		},
		"through a link without its metadata": {
			func(s *payment.CheckoutSession) { s.PaymentLink, s.Metadata = "plink_old", nil }, "", Recorded,
			payment.Queued, payment.Paid, "",
		},
		"through a link without its machine": {
			func(s *payment.CheckoutSession) { s.PaymentLink = "plink_old"; delete(s.Metadata, "device_uid") }, "",
			Recorded, payment.Queued, payment.Paid, "",
		},
		"through a link without its metadata, unpaid": {func(s *payment.CheckoutSession) {
			unpaid(s)
			s.PaymentLink, s.Metadata = "plink_old", nil
		}, "succeeded", LookedUp, payment.Queued, payment.Paid, ""},
		"through a link whose metadata name another project": {func(s *payment.CheckoutSession) {
			s.PaymentLink, s.Metadata["project"] = "plink_old", "app:2"
		}, "", Recorded, payment.Queued, payment.Paid, ""},
		"through a link with the metadata of another project alone": {func(s *payment.CheckoutSession) {
			s.PaymentLink, s.Metadata = "plink_old", map[string]string{"project": "app:2"}
		}, "", Recorded, payment.Queued, payment.Paid, ""},
		"through a link of another project that a copied ledger knows": {func(s *payment.CheckoutSession) {
			s.PaymentLink, s.Metadata["project"] = "plink_copied", "app:2"
		}, "", NotOurs, "", "", ""},
		"through a link of others": {
			func(s *payment.CheckoutSession) { s.PaymentLink, s.Metadata = "plink_other", nil }, "",
			NotOurs, "", "", "",
		},
		"through a link, for a subscription": {func(s *payment.CheckoutSession) {
			s.PaymentLink, s.Metadata, s.Mode = "plink_old", nil, "subscription"
		}, "", NotOurs, "", "", ""},
		"in a status that is not known": {
			func(s *payment.CheckoutSession) { s.PaymentStatus = "settled" }, "succeeded", LookedUp, payment.Queued,
			payment.Paid, "",
		},
		"without a status": {
			func(s *payment.CheckoutSession) { s.PaymentStatus = "" }, "requires_capture", LookedUp, payment.Queued,
			payment.Authorized, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t)
				err := h.l.Update(t.Context(), func(tx *ledger.Tx) error {
					old := payment.Offer{PriceID: "price_old", Name: "Old", Amount: 350, Currency: "eur"}
					return errors.Join(
						tx.SaveLink(ledger.Link{ID: "plink_old", DeviceUID: "dev:1", Plan: old}),
						tx.SaveLink(ledger.Link{ID: "plink_copied", DeviceUID: "dev:elsewhere", Plan: old}))
				})
				if err != nil {
					t.Fatal(err)
				}
				e := h.paysFor("cs_test_1", "dev:1", 350, c.change)
				if c.status != "" {
					h.money.intents[e.Intent].status = c.status
				}
				h.receive(e)
				h.looksUp()
				if got := h.outcomes()[e.ID]; got != c.outcome+", 0 repeats" {
					t.Errorf("the outcome is %q; want %q", got, c.outcome)
				}
				if c.machine == "" {
					h.noPayment("cs_test_1")
				} else {
					h.stands("cs_test_1", c.machine, h.payment("cs_test_1").Reason, c.money, c.told)
				}
				h.close()
			})
		})
	}
}

func TestRecordSessionForABusyDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		h.run()
		h.paidTimed("cs_first", "dev:1")
		h.paidTimed("cs_second", "dev:1")
		time.Sleep(time.Second)
		h.stands("cs_second", payment.Failed, payment.ReasonBusy, payment.Refunded, "")
		h.hub.fetch()
		h.says("1", "dev:1", "cs_first", "started")
		time.Sleep(5*time.Minute + time.Second)
		h.stands("cs_first", payment.Done, "", payment.Paid, "")
		h.paidTimed("cs_third", "dev:1")
		time.Sleep(time.Second)
		h.hub.fetch()
		h.says("3", "dev:1", "cs_third", "started")
		h.stands("cs_third", payment.Started, "", payment.Paid, "")
		h.finish("cs_second", "cs_third")
	})
}

// The device does not sell any more. The money goes back, and the operator learns that a customer
// could pay.
func TestClaimForADeviceThatIsNotSelling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		if err := h.b.Pause(t.Context(), "dev:1", Actor{"operator", "it leaks"}); err != nil {
			t.Fatal(err)
		}
		h.run()
		h.paid("cs_test_1", "dev:1")
		time.Sleep(time.Minute)
		h.stands("cs_test_1", payment.Failed, payment.ReasonNotSelling, payment.Refunded, payment.ReasonNotSelling)
		if h.hub.notes() != 0 {
			t.Errorf("%d notes; want none", h.hub.notes())
		}
		h.finish("cs_test_1")
	})
}

// The event of a dispute's end may come before that of its beginning.
func TestDisputeEventsInAnyOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dispute := func(id, kind, status string) Event {
			return Event{
				ID:       id,
				Type:     "charge.dispute." + kind,
				ObjectID: "dp_1",
				Intent:   "pi_cs_test_1",
				Created:  time.Now(),
				Dispute:  status,
			}
		}
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
			h := newHouse(t, confirming)
			h.paid("cs_test_1", "dev:1")
			h.does("cs_test_1", payment.StepPostNote)
			h.says("1", "dev:1", "cs_test_1", "started")
			events := []Event{
				dispute("evt_1", "created", "needs_response"),
				dispute("evt_2", "updated", "under_review"),
				dispute("evt_3", "closed", "won"),
			}
			for _, n := range order {
				h.receive(events[n])
			}
			h.stands("cs_test_1", payment.Started, "", payment.Paid, "")
			h.close()
		}
	})
}

// Stripe reports a charge as disputed even after the dispute was won. Then this means nothing.
func TestDisputeThatWasWonStaysWon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		h.paid("cs_test_1", "dev:1")
		h.does("cs_test_1", payment.StepPostNote)
		h.says("1", "dev:1", "cs_test_1", "started")
		const intent = "pi_cs_test_1"
		h.receive(
			Event{
				ID:       "evt_1",
				Type:     "charge.dispute.created",
				ObjectID: "dp_1",
				Intent:   intent,
				Created:  time.Now(),
				Dispute:  "needs_response",
			},
		)
		h.stands("cs_test_1", payment.Started, "", payment.Disputed, payment.ReasonDisputed)
		h.receive(
			Event{
				ID:       "evt_2",
				Type:     "charge.dispute.closed",
				ObjectID: "dp_1",
				Intent:   intent,
				Created:  time.Now(),
				Dispute:  "won",
			},
		)
		i := h.money.intents[intent]
		i.session.Disputed = true
		// At Stripe, which makes the charge be read.
		i.refunds = append(i.refunds,
			payment.RefundRecord{ID: "re_1", Intent: intent, Amount: i.session.Amount, Status: "succeeded"})
		h.receive(
			Event{
				ID:       "evt_3",
				Type:     "charge.refunded",
				ObjectID: "ch_1",
				Intent:   intent,
				Created:  time.Now(),
				Refunded: i.session.Amount,
			},
		)
		h.run()
		time.Sleep(sessionEventGrace)
		h.stands("cs_test_1", payment.Done, payment.ReasonReversed, payment.Refunded, "")
	})
}

// The event of an intent comes before that of its session. After a grace period the session is
// read, and becomes a payment.
func TestIntentEventLooksUpItsSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		e := h.pays("cs_test_1", "dev:1")
		h.run()
		h.receive(
			Event{
				ID:       "evt_pi",
				Type:     "payment_intent.succeeded",
				ObjectID: e.Intent,
				Intent:   e.Intent,
				Created:  time.Now(),
				Metadata: map[string]string{"device_uid": "dev:1", "project": "app:1"},
			},
		)
		time.Sleep(sessionEventGrace / 2)
		h.noPayment("cs_test_1")
		time.Sleep(sessionEventGrace)
		h.stands("cs_test_1", payment.Sent, "", payment.Paid, "")
		h.hub.fetch()
		h.finish("cs_test_1")
	})
}
