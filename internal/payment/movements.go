package payment

import "time"

// MovementKind is why money moved.
type MovementKind string

// The kinds of movements.
const (
	MovedCapture MovementKind = "captured"
	MovedRefund  MovementKind = "refund"
	MovedLost    MovementKind = "lost" // in a dispute
	MovedFee     MovementKind = "fee"  // Stripe's
)

// Reasons of refunds of credits that did not fail.
const (
	RefundByOperator = "operator"
	RefundElsewhere  = "elsewhere" // in Stripe's Dashboard, or by another program
)

// Movement is money that moved. Its amount is in minor units of the payment's currency, and above 0
// if the operator has more.
type Movement struct {
	Kind   MovementKind
	Reason string // of a refund
	Amount int64
}

// Lost returns the part of Captured that the bank took in disputes.
func (p Payment) Lost() int64 {
	left := p.Captured() - min(p.RefundedAmount, p.Captured())
	if p.Funds == DisputeLost {
		return left
	}
	return min(p.LostAmount, left)
}

// Movements returns what moved between two states of a payment. before is the zero payment for a new
// one.
func Movements(before, after Payment) (list []Movement) {
	add := func(kind MovementKind, reason string, amount int64) {
		if amount != 0 {
			list = append(list, Movement{Kind: kind, Reason: reason, Amount: amount})
		}
	}
	back := func(p Payment) int64 { return min(p.RefundedAmount, p.Captured()) }
	add(MovedCapture, "", after.Captured()-before.Captured())
	add(MovedRefund, RefundReason(after), back(before)-back(after))
	add(MovedLost, "", before.Lost()-after.Lost())
	return list
}

// RefundReason returns why a payment is refunded: why its credit failed, or who refunded it.
func RefundReason(p Payment) string {
	switch {
	case p.Delivery == Failed:
		return p.Reason
	case p.RefundSeq > 0:
		return RefundByOperator
	}
	return RefundElsewhere
}

// Use returns for how long a timed credit used its machine, or will.
func Use(p Payment) time.Duration {
	switch p.Delivery {
	case Fetched, Started, Done:
	default:
		return 0
	}
	if used := p.EndsAt.Sub(p.StartedAt); !p.StartedAt.IsZero() && !p.EndsAt.IsZero() && used > 0 {
		return min(used, p.Duration)
	}
	return p.Duration
}
