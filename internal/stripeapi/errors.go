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

// outcome classifies the error of a call and reports it to the limiter. Callers must check it
// before they use the library's other result, which is empty and not nil after an error.
func (s *Client) outcome(err error) error {
	err = classify(err)
	s.Limiter.Observe(time.Now(), err)
	return err
}

// classify converts an error of Stripe's library into an *upstream.Error. nil stays nil.
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
		// Stripe's API has no such address, which says nothing about the object.
		out.Outcome = upstream.Misconfigured
	case e.HTTPStatusCode == http.StatusConflict:
		out.Outcome = upstream.Retryable // a call with the same key is under way
	case e.HTTPStatusCode >= 500 || e.HTTPStatusCode == 0:
		out.Outcome = upstream.Unknown
	default:
		out.Err = stateError(e)
	}
	return out
}

// stateError returns the payment package's error for a call that Stripe rejects because of the
// state of the money, or nil for any other rejection.
func stateError(e *stripe.Error) error {
	switch e.Code {
	case stripe.ErrorCodeChargeAlreadyRefunded:
		return payment.ErrAlreadyRefunded
	case stripe.ErrorCodeChargeAlreadyCaptured:
		return payment.ErrAlreadyCaptured
	case stripe.ErrorCodeChargeExpiredForCapture:
		return payment.ErrAlreadyCanceled // the authorization expired
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
	if strings.HasPrefix(e.Param, "custom_text") {
		return errText
	}
	return nil
}

// errText is the error of a call whose text beside the button Stripe rejects. No sale depends on that
// text, so the call is repeated without it.
var errText = errors.New("the text beside the button is rejected")

// withoutText extends the idempotency key of a call that is repeated without the text, because
// Stripe rejects other parameters under the same key.
const withoutText = "-plain"

// lacksBalance reports whether our balance at Stripe does not cover a refund. Stripe documents no
// error for this. It was seen as a message without a code (docs/vendors.md, Q14), so the codes of
// similar calls count as well. A card that lacks funds does not.
func lacksBalance(e *stripe.Error) bool {
	return e.Type != stripe.ErrorTypeCard &&
		(e.Code == stripe.ErrorCodeBalanceInsufficient || e.Code == stripe.ErrorCodeInsufficientFunds ||
			strings.HasPrefix(e.Msg, "Insufficient funds in your Stripe balance"))
}
