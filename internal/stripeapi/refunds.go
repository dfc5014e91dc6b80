package stripeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/stripe/stripe-go/v82"

	"notepay/internal/payment"
	"notepay/internal/upstream"
)

// decodeRefund decodes a refund and its metadata.
func decodeRefund(text []byte) (r payment.RefundRecord, metadata map[string]string, err error) {
	var w struct {
		Object        string          `json:"object"`
		ID            string          `json:"id"`
		Amount        *int64          `json:"amount"`
		Status        string          `json:"status"` // may be null
		PaymentIntent reference       `json:"payment_intent"`
		Metadata      metadataMap     `json:"metadata"`
		Destination   json.RawMessage `json:"destination_details"`
	}
	err = decode("refund", text, &w)
	if err = withID("refund", w.ID, err); err != nil {
		return r, nil, err
	}
	if w.Amount == nil || *w.Amount < 0 { // the sum of the refunds would be too small
		return r, nil, &oddRecord{kind: "refund", id: w.ID, field: "amount", err: errors.New("no amount is named")}
	}
	if err := checkAmount("refund", w.ID, "amount", *w.Amount); err != nil {
		return r, nil, err
	}
	if w.Object != "" && w.Object != "refund" { // its amount was not refunded
		return r, nil, &oddRecord{kind: "refund", id: w.ID, field: "object", err: fmt.Errorf("it is a %s", w.Object)}
	}
	r = payment.RefundRecord{ID: w.ID, Intent: string(w.PaymentIntent), Amount: *w.Amount, Status: w.Status}
	r.Credit, r.Number = refundOrder(w.Metadata)
	r.Reference = refundReference(w.Destination)
	return r, w.Metadata, nil
}

// refundReferences matches the numbers that banks know: those of the acquirer, and shorter ones.
var refundReferences = regexp.MustCompile(`^[0-9A-Za-z-]{4,40}$`)

// refundReference returns the number by which the customer's bank finds a refund. It returns "" if
// Stripe does not know it yet, and for details of another shape: no refund depends on them.
func refundReference(details json.RawMessage) string {
	var w struct {
		Card struct {
			Reference json.RawMessage `json:"reference"`
			Status    json.RawMessage `json:"reference_status"`
		} `json:"card"`
	}
	var reference string
	if len(details) == 0 || json.Unmarshal(details, &w) != nil || len(w.Card.Reference) == 0 ||
		json.Unmarshal(w.Card.Reference, &reference) != nil || !refundReferences.MatchString(reference) {
		return ""
	}
	if len(w.Card.Status) > 0 && string(w.Card.Status) != `"available"` {
		return ""
	}
	return reference
}

// decodeRefundRecord decodes a refund without its metadata.
func decodeRefundRecord(text []byte) (payment.RefundRecord, error) {
	r, _, err := decodeRefund(text)
	return r, err
}

// decodeOrdered returns a decoder of the reply to a refund order. Any other refund is an error,
// because it does not tell what became of the ordered one.
func decodeOrdered(o payment.RefundOrder) func([]byte) (payment.RefundRecord, error) {
	return func(text []byte) (payment.RefundRecord, error) {
		r, err := decodeRefundRecord(text)
		if err == nil && (r.Credit != o.Credit || r.Number != o.Number) {
			err := errors.New("it is not the refund that was ordered")
			return r, &oddRecord{kind: "refund", id: r.ID, field: "metadata", err: err}
		}
		return r, err
	}
}

// refundOrder returns which of our orders a refund carries out, from the refund's metadata. It
// returns "" and 0 for a refund that was made in the Dashboard.
func refundOrder(metadata map[string]string) (credit string, number int) {
	number, err := strconv.Atoi(metadata["number"])
	if err != nil || number < 1 || metadata["app"] != App || metadata["credit"] == "" {
		return "", 0
	}
	return metadata["credit"], number
}

// Refund refunds a payment. The caller must read the status in the record, because an accepted
// refund may be pending or have failed already. Stripe keeps its answer for the credit and number
// for a day, even if it was an error. A new attempt after an error needs another number.
func (s *Client) Refund(ctx context.Context, o payment.RefundOrder) (payment.RefundRecord, error) {
	if err := checkID(o.Intent, "pi_"); err != nil {
		return payment.RefundRecord{}, err
	}
	number := strconv.Itoa(o.Number)
	params := &stripe.RefundCreateParams{
		PaymentIntent: stripe.String(o.Intent),
		Amount:        stripe.Int64(o.Amount),
		Metadata: map[string]string{
			"app":     App,
			"project": s.config.Project,
			"credit":  o.Credit,
			"number":  number,
		},
	}
	reply, err := s.post(ctx, "/v1/refunds", params, "refund:"+o.Credit+":"+number)
	record, err := decoded(s, reply.text, err, upstream.Unknown, decodeOrdered(o))
	record.Replayed = err == nil && reply.replayed()
	return record, err
}

// Refunds lists the refunds of a PaymentIntent in any status, newest first, ours and those made in
// the Dashboard. It reads one page of 100, more than a payment for a machine ever has.
func (s *Client) Refunds(ctx context.Context, intent string) (refunds []payment.RefundRecord, err error) {
	if err := checkID(intent, "pi_"); err != nil {
		return nil, err
	}
	page, err := s.readPage(ctx, "/v1/refunds", url.Values{"payment_intent": {intent}}, "")
	if err != nil {
		return nil, err
	}
	for _, record := range page.records {
		r, err := decodeRefundRecord(record)
		if err != nil { // without this one the sum is unknown, and we might refund more than was paid
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
