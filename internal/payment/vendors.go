package payment

import (
	"errors"
	"time"
)

// PendingNote is a note in payment.qi that the device has not fetched yet.
type PendingNote struct {
	ID, CreditID, PaymentStatus string
	Unreadable                  bool // so it may be of any credit
}

// Confirmation is a machine's answer, a note in payment_ack.qo.
type Confirmation struct {
	EventID   string // Notehub's; a repeat has the same
	DeviceUID string
	CreditID  string
	State     string    // "started", "done", "failed", "busy", "expired", "duplicate"
	Code      string    // the machine's own, such as "E-DOOR"
	At        time.Time // when Notehub received it

	Unusable string // why it cannot be applied though it names a credit, such as ConfirmationNoState; "" if it can
}

// RefundOrder is a refund that is on disk before it is made.
type RefundOrder struct {
	Intent string
	Amount int64 // minor currency units
	Credit string
	Number int // of this credit's refunds, from 1; with the credit it is the idempotency key
}

// RefundRecord is a refund as Stripe knows it.
type RefundRecord struct {
	ID     string
	Intent string
	Credit string // of our own; "" for one that was made in the Dashboard
	Number int    // of our own; 0 for others
	Amount int64  // minor currency units
	Status string // "pending", "requires_action", "succeeded", "failed", "canceled"
}

// Refusals that are answers. A *upstream.Error with Outcome Refused wraps them.
var (
	ErrAlreadyRefunded = errors.New("already refunded")
	ErrAlreadyCaptured = errors.New("already captured")
	ErrAlreadyCanceled = errors.New("already canceled")
	ErrDisputed        = errors.New("disputed")
	ErrBalance         = errors.New("too little balance")
)

// Note is the body of a payment.qi note. Firmware reads the first three keys; they never change.
type Note struct {
	PaymentStatus string `json:"payment_status"`
	Timestamp     int64  `json:"timestamp"` // when it was paid, Unix seconds
	SessionID     string `json:"session_id"`
	CreditID      string `json:"credit_id"`
	Expires       int64  `json:"expires,omitempty"` // Unix seconds
	Duration      int64  `json:"duration_s,omitempty"`
	DelayedStart  int64  `json:"delayed_start_s,omitempty"`
	Code          string `json:"code,omitempty"` // six digits, which the customer types at the machine
}

// CheckoutSession is what is used of a Checkout Session.
type CheckoutSession struct {
	ID            string
	Mode          string // "payment", "setup" or "subscription"; "" where it was not told
	PaymentStatus string // "paid", "unpaid" or "no_payment_required"
	IntentStatus  string // "succeeded", "requires_capture", ...; "" where it was not read
	PaymentIntent string
	PaymentLink   string // "" for a session without one
	Amount        int64  // minor currency units
	Currency      string
	Livemode      bool
	Created       time.Time
	PaidAt        time.Time // by Stripe's clock; zero where there is no charge to tell
	Refunded      int64     // minor currency units, of the charge; 0 where it was not read
	Disputed      bool      // of the charge: it is, or was, or the bank asked; false where it was not read
	CardLast4     string    // of the charge; "" where it was not read, or no card paid
	ReceiptURL    string    // of the charge, a page of Stripe's; "" where it was not read
	Metadata      map[string]string

	PriceAmount   int64  // in the price's own currency, where Stripe converted Amount from it
	PriceCurrency string // "" where it did not
	ShownCurrency string // the currency that the customer saw, "" where it is the session's

	Handled string // why the payment counts as handled by an earlier state of this ledger, "" if nothing says so

	Disputes []DisputeRecord // of the charge; nil where they were not read
}
