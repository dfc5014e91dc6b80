package payment

import (
	"testing"
	"time"
)

// reported returns a dispute in a status, reported so many seconds after noon.
func reported(status string, after int) Dispute {
	return Dispute{
		ID:            "dp_1",
		PaymentIntent: "pi_1",
		Status:        status,
		ReportedAt:    noon.Add(time.Duration(after) * time.Second),
	}
}

func TestSupersedes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name         string
		before, told Dispute
		counts       bool
	}{
		{"an older event", reported("under_review", 9), reported("needs_response", 1), false},
		{"its beginning, after its end", reported("won", 9), reported("needs_response", 1), false},
		{"its beginning, repeated after its end", reported("lost", 1), reported("needs_response", 9), false},
		{"its end, reported before its beginning", reported("needs_response", 9), reported("won", 1), true},
		{"its end, of the same second", reported("needs_response", 1), reported("lost", 1), true},
		{"its beginning, of the same second", reported("lost", 1), reported("needs_response", 1), false},
		{"another end, later", reported("lost", 1), reported("won", 9), true},
		{"another end, earlier", reported("lost", 9), reported("won", 1), false},
		{"an inquiry becomes a dispute", reported("warning_under_review", 1), reported("needs_response", 9), true},
		{
			"an inquiry that was closed becomes a dispute", reported("warning_closed", 1),
			reported("needs_response", 9), true,
		},
		{
			"an inquiry that was closed after it was one", reported("warning_closed", 9),
			reported("needs_response", 1), false,
		},
		{
			"an inquiry that was closed is no inquiry again", reported("warning_closed", 1),
			reported("warning_needs_response", 9), false,
		},
		{"a dispute is no inquiry again", reported("needs_response", 1), reported("warning_needs_response", 9), false},
		{"a status that is not known, later", reported("needs_response", 1), reported("escalated", 9), true},
	} {
		if got := supersedes(row.told, row.before); got != row.counts {
			t.Errorf("%s: counts %v; want %v", row.name, got, row.counts)
		}
	}
}

func TestTotalDisputes(t *testing.T) {
	t.Parallel()
	p := Payment{Amount: 350, Currency: "eur"}
	of := func(status string, amount int64, currency string) Dispute {
		return Dispute{Status: status, Amount: amount, Currency: currency}
	}
	for name, row := range map[string]struct {
		all  []Dispute
		want DisputeTotals
	}{
		"none": {nil, DisputeTotals{}},
		"an inquiry": {
			[]Dispute{of("warning_needs_response", 350, "eur"), of("warning_under_review", 350, "eur")},
			DisputeTotals{Known: true},
		},
		"what is over": {
			[]Dispute{of("won", 350, "eur"), of("prevented", 350, "eur"), of("warning_closed", 350, "eur"),
				of("charge_refunded", 350, "eur")},
			DisputeTotals{Known: true},
		},
		"one of two is open": {
			[]Dispute{of("won", 350, "eur"), of("under_review", 350, "eur")},
			DisputeTotals{Known: true, Open: true},
		},
		"a status that is not known is open": {
			[]Dispute{of("escalated", 350, "eur")}, DisputeTotals{Known: true, Open: true},
		},
		"two parts were lost": {
			[]Dispute{of("lost", 100, "eur"), of("lost", 50, "eur")}, DisputeTotals{Known: true, Lost: 150},
		},
		"more was lost than was paid": {
			[]Dispute{of("lost", 300, "eur"), of("lost", 300, "eur")}, DisputeTotals{Known: true, Lost: 350},
		},
		"another currency": {
			[]Dispute{of("lost", 100, "usd")}, DisputeTotals{Known: true, Lost: 350},
		},
		"no amount": {[]Dispute{of("lost", 0, "")}, DisputeTotals{Known: true, Lost: 350}},
	} {
		if got := TotalDisputes(p, row.all); got != row.want {
			t.Errorf("%s: %+v; want %+v", name, got, row.want)
		}
	}
}

