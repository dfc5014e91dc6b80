package stripeapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// Capture takes the money that an intent holds, all of it. The key makes a repeat harmless for a
// day.
func (s *Client) Capture(ctx context.Context, intent, key string) error {
	return s.changeIntent(ctx, intent, "capture", key, "succeeded")
}

// Release cancels an intent, and so lets go of the money that it holds. The key makes a repeat
// harmless for a day.
func (s *Client) Release(ctx context.Context, intent, key string) error {
	return s.changeIntent(ctx, intent, "cancel", key, "canceled")
}

// changeIntent captures or cancels an intent. A success reply that leaves the intent in another
// status than wanted counts as unclear.
func (s *Client) changeIntent(ctx context.Context, intent, action, key, want string) error {
	if err := checkID(intent, "pi_"); err != nil {
		return err
	}
	pi, err := createObject(ctx, s, "/v1/payment_intents/"+intent+"/"+action, nil, key, DecodeIntent)
	if err == nil && string(pi.Status) != want {
		err = &upstream.Error{
			Outcome: upstream.Unknown,
			Status:  http.StatusOK,
			Detail:  fmt.Sprintf("intent %q is %q, not %s", pi.ID, pi.Status, want),
		}
	}
	return err
}

// Refund gives money back. What the record says counts: a refund that was taken may still be
// pending, or have failed already. Stripe keeps its answer under the credit and number for a day, a
// refusal and a 500 as well: after these only another number asks anew.
func (s *Client) Refund(ctx context.Context, o payment.RefundOrder) (payment.RefundRecord, error) {
	if err := checkID(o.Intent, "pi_"); err != nil {
		return payment.RefundRecord{}, err
	}
	number := strconv.Itoa(o.Number)
	params := &stripe.RefundCreateParams{PaymentIntent: stripe.String(o.Intent), Amount: stripe.Int64(o.Amount),
		Metadata: map[string]string{"app": App, "project": s.project, "credit": o.Credit, "number": number}}
	return createObject(ctx, s, "/v1/refunds", params, "refund:"+o.Credit+":"+number, DecodeOrdered(o))
}

// Refunds lists what was given back of an intent, or is on its way, or failed: the newest first,
// ours and those made in the Dashboard. It reads one page of 100, which is more than a payment of a
// machine is ever given back in.
func (s *Client) Refunds(ctx context.Context, intent string) (refunds []payment.RefundRecord, err error) {
	if err := checkID(intent, "pi_"); err != nil {
		return nil, err
	}
	page, err := s.readPage(ctx, "/v1/refunds", url.Values{"payment_intent": {intent}}, "")
	if err != nil {
		return nil, err
	}
	for _, record := range page.Records {
		r, err := DecodeRefundRecord(record)
		if err != nil { // the sum is not known without it, and more might be given back than was paid
			return nil, &upstream.Error{
				Outcome: upstream.Misconfigured,
				Status:  http.StatusOK,
				Detail:  upstream.Excerpt([]byte(err.Error())),
			}
		}
		refunds = append(refunds, r)
	}
	return refunds, nil
}
