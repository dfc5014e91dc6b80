package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

var outage = &upstream.Error{Outcome: upstream.Misconfigured, Status: 503}

// answers returns the n-th machine's confirmation as Notehub stores it.
func said(n int, device, session, state string) payment.Confirmation {
	return payment.Confirmation{
		EventID:   fmt.Sprint(n),
		DeviceUID: device,
		CreditID:  payment.CreditID(session),
		State:     state,
		At:        time.Now(),
	}
}

// sends runs the bridge until the note of a payment is posted, and fetches it.
func (h *house) sends(session, device string) {
	h.Helper()
	h.paid(session, device)
	time.Sleep(time.Second)
	if p := h.payment(session); p.Delivery != payment.Sent {
		h.Fatalf("%s is %s; want it sent", session, p.Delivery)
	}
	h.hub.fetch()
}

// routed delivers answers by the route.
func (h *house) routed(answers ...payment.Confirmation) {
	h.Helper()
	for _, c := range answers {
		if err := h.b.Confirm(context.Background(), c); err != nil {
			h.Fatal(err)
		}
	}
}

// stands checks the state of a payment.
func (h *house) stands(session string, machine payment.DeliveryStatus, reason string, money payment.FundsStatus,
	attention string) {
	h.Helper()
	p := h.payment(session)
	if p.Delivery != machine || p.Reason != reason || p.Funds != money || p.ReviewReason != attention {
		h.Errorf("%s: %s %q, %s, attention %q; want %s %q, %s, %q", session, p.Delivery, p.Reason, p.Funds,
			p.ReviewReason, machine, reason, money, attention)
	}
}

func TestConfirmationTimeoutWaitsForNotehub(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says    string // the machine starts, and its answer is lost
		machine payment.DeliveryStatus
		reason  string
		money   payment.FundsStatus
		told    string
	}{
		"and the machine had started": {"started", payment.Started, "", payment.Paid, ""},
		"and the machine was silent": {
			"", payment.Failed, payment.ReasonUnconfirmed, payment.Refunded, payment.ReasonUnconfirmed,
		},
		"and the machine had failed":   {"failed", payment.Failed, payment.ReasonFailed, payment.Refunded, ""},
		"and the machine was not idle": {"busy", payment.Failed, payment.ReasonBusy, payment.Refunded, ""},
	} {
		for _, routed := range []bool{false, true} {
			if routed && c.says != "started" {
				continue // a route does not change the answers
			}
			t.Run(fmt.Sprintf("%s, routed %v", name, routed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := newHouse(t, confirming, func(c *Config) { c.Routed = routed })
					h.run()
					h.sends("cs_test_1", "dev:1")
					h.hub.will(forAnswers, slices.Repeat([]answer{{err: outage}}, 10000)...)
					if c.says != "" {
						// The route is down as well.
						h.hub.hears(said(1, "dev:1", "cs_test_1", c.says))
					}
					time.Sleep(15 * time.Minute)
					h.stands("cs_test_1", payment.Fetched, "", payment.Paid, "")
					time.Sleep(10 * time.Minute)
					h.stands("cs_test_1", payment.Fetched, "", payment.Paid, payment.ReviewOverdue)
					h.hub.will(forAnswers)
					time.Sleep(2 * time.Minute)
					h.stands("cs_test_1", c.machine, c.reason, c.money, c.told)
					h.finish("cs_test_1")
				})
			})
		}
	}
}

// The route loses the answer. The deadline counts only after confirmations were read by the cursor.
func TestConfirmationLostByTheRouteIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming, func(c *Config) { c.Routed = true })
		h.run()
		h.sends("cs_test_1", "dev:1")
		reads := h.hub.called(forAnswers)
		h.hub.hears(said(1, "dev:1", "cs_test_1", "started"))
		time.Sleep(5*time.Minute - time.Second)
		if again := h.hub.called(forAnswers); again > reads+1 {
			t.Errorf(
				"confirmations were read %d times beside the route; want it at the deadline and every five minutes",
				again-reads,
			)
		}
		time.Sleep(time.Minute)
		h.stands("cs_test_1", payment.Started, "", payment.Paid, "")
		h.finish("cs_test_1")
	})
}

func TestConfirmAfterRefund(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		h.run()
		h.sends("cs_test_1", "dev:1")
		time.Sleep(6 * time.Minute)
		h.stands("cs_test_1", payment.Failed, payment.ReasonUnconfirmed, payment.Refunded, payment.ReasonUnconfirmed)
		h.says("late", "dev:1", "cs_test_1", "started")
		h.stands("cs_test_1", payment.Started, payment.ReasonStartedAfter, payment.Refunded, payment.ReasonStartedAfter)
		time.Sleep(time.Minute)
		// Never captured after the release.
		h.stands("cs_test_1", payment.Started, payment.ReasonStartedAfter, payment.Refunded, payment.ReasonStartedAfter)
		if n := h.money.called(payment.StepRefund); n != 1 {
			t.Errorf("%d refunds; want 1", n)
		}
		h.close()
	})
}

func TestConfirmOutcomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		h.paid("cs_test_0", "dev:1")
		h.says("0", "dev:1", "cs_test_0", "started") // before any note was posted: another installation posted one
		h.stands("cs_test_0", payment.Failed, payment.ReasonAdopted, payment.Paid, payment.ReasonAdopted)
		h.says("1", "dev:1", "cs_test_0", "started")
		h.paid("cs_test_1", "dev:1")
		h.does("cs_test_1", payment.StepPostNote)
		h.stands("cs_test_1", payment.Sent, "", payment.Paid, "")
		h.says("2", "dev:2", "cs_test_1", "started") // another device
		h.says("3", "dev:1", "cs_unknown", "started")
		h.stands("cs_test_1", payment.Sent, "", payment.Paid, payment.ReviewConfirmation)
		h.says("1", "dev:1", "cs_test_1", "started") // a repeat
		h.stands("cs_test_1", payment.Sent, "", payment.Paid, payment.ReviewConfirmation)
		h.says("4", "dev:1", "cs_test_1", "started")
		h.says("5", "dev:1", "cs_test_1", "started")
		h.says("6", "dev:1", "cs_test_1", "failed")
		h.stands("cs_test_1", payment.Started, "", payment.Paid, payment.ReviewFailedAfter)
		var got []string
		for _, credit := range []string{"cs_test_0", "cs_test_1", "cs_unknown"} {
			list, err := h.l.Confirmations(t.Context(), payment.CreditID(credit))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				got = append(got, c.ID+" "+c.Outcome)
			}
		}
		want := []string{
			"0 posted_elsewhere",
			"1 no_note",
			"2 other_device",
			"4 taken",
			"5 ignored",
			"6 taken",
			"3 unknown_credit",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q; want %q", got, want)
		}
		h.close()
	})
}

// A route's transform may spoil an answer that the cursor lists as the machine sent it, with the same
// id.
func TestConfirmThatASpoiledCopyCameBefore(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*payment.Confirmation){
		"without a device": func(c *payment.Confirmation) { c.DeviceUID, c.Unusable = "", ConfirmationNoDevice },
		"with an unknown state": func(c *payment.Confirmation) {
			c.State, c.Unusable = "running", ConfirmationNoState
		},
		"of another device": func(c *payment.Confirmation) { c.DeviceUID = "dev:2" },
	} {
		for _, state := range []string{"started", "failed"} {
			t.Run(name+", "+state, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := newHouse(t, confirming, func(c *Config) { c.Routed = true })
					h.run()
					h.sends("cs_test_1", "dev:1")
					whole := said(1, "dev:1", "cs_test_1", state)
					spoiled := whole
					spoil(&spoiled)
					h.hub.hears(whole)
					for range 2 { // Notehub repeats it
						h.routed(spoiled)
					}
					h.stands("cs_test_1", payment.Sent, "", payment.Paid, payment.ReviewConfirmation)
					time.Sleep(6 * time.Minute) // until after the deadline
					want := payment.Payment{Delivery: payment.Started, Funds: payment.Paid}
					if state == "failed" {
						want = payment.Payment{
							Delivery: payment.Failed, Reason: payment.ReasonFailed, Funds: payment.Refunded,
						}
					}
					h.stands("cs_test_1", want.Delivery, want.Reason, want.Funds, "")
					h.routed(spoiled, whole, spoiled)
					h.stands("cs_test_1", want.Delivery, want.Reason, want.Funds, "")
					list, err := h.l.Confirmations(t.Context(), payment.CreditID("cs_test_1"))
					if err != nil || len(list) != 1 || list[0].Outcome != payment.ConfirmationTaken ||
						list[0].State != state || list[0].DeviceUID != "dev:1" {
						t.Errorf("stored %+v (%v); want the applied answer, once", list, err)
					}
					h.finish("cs_test_1")
				})
			})
		}
	}
}

