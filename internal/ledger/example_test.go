package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// openExample opens a new ledger. remove closes it and deletes its directory.
func openExample(ctx context.Context) (l *ledger.Ledger, remove func()) {
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		log.Fatal(err)
	}
	l, err = ledger.Open(ctx, filepath.Join(dir, "notepay.db"))
	if err != nil {
		log.Fatal(err)
	}
	return l, func() {
		if err := errors.Join(l.Close(), os.RemoveAll(dir)); err != nil {
			log.Print(err)
		}
	}
}

// paid returns the payment of a paid Checkout Session, whose note is to be posted now.
func paid(session string, at time.Time) payment.Payment {
	return payment.Payment{
		ID:         payment.CreditID(session),
		SessionID:  session,
		Token:      "token of " + session,
		DeviceUID:  "dev:864475044215258",
		DeviceName: "Washer 3",
		Plan:       "Warm wash",
		Amount:     350,
		Currency:   "eur",
		Funds:      payment.Paid,
		Delivery:   payment.Queued,
		PaidAt:     at,
		CreatedAt:  at,
		Step:       payment.StepPostNote,
		DueAt:      at,
	}
}

// A process opens its ledger once. A second process gets ErrLocked.
func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "notepay.db")
	l, err := ledger.Open(ctx, path)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	_, err = ledger.Open(ctx, path)
	fmt.Println("locked:", errors.Is(err, ledger.ErrLocked))
	// Output:
	// locked: true
}

// A payment and its event are recorded in one transaction. A repeated webhook changes nothing.
func ExampleLedger_Update() {
	ctx := context.Background()
	l, remove := openExample(ctx)
	defer remove()

	for range 2 {
		var inserted bool
		err := l.Update(ctx, func(tx *ledger.Tx) error {
			isNew, err := tx.AddEvent(ledger.StripeEvent{
				ID:       "evt_1",
				Type:     "checkout.session.completed",
				ObjectID: "cs_1",
				Created:  tx.Now,
				Received: tx.Now,
				Outcome:  "payment_recorded",
			})
			if err != nil || !isNew {
				return err
			}
			inserted, err = tx.InsertPayment(paid("cs_1", tx.Now))
			return err
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("inserted:", inserted) // durable from here on
	}
	p, err := l.Payment(ctx, "cs_1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.ID, p.Funds, p.Delivery)
	// Output:
	// inserted: true
	// inserted: false
	// cr_35e4wzsti2eqvgpg paid queued
}

// A worker reads a due payment, calls the vendor outside any transaction, and records the result.
func ExampleTx_DueForNotehub() {
	ctx := context.Background()
	l, remove := openExample(ctx)
	defer remove()
	err := l.Update(ctx, func(tx *ledger.Tx) error {
		_, err := tx.InsertPayment(paid("cs_1", tx.Now))
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	err = l.Update(ctx, func(tx *ledger.Tx) error {
		due, err := tx.DueForNotehub(false, 10)
		for _, p := range due {
			fmt.Println(p.SessionID, p.Step)
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// cs_1 note
}

// Pages are read with the cursor of the page before.
func ExampleLedger_Payments() {
	ctx := context.Background()
	l, remove := openExample(ctx)
	defer remove()
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	err := l.Update(ctx, func(tx *ledger.Tx) error {
		for n := range 3 {
			at := noon.Add(time.Duration(n) * time.Minute)
			if _, err := tx.InsertPayment(paid(fmt.Sprint("cs_", n), at)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}

	filter := ledger.Filter{Funds: []payment.FundsStatus{payment.Paid}, Limit: 2}
	for {
		page, next, err := l.Payments(ctx, filter)
		if err != nil {
			log.Fatal(err)
		}
		for _, p := range page {
			fmt.Println(p.SessionID)
		}
		fmt.Println("more:", next != "")
		if next == "" {
			break
		}
		filter.Cursor = next
	}
	// Output:
	// cs_2
	// cs_1
	// more: true
	// cs_0
	// more: false
}
