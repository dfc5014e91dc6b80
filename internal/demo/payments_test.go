package demo

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/sandbox"
)

// card buys from a machine, steps, and returns the payment on the machine's card, given notepay's
// record.
func (w *world) card(m *machine, r record) paymentView {
	w.t.Helper()
	w.buy(m)
	w.demo.step()
	synctest.Wait()
	sessions := w.demo.stripe.Sessions()
	r.Session = sessions[len(sessions)-1].ID
	r.ID = creditOf(r.Session)
	w.records = append(w.records, r)
	return w.shown(m)
}

// shown returns the latest payment on a machine's card.
func (w *world) shown(m *machine) paymentView {
	w.t.Helper()
	w.get(pageURL + "/") // reads notepay's records
	v := w.view(m)
	if len(v.Payments) == 0 {
		w.t.Fatalf("the card of %s shows no payment", m.name)
	}
	return v.Payments[0]
}

func TestCardShowsTheFunds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		r    record
		want string
	}{
		{record{Money: "authorized", Machine: "queued"}, "held: $3.50 held, the note is not at Notehub yet"},
		{record{Money: "capturing", Machine: "started"},
			"moving: $3.50 held, being charged, the machine reported its start"},
		{record{Money: "capture_failed", Machine: "started", NeedsAttention: true},
			"bad: $3.50 could not be charged, the machine reported its start (!)"},
		{record{Money: "releasing", Machine: "failed", Reason: "busy"},
			"moving: $3.50 held, being released, the machine was busy"},
		{record{Money: "released", Machine: "failed", Reason: "expired"},
			"back: $3.50 released, never charged, not delivered in time"},
		{record{Money: "paid", Machine: "sent"}, "paid: $3.50 paid, the note is at Notehub"},
		{record{Money: "paid", Machine: "fetched"}, "paid: $3.50 paid, waiting for the machine's answer"},
		{record{Money: "paid", Machine: "done", RefundedAmount: 100},
			"paid: $3.50 paid, $1.00 of it refunded, the machine has finished"},
		{record{Money: "refunding", Machine: "failed", Reason: "recalled"},
			"moving: $3.50 refunding, not fetched in time, the note was recalled"},
		{record{Money: "refunded", Machine: "failed", Reason: "unconfirmed", NeedsAttention: true},
			"back: $3.50 refunded, the machine did not answer in time (!)"},
		{record{Money: "refunded", Machine: "started", Reason: "started_after_money_back"},
			"back: $3.50 refunded, the machine reported its start too late"},
		{record{Money: "refund_failed", Machine: "failed", Reason: "recall_unclear"},
			"bad: $3.50 refund failed, the note was recalled, perhaps too late"},
		{record{Money: "disputed", Machine: "failed", Reason: "disputed"},
			"bad: $3.50 disputed, the customer's bank wants the money back"},
		{record{Money: "lost", Machine: "done"}, "bad: $3.50 lost in a dispute, the machine has finished"},
		{record{Money: "paid", Machine: "failed", Reason: "unknown_device"}, "paid: $3.50 paid, unknown device"},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				v := w.card(w.demo.machines[0], test.r)
				got := v.State + ": " + v.Money + ", " + v.Why
				if v.Attention {
					got += " (!)"
				}
				if got != test.want {
					t.Errorf("the card shows %s; want %s", got, test.want)
				}
			})
		})
	}
}

func TestCardShowsTheCodeOfARefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		washer := w.demo.machines[0]
		w.press("refuses-washer", true)
		v := w.card(washer, record{Money: "refunding", Machine: "failed", Reason: "failed"})
		if want := "the machine refused: E-DOOR"; v.Why != want {
			t.Errorf("why = %s; want %s", v.Why, want)
		}
		lines := strings.Join(spoken(w.demo), "\n")
		if !strings.Contains(lines, "machine > Notehub: Washer 3 answers: failed E-DOOR") ||
			!strings.Contains(lines, "Notehub > notepay: passes on the answer of Washer 3: failed 200") {
			t.Errorf("the wire does not tell of the answer:\n%s", lines)
		}
	})
}

