package bridge

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/ledger"
)

// told is a dispute in a status, so many seconds after noon.
func told(status string, after int) ledger.Dispute {
	return ledger.Dispute{ID: "dp_1", PaymentIntent: "pi_1", Status: status, ToldAt: noon.Add(time.Duration(after) * time.Second)}
}

func TestWhatIsToldOfADisputeInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name         string
		before, told ledger.Dispute
		counts       bool
	}{
		{"an older event", told("under_review", 9), told("needs_response", 1), false},
		{"its beginning, after its end", told("won", 9), told("needs_response", 1), false},
		{"its beginning, told again later than its end", told("lost", 1), told("needs_response", 9), false},
		{"its end, told before its beginning", told("needs_response", 9), told("won", 1), true},
		{"its end, of the same second", told("needs_response", 1), told("lost", 1), true},
		{"its beginning, of the same second", told("lost", 1), told("needs_response", 1), false},
		{"another end, later", told("lost", 1), told("won", 9), true},
		{"another end, earlier", told("lost", 9), told("won", 1), false},
		{"an inquiry becomes a dispute", told("warning_under_review", 1), told("needs_response", 9), true},
		{"an inquiry that was closed becomes a dispute", told("warning_closed", 1), told("needs_response", 9), true},
		{"an inquiry that was closed after it was one", told("warning_closed", 9), told("needs_response", 1), false},
		{"an inquiry that was closed is no inquiry again", told("warning_closed", 1), told("warning_needs_response", 9), false},
		{"a dispute is no inquiry again", told("needs_response", 1), told("warning_needs_response", 9), false},
		{"a status that is not known, later", told("needs_response", 1), told("escalated", 9), true},
	} {
		if got := newer(row.told, row.before); got != row.counts {
			t.Errorf("%s: counts %v; want %v", row.name, got, row.counts)
		}
	}
}

func TestWhatDisputesAmountTo(t *testing.T) {
	t.Parallel()
	p := ledger.Payment{Amount: 350, Currency: "eur"}
	of := func(status string, amount int64, currency string) ledger.Dispute {
		return ledger.Dispute{Status: status, Amount: amount, Currency: currency}
	}
	for name, row := range map[string]struct {
		all  []ledger.Dispute
		want claims
	}{
		"none":                               {nil, claims{}},
		"an inquiry":                         {[]ledger.Dispute{of("warning_needs_response", 350, "eur"), of("warning_under_review", 350, "eur")}, claims{known: true}},
		"what is over":                       {[]ledger.Dispute{of("won", 350, "eur"), of("prevented", 350, "eur"), of("warning_closed", 350, "eur")}, claims{known: true}},
		"one of two is open":                 {[]ledger.Dispute{of("won", 350, "eur"), of("under_review", 350, "eur")}, claims{known: true, open: true}},
		"a status that is not known is open": {[]ledger.Dispute{of("escalated", 350, "eur")}, claims{known: true, open: true}},
		"two parts were lost":                {[]ledger.Dispute{of("lost", 100, "eur"), of("lost", 50, "eur")}, claims{known: true, lost: 150}},
		"more was lost than was paid":        {[]ledger.Dispute{of("lost", 300, "eur"), of("lost", 300, "eur")}, claims{known: true, lost: 350}},
		"another currency":                   {[]ledger.Dispute{of("lost", 100, "usd")}, claims{known: true, lost: 350}},
		"no amount":                          {[]ledger.Dispute{of("lost", 0, "")}, claims{known: true, lost: 350}},
	} {
		if got := claimsOf(p, row.all); got != row.want {
			t.Errorf("%s: %+v; want %+v", name, got, row.want)
		}
	}
}

// A won dispute makes money ours only if it was taken from us.
func TestADisputeThatIsWonChangesNothingButADispute(t *testing.T) {
	t.Parallel()
	for _, money := range []ledger.Money{ledger.Refunding, ledger.Refunded, ledger.RefundFailed, ledger.Released, ledger.Authorized, ledger.CaptureFailed} {
		p := queued()
		p.Money, p.Machine, p.Reason, p.RefundNumber, p.RefundGoal, p.RefundAt = money, ledger.Failed, ReasonAdopted, 1, 350, noon
		p = Next(p, noon)
		if after := Dispute(p, "won", noon); after.Money != money {
			t.Errorf("%s becomes %s", money, after.Money)
		}
	}
}

func TestADisputeThatIsToldBeforeItsPayment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		paid := h.pays("cs_test_1", "dev:1")
		h.money.intents[paid.Intent].session.Disputed = true
		h.run()
		h.receive(Event{ID: "evt_1", Type: "charge.dispute.created", ObjectID: "dp_1", Intent: paid.Intent, Created: time.Now(), Dispute: "warning_needs_response"})
		h.receive(Event{ID: "evt_2", Type: "charge.dispute.created", Intent: paid.Intent, Created: time.Now(), Dispute: "needs_response"}) // names none
		h.receive(Event{ID: "evt_3", Type: "charge.dispute.created", ObjectID: "dp_2", Created: time.Now(), Dispute: "needs_response"})    // nor a payment
		h.receive(paid)
		time.Sleep(2 * patience)
		h.stands("cs_test_1", ledger.Sent, "", ledger.Paid, "") // it is an inquiry
		if got := h.outcomes(); !strings.HasPrefix(got["evt_2"], Ignored) || !strings.HasPrefix(got["evt_3"], Ignored) {
			t.Errorf("the events came to %v; want those that name no dispute or payment ignored", got)
		}
		h.close()
	})
}