// A usable answer ends the review for an unusable one, also if it changes nothing else. A review that
// the operator dismissed is not raised by a repeat.
func TestConfirmEndsTheReviewOfASpoiledCopy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		h.run()
		h.sends("cs_test_1", "dev:1")
		h.says("1", "dev:1", "cs_test_1", "started")
		for n, state := range []string{"duplicate", "started"} {
			whole := said(2+n, "dev:1", "cs_test_1", state)
			spoiled := whole
			spoiled.DeviceUID, spoiled.Unusable = "", ConfirmationNoDevice
			h.routed(spoiled)
			h.stands("cs_test_1", payment.Started, "", payment.Paid, payment.ReviewConfirmation)
			h.routed(whole, spoiled)
			h.stands("cs_test_1", payment.Started, "", payment.Paid, "")
		}
		foreign := said(9, "dev:2", "cs_test_1", "started") // and it is never listed in a better form
		h.routed(foreign)
		h.stands("cs_test_1", payment.Started, "", payment.Paid, payment.ReviewConfirmation)
		if _, err := h.b.Cancel(t.Context(), "cs_test_1", Actor{"operator", ""}); err != nil {
			t.Fatal(err)
		}
		h.routed(foreign, foreign)
		h.stands("cs_test_1", payment.Done, payment.ReasonEnded, payment.Paid, "")
		h.finish("cs_test_1")
	})
}

func TestConfirmationsCursorSurvivesACrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, confirming)
		for n := 1; n <= 5; n++ {
			session := fmt.Sprintf("cs_test_%d", n)
			h.paid(session, "dev:1")
			h.does(session, payment.StepPostNote)
			h.hub.hears(said(n, "dev:1", session, "started"))
		}
		h.hub.fetch()
		ok := answer{applied: true}
		h.hub.will(forAnswers, ok, answer{err: outage}) // only the first page
		if err := h.b.readConfirmations(t.Context()); !errors.Is(err, error(outage)) {
			t.Errorf("got %v; want %v", err, outage)
		}
		h.reopen()
		if cursor, err := h.l.Cursor(t.Context(), confirmationsCursor); cursor != "2" || err != nil {
			t.Errorf("the cursor is at %q (%v); want behind what is on disk", cursor, err)
		}
		before := h.hub.called(forAnswers)
		if err := h.b.readConfirmations(t.Context()); err != nil {
			t.Error(err)
		}
		if pages := h.hub.called(forAnswers) - before; pages != 2 {
			t.Errorf("%d pages were read; want the two that were left", pages)
		}
		for n := 1; n <= 5; n++ {
			h.stands(fmt.Sprintf("cs_test_%d", n), payment.Started, "", payment.Paid, "")
		}
		h.close()
	})
}

// The process crashes after the commit and before Notehub gets the reply. The answer comes again
// and changes nothing.
func TestConfirmationsAreAppliedOnceDespiteCrashes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, held)
		h.paid("cs_test_1", "dev:1")
		h.looksUp()
		h.does("cs_test_1", payment.StepPostNote)
		h.hub.fetch()
		h.hub.hears(said(1, "dev:1", "cs_test_1", "started"))
		for range 3 {
			h.says("1", "dev:1", "cs_test_1", "started")
			h.reopen()
		}
		h.finish("cs_test_1")
		if n := h.money.called(payment.StepCapture); n != 1 {
			t.Errorf("%d captures; want 1", n)
		}
	})
}

func TestStartReadsEventsAndConfirmationsBeforeDeadlines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		blind func(h *house, answers ...answer)
	}{
		"the answers": {func(h *house, a ...answer) { h.hub.will(forAnswers, a...) }},
		"the events":  {func(h *house, a ...answer) { h.money.will(forEvents, a...) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, confirming)
				h.paid("cs_queued", "dev:1")
				h.paid("cs_sent", "dev:2")
				p := h.claim(h.b.notehub(), 2)
				for _, p := range p {
					if p.SessionID == "cs_sent" {
						h.b.execute(t.Context(), p)
					}
				}
				h.reopen()
				h.hub.hears(said(1, "dev:2", "cs_sent", "started"))
				time.Sleep(time.Hour) // the bridge does not run
				c.blind(h, slices.Repeat([]answer{{err: outage}}, 20)...)
				h.run()
				time.Sleep(10 * time.Second)
				if notes, looks := h.hub.notes(), h.hub.called(payment.StepCheckPending); notes != 1 || looks != 0 {
					t.Errorf("%d notes, %d checks; want nothing done before they were read", notes, looks)
				}
				if n := h.money.called(payment.StepRefund); n != 0 {
					t.Errorf("%d refunds before they were read", n)
				}
				c.blind(h)
				h.finish("cs_queued", "cs_sent")
				h.open()
				h.stands("cs_sent", payment.Started, "", payment.Paid, "")
				if p := h.payment("cs_queued"); p.Delivery != payment.Failed || p.Funds != payment.Refunded {
					t.Errorf("queued: %s %q, %s; want it refunded", p.Delivery, p.Reason, p.Funds)
				}
				h.close()
			})
		})
	}
}

