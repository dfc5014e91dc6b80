package stripeevent

import (
	"context"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/bridge"
)

// Disputes lists the disputes about a PaymentIntent: the charge itself says only that there was one, or an inquiry. It reads one page of 100. The
// error is the library's.
func Disputes(ctx context.Context, client *stripe.Client, intent string) ([]bridge.DisputeRecord, error) {
	params := &stripe.DisputeListParams{PaymentIntent: stripe.String(intent), ListParams: stripe.ListParams{Limit: stripe.Int64(100), Single: true}}
	list := []bridge.DisputeRecord{}
	for d, err := range client.V1Disputes.List(ctx, params) {
		if err != nil {
			return nil, err
		}
		list = append(list, bridge.DisputeRecord{ID: d.ID, Status: string(d.Status), Amount: d.Amount, Currency: string(d.Currency), Refundable: d.IsChargeRefundable})
	}
	return list, nil
}
