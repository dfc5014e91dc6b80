package ledger

import (
	"errors"
	"testing"

	"notepay/internal/payment"
)

func testReports(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"))
	id := payment.CreditID("cs_one")
	report := func() error {
		return l.Update(t.Context(), func(tx *Tx) error {
			return tx.AddReport(Report{PaymentID: id, Reason: "not_started", Words: "It stays dark."})
		})
	}
	if err := report(); err != nil {
		t.Fatal(err)
	}
	if err := report(); !errors.Is(err, ErrTooManyReports) {
		t.Errorf("a second report at once: %v; want ErrTooManyReports", err)
	}
	unseen, err := l.OpenReports(t.Context(), 10)
	if err != nil || len(unseen) != 1 || unseen[0].Words != "It stays dark." || unseen[0].PaymentID != id {
		t.Errorf("open reports: %+v, %v; want the one", unseen, err)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.SeeReports(id) })
	if err := l.Update(t.Context(), func(tx *Tx) error { return tx.SeeReports(id) }); !errors.Is(err, ErrNotFound) {
		t.Errorf("seen twice: %v; want ErrNotFound", err)
	}
	unseen, err = l.OpenReports(t.Context(), 10)
	all, err2 := l.Reports(t.Context(), id)
	if err = errors.Join(err, err2); err != nil || len(unseen) != 0 || len(all) != 1 || all[0].SeenAt.IsZero() {
		t.Errorf("after it was seen: open %+v, all %+v, %v; want none open, one seen", unseen, all, err)
	}
	wantRefused(t, l.Update(t.Context(), func(tx *Tx) error {
		return tx.AddReport(Report{PaymentID: "cr_unknown", Reason: "other"})
	}), "foreign key", "FOREIGN KEY")
}
