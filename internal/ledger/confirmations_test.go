package ledger

import (
	"errors"
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
	spoiled := later
	spoiled.DeviceUID, spoiled.State, spoiled.Code, spoiled.Outcome = "", "running", "E", "no_device"
	spoiled.CreditID, spoiled.At = "cr_spoiled", noon()
	for _, c := range []Confirmation{spoiled, earlier, other, later} {
		mustUpdate(t, l, func(tx *Tx) error { return tx.SaveConfirmation(c) })
	}
	if got, err := l.Confirmations(t.Context(), payment.CreditID("cs_one")); err != nil ||
		!slices.Equal(got, []Confirmation{earlier, later}) {
		t.Errorf("got %+v, %v; want %+v and %+v", got, err, earlier, later)
	}
	for id, want := range map[string]string{"2": "taken", "4": "unknown_credit"} {
		read := inTx(l, func(tx *Tx) (string, error) { return tx.ConfirmationOutcome(id) })
		if read.err != nil || read.got != want {
			t.Errorf("ConfirmationOutcome(%q): %q, %v; want %q", id, read.got, read.err, want)
		}
	}
	for _, id := range []string{"5", ""} {
		read := inTx(l, func(tx *Tx) (string, error) { return tx.ConfirmationOutcome(id) })
		if !errors.Is(read.err, ErrNotFound) {
			t.Errorf("ConfirmationOutcome(%q): %q, %v; want %v", id, read.got, read.err, ErrNotFound)
		}
	}
	for credit, want := range map[string]bool{
		payment.CreditID("cs_one"): true,
		"cr_unknown":               true,
		"cr_other":                 false,
		"cr_spoiled":               false,
		"":                         false,
	} {
		if read := inTx(l, func(tx *Tx) (bool, error) { return tx.Answered(credit) }); read.err != nil ||
			read.got != want {
			t.Errorf("Answered(%q): %v, %v; want %v", credit, read.got, read.err, want)
		}
	}
	err := l.Update(t.Context(), func(tx *Tx) error {
		return tx.SaveConfirmation(Confirmation{ID: "6", At: noon()})
	})
	wantRefused(t, err, "check", "outcome")
}
