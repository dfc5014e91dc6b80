package stripeapi

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"notepay/internal/fixture"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
	"notepay/internal/upstream"
)

func TestRejectionsOfTheMoneysState(t *testing.T) {
	t.Parallel()
	coded := func(code, more string) sandbox.Outcome {
		return sandbox.Outcome{
			Status: 400,
			Body:   fmt.Sprintf(`{"error":{"type":"invalid_request_error","code":%q,"message":"no"%s}}`, code, more),
		}
	}
	rows := []struct {
		name   string
		answer sandbox.Outcome
		want   error // nil: another rejection
	}{
		{"refunded already", coded("charge_already_refunded", ""), payment.ErrAlreadyRefunded},
		{"captured already, in the words of charges", coded("charge_already_captured", ""), payment.ErrAlreadyCaptured},
		{"the hold ran out", coded("charge_expired_for_capture", ""), payment.ErrAlreadyCanceled},
		{"disputed", coded("charge_disputed", ""), payment.ErrDisputed},
		{"disputed, as refunds may say it", coded("refund_disputed_payment", ""), payment.ErrDisputed},
		{
			"the intent succeeded",
			coded("payment_intent_unexpected_state", `,"payment_intent":{"id":"pi_1","status":"succeeded"}`),
			payment.ErrAlreadyCaptured,
		},
		{
			"the intent is canceled",
			coded("payment_intent_unexpected_state", `,"payment_intent":{"id":"pi_1","status":"canceled"}`),
			payment.ErrAlreadyCanceled,
		},
		{
			"the intent is in between",
			coded("payment_intent_unexpected_state", `,"payment_intent":{"id":"pi_1","status":"processing"}`),
			nil,
		},
		{"the intent is not told", coded("payment_intent_unexpected_state", ""), nil},
		{"balance, by the code of payouts", coded("balance_insufficient", ""), payment.ErrBalance},
		{"balance, by another", coded("insufficient_funds", ""), payment.ErrBalance},
		{
			"balance, in words alone",
			sandbox.Outcome{
				Status: 400,
				Body: `{"error":{"type":"invalid_request_error","message":"Insufficient funds in your Stripe ` +
					`balance to refund this amount."}}`,
			},
			payment.ErrBalance,
		},
		{
			"a card without money",
			sandbox.Outcome{
				Status: 402,
				Body:   `{"error":{"type":"card_error","code":"insufficient_funds","message":"no"}}`,
			},
			nil,
		},
		{"another refusal", coded("amount_too_large", ""), nil},
	}
	for _, row := range rows {
		synctest.Test(t, func(t *testing.T) {
			s := newStripeTest(t)
			s.Next(fixture.CreateRefund, row.answer)
			_, err := s.refund(t, "pi_1", 350, 1)
			fixture.Meant(t, row.name, err, upstream.Rejected)
			for _, reason := range []error{
				payment.ErrAlreadyRefunded, payment.ErrAlreadyCaptured, payment.ErrAlreadyCanceled,
				payment.ErrDisputed, payment.ErrBalance,
			} {
				if errors.Is(err, reason) != (reason == row.want) {
					t.Errorf("%s: %v is %v: %v", row.name, err, reason, errors.Is(err, reason))
				}
			}
			// An error that is no rejection is no state error, whatever it quotes.
			answer := row.answer
			answer.Status = http.StatusInternalServerError
			s.Next(fixture.CreateRefund, answer)
			_, err = s.refund(t, "pi_2", 350, 2)
			fixture.Meant(t, row.name+" under 500", err, upstream.Unknown)
			if row.want != nil && errors.Is(err, row.want) {
				t.Errorf("%s under 500: %v; want no reason", row.name, err)
			}
		})
	}
}