// A won dispute returns only money that a dispute has taken.
func TestDisputeWonReopensNoOtherState(t *testing.T) {
	t.Parallel()
	for _, money := range []FundsStatus{Refunding, Refunded, RefundFailed, Canceled, Authorized, CaptureFailed} {
		p := queuedPayment()
		p.Funds, p.Delivery, p.Reason = money, Failed, ReasonAdopted
		p.RefundSeq, p.RefundTarget, p.RefundAt = 1, 350, noon
		p = Next(p, noon)
		if after := ApplyDisputeStatus(p, "won", noon); after.Funds != money {
			t.Errorf("%s becomes %s", money, after.Funds)
		}
	}
}

// A payment whose rest was refunded after a lost dispute stays refunded when the dispute is read again.
func TestLostDisputeIsReadAgain(t *testing.T) {
	t.Parallel()
	p := queuedPayment()
	p.Delivery, p.Reason, p.Funds = Failed, ReasonExpired, Disputed
	p = ApplyDisputes(p, DisputeTotals{Known: true, Lost: 100}, noon)
	if p.Funds != Refunding || p.RefundTarget != 250 {
		t.Fatalf("%s, target %d; want a refund of the rest", p.Funds, p.RefundTarget)
	}
	made := RefundRecord{Credit: p.ID, Number: p.RefundSeq, Amount: 250, Status: "succeeded"}
	p = ApplyOutcome(p, Outcome{Action: StepRefund, Refund: made, Began: noon}, noon)
	p = ApplyDisputes(p, DisputeTotals{Known: true, Lost: 100}, noon)
	if p.Funds != Refunded {
		t.Errorf("%s after the dispute was read again; want refunded", p.Funds)
	}
	if p = ApplyDisputes(p, DisputeTotals{Known: true, Lost: 100, Open: true}, noon); p.Funds == Refunded {
		t.Error("refunded beside another open dispute")
	}
}

// Stripe's total of the refunds is exact. What the banks kept is at most the rest.
func TestApplySession(t *testing.T) {
	t.Parallel()
	lost := DisputeTotals{Known: true, Lost: 350}
	for name, row := range map[string]struct {
		refunded, lost int64 // known before
		read           int64 // refunded, as Stripe says now
		wantLost       int64
	}{
		"a refund before the lost dispute that is reported after it": {0, 350, 100, 250},
		"a refund that failed after the lost dispute":                {350, 0, 0, 350},
		"a part that failed after the lost dispute":                  {350, 0, 100, 250},
		"nothing new": {100, 250, 100, 250},
	} {
		p := queuedPayment()
		p.Delivery, p.Funds, p.RefundedAmount, p.LostAmount = Fetched, DisputeLost, row.refunded, row.lost
		p = ApplySession(p, CheckoutSession{IntentStatus: "succeeded", Refunded: row.read}, lost, noon)
		if p.Funds != DisputeLost || p.RefundedAmount != row.read || p.LostAmount != row.wantLost {
			t.Errorf("%s: %s, %d refunded, %d lost; want %s, %d, %d",
				name, p.Funds, p.RefundedAmount, p.LostAmount, DisputeLost, row.read, row.wantLost)
		}
	}
}

// A refund that Stripe lists is recorded even where a dispute seemed to have taken that money.
func TestApplyRefundListBesideALostDispute(t *testing.T) {
	t.Parallel()
	p := queuedPayment()
	p.Delivery, p.Reason, p.LostAmount = Failed, ReasonExpired, 300
	p = orderRefund(p, 50, noon)
	p.ReconcileRefund = true
	others := []RefundRecord{{Amount: 100, Status: "succeeded"}}
	p = applyRefundList(p, Outcome{Refunds: others}, noon)
	if p.Funds != Refunded || p.RefundedAmount != 100 || p.LostAmount != 250 {
		t.Errorf("%s, %d refunded, %d lost; want %s, 100, 250", p.Funds, p.RefundedAmount, p.LostAmount, Refunded)
	}
}
