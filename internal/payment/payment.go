package payment

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"
)

// FundsStatus is where the customer's money is.
type FundsStatus string

// The states of the money. It is on its way in Capturing, Releasing and Refunding.
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

// DeliveryStatus is how far the credit has come towards the machine.
type DeliveryStatus string

// The states of the credit. Failed goes with a reason.
const (
	Queued  DeliveryStatus = "queued"
	Sent    DeliveryStatus = "sent"    // Notehub has accepted the note
	Fetched DeliveryStatus = "fetched" // the Notecard has it
	Started DeliveryStatus = "started" // the machine said so
	Done    DeliveryStatus = "done"
	Failed  DeliveryStatus = "failed"
)

// Step is the next call that a payment needs; "" when it needs none.
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
	StepWait         Step = "wait" // no call: time decides then
)

// Payment is one paid Checkout Session with its one credit. Zero times mean "not" or, for
// ExpiresAt, "never".
type Payment struct {
	ID            string // the credit's id, CreditID(SessionID)
	SessionID     string
	PaymentIntent string // "" for a free session
	Token         string // of the payer's page
	DeviceUID     string
	DeviceName    string
	PriceID       string
	Plan          string // what was sold, by name
	Duration      time.Duration
	DelayedStart  time.Duration
	Amount        int64 // minor currency units
	Currency      string
	Livemode      bool
	CardLast4     string // of the card that paid, "" until Stripe told; SavePayment leaves it alone, see SetCharge
	ReceiptURL    string // of Stripe's receipt, "" until Stripe told; likewise

	Funds           FundsStatus
	RefundedAmount  int64 // minor currency units
	Delivery        DeliveryStatus
	Reason          string    // why the machine failed or its session ended early, "" if neither
	MachineCode     string    // the machine's own, such as "E-DOOR"
	NeedsAccessCode bool      // the machine is opened with a code
	AccessCode      string    // that code, six digits, while it opens anything; "" else
	ReviewReason    string    // why a person must look, "" if nobody has to
	DeliveryAt      time.Time // since when Machine is what it is, see ChangePayment; zero: not known
	FundsAt         time.Time // since when Money is
	PaidAt          time.Time
	CreatedAt       time.Time
	SentAt          time.Time
	StartedAt       time.Time
	EndsAt          time.Time
	ExpiresAt       time.Time
	ConfirmBy       time.Time // silence after this gives the money back; zero: no confirmation is expected
	HoldsDevice     bool      // a timed credit that holds its device; at most one does

	Step           Step
	DueAt          time.Time
	BackoffUntil   time.Time // of calls to Notehub: back-off, or a call whose time limit has to be waited out
	FencingToken   int64     // grows with each claim
	InFlight       bool      // claimed and not settled
	Failures       int       // calls to Notehub in a row that came to nothing
	MaybeAccepted  bool      // Notehub has, or may have, taken a note
	OutcomeUnknown bool      // the last post may have been applied
	// an unclear post was looked for and not found: it was not applied, or fetched already
	NotFoundAfterUnclear bool
	CancelReason         string       // why the note is to be taken back before its time, "" if it is not
	RecallStatus         RecallStatus // what the deletions of a recall came to so far, "" if none is under way
	NoteIDs              string       // pending notes that are still to be deleted, with commas
	PendingNotice        string       // what a machine that confirms has to be told: "refunded", "ended"

	// the same of calls to Stripe, so that neither vendor's trouble holds up the other's calls
	FundsBackoffUntil time.Time
	FundsFailures     int
	LostAmount        int64 // minor currency units that the customer's bank took back in disputes

	RefundSeq       int       // the refund under way or made last, 0 for none; it is on disk before it is made
	RefundAmount    int64     // minor currency units
	RefundTarget    int64     // what RefundedAmount is once it is made
	RefundAt        time.Time // when it was ordered
	ReconcileRefund bool      // read what was refunded before ordering more
}

// RecallStatus is what the deletions of a recall came to.
type RecallStatus string

// The worst that was seen of a recall's deletions.
const (
	NotRecalled   RecallStatus = ""
	RecallDeleted RecallStatus = "deleted"
	RecallUnclear RecallStatus = "unclear" // one may or may not have been applied
	RecallTooLate RecallStatus = "fetched" // one found no such note
)

// CreditID derives the credit's id from the session's, so that even a lost ledger cannot give a
// payment a second credit.
func CreditID(sessionID string) string {
	sum := sha256.Sum256([]byte(sessionID))
	return "cr_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// What an operator looks for. Each of these reads a bounded number of rows, however many there are.

// Captured is what was taken from the customer, in minor currency units: nothing while the money is
// only held, or was let go.
func (p Payment) Captured() int64 {
	switch p.Funds {
	case Authorized, Capturing, Canceling, Canceled, CaptureFailed:
		return 0
	}
	return p.Amount
}

// Refunded is what the customer, or their bank, has back of it, in minor currency units.
func (p Payment) Refunded() int64 {
	if p.Funds == DisputeLost {
		return p.Amount
	}
	return min(p.RefundedAmount, p.Captured())
}
