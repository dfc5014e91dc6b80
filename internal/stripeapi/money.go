package stripeapi

import (
	"errors"
	"fmt"
	"strconv"

	"notepay/internal/payment"
)

// App is the metadata "app" of everything that notepay makes at Stripe.
const App = "notepay"

// DecodeRefund reads a refund and its metadata.
func DecodeRefund(text []byte) (r payment.RefundRecord, metadata map[string]string, err error) {
	var w struct {
		Object        string            `json:"object"`
		ID            string            `json:"id"`
		Amount        int64             `json:"amount"`
		Status        string            `json:"status"` // null where Stripe does not say
		PaymentIntent Reference         `json:"payment_intent"`
		Metadata      map[string]string `json:"metadata"`
	}
	err = decode("refund", text, &w)
	if err = withID("refund", w.ID, err); err != nil {
		return r, nil, err
	}
	if w.Object != "" && w.Object != "refund" { // its amount is not money that is back
		return r, nil, &Odd{Kind: "refund", ID: w.ID, Field: "object", Err: fmt.Errorf("it is a %s", w.Object)}
	}
	r = payment.RefundRecord{ID: w.ID, Intent: string(w.PaymentIntent), Amount: w.Amount, Status: w.Status}
	r.Credit, r.Number = Order(w.Metadata)
	return r, w.Metadata, nil
}

// DecodeRefundRecord reads a refund without its metadata.
func DecodeRefundRecord(text []byte) (payment.RefundRecord, error) {
	r, _, err := DecodeRefund(text)
	return r, err
}

// DecodeOrdered returns a decoder of the reply to an order. Any other refund is an error: it does
// not tell what became of this one.
func DecodeOrdered(o payment.RefundOrder) func([]byte) (payment.RefundRecord, error) {
	return func(text []byte) (payment.RefundRecord, error) {
		r, err := DecodeRefundRecord(text)
		if err == nil && (r.Credit != o.Credit || r.Number != o.Number) {
			err = &Odd{
				Kind:  "refund",
				ID:    r.ID,
				Field: "metadata",
				Err:   errors.New("it is not the refund that was ordered"),
			}
		}
		return r, err
	}
}

// Order reads from a refund's metadata which of our orders it carries out; none for one that was
// made in the Dashboard.
func Order(metadata map[string]string) (credit string, number int) {
	number, err := strconv.Atoi(metadata["number"])
	if err != nil || number < 1 || metadata["app"] != App || metadata["credit"] == "" {
		return "", 0
	}
	return metadata["credit"], number
}

// Dispute is what is used of a dispute.
type Dispute struct {
	ID            string            `json:"id"`
	Status        string            `json:"status"`
	Amount        int64             `json:"amount"`
	Currency      string            `json:"currency"`
	Refundable    bool              `json:"is_charge_refundable"`
	PaymentIntent Reference         `json:"payment_intent"`
	Metadata      map[string]string `json:"metadata"`
}

// DecodeDispute reads a dispute.
func DecodeDispute(text []byte) (d Dispute, err error) {
	err = decode("dispute", text, &d)
	return d, withID("dispute", d.ID, err)
}

// DecodeDisputes reads a page of disputes. Without one of them it is not known how the payment
// stands, so one that cannot be read is an error.
func DecodeDisputes(text []byte) ([]payment.DisputeRecord, error) {
	page, err := DecodePage(text)
	if err != nil {
		return nil, err
	}
	list := []payment.DisputeRecord{}
	for _, record := range page.Records {
		d, err := DecodeDispute(record)
		if err != nil {
			return nil, err
		}
		list = append(
			list,
			payment.DisputeRecord{
				ID:         d.ID,
				Status:     d.Status,
				Amount:     d.Amount,
				Currency:   d.Currency,
				Refundable: d.Refundable,
			},
		)
	}
	return list, nil
}

// Intent is what is used of a PaymentIntent by itself.
type Intent struct {
	ID       string            `json:"id"`
	Status   Text              `json:"status"`
	Metadata map[string]string `json:"metadata"`
}

// DecodeIntent reads a PaymentIntent.
func DecodeIntent(text []byte) (i Intent, err error) {
	err = decode("intent", text, &i)
	return i, withID("intent", i.ID, err)
}
