package ledger

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"
)

// Money is where the customer's money is.
type Money string

// The states of the money. It is on its way in Capturing, Releasing and Refunding.
const (
	Authorized    Money = "authorized"
	Capturing     Money = "capturing"
	Paid          Money = "paid"
	Releasing     Money = "releasing"
	Released      Money = "released"
	CaptureFailed Money = "capture_failed"
	Refunding     Money = "refunding"
	Refunded      Money = "refunded"
	RefundFailed  Money = "refund_failed"
	Disputed      Money = "disputed"
	Lost          Money = "lost"
)

// Machine is how far the credit has come towards the machine.
type Machine string

// The states of the credit. Failed goes with a reason.
const (
	Queued  Machine = "queued"
	Sent    Machine = "sent"    // Notehub has accepted the note
	Fetched Machine = "fetched" // the Notecard has it
	Started Machine = "started" // the machine said so
	Done    Machine = "done"
	Failed  Machine = "failed"
)

// Step is the next call that a payment needs; "" when it needs none.
type Step string

// The steps, which are also the actions of attempts.
const (
	NoStep       Step = ""
	PostNote     Step = "note"
	CheckPending Step = "check_pending"
	Recall       Step = "recall"
	Capture      Step = "capture"
	Release      Step = "release"
	Refund       Step = "refund"
	Wait         Step = "wait" // no call: time decides then
)

// Payment is one paid Checkout Session with its one credit. Zero times mean "not" or, for ExpiresAt, "never".
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

	Money          Money
	RefundedAmount int64 // minor currency units
	Machine        Machine
	Reason         string    // why the machine failed or its session ended early, "" if neither
	Code           string    // the machine's own, such as "E-DOOR"
	WithCode       bool      // the machine is opened with a code
	AccessCode     string    // that code, six digits, while it opens anything; "" else
	Attention      string    // why a person must look, "" if nobody has to
	MachineAt      time.Time // since when Machine is what it is, see ChangePayment; zero: not known
	MoneyAt        time.Time // since when Money is
	PaidAt         time.Time
	CreatedAt      time.Time
	SentAt         time.Time
	StartedAt      time.Time
	EndsAt         time.Time
	ExpiresAt      time.Time
	ConfirmBy      time.Time // silence after this gives the money back; zero: no confirmation is expected
	Occupies       bool      // a timed credit that holds its device; at most one does

	Step      Step
	DueAt     time.Time
	NotBefore time.Time // of calls to Notehub: back-off, or a call whose time limit has to be waited out
	Turn      int64     // grows with each claim
	InFlight  bool      // claimed and not settled
	Failures  int       // calls to Notehub in a row that came to nothing
	Posted    bool      // Notehub has, or may have, taken a note
	Unclear   bool      // the last post may have been applied
	Vanished  bool      // an unclear post was looked for and not found: it was not applied, or fetched already
	Stop      string    // why the note is to be taken back before its time, "" if it is not
	Recalled  Recalled  // what the deletions of a recall came to so far, "" if none is under way
	NoteIDs   string    // pending notes that are still to be deleted, with commas
	Tell      string    // what a machine that confirms has to be told: "refunded", "ended"

	MoneyNotBefore time.Time // the same of calls to Stripe, so that neither vendor's trouble holds up the other's calls
	MoneyFailures  int
	LostAmount     int64 // minor currency units that the customer's bank took back in disputes

	RefundNumber int       // the refund under way or made last, 0 for none; it is on disk before it is made
	RefundAmount int64     // minor currency units
	RefundGoal   int64     // what RefundedAmount is once it is made
	RefundAt     time.Time // when it was ordered
	RefundLook   bool      // read what was refunded before ordering more
}

// Recalled is what the deletions of a recall came to.
type Recalled string

// The worst that was seen of a recall's deletions.
const (
	NotRecalled   Recalled = ""
	RecallDeleted Recalled = "deleted"
	RecallUnclear Recalled = "unclear" // one may or may not have been applied
	RecallTooLate Recalled = "fetched" // one found no such note
)

// CreditID derives the credit's id from the session's, so that even a lost ledger cannot give a
// payment a second credit.
func CreditID(sessionID string) string {
	sum := sha256.Sum256([]byte(sessionID))
	return "cr_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// Attempt is one call made for a payment.
type Attempt struct {
	At      time.Time
	Action  Step
	Outcome string // "ok", "retry" or "failed"
	Status  int    // HTTP; 0: no reply
	Detail  string
	Took    time.Duration
}

// HandledUnsure is the Handled of a session that Stripe lists as not accepted yet. If it is accepted
// without this ledger, it was handled by a later state of it. A webhook of it ends the doubt.
const HandledUnsure = "?"

// Lookup is a session that Stripe has to be asked about.
type Lookup struct {
	ID       string // cs_... or pi_...
	PaidAt   time.Time
	Facts    bool   // it is asked for its money, also where the payment is known
	Handled  string // why the payment counts as handled by an earlier state of this ledger, "" if nothing says so
	DueAt    time.Time
	Turn     int64
	Failures int
}

// StripeEvent is an event as it was received, with what came of it.
type StripeEvent struct {
	ID       string
	Type     string
	ObjectID string
	Livemode bool
	Created  time.Time // by Stripe's clock
	Received time.Time
	Outcome  string
	Repeats  int
	Body     string // without customer_details, billing_details and shipping

	// PaymentIntent is which payment it is about, of events that follow one later, such as refunds; "" for all others.
	PaymentIntent string
}

// Confirmation is what a machine answered, with what came of it.
type Confirmation struct {
	ID        string // of Notehub's event
	DeviceUID string
	CreditID  string
	State     string
	Code      string
	At        time.Time // when Notehub received it
	Outcome   string
}
