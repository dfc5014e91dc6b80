package payment_test

import (
	"fmt"
	"time"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// washerPayment returns a payment of 3.50 for 40 minutes of a machine that confirms.
func washerPayment() payment.Payment {
	offer := payment.Offer{
		PriceID:  "price_1",
		Name:     "Warm wash",
		Amount:   350,
		Currency: "eur",
		Duration: 40 * time.Minute,
	}
	p := payment.Payment{
		ID:            payment.CreditID("cs_test_1"),
		SessionID:     "cs_test_1",
		PaymentIntent: "pi_1",
		DeviceUID:     "dev:1",
		Amount:        350,
		Currency:      "eur",
		Funds:         payment.Paid,
		Delivery:      payment.Queued,
		PaidAt:        noon,
		CreatedAt:     noon,
		ExpiresAt:     noon.Add(10 * time.Minute),
		ConfirmBy:     noon.Add(10*time.Minute + payment.ConfirmationGrace),
	}
	return payment.Next(payment.ApplyOffer(p, payment.CheckoutSession{}, offer, ""), noon)
}

// print prints where the credit and the money are, and the next call.
func print(p payment.Payment) {
	fmt.Printf("delivery %s, funds %s, reason %q, next call %q\n", p.Delivery, p.Funds, p.Reason, p.Step)
}

// A worker claims the payment, posts its note and records the outcome. The machine confirms.
func Example() {
	p := washerPayment()
	print(p)

	p, _ = payment.Claim(p, noon)
	note := payment.NoteOf(p) // the worker posts it to Notehub
	fmt.Printf("note for %d s, credit %s\n", note.Duration, note.CreditID)
	accepted := payment.Outcome{Action: p.Step, Result: upstream.OK, Began: noon}
	p = payment.ApplyOutcome(p, accepted, noon.Add(time.Second))
	print(p)

	started := payment.Confirmation{State: "started", At: noon.Add(20 * time.Second)}
	p, outcome := payment.ApplyConfirmation(p, started, noon.Add(21*time.Second))
	fmt.Printf("confirmation %s, ends at %s\n", outcome, p.EndsAt.Format(time.TimeOnly))
	print(p)

	p = payment.Next(p, p.EndsAt)
	print(p)
	// Output:
	// delivery queued, funds paid, reason "", next call "note"
	// note for 2400 s, credit cr_v5whtq35kmivught
	// delivery sent, funds paid, reason "", next call "check_pending"
	// confirmation taken, ends at 12:40:20
	// delivery started, funds paid, reason "", next call "wait"
	// delivery done, funds paid, reason "", next call ""
}

// The device is not known to Notehub, so the note is rejected and the money goes back.
func Example_refund() {
	p := washerPayment()
	p, _ = payment.Claim(p, noon)
	rejected := payment.Outcome{Action: p.Step, Result: upstream.Rejected, Began: noon}
	p = payment.ApplyOutcome(p, rejected, noon.Add(time.Second))
	print(p)

	p, _ = payment.Claim(p, noon.Add(time.Second))
	fmt.Printf("refund %d of %d, which is number %d\n", p.RefundAmount, p.Amount, p.RefundSeq)
	refund := payment.RefundRecord{Credit: p.ID, Number: p.RefundSeq, Amount: p.RefundAmount, Status: "succeeded"}
	p = payment.ApplyOutcome(p, payment.Outcome{Action: p.Step, Refund: refund, Began: noon}, noon.Add(2*time.Second))
	print(p)
	fmt.Printf("refunded %d, closed %v, review %q\n", p.Refunded(), payment.Closed(p), p.ReviewReason)
	// Output:
	// delivery failed, funds refunding, reason "refused", next call "refund"
	// refund 350 of 350, which is number 1
	// delivery failed, funds refunded, reason "refused", next call ""
	// refunded 350, closed true, review "refused"
}