func (h *house) selling(device string, want fleet.State) {
	h.Helper()
	if sale := h.b.c.Fleet.Availability(device, time.Now()); sale.State != want {
		h.Errorf("%s is %s (%s); want %s", device, sale.State, sale.Reason, want)
	}
}

func TestAutoPauseAfterTwoUnansweredCredits(t *testing.T) {
	t.Parallel()
	// sold reports whether the device is not paused.
	const sold = fleet.NoOffers
	unconfirmed := func(h *house, session string) {
		h.sends(session, "dev:1")
		time.Sleep(2 * time.Minute)
	}
	recalled := func(h *house, session string) {
		h.paid(session, "dev:1")
		time.Sleep(2 * time.Minute)
	}
	started := func(h *house, session string) {
		h.sends(session, "dev:1")
		h.says("of "+session, "dev:1", session, "started")
	}
	refused := func(h *house, session string) {
		h.hub.will(payment.StepPostNote, answer{err: &upstream.Error{Outcome: upstream.Rejected, Status: 400}})
		h.paid(session, "dev:1")
		time.Sleep(time.Minute)
	}
	failed := func(h *house, session string) {
		h.sends(session, "dev:1")
		h.says("of "+session, "dev:1", session, "failed")
	}
	free := func(h *house, _ string) {
		if _, err := h.b.GrantCredit(context.Background(), "dev:1", "", Actor{"operator", "test"}); err != nil {
			h.Fatal(err)
		}
		time.Sleep(time.Second)
		h.hub.fetch()
		time.Sleep(2 * time.Minute)
	}
	for name, c := range map[string]struct {
		story []func(h *house, session string)
		want  fleet.State
	}{
		"once is no reason":  {[]func(*house, string){unconfirmed}, sold},
		"two unconfirmed":    {[]func(*house, string){unconfirmed, unconfirmed}, fleet.Paused},
		"two recalled":       {[]func(*house, string){recalled, recalled}, fleet.Paused},
		"one of each":        {[]func(*house, string){recalled, unconfirmed}, fleet.Paused},
		"a start in between": {[]func(*house, string){unconfirmed, started, unconfirmed}, sold},
		"our own refusal in between says nothing": {
			[]func(*house, string){unconfirmed, refused, unconfirmed}, fleet.Paused,
		},
		"our own refusals alone do not count":         {[]func(*house, string){refused, refused, refused}, sold},
		"a machine that says that it failed does not": {[]func(*house, string){failed, failed}, sold},
		"nor do free starts":                          {[]func(*house, string){free, free}, sold},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, hasty)
				h.run()
				for n, story := range c.story {
					story(h, fmt.Sprintf("cs_test_%d", n))
				}
				h.selling("dev:1", c.want)
				h.selling("dev:2", sold)
				h.reopen()
				h.selling("dev:1", c.want) // the pause is audited
				h.close()
			})
		})
	}

	t.Run("and its answer to a test start resumes it", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, hasty)
			h.run()
			unconfirmed(h, "cs_test_1")
			unconfirmed(h, "cs_test_2")
			h.selling("dev:1", fleet.Paused)
			p, err := h.b.GrantCredit(t.Context(), "dev:1", "", Actor{"operator", "is it alive?"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			h.hub.fetch()
			h.says("alive", "dev:1", p.SessionID, "started")
			h.selling("dev:1", sold)
			h.reopen()
			h.selling("dev:1", sold)
			var got []string
			audits, _, err := h.l.Audits(t.Context(), "dev:1", 10, "")
			for _, a := range audits {
				got = append(got, a.Who+" "+a.What)
			}
			if want := []string{"notepay resume", "operator start", "notepay pause"}; err != nil ||
				!slices.Equal(got, want) {
				t.Errorf("audit %q (%v); want %q", got, err, want)
			}
			h.close()
		})
	})

	t.Run("but a pause by the operator stays", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, hasty)
			h.run()
			h.sends("cs_test_1", "dev:1")
			if err := h.b.Pause(t.Context(), "dev:1", Actor{"operator", "it leaks"}); err != nil {
				t.Fatal(err)
			}
			h.says("1", "dev:1", "cs_test_1", "started")
			h.selling("dev:1", fleet.Paused)
			if err := h.b.Resume(t.Context(), "dev:1", Actor{"operator", "fixed"}); err != nil {
				t.Fatal(err)
			}
			h.selling("dev:1", sold)
			if err := h.b.Pause(t.Context(), "dev:9", Actor{"operator", ""}); !errors.Is(err, ledger.ErrNotFound) {
				t.Errorf("pausing an unknown device: %v; want %v", err, ledger.ErrNotFound)
			}
			h.close()
		})
	})
}
