package stripeapi

import (
	"encoding/json"
	"errors"
	"time"

	"notepay/internal/payment"
)

// session is what is used of a Checkout Session.
type session struct {
	ID            string            `json:"id"`
	Livemode      bool              `json:"livemode"`
	Mode          string            `json:"mode"`
	Status        string            `json:"status"`
	PaymentStatus string            `json:"payment_status"`
	AmountTotal   *int64            `json:"amount_total"`
	Currency      string            `json:"currency"`
	Created       int64             `json:"created"`
	Metadata      map[string]string `json:"metadata"`
	PaymentLink   Reference         `json:"payment_link"`
	PaymentIntent intent            `json:"payment_intent"`
	Conversion    struct {
		AmountTotal    int64  `json:"amount_total"`
		SourceCurrency string `json:"source_currency"`
	} `json:"currency_conversion"`
	Presentment struct {
		Currency string `json:"presentment_currency"`
	} `json:"presentment_details"`
}

// intent is what is used of a PaymentIntent: its id alone where it was not expanded.
type intent struct {
	ID           string
	Status       string
	LatestCharge *Charge // nil where it was not read
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *intent) UnmarshalJSON(text []byte) error {
	*i = intent{}
	if json.Unmarshal(text, &i.ID) == nil {
		return nil
	}
	var object struct {
		ID           string          `json:"id"`
		Status       string          `json:"status"`
		LatestCharge json.RawMessage `json:"latest_charge"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	i.ID, i.Status = object.ID, object.Status
	if len(object.LatestCharge) > 0 && object.LatestCharge[0] == '{' {
		charge, err := DecodeCharge(object.LatestCharge)
		i.LatestCharge = &charge
		return err
	}
	return nil
}

// Charge is what is used of a charge.
type Charge struct {
	ID             string            `json:"id"`
	Created        int64             `json:"created"`
	AmountRefunded int64             `json:"amount_refunded"`
	Disputed       bool              `json:"disputed"`
	PaymentIntent  Reference         `json:"payment_intent"`
	Metadata       map[string]string `json:"metadata"`
	ReceiptURL     Text              `json:"receipt_url"`
	Details        details           `json:"payment_method_details"`
}

// details is how a charge was paid. Nothing depends on it, so it may have any shape.
type details struct{ Last4 string }

// UnmarshalJSON implements json.Unmarshaler.
func (d *details) UnmarshalJSON(text []byte) error {
	var how struct {
		Card struct {
			Last4 Text `json:"last4"`
		} `json:"card"`
	}
	*d = details{}
	if json.Unmarshal(text, &how) == nil {
		d.Last4 = string(how.Card.Last4)
	}
	return nil
}

// DecodeCharge reads a charge.
func DecodeCharge(text []byte) (c Charge, err error) {
	err = decode("charge", text, &c)
	return c, withID("charge", c.ID, err)
}

// withID adds to the result of decoding that a record without an id is odd.
func withID(kind, id string, err error) error {
	if err == nil && id == "" {
		return &Odd{Kind: kind, Field: "id", Err: errors.New("there is no id")}
	}
	return err
}

// OpenSession is what is used of a Checkout Session that nobody has paid yet.
type OpenSession struct {
	ID       string `json:"id"`
	URL      string `json:"url"`
	Status   string `json:"status"`
	Livemode bool   `json:"livemode"`
}

// DecodeOpenSession reads a Checkout Session that may be paid.
func DecodeOpenSession(text []byte) (s OpenSession, err error) {
	err = decode("session", text, &s)
	return s, withID("session", s.ID, err)
}

// DecodeSession reads a Checkout Session as an event carries it, or as it was read. The caller says
// when it was paid, where the session's charge does not.
func DecodeSession(text []byte) (s payment.CheckoutSession, complete bool, err error) {
	var w session
	err = decode("session", text, &w)
	if err = withID("session", w.ID, err); err != nil {
		return s, false, err
	}
	paid := w.PaymentStatus == "paid" && (w.Status == "complete" || w.Status == "") && w.Metadata["device_uid"] != ""
	if paid && (w.AmountTotal == nil || w.Currency == "") { // what would be refunded
		err := errors.New("it is paid, and no amount is named")
		return s, false, &Odd{Kind: "session", ID: w.ID, Field: "amount_total", Err: err}
	}
	s = payment.CheckoutSession{
		ID:            w.ID,
		Mode:          w.Mode,
		PaymentStatus: w.PaymentStatus,
		IntentStatus:  w.PaymentIntent.Status,
		PaymentIntent: w.PaymentIntent.ID,
		PaymentLink:   string(w.PaymentLink),
		Currency:      w.Currency,
		Livemode:      w.Livemode,
		Created:       time.Unix(w.Created, 0).UTC(),
		Metadata:      w.Metadata,
		PriceAmount:   w.Conversion.AmountTotal,
		PriceCurrency: w.Conversion.SourceCurrency,
		ShownCurrency: w.Presentment.Currency,
	}
	if w.AmountTotal != nil {
		s.Amount = *w.AmountTotal
	}
	if c := w.PaymentIntent.LatestCharge; c != nil && c.Created > 0 {
		s.PaidAt = time.Unix(c.Created, 0).UTC() // the session may have been opened long before it was paid
		s.Refunded, s.Disputed = c.AmountRefunded, c.Disputed
		s.ReceiptURL, s.CardLast4 = string(c.ReceiptURL), c.Details.Last4
	}
	return s, w.Status == "complete", nil
}