func TestCardShowsAPaymentUnknownToNotepay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.press("webhook-lost", true)
		w.buy(w.demo.machines[0])
		if v := w.shown(w.demo.machines[0]); v.Money != "$3.50 paid" || v.Why != "not known to notepay yet" {
			t.Errorf("the card shows %+v; want that notepay does not know of it", v)
		}
	})
}

// act presses a button of a machine's latest payment and returns the status.
func (w *world) act(m *machine, do string) int {
	w.t.Helper()
	return w.post("/demo/payment", url.Values{"session": {w.shown(m).Session}, "do": {do}})
}

func TestPaymentActions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		record record
		do     []string // buttons to press, in order
		offers string   // buttons that the card first showed
		want   string   // statuses, and the last event at Stripe
	}{
		{"a refund in the Dashboard", record{Money: "paid"}, []string{"refund", "refund"}, "refund dispute",
			"303 409, charge.refunded"},
		{"a dispute that is won", record{Money: "paid"}, []string{"dispute", "won"}, "refund dispute",
			"303 303, charge.dispute.closed"},
		{"a dispute that is lost", record{Money: "disputed"}, []string{"dispute", "lost"}, "won lost",
			"303 303, charge.dispute.closed"},
		{"an authorization that does not exist", record{Money: "paid"}, []string{"release"}, "refund dispute",
			"409, payment_intent.succeeded"},
		{"an action that does not exist", record{Money: "paid"}, []string{"x"}, "refund dispute",
			"404, payment_intent.succeeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				washer := w.demo.machines[0]
				var offers, statuses []string
				for _, a := range w.card(washer, test.record).Actions {
					offers = append(offers, a.Do)
				}
				for _, do := range test.do {
					statuses = append(statuses, fmt.Sprint(w.act(washer, do)))
				}
				events := w.demo.stripe.Events()
				if got := strings.Join(statuses, " ") + ", " + events[len(events)-1].Type; got != test.want {
					t.Errorf("did %s; want %s", got, test.want)
				}
				if got := strings.Join(offers, " "); got != test.offers {
					t.Errorf("the card offers %s; want %s", got, test.offers)
				}
			})
		})
	}
}

func TestCardShowsAnAuthorization(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		washer := w.demo.machines[0]
		link := w.demo.stripe.AddLink(sandbox.Link{DeviceUID: washer.uid, PriceID: washer.price.ID, Active: true,
			CaptureMethod: "manual"})
		if _, err := w.demo.stripe.Pay(link.URL, sandbox.PayOptions{}); err != nil {
			t.Fatal(err)
		}
		if v := w.shown(washer); v.State != "held" || v.Money != "$3.50 held" || v.Actions[0].Do != "release" {
			t.Errorf("the card shows %+v; want an authorization that can be canceled", v)
		}
		if got := w.act(washer, "release"); got != http.StatusSeeOther {
			t.Errorf("cancel = %d; want 303", got)
		}
		if got := w.strip(); got.Returned != 1 {
			t.Errorf("the count is %+v; want it refunded", got)
		}
	})
}

func TestRefundSwitches(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]string{
		"refund-fails":   "303, 0 refunded; off: 0",
		"refund-pends":   "303, 350 refunded; off: 350",
		"refund-balance": "409, 0 refunded; off: 0",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				washer := w.demo.machines[0]
				session := w.card(washer, record{Money: "refunding"}).Session
				w.press(fault, true)
				status := w.act(washer, "refund")
				_, _, back, _ := w.demo.stripe.Money(session)
				if fault == "refund-pends" && w.strip().Returned != 0 {
					t.Error("money on its way counts as back")
				}
				w.press(fault, false)
				got := fmt.Sprintf("%d, %d refunded; off: %d", status, back, w.demo.stripe.Refunded(session))
				if got != want {
					t.Errorf("got %s; want %s", got, want)
				}
				if pending := w.demo.stripe.SettleRefund(session, true); pending {
					t.Error("a refund still pends")
				}
			})
		})
	}
}

