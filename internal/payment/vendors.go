package payment

import (
	"errors"
	"time"
)

// PendingNote is a note in payment.qi that the device has not fetched.
type PendingNote struct {
	ID, CreditID, PaymentStatus string
	Unreadable                  bool   // it may belong to any credit
	Digest                      string // of an encrypted note, which the ledger may identify; "" for others
}

// Confirmation is a machine's answer, a note in payment_ack.qo.
type Confirmation struct {
	EventID   string // Notehub's id, the same in repeats
	DeviceUID string
	CreditID  string // "" if the machine speaks of itself
	// "started", "done", "failed", "busy", "expired", "duplicate"; without a credit MachineOut or
	// MachineReady
	State  string
	Code   string    // the machine's error code, such as "E-DOOR"
	At     time.Time // when Notehub received it
	SaidAt time.Time // when the machine wrote it, by the Notecard's clock; zero: unknown

	// why it cannot be applied although it names a credit, else ""
	Unusable string
}

// The states of a machine that it reports without a credit.
const (
	MachineOut   = "out"
	MachineReady = "ready"
)

// RefundOrder is a refund that is stored but not yet made.
type RefundOrder struct {
	Intent string
	Amount int64 // minor currency units
	Credit string
	Number int // of this credit's refunds, from 1; credit and number are the idempotency key
}

// RefundRecord is a refund as Stripe reports it.
type RefundRecord struct {
	ID     string
	Intent string
	Credit string // "" unless notepay made the refund
	Number int    // 0 unless notepay made the refund
	Amount int64  // minor currency units
	Status string // "pending", "requires_action", "succeeded", "failed", "canceled"

	// Replayed says that Stripe repeated its first answer to the order, so the status may be outdated.
	Replayed  bool
	Reference string // the number by which the customer's bank finds it; "" while there is none
}

// Rejections with a meaning. An *upstream.Error with outcome Rejected wraps them.
var (
	ErrAlreadyRefunded = errors.New("already refunded")
	ErrAlreadyCaptured = errors.New("already captured")
	ErrAlreadyCanceled = errors.New("already canceled")
	ErrDisputed        = errors.New("disputed")
	ErrBalance         = errors.New("too little balance")
)

// Note is the body of a payment.qi note. Firmware reads the first three keys, which never change.
type Note struct {
	PaymentStatus string `json:"payment_status"`
	Timestamp     int64  `json:"timestamp"` // when it was paid, in Unix seconds
	SessionID     string `json:"session_id"`
	CreditID      string `json:"credit_id"`
	Expires       int64  `json:"expires,omitempty"` // Unix seconds
	Duration      int64  `json:"duration_s,omitempty"`
	DelayedStart  int64  `json:"delayed_start_s,omitempty"`
	Code          string `json:"code,omitempty"` // six digits that the customer enters at the machine
	Pulses        int64  `json:"pulses,omitempty"`
	Output        int64  `json:"output,omitempty"`
	// Signature is Sign's result as the machine's key makes it; "" if notes are not signed.
	Signature string `json:"sig,omitempty"`
}

// CheckoutSession holds the fields of a Checkout Session that notepay uses.
type CheckoutSession struct {
	ID            string
	Mode          string // "payment", "setup" or "subscription"; "" if unknown
	PaymentStatus string // "paid", "unpaid" or "no_payment_required"
	IntentStatus  string // "succeeded", "requires_capture", ...; "" if not read
	PaymentIntent string
	PaymentLink   string // "" for a session without one
	Amount        int64  // minor currency units
	Discount      int64  // what promotion codes took off; Amount is what is left
	Currency      string
	Livemode      bool
	Created       time.Time
	PaidAt        time.Time // by Stripe's clock; zero without a charge
	Refunded      int64     // of the charge, in minor currency units; 0 if not read
	Disputed      bool      // the charge has or had a dispute or inquiry; false if not read
	CardLast4     string    // of the charge; "" if not read, or no card paid
	ReceiptURL    string    // of the charge; "" if not read
	Metadata      map[string]string

	// Subtotal is the sum of the prices before discounts, taxes and shipping, in minor units of
	// Currency; 0 if unknown.
	Subtotal      int64
	PriceAmount   int64  // in the price's currency and before a discount, if Stripe converted Amount from it
	PriceSubtotal int64  // like Subtotal, in PriceCurrency
	PriceCurrency string // "" without a conversion
	ShownCurrency string // the currency shown to the customer, "" if it is Currency

	// why an earlier state of this ledger counts as having handled the payment, else ""
	Handled string

	Disputes []DisputeRecord // of the charge; nil if not read
}
