package stripeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"notepay/internal/upstream"
)

// paymentIntent holds the fields of a PaymentIntent that notepay uses.
type paymentIntent struct {
	ID       string      `json:"id"`
	Status   optional    `json:"status"`
	Metadata metadataMap `json:"metadata"`
}

// decodeIntent decodes a PaymentIntent.
func decodeIntent(text []byte) (i paymentIntent, err error) {
	err = decode("intent", text, &i)
	return i, withID("intent", i.ID, err)
}

// charge holds the fields of a charge that notepay uses.
type charge struct {
	ID             string        `json:"id"`
	Created        timestamp     `json:"created"`
	AmountRefunded int64         `json:"amount_refunded"`
	Disputed       bool          `json:"disputed"`
	PaymentIntent  reference     `json:"payment_intent"`
	Metadata       metadataMap   `json:"metadata"`
	ReceiptURL     optional      `json:"receipt_url"`
	Details        methodDetails `json:"payment_method_details"`
}

// methodDetails hold how a charge was paid. Nothing depends on them, so they may have any shape.
type methodDetails struct{ last4 string }

// UnmarshalJSON implements json.Unmarshaler.
func (d *methodDetails) UnmarshalJSON(text []byte) error {
	var method struct {
		Card struct {
			Last4 optional `json:"last4"`
		} `json:"card"`
	}
	*d = methodDetails{}
	if json.Unmarshal(text, &method) == nil {
		d.last4 = string(method.Card.Last4)
	}
	return nil
}

// decodeCharge decodes a charge.
func decodeCharge(text []byte) (c charge, err error) {
	err = decode("charge", text, &c)
	return c, withID("charge", c.ID, err)
}

// Capture captures the whole amount of an authorized PaymentIntent. The idempotency key makes a
// repeated call harmless for a day.
func (s *Client) Capture(ctx context.Context, intent, key string) error {
	return s.changeIntent(ctx, intent, "capture", key, "succeeded")
}

// Release cancels a PaymentIntent and with it the authorization. The idempotency key makes a
// repeated call harmless for a day.
func (s *Client) Release(ctx context.Context, intent, key string) error {
	return s.changeIntent(ctx, intent, "cancel", key, "canceled")
}

// changeIntent captures or cancels a PaymentIntent. A success reply counts as Unknown if it leaves
// the intent in another status than want.
func (s *Client) changeIntent(ctx context.Context, intent, action, key, want string) error {
	if err := checkID(intent, "pi_"); err != nil {
		return err
	}
	pi, err := createObject(ctx, s, "/v1/payment_intents/"+intent+"/"+action, nil, key, decodeIntent)
	if err == nil && string(pi.Status) != want {
		err = &upstream.Error{
			Outcome: upstream.Unknown,
			Status:  http.StatusOK,
			Detail:  fmt.Sprintf("intent %q is %q, not %s", pi.ID, pi.Status, want),
		}
	}
	return err
}
