package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"

	"notepay/internal/payment"
)

// Migration 009 derives the state of earlier disputes from the stored events.
func TestMigrationFillsDisputes(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir()+"/notepay.db")
	for name, money := range map[string]payment.FundsStatus{
		"won":  payment.Paid,
		"open": payment.Disputed,
		"lost": payment.DisputeLost,
	} {
		p := testPayment(name)
		p.Funds, p.PaymentIntent, p.Delivery, p.Reason = money, "pi_"+name, payment.Failed, "recalled"
		insert(t, l, p)
		types := []string{"charge.dispute.created"}
		if money != payment.Disputed {
			types = append(types, "charge.dispute.closed")
		}
		for _, kind := range types {
			e := StripeEvent{
				ID:            "evt_" + name + kind,
				Type:          kind,
				ObjectID:      "dp_" + name,
				PaymentIntent: p.PaymentIntent,
				Outcome:       "followed",
				Created:       noon(),
				Received:      noon(),
			}
			mustUpdate(t, l, func(tx *Tx) error { return second(tx.AddEvent(e)).err })
		}
	}
	text, err := migrations.ReadFile("migrations/009_disputes.sql")
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(string(text), ";\n") {
		if strings.Contains(statement, "INSERT INTO disputes") || strings.Contains(statement, "SET lost_amount") {
			mustUpdate(t, l, func(tx *Tx) error { return second(tx.exec(statement)).err })
		}
	}
	for name, status := range map[string]string{"won": "won", "open": "needs_response", "lost": "lost"} {
		read := inTx(l, func(tx *Tx) ([]payment.Dispute, error) { return tx.Disputes("pi_" + name) })
		if read.err != nil || len(read.got) != 1 || read.got[0].Status != status || read.got[0].ID != "dp_"+name {
			t.Errorf("%s: %+v, %v; want it %s", name, read.got, read.err, status)
		}
	}
	if p, err := l.Payment(t.Context(), "pi_lost"); err != nil || p.LostAmount != p.Amount {
		t.Errorf("%+v, %v; want all of it lost", p, err)
	}
}

func testDisputes(t *testing.T, database string) {
	l := open(t, database)
	first := payment.Dispute{
		ID:            "dp_1",
		PaymentIntent: "pi_1",
		Status:        "needs_response",
		Amount:        350,
		Currency:      "eur",
		ReportedAt:    noon(),
	}
	second := payment.Dispute{
		ID:            "dp_2",
		PaymentIntent: "pi_1",
		Status:        "warning_needs_response",
		Amount:        100,
		Currency:      "eur",
		Refundable:    true,
		ReportedAt:    noon(),
	}
	other := payment.Dispute{ID: "dp_3", PaymentIntent: "pi_2", Status: "won", Currency: "usd", ReportedAt: noon()}
	for _, d := range []payment.Dispute{first, second, other} {
		mustUpdate(t, l, func(tx *Tx) error { return tx.SaveDispute(d) })
	}
	first.Status, first.Amount, first.ReportedAt = "lost", 300, noon().Add(time.Hour)
	mustUpdate(t, l, func(tx *Tx) error { return tx.SaveDispute(first) })
	for intent, want := range map[string][]payment.Dispute{"pi_1": {first, second}, "pi_2": {other}, "pi_3": nil} {
		if read := inTx(l, func(tx *Tx) ([]payment.Dispute, error) { return tx.Disputes(intent) }); read.err != nil ||
			!slices.Equal(read.got, want) {
			t.Errorf("disputes about %s: %+v, %v; want %+v", intent, read.got, read.err, want)
		}
	}
}
