package payment

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"
)

// FundsStatus says where the customer's money is.
type FundsStatus string

// The states of the money. A call to Stripe is due in Capturing, Canceling and Refunding.
const (
	Authorized    FundsStatus = "authorized"
	Capturing     FundsStatus = "capturing"
	Paid          FundsStatus = "paid"
	Canceling     FundsStatus = "releasing"
	Canceled      FundsStatus = "released"
	CaptureFailed FundsStatus = "capture_failed"
	Refunding     FundsStatus = "refunding"
	Refunded      FundsStatus = "refunded"
	RefundFailed  FundsStatus = "refund_failed"
	Disputed      FundsStatus = "disputed"
	DisputeLost   FundsStatus = "lost"
)

// DeliveryStatus says how far the credit is on its way to the machine.
type DeliveryStatus string

// The states of the credit. A failed credit has a reason.
const (
	Queued  DeliveryStatus = "queued"
	Sent    DeliveryStatus = "sent"    // Notehub has accepted the note
	Fetched DeliveryStatus = "fetched" // the Notecard has it
	Started DeliveryStatus = "started" // the machine confirmed it
	Done    DeliveryStatus = "done"
	Failed  DeliveryStatus = "failed"
)

// Step is the next call for a payment, or "" if none is due.
type Step string

// The steps, which are also the actions of attempts.
const (
	NoStep           Step = ""
	StepPostNote     Step = "note"
	StepCheckPending Step = "check_pending"
	StepRecall       Step = "recall"
	StepCapture      Step = "capture"
	StepCancel       Step = "release"
	StepRefund       Step = "refund"
	StepWait         Step = "wait" // no call, but a deadline
)

// Payment is one paid Checkout Session with its one credit. A zero time means "not yet", and
// "never" in ExpiresAt.
type Payment struct {
	ID            string // the credit's id, CreditID(SessionID)
	SessionID     string
	PaymentIntent string // "" for a free session
	Token         string // names the customer's page
	DeviceUID     string
	DeviceName    string
	PriceID       string
	Plan          string // the offer's name
	Duration      time.Duration
	DelayedStart  time.Duration
	Pulses        int64 // for a machine with a coin input; 0: not set
	Output        int64 // of a machine with several, such as relays
	Amount        int64 // minor currency units
	Discount      int64 // what a promotion code took off the price; Amount is what was paid
	Currency      string
	Livemode      bool
	CardLast4     string // of the card; "" if unknown
	ReceiptURL    string // of Stripe's receipt; "" if unknown
	Rev           int64  // grows with each change of the stored payment

	Funds           FundsStatus
	RefundedAmount  int64 // minor currency units
	Delivery        DeliveryStatus
	Reason          string    // why the credit failed or the session ended early, else ""
	MachineCode     string    // the machine's error code, such as "E-DOOR"
	NeedsAccessCode bool      // the machine needs a code to open
	AccessCode      string    // six digits while they open something, else ""
	ReviewReason    string    // why the operator must review the payment, else ""
	DeliveryAt      time.Time // when Delivery changed, set by the ledger; zero: unknown
	FundsAt         time.Time // the same of Funds
	PaidAt          time.Time
	CreatedAt       time.Time
	SentAt          time.Time
	StartedAt       time.Time
	EndsAt          time.Time
	ExpiresAt       time.Time
	ConfirmBy       time.Time // without a confirmation by then the money goes back; zero: none expected
	HoldsDevice     bool      // a timed credit occupies its device; at most one does

	Step           Step
	DueAt          time.Time
	BackoffUntil   time.Time // of calls to Notehub, after failures and unclear calls
	FencingToken   int64     // incremented by each claim
	InFlight       bool      // claimed, and the outcome is not recorded
	Failures       int       // calls to Notehub that failed in a row
	MaybeAccepted  bool      // Notehub accepted a note, or may have
	OutcomeUnknown bool      // the last post or deletion may have been applied
	// The note of an unclear post is not pending: the post was not applied, or the note was
	// fetched.
	NotFoundAfterUnclear bool
	CancelReason         string       // why the note is recalled before its expiry, else ""
	RecallStatus         RecallStatus // the worst result of the deletions so far
	NoteIDs              string       // pending notes to delete, comma-separated
	NoteFile             string       // the notefile of its notes, "" for payment.qi; see AssignNoteFile
	PendingNotice        string       // what to tell a confirming machine: "refunded", "ended", or ""

	// The same for calls to Stripe, so that one vendor's failures do not delay calls to the other.
	FundsBackoffUntil time.Time
	FundsFailures     int
	LostAmount        int64 // minor currency units that the bank took in lost disputes

	RefundSeq       int       // the number of the last refund, stored before its call; 0: none
	RefundAmount    int64     // minor currency units
	RefundTarget    int64     // RefundedAmount once the refund succeeded
	RefundAt        time.Time // when the refund was ordered
	ReconcileRefund bool      // read the refunds before making more
	RefundReference string    // the number by which the bank finds the last refund; "" if unknown
}

// RecallStatus is the result of a recall's deletions.
type RecallStatus string

// The results of a recall, of which the worst is kept.
const (
	NotRecalled   RecallStatus = ""
	RecallDeleted RecallStatus = "deleted"
	RecallUnclear RecallStatus = "unclear" // a deletion may have been applied
	RecallTooLate RecallStatus = "fetched" // the note was gone already
)

// CreditID derives the credit's id from the session's id. So even a lost ledger cannot give a
// payment a second credit.
func CreditID(sessionID string) string {
	sum := sha256.Sum256([]byte(sessionID))
	return creditPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// Captured returns the captured amount in minor currency units. It is 0 while the money is only
// authorized, and after a release.
func (p Payment) Captured() int64 {
	switch p.Funds {
	case Authorized, Capturing, Canceling, Canceled, CaptureFailed:
		return 0
	}
	return p.Amount
}

// Refunded returns the part of Captured that the customer or their bank has back.
func (p Payment) Refunded() int64 {
	if p.Funds == DisputeLost {
		return p.Amount
	}
	return min(p.RefundedAmount, p.Captured())
}

// RefundDate returns when the customer's money was sent back, or zero if nothing was refunded or
// that is unknown.
func (p Payment) RefundDate() time.Time {
	switch {
	case p.RefundedAmount == 0:
		return time.Time{}
	case p.Funds == Refunded:
		return p.FundsAt
	}
	return p.RefundAt
}
