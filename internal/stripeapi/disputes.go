package stripeapi

import (
	"encoding/json"
	"strings"
	"time"

	"notepay/internal/payment"
)

// dispute holds the fields of a dispute that notepay uses.
type dispute struct {
	ID            string          `json:"id"`
	Status        string          `json:"status"`
	Amount        int64           `json:"amount"`
	Currency      string          `json:"currency"`
	Refundable    isTrue          `json:"is_charge_refundable"`
	PaymentIntent reference       `json:"payment_intent"`
	Metadata      metadataMap     `json:"metadata"`
	Evidence      json.RawMessage `json:"evidence_details"`
}

// dueAt returns until when Stripe takes evidence, the zero time if it does not say. A value that
// cannot be read counts as missing, because the dispute matters more.
func (d *dispute) dueAt() time.Time {
	var evidence struct {
		DueBy timestamp `json:"due_by"`
	}
	if json.Unmarshal(d.Evidence, &evidence) != nil || evidence.DueBy == 0 {
		return time.Time{}
	}
	return evidence.DueBy.time()
}

// decodeDispute decodes a dispute.
func decodeDispute(text []byte) (d dispute, err error) {
	err = decode("dispute", text, &d)
	d.Currency = strings.ToLower(d.Currency)
	return d, withID("dispute", d.ID, err)
}

// decodeDisputes decodes a page of disputes. One that cannot be decoded is an error, because
// without it the state of the payment is unknown.
func decodeDisputes(text []byte) ([]payment.DisputeRecord, error) {
	page, err := decodePage(text)
	if err != nil {
		return nil, err
	}
	list := []payment.DisputeRecord{}
	for _, record := range page.records {
		d, err := decodeDispute(record)
		if err != nil {
			return nil, err
		}
		list = append(list, payment.DisputeRecord{
			ID:         d.ID,
			Status:     d.Status,
			Amount:     d.Amount,
			Currency:   d.Currency,
			Refundable: bool(d.Refundable),
			DueAt:      d.dueAt(),
		})
	}
	return list, nil
}
