package stripeapi

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// outcome classifies what a call returned, and lets the pace know. On an error the library's other
// result is not nil but empty.
func (s *Client) outcome(err error) error {
	err = classify(err)
	s.Limiter.Observe(time.Now(), err)
	return err
}

func classify(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*stripe.Error](err)
	if !ok {
		return upstream.TransportError(err)
	}
	out := &upstream.Error{
		Outcome: upstream.Rejected,
		Status:  e.HTTPStatusCode,
		Detail:  upstream.Excerpt([]byte(strings.TrimSpace(string(e.Code) + " " + e.Msg))),
	}
	switch {
	case e.HTTPStatusCode == http.StatusTooManyRequests:
		out.Outcome = upstream.RateLimited
		if e.LastResponse != nil {
			out.RetryAfter = upstream.RetryAfter(e.LastResponse.Header, time.Now())
		}
	case e.HTTPStatusCode == http.StatusUnauthorized || e.HTTPStatusCode == http.StatusForbidden:
		out.Outcome = upstream.Misconfigured
	case e.HTTPStatusCode == http.StatusNotFound && e.Code != stripe.ErrorCodeResourceMissing:
		// the address is not one of Stripe's API: that says nothing about the object
		out.Outcome = upstream.Misconfigured
	case e.HTTPStatusCode == http.StatusConflict:
		out.Outcome = upstream.Retryable // the same key is under way
	case e.HTTPStatusCode >= 500 || e.HTTPStatusCode == 0:
		out.Outcome = upstream.Unknown
	default:
		out.Err = refusal(e)
	}
	return out
}

// refusal is the bridge's word for what Stripe refuses because of the state that the money is in;
// nil for other refusals.
func refusal(e *stripe.Error) error {
	switch e.Code {
	case stripe.ErrorCodeChargeAlreadyRefunded:
		return payment.ErrAlreadyRefunded
	case stripe.ErrorCodeChargeAlreadyCaptured:
		return payment.ErrAlreadyCaptured
	case stripe.ErrorCodeChargeExpiredForCapture:
		return payment.ErrAlreadyCanceled // the hold ran out
	case stripe.ErrorCodeChargeDisputed, stripe.ErrorCodeRefundDisputedPayment:
		return payment.ErrDisputed
	case stripe.ErrorCodePaymentIntentUnexpectedState:
		switch pi := e.PaymentIntent; {
		case pi != nil && pi.Status == stripe.PaymentIntentStatusSucceeded:
			return payment.ErrAlreadyCaptured
		case pi != nil && pi.Status == stripe.PaymentIntentStatusCanceled:
			return payment.ErrAlreadyCanceled
		}
	}
	if lacksBalance(e) {
		return payment.ErrBalance
	}
	return nil
}

// lacksBalance tells that our balance at Stripe does not cover a refund. What Stripe says then is
// not published: it was seen in words, without a code (docs/vendors.md, Q14), so the codes of the
// neighbouring calls count as well. A card's lack of money does not.
func lacksBalance(e *stripe.Error) bool {
	return e.Type != stripe.ErrorTypeCard &&
		(e.Code == stripe.ErrorCodeBalanceInsufficient || e.Code == stripe.ErrorCodeInsufficientFunds ||
			strings.HasPrefix(e.Msg, "Insufficient funds in your Stripe balance"))
}
