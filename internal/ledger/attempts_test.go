package ledger

import (
	"errors"
	"slices"
	"testing"
	"time"

	"notepay/internal/payment"
)

func testAttempts(t *testing.T, database string) {
	l := open(t, database)
	insert(t, l, testPayment("one"), testPayment("other"))
	id := payment.CreditID("cs_one")
	later := Attempt{
		At:      noon().Add(time.Second),
		Action:  payment.StepCheckPending,
		Outcome: "ok",
		Status:  200,
		Took:    12 * time.Millisecond,
	}
	earlier := Attempt{
		At:      noon(),
		Action:  payment.StepPostNote,
		Outcome: "retry",
		Detail:  "unclear: connection reset",
		Took:    3 * time.Second,
	}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddAttempt(id, later),
			tx.AddAttempt(id, earlier),
			tx.AddAttempt(payment.CreditID("cs_other"), later),
		)
	})
	got, err := l.Attempts(t.Context(), id)
	if want := []Attempt{earlier, later}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got, err := l.Attempts(t.Context(), "cr_unknown"); err != nil || len(got) != 0 {
		t.Errorf("attempts of an unknown payment: got %+v, %v; want none", got, err)
	}
	all, err := l.AttemptsOf(t.Context(), id, "cr_unknown", payment.CreditID("cs_other"))
	if err != nil || len(all) != 2 || !slices.Equal(all[id], []Attempt{earlier, later}) ||
		!slices.Equal(all[payment.CreditID("cs_other")], []Attempt{later}) {
		t.Errorf("of several at once: got %+v, %v", all, err)
	}
	if none, err := l.AttemptsOf(t.Context()); err != nil || len(none) != 0 {
		t.Errorf("of none: got %+v, %v", none, err)
	}
	if read := inTx(l, func(tx *Tx) ([]Attempt, error) { return tx.Attempts(id) }); read.err != nil ||
		!slices.Equal(read.got, []Attempt{earlier, later}) {
		t.Errorf("within a transaction: got %+v, %v", read.got, read.err)
	}
	mustUpdate(t, l, func(tx *Tx) error {
		return errors.Join(
			tx.AddAttempt(id, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "ok", Status: 200}),
			tx.AddAttempt(id, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "retry", Status: 503}),
			tx.AddAttempt(id, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "retry", Status: 429}),
			tx.AddAttempt(id, Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "failed", Status: 404}),
		)
	})
	// One call had no reply, one was accepted, and one got a 5xx status.
	if read := inTx(l, func(tx *Tx) (int, error) { return tx.NotesPosted(id) }); read.err != nil || read.got != 3 {
		t.Errorf("NotesPosted: %d, %v; want the 3 that may be there", read.got, read.err)
	}
}
