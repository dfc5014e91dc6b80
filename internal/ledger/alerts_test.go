package ledger

import (
	"slices"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testAlertStates(t *testing.T, database string) {
	l := open(t, database)
	at := time.Now().UTC().Truncate(time.Millisecond)
	for _, s := range []AlertState{
		{Target: "ntfy-1", Kind: "payments", Open: true, SentAt: at, Number: 1, Keys: []string{"a b", "c"}},
		{Target: "ntfy-1", Kind: "payments", SentAt: at.Add(time.Minute), Number: 2},
	} {
		if err := l.SaveAlertState(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		list, err := l.AlertStates(t.Context())
		if err != nil || len(list) != 1 || list[0].Open != s.Open || !list[0].SentAt.Equal(s.SentAt) ||
			list[0].Number != s.Number || !slices.Equal(list[0].Keys, s.Keys) {
			t.Errorf("%+v, %v; want %+v", list, err, s)
		}
	}
}

func testAlarming(t *testing.T, database string) {
	l := open(t, database)
	one := testPayment("one")
	one.ReviewReason = payment.ReviewTwins
	insert(t, l, one)
	insert(t, l, testPayment("two"))
	due := time.Now().Add(9 * 24 * time.Hour).UTC().Truncate(time.Second)
	mustUpdate(t, l, func(tx *Tx) error {
		if err := tx.AddReport(Report{PaymentID: one.ID, Reason: "other"}); err != nil {
			return err
		}
		for status, id := range map[string]string{"needs_response": "dp_1", "won": "dp_2"} {
			d := payment.Dispute{ID: id, PaymentIntent: one.PaymentIntent, Status: status, Amount: 200, Currency: "eur",
				ReportedAt: tx.Now, DueAt: due}
			if err := tx.SaveDispute(d); err != nil {
				return err
			}
		}
		known, err := tx.Disputes(one.PaymentIntent)
		if err == nil && (len(known) != 2 || !known[0].DueAt.Equal(due)) {
			t.Errorf("disputes %+v; want two with their deadline", known)
		}
		return err
	})
	review, err := l.PaymentsToReview(t.Context(), 10)
	if err != nil || len(review) != 1 || review[0].ID != one.ID || review[0].Reason != payment.ReviewTwins {
		t.Errorf("to review: %+v, %v; want the first payment", review, err)
	}
	reports, err := l.ReportedPayments(t.Context(), 10)
	if err != nil || len(reports) != 1 || reports[0].ID != one.ID || reports[0].Reason != "other" {
		t.Errorf("reported: %+v, %v; want the first payment", reports, err)
	}
	disputes, err := l.DisputesToAnswer(t.Context(), 10)
	if err != nil || len(disputes) != 1 || disputes[0].Dispute != "dp_1" || disputes[0].Amount != 200 ||
		!disputes[0].Due.Equal(due) {
		t.Errorf("to answer: %+v, %v; want the open one", disputes, err)
	}
	counts, err := l.ReviewCounts(t.Context())
	if err != nil || !slices.Equal(counts, []ReviewCount{{payment.ReviewTwins, 1}}) {
		t.Errorf("counts %+v, %v; want one", counts, err)
	}
	list, err := l.PaymentsOfReview(t.Context(), payment.ReviewTwins, 10)
	if err != nil || len(list) != 1 || list[0].ID != one.ID {
		t.Errorf("of the reason: %+v, %v; want the first payment", list, err)
	}
	if n, err := l.OpenMatters(t.Context()); err != nil || n != 2 {
		t.Errorf("%d open, %v; want the payment and the report", n, err)
	}
}
