package ledger

import (
	"context"
	"errors"
	"fmt"

	"notepay/internal/payment"
)

// The steps of BenchmarkPayment follow the bridge's transactions: recordSession with Receive, and
// recordOutcome.

func benchUpdate(l *Ledger, fn func(*Tx) error) error { return l.Update(context.Background(), fn) }

func benchToken(credit, random string) string {
	return payment.TokenOf(credit, [16]byte([]byte(random)))
}

func benchRecord(tx *Tx, s sale, p payment.Payment) (payment.Payment, error) {
	_, offer, _, err := tx.Terms(s.link)
	if err != nil {
		return p, err
	}
	p.Plan, p.PriceID = offer.Name, offer.PriceID
	called, err := tx.CallUnderWay(p.DeviceUID)
	if err != nil || called {
		return p, errors.Join(err, fmt.Errorf("device %s is called", p.DeviceUID))
	}
	p, _ = payment.Claim(p, tx.Now)
	inserted, err := tx.TryInsertPayment(p)
	if err != nil || !inserted {
		return p, errors.Join(err, fmt.Errorf("payment %s was not inserted", p.ID))
	}
	_, err = tx.AddEvent(s.event)
	return p, err
}

func benchSettle(tx *Tx, claimed payment.Payment, o payment.Outcome) error {
	changed, err := tx.ChangeUnread(claimed, payment.ApplyOutcome(claimed, o, tx.Now))
	if err != nil || !changed {
		return errors.Join(err, fmt.Errorf("payment %s has changed", claimed.ID))
	}
	return tx.AddAttempt(claimed.ID, Attempt{At: o.Began, Action: o.Action, Outcome: "ok", Status: 200})
}
