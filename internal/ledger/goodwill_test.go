package ledger

import (
	"errors"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testGoodwillCodes(t *testing.T, database string) {
	l := open(t, database)
	now := noon()
	code := GoodwillCode{
		Digest:    "d1",
		DeviceUID: "dev:1",
		PriceID:   "price_1",
		PaymentID: "cr_paid",
		By:        "operator",
		Reason:    "wet",
		CreatedAt: now,
		ExpiresAt: now.Add(time.Hour),
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.AddGoodwillCode(code) })
	got, err := l.GoodwillCode(t.Context(), "d1")
	if err != nil || got != code {
		t.Errorf("%+v, %v; want %+v", got, err, code)
	}
	if _, err := l.GoodwillCode(t.Context(), "d2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown code: %v", err)
	}
	if list, err := l.GoodwillCodesOf(t.Context(), "cr_paid"); err != nil || len(list) != 1 {
		t.Errorf("of its payment: %+v, %v", list, err)
	}
	stillOpen := func(want int) {
		t.Helper()
		if list, err := l.OpenGoodwillCodes(t.Context(), now); err != nil || len(list) != want {
			t.Errorf("open: %+v, %v; want %d", list, err, want)
		}
	}
	stillOpen(1)
	use := func(at time.Time, c GoodwillCode, credit string, want error) {
		t.Helper()
		err := l.Update(t.Context(), func(tx *Tx) error {
			tx.Now = at
			return tx.UseGoodwillCode(c, credit)
		})
		if !errors.Is(err, want) {
			t.Errorf("use for %s: %v; want %v", credit, err, want)
		}
	}
	use(now.Add(time.Hour), code, "cr_late", ErrNotFound)
	use(now, code, "cr_1", nil)
	use(now, code, "cr_2", ErrNotFound) // it was used since it was read
	stillOpen(0)
	failed := testPayment("failed")
	failed.Delivery, failed.Reason = payment.Failed, payment.ReasonExpired
	insert(t, l, failed)
	used, err := l.GoodwillCode(t.Context(), "d1")
	if err != nil || used.CreditID != "cr_1" || !used.UsedAt.Equal(now) {
		t.Errorf("%+v, %v; want its use", used, err)
	}
	use(now, used, failed.ID, nil)
	stillOpen(1) // because its free start failed
	withdraw := func(want error) {
		t.Helper()
		err := l.Update(t.Context(), func(tx *Tx) error {
			tx.Now = now
			return tx.WithdrawGoodwillCode("d1")
		})
		if !errors.Is(err, want) {
			t.Errorf("withdraw: %v; want %v", err, want)
		}
	}
	withdraw(nil)
	withdraw(ErrNotFound)
	stillOpen(0)
}

func testMaintenance(t *testing.T, database string) {
	l := open(t, database)
	planned := Maintenance{
		DeviceUID: "dev:1",
		From:      noon(),
		To:        noon().Add(time.Hour),
		Reason:    "belt",
		By:        "operator",
		At:        noon().Add(-time.Hour),
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.PlanMaintenance(planned) })
	planned.Reason = "new belt"
	mustUpdate(t, l, func(tx *Tx) error { return tx.PlanMaintenance(planned) })
	if got, err := l.MaintenanceOf(t.Context(), "dev:1"); err != nil || got != planned {
		t.Errorf("%+v, %v; want %+v", got, err, planned)
	}
	if list, err := l.Maintenances(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v; want one", list, err)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.CancelMaintenance("dev:1") })
	if _, err := l.MaintenanceOf(t.Context(), "dev:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after it was canceled: %v", err)
	}
}
