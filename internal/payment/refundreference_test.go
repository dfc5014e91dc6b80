package payment

import "testing"

func TestApplyRefundReference(t *testing.T) {
	t.Parallel()
	const ours = "cr_ours"
	refund := func(credit string, number int, reference string) RefundRecord {
		return RefundRecord{ID: "re_1", Credit: credit, Number: number, Reference: reference}
	}
	failed := refund(ours, 1, "")
	failed.Status = "failed"
	for name, row := range map[string]struct {
		number int // of our last refund
		before string
		r      RefundRecord
		want   string
	}{
		"ours":                     {1, "", refund(ours, 1, "7431"), "7431"},
		"ours, not known yet":      {1, "7431", refund(ours, 1, ""), "7431"},
		"an earlier one of ours":   {2, "", refund(ours, 1, "7431"), ""},
		"of another payment":       {1, "", refund("cr_x", 1, "7431"), ""},
		"from the Dashboard":       {0, "", refund("", 0, "7431"), "7431"},
		"from it, beside ours":     {1, "9", refund("", 0, "7431"), "9"},
		"ours failed at the bank":  {1, "7431", failed, ""},
		"no refund in the list":    {0, "7431", RefundRecord{}, "7431"},
		"no refund of ours in it":  {1, "7431", RefundRecord{}, "7431"},
		"the bank gave it another": {1, "9", refund(ours, 1, "7431"), "7431"},
	} {
		p := applyRefundReference(Payment{ID: ours, RefundSeq: row.number, RefundReference: row.before}, row.r)
		if p.RefundReference != row.want {
			t.Errorf("%s: %q; want %q", name, p.RefundReference, row.want)
		}
	}
	p := orderRefund(Payment{ID: ours, Amount: 350, RefundSeq: 1, RefundReference: "7431"}, 350, noon)
	if p.RefundReference != "" {
		t.Errorf("a new refund has the reference %q of the earlier one", p.RefundReference)
	}
}

func TestRefundDate(t *testing.T) {
	t.Parallel()
	ordered, settled := noon, noon.AddDate(0, 0, 1)
	for name, row := range map[string]struct {
		p    Payment
		want string
	}{
		"nothing is back": {Payment{Funds: Paid, FundsAt: settled, RefundAt: ordered}, ""},
		"all is back":     {Payment{Funds: Refunded, RefundedAmount: 350, FundsAt: settled, RefundAt: ordered}, "22"},
		"a part is back":  {Payment{Funds: Paid, RefundedAmount: 100, FundsAt: settled, RefundAt: ordered}, "21"},
		"by others":       {Payment{Funds: Paid, RefundedAmount: 100, FundsAt: settled}, ""},
	} {
		got := ""
		if at := row.p.RefundDate(); !at.IsZero() {
			got = at.Format("2")
		}
		if got != row.want {
			t.Errorf("%s: %q; want %q", name, got, row.want)
		}
	}
}
