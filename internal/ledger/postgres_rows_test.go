package ledger

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"notepay/internal/ledger/pgtest"
	"notepay/internal/payment"
)

// Rows that wait to be written together must end as if each had been written at once, whatever their
// order: on PostgreSQL, which combines them, and on SQLite, which does not.
func TestPostgresCombinesRows(t *testing.T) {
	t.Parallel()
	combining, reference := open(t, pgtest.Database(t)), open(t, freshSQLite(t))
	const rounds, writes, payments = 60, 14, 5
	for round := range rounds {
		seed := rand.New(rand.NewPCG(7, uint64(round)))
		var program []func(*Tx, map[string]payment.Payment) error
		for n := range writes {
			p := testPayment(fmt.Sprintf("%d_%d", round, seed.IntN(payments)))
			p.DeviceUID, p.Duration = p.SessionID, 0
			if n > 0 && seed.IntN(8) == 0 {
				p.PaymentIntent = "" // NULL beside texts
			}
			choice, amount, event := seed.IntN(5), seed.Int64N(100), fmt.Sprintf("evt_%d_%d", round, seed.IntN(8))
			program = append(program, func(tx *Tx, known map[string]payment.Payment) error {
				before, stored := known[p.ID]
				after := before
				switch {
				case choice == 0:
					e := StripeEvent{ID: event, Type: "x", Created: noon(), Received: noon(), Outcome: "followed"}
					return errOnly(tx.AddEvent(e))
				case !stored:
					known[p.ID] = p
					return errOnly(tx.InsertPayment(p))
				case choice == 1:
					a := Attempt{At: noon(), Action: payment.StepPostNote, Outcome: "ok", Detail: event}
					return tx.AddAttempt(p.ID, a)
				case choice == 2: // the order of these two decides the reason
					after.Reason = fmt.Sprint("reason ", amount)
				default:
					after.Reason, after.CardLast4, after.Failures = fmt.Sprint("other ", amount), "", n
				}
				known[p.ID] = after
				return tx.ChangePayment(before, after)
			})
		}
		for _, l := range []*Ledger{combining, reference} {
			mustUpdate(t, l, func(tx *Tx) error {
				known := map[string]payment.Payment{}
				for _, write := range program {
					if err := write(tx, known); err != nil {
						return err
					}
				}
				return nil
			})
		}
		wantSameRows(t, combining, reference, round, payments)
	}
}

// wantSameRows compares the payments of a round, their attempts and the events of two ledgers.
func wantSameRows(t *testing.T, a, b *Ledger, round, payments int) {
	t.Helper()
	for n := range payments {
		id := payment.CreditID(fmt.Sprintf("cs_%d_%d", round, n))
		p, errA := a.Payment(t.Context(), id)
		q, errB := b.Payment(t.Context(), id)
		p.DeliveryAt, p.FundsAt, q.DeliveryAt, q.FundsAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if errors.Is(errA, ErrNotFound) != errors.Is(errB, ErrNotFound) || p != q {
			t.Errorf("payment %s: %+v, %v; want %+v, %v", id, p, errA, q, errB)
		}
		first, errA := a.AttemptsOf(t.Context(), id)
		second, errB := b.AttemptsOf(t.Context(), id)
		if errA != nil || errB != nil || !slices.Equal(first[id], second[id]) {
			t.Errorf("attempts of %s: %+v, %v; want %+v, %v", id, first[id], errA, second[id], errB)
		}
	}
	repeats := func(l *Ledger) map[string]int {
		events, err := l.Events(t.Context(), 10_000)
		if err != nil {
			t.Fatal(err)
		}
		counted := map[string]int{}
		for _, e := range events {
			counted[e.ID] = e.Repeats
		}
		return counted
	}
	if got, want := repeats(a), repeats(b); !maps.Equal(got, want) {
		t.Errorf("repeats of events: %v; want %v", got, want)
	}
}

// A value that does not fit a parameter's type is left to the server, with a statement of its own.
func TestArrays(t *testing.T) {
	t.Parallel()
	types := []uint32{pgtype.TextOID, pgtype.Int8OID}
	args, ok := arrays(types, [][]any{{"a", int64(1)}, {nil, nil}, {payment.Paid, 3}})
	texts, numbers := args[0].([]*string), args[1].([]*int64)
	if !ok || len(args) != 2 || *texts[0] != "a" || texts[1] != nil || *texts[2] != "paid" ||
		*numbers[0] != 1 || numbers[1] != nil || *numbers[2] != 3 {
		t.Errorf("got %v, %v", args, ok)
	}
	for name, row := range map[string][]any{
		"a number as a text": {1, int64(1)},
		"a text as a number": {"a", "1"},
		"a boolean":          {"a", true},
	} {
		if _, ok := arrays(types, [][]any{row}); ok {
			t.Errorf("%s was combined", name)
		}
	}
	if c := combination(rowStatement{}, []uint32{pgtype.ByteaOID}); c.types != nil {
		t.Errorf("bytes were combined: %v", c)
	}
	if _, ok := arrays(nil, [][]any{{"a"}}); ok {
		t.Error("an unknown type was combined")
	}
}
