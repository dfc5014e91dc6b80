package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testRevenue(t *testing.T, database string) {
	l := open(t, database)
	for i, p := range []payment.Payment{
		{Funds: payment.Paid, Amount: 350, Currency: "eur"},
		{Funds: payment.Paid, Amount: 350, Currency: "eur", RefundedAmount: 50},
		{Funds: payment.Refunded, Amount: 200, Currency: "eur", RefundedAmount: 200},
		{Funds: payment.Canceled, Amount: 350, Currency: "eur"},
		{Funds: payment.Authorized, Amount: 350, Currency: "eur"},
		{Funds: payment.DisputeLost, Amount: 100, Currency: "eur", RefundedAmount: 30},
		{Funds: payment.Disputed, Amount: 300, Currency: "jpy"},
		{Funds: payment.Paid, Currency: ""}, // free start
		{Funds: payment.Paid, Amount: 9999, Currency: "eur", CreatedAt: noon().Add(24 * time.Hour)},
	} {
		name := fmt.Sprint(i)
		p.ID, p.SessionID, p.Token, p.Delivery, p.PaidAt = payment.CreditID(name), name, name, payment.Queued, noon()
		if p.CreatedAt.IsZero() {
			p.CreatedAt = noon()
		}
		insert(t, l, p)
	}
	got, err := l.Revenue(t.Context(), noon(), noon().Add(24*time.Hour))
	want := []Revenue{{"eur", 6, 1000, 350}, {"jpy", 1, 300, 0}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("takings %+v, %v; want %+v", got, err, want)
	}
	list, _, err := l.Payments(t.Context(), Filter{To: noon().Add(24 * time.Hour), Limit: 50})
	sum := map[string]Revenue{}
	for _, p := range list {
		if p.Amount > 0 {
			s := sum[p.Currency]
			sum[p.Currency] = Revenue{p.Currency, s.Payments + 1, s.Captured + p.Captured(), s.Refunded + p.Refunded()}
		}
	}
	if err != nil || sum["eur"] != want[0] || sum["jpy"] != want[1] {
		t.Errorf("summed up one by one %+v, %v; want the same, %+v", sum, err, want)
	}
	if got, err := l.Revenue(t.Context(), noon().Add(-time.Hour), noon()); err != nil || len(got) != 0 {
		t.Errorf("before: %+v, %v; want nothing", got, err)
	}
}

func testHistory(t *testing.T, database string) {
	l := open(t, database)
	old, recent, other := idle(testPayment("old")), testPayment("recent"), testPayment("other")
	old.Delivery, old.MaybeAccepted, old.SentAt = payment.Done, true, noon()
	old.StartedAt, old.ConfirmBy = noon().Add(time.Second), noon().Add(time.Minute)
	recent.CreatedAt, other.DeviceUID = noon().Add(time.Hour), "dev:2"
	insert(t, l, old, recent, other)
	got, err := l.History(t.Context(), "dev:1", 5)
	want := []Credit{
		{Machine: payment.Queued},
		{Machine: payment.Done, Confirms: true, SentAt: noon(), StartedAt: noon().Add(time.Second)},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("history %+v, %v; want %+v", got, err, want)
	}
	if got, err := l.History(t.Context(), "dev:1", 1); err != nil || len(got) != 1 {
		t.Errorf("the last: %+v, %v; want one", got, err)
	}
}
