package stripeevent

import (
	"fmt"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/bridge"
)

// Refund returns what a reply tells of a refund. It returns an error for what is no refund: none of its members may count as money that is back.
func Refund(r *stripe.Refund) (bridge.RefundRecord, error) {
	if r.Object != "refund" || r.ID == "" || r.Status == "" {
		return bridge.RefundRecord{}, fmt.Errorf("object %q, id %q, status %q: this is no refund", r.Object, r.ID, r.Status)
	}
	record := bridge.RefundRecord{ID: r.ID, Amount: r.Amount, Status: string(r.Status)}
	if r.PaymentIntent != nil {
		record.Intent = r.PaymentIntent.ID
	}
	record.Credit, record.Number = Order(r.Metadata)
	return record, nil
}

// Ordered returns what the reply to an order tells of the refund. It returns an error for any other refund.
func Ordered(o bridge.RefundOrder, r *stripe.Refund) (bridge.RefundRecord, error) {
	record, err := Refund(r)
	if err == nil && (record.Credit != o.Credit || record.Number != o.Number) {
		err = fmt.Errorf("refund %q is not the one that was ordered", r.ID)
	}
	return record, err
}
