package ledger

import (
	"slices"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testConfirmations(t *testing.T, database string) {
	l := open(t, database)
	later := Confirmation{
		ID:        "2",
		DeviceUID: "dev:1",
		CreditID:  payment.CreditID("cs_one"),
		State:     "done",
		At:        noon().Add(time.Minute),
		Outcome:   "taken",
	}
	earlier := Confirmation{
		ID:        "3",
		DeviceUID: "dev:1",
		CreditID:  payment.CreditID("cs_one"),
		State:     "failed",
		Code:      "E-DOOR",
		At:        noon(),
		Outcome:   "taken",
	}
	other := Confirmation{
		ID:        "4",
		DeviceUID: "dev:1",
		CreditID:  "cr_unknown",
		State:     "started",
		At:        noon(),
		Outcome:   "unknown_credit",
	}
	repeat := later
	repeat.State, repeat.Outcome = "started", "ignored"
	var isNew []bool
	mustUpdate(t, l, func(tx *Tx) error {
		isNew = nil
		for _, c := range []Confirmation{later, earlier, other, repeat} {
			n, err := tx.AddConfirmation(c)
			if err != nil {
				return err
			}
			isNew = append(isNew, n)
		}
		return nil
	})
	if want := []bool{true, true, true, false}; !slices.Equal(isNew, want) {
		t.Errorf("AddConfirmation said new %v; want %v", isNew, want)
	}
	if got, err := l.Confirmations(t.Context(), payment.CreditID("cs_one")); err != nil ||
		!slices.Equal(got, []Confirmation{earlier, later}) {
		t.Errorf("got %+v, %v; want %+v and %+v", got, err, earlier, later)
	}
	for id, want := range map[string]bool{"2": true, "4": true, "5": false, "": false} {
		if read := inTx(l, func(tx *Tx) (bool, error) { return tx.HasConfirmation(id) }); read.err != nil ||
			read.got != want {
			t.Errorf("HasConfirmation(%q): %v, %v; want %v", id, read.got, read.err, want)
		}
	}
	for credit, want := range map[string]bool{
		payment.CreditID("cs_one"): true,
		"cr_unknown":               true,
		"cr_other":                 false,
		"":                         false,
	} {
		if read := inTx(l, func(tx *Tx) (bool, error) { return tx.Answered(credit) }); read.err != nil ||
			read.got != want {
			t.Errorf("Answered(%q): %v, %v; want %v", credit, read.got, read.err, want)
		}
	}
	err := l.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.AddConfirmation(Confirmation{ID: "6", At: noon()})
		return err
	})
	wantRefused(t, err, "check", "outcome")
}