func TestRouteSwitches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fault string
		wait  time.Duration
		want  int // answers that arrived
	}{
		{"route-lost", time.Minute, 0},
		{"route-doubled", 0, 2},
		{"route-late", 9 * time.Second, 0},
		{"route-late", 11 * time.Second, 1},
		{"late-locker", 0, 0},
		{"late-locker", 16 * time.Second, 1},
		{"twice-locker", 0, 2},
		{"silent-locker", time.Minute, 0},
	} {
		t.Run(fmt.Sprint(test.fault, " after ", test.wait), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				heard := func() int {
					before := int(w.heard.Load())
					w.buy(w.demo.machines[1])
					w.demo.step()
					time.Sleep(test.wait)
					w.demo.step()
					synctest.Wait()
					return int(w.heard.Load()) - before
				}
				w.press(test.fault, true)
				if got := heard(); got != test.want {
					t.Errorf("on: %d answers arrived; want %d", got, test.want)
				}
				time.Sleep(time.Minute) // late events have arrived
				w.demo.step()
				synctest.Wait()
				w.press(test.fault, false)
				if got := heard(); got != 1 {
					t.Errorf("off: %d answers arrived; want 1", got)
				}
			})
		})
	}
}

func TestCardShowsAPowerCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.demo.machines[1]
		w.buy(m)
		w.demo.step()
		time.Sleep(time.Second)
		w.press("power-locker", true)
		if w.view(m).Dark {
			t.Error("the power fails before the machine has fetched a note")
		}
		time.Sleep(time.Second)
		w.buy(m)
		w.demo.step()
		w.press("twice-locker", true) // another switch does not restore the power
		w.demo.step()
		if v := w.view(m); !v.Dark || v.Starts != 1 {
			t.Errorf("dark = %t after %d starts; want a machine without power", v.Dark, v.Starts)
		}
		w.press("power-locker", false)
		w.demo.step()
		if v := w.view(m); v.Dark || v.Starts != 2 {
			t.Errorf("dark = %t after %d starts; want the second start", v.Dark, v.Starts)
		}
	})
}

func TestResumeAPausedMachine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.paused[w.demo.machines[3].uid] = "2 payments in a row did not reach the machine"
		_, page, _ := w.get(pageURL + "/")
		if !strings.Contains(page, "Paused: 2 payments in a row did not reach the machine.") {
			t.Error("the page does not say that the machine is paused")
		}
		if got := w.post("/demo/resume", url.Values{"machine": {"vending"}}); got != http.StatusSeeOther {
			t.Errorf("resume = %d; want 303", got)
		}
		if _, page, _ := w.get(pageURL + "/"); strings.Contains(page, "Paused: ") {
			t.Error("the page says that the machine is still paused")
		}
		if got := w.post("/demo/resume", url.Values{"machine": {"x"}}); got != http.StatusNotFound {
			t.Errorf("resume of nothing = %d; want 404", got)
		}
	})
}

func TestRefundNoteStopsTheMachine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		washer := w.demo.machines[0]
		for i, want := range []struct{ status, state, note string }{
			{"completed", "running", "machine started"},
			{"refunded", "idle", "machine informed: refunded"},
		} {
			body := fmt.Sprintf(`{"payment_status":%q,"timestamp":1,"session_id":"cs_1","credit_id":"cr_1",`+
				`"duration_s":40}`, want.status)
			if status, err := w.leave(washer.uid, body); status != "200" || err != nil {
				t.Fatalf("note %d = %s, %v; want 200", i, status, err)
			}
			w.demo.step()
			if v := w.view(washer); v.State != want.state || v.Notes[0].Says != want.note {
				t.Errorf("after the note %s the washer is %s, and the note %s; want %s, %s", want.status, v.State,
					v.Notes[0].Says, want.state, want.note)
			}
			time.Sleep(time.Second)
		}
		lines := strings.Join(spoken(w.demo), "\n")
		if !strings.Contains(lines, "leaves a note for Washer 3: refunded 200") {
			t.Errorf("the wire does not show the note to the machine:\n%s", lines)
		}
	})
}
