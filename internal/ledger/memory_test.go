package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"notepay/internal/payment"
)

// What the writer remembers has to agree with the rows, inside each transaction and after it, also
// if it was rolled back.
func testMemoryAgreesWithTheRows(t *testing.T, database string) {
	l := open(t, database)
	const payments, devices, rounds = 12, 4, 300
	for n := range payments {
		p := testPayment(fmt.Sprint(n))
		p.DeviceUID, p.Duration = fmt.Sprint("dev:", n%devices), 0
		p.InFlight, p.DueAt = n%3 == 0, time.Now().Add(time.Hour)
		insert(t, l, p)
	}
	steps := []payment.Step{payment.StepPostNote, payment.StepRefund, payment.StepRecall}
	seeded := rand.New(rand.NewPCG(5, 6))
	agrees := func(tx *Tx, when string) error {
		if tx.memory == nil {
			return errors.New("the writer remembers nothing")
		}
		rows := *tx
		rows.memory = nil
		for n := range devices {
			device := fmt.Sprint("dev:", n)
			read, err := rows.CallUnderWay(device)
			remembered, _ := tx.CallUnderWay(device)
			if err != nil || read != remembered {
				return fmt.Errorf("%s, %s: remembered %v, read %v, %w", when, device, remembered, read, err)
			}
		}
		return nil
	}
	errUndone := errors.New("undone")
	for round := range rounds {
		undo, changes := seeded.IntN(3) == 0, seeded.IntN(4)
		err := l.Update(t.Context(), func(tx *Tx) error {
			for range changes {
				before, err := tx.Payment(payment.CreditID(fmt.Sprint("cs_", seeded.IntN(payments))))
				if err != nil {
					return err
				}
				after := before
				after.InFlight = seeded.IntN(2) == 0
				after.Step = steps[seeded.IntN(len(steps))]
				after.DueAt = tx.Now.Add(time.Duration(seeded.IntN(3)-1) * time.Hour)
				switch seeded.IntN(4) {
				case 0:
					err = tx.ShortenLease(before.ID, after.DueAt)
				case 1:
					before.Rev -= int64(seeded.IntN(2))
					_, err = tx.ChangeUnread(before, after)
				default:
					err = tx.ChangePayment(before, after)
				}
				if err == nil {
					err = agrees(tx, fmt.Sprint("in round ", round))
				}
				if err != nil {
					return err
				}
			}
			if undo {
				return errUndone
			}
			return nil
		})
		if err != nil && !(undo && err == errUndone) {
			t.Fatal(err)
		}
		mustUpdate(t, l, func(tx *Tx) error { return agrees(tx, fmt.Sprint("after round ", round)) })
	}
}

// A link is remembered only if its row stays.
func testTermsOfUnstoredLink(t *testing.T, database string) {
	l := open(t, database)
	errUndone := errors.New("undone")
	first, second := link("plink_1"), link("plink_1")
	second.Plan.Amount, second.Manual = 500, false
	terms := func(tx *Tx, want Link) error {
		device, offer, manual, err := tx.Terms("plink_1")
		if err != nil || device != want.DeviceUID || offer != want.Plan || manual != want.Manual {
			return fmt.Errorf("got %s, %+v, %v, %w; want those of %+v", device, offer, manual, err, want)
		}
		return nil
	}
	err := l.Update(t.Context(), func(tx *Tx) error {
		if err := errors.Join(tx.SaveLink(first), terms(tx, first)); err != nil {
			return err
		}
		return errUndone
	})
	if err != errUndone {
		t.Fatal(err)
	}
	mustUpdate(t, l, func(tx *Tx) error {
		if _, _, _, err := tx.Terms("plink_1"); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("a link that was not stored: %v; want %w", err, ErrNotFound)
		}
		return errors.Join(tx.SaveLink(second), terms(tx, second))
	})
	mustUpdate(t, l, func(tx *Tx) error { return errors.Join(terms(tx, second), terms(tx, second)) })
}
