// Package bridge keeps the promise: for every payment the machine gets its one credit or the
// customer gets the money back.
//
// What Receive and Confirm returned nil for is on disk, and from then on the ledger's row says what
// is next. The life of a payment is in pure functions (life.go, with recall.go for a note that is
// taken back and money.go for its money); what Stripe says becomes a payment in receive.go, what it
// said while nobody listened is read in reconcile.go, what machines answer comes in through
// listen.go; work.go makes the calls, glance.go those that are made early for who waits, and
// decide.go holds what a person may decide. It does not know what the vendors look like on the
// wire, and it cannot know what a machine without confirmations does with a credit that it fetched.
package bridge

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Notehub is what the bridge asks of Notehub. Each method makes one attempt and returns a
// *upstream.Error if it fails.
type Notehub interface {
	// PostNote puts a note into a device's queue.
	PostNote(ctx context.Context, device string, note payment.Note) error
	// PendingNotes lists the notes that the device has not fetched yet.
	PendingNotes(ctx context.Context, device string) ([]payment.PendingNote, error)
	// DeleteNote takes a pending note back. upstream.Refused means that there is no such note any
	// more: it was fetched.
	DeleteNote(ctx context.Context, device, noteID string) error
	// Confirmations reads a page of what machines answered, from the cursor on ("" for the
	// beginning), oldest first. The one under the cursor may come again. next is where to go on,
	// more whether there is something already.
	Confirmations(ctx context.Context, cursor string) (list []payment.Confirmation, next string, more bool, err error)
}

// Stripe is what the bridge asks of Stripe. Each method makes one attempt and returns a
// *upstream.Error if it fails.
type Stripe interface {
	// Session reads a Checkout Session by its id (cs_...) or by its payment intent (pi_...), with
	// the state of intent and charge. That there is none is upstream.Refused.
	Session(ctx context.Context, id string) (payment.CheckoutSession, error)
	// Capture takes the held money of a payment intent; the same key takes it once.
	Capture(ctx context.Context, intent, key string) error
	// Release cancels the hold.
	Release(ctx context.Context, intent, key string) error
	// Refund makes a refund; the same credit and number make one.
	Refund(ctx context.Context, o payment.RefundOrder) (payment.RefundRecord, error)
	// Refunds lists all refunds of a payment intent.
	Refunds(ctx context.Context, intent string) ([]payment.RefundRecord, error)
	// Events reads a page of the events of our types since a time, newest first, behind the event
	// with the id after ("" for the first page). An event that cannot be read is given with Odd,
	// and holds up none of the others.
	Events(ctx context.Context, since time.Time, after string) (events []Event, last string, more bool, err error)
	// Sessions reads a page of the completed sessions opened since a time, in the same way. odd
	// names those that cannot be read.
	Sessions(
		ctx context.Context,
		since time.Time,
		after string,
	) (sessions []payment.CheckoutSession, odd []string, last string, more bool, err error)
}

// Event is what is used of a Stripe event. Metadata and Intent are set where the object has them;
// Session is set for checkout.session.* events, Refund for refund.* events, Refunded for
// charge.refunded, Dispute for charge.dispute.* events. Nothing of the object is set for a foreign
// event and for one that is skipped.
type Event struct {
	ID         string
	Type       string
	ObjectID   string
	Intent     string // the payment intent that it is about, "" if it names none
	Livemode   bool
	Created    time.Time
	Metadata   map[string]string
	Session    *payment.CheckoutSession
	Refund     *payment.RefundRecord
	Refunded   int64  // minor currency units: all that was given back of the charge so far
	Card       string // the last four digits, of charge.refunded and charge.succeeded; "" where no card paid
	ReceiptURL string // of the same: Stripe's page of the receipt
	// the dispute's status: "needs_response", "won", "lost", "warning_closed", ...; its id is
	// ObjectID
	Dispute string
	Body    string // as it is kept: without customer_details, billing_details and shipping

	Listed  bool   // it was read from Stripe's list, and not sent
	Pending int    // how many endpoints have not accepted it yet; -1: not told
	Odd     string // why it cannot be read, "" if it can; then only what the other fields hold could be read
	Foreign bool   // it is a connected account's, or another context's
	Skipped string // why this kind of event is not followed, "" if it may be

	DisputeAmount   int64 // minor units of DisputeCurrency
	DisputeCurrency string
	Refundable      bool // the disputed charge can be refunded nevertheless

	// of a Payment Link: whether it can be paid through, and whether Stripe ends it after some
	// payments
	Active, Limited bool
}

// Config is what a Bridge needs. All fields are required, but AskTime, Problems and Changed.
type Config struct {
	Ledger         *ledger.Ledger
	Fleet          *fleet.Fleet
	Notehub        Notehub
	Stripe         Stripe
	NotehubLimiter *upstream.Limiter
	StripeLimiter  *upstream.Limiter
	Log            *slog.Logger
	Project        string        // app:..., the metadata "project" of what is ours
	Livemode       bool          // of our key
	Lifetime       time.Duration // of a credit, where the device has none of its own; 0: for ever
	ConfirmWithin  time.Duration // machines confirm within this; 0: they do not
	ManualCapture  bool          // money is held first, and taken when the machine confirms
	WebhooksOff    bool          // Stripe sends nothing here: what it says is read from its lists alone
	Routed         bool          // confirmations come by Notehub's route, too
	ListenEvery    time.Duration // how often confirmations are read while one is awaited and there is no route
	PollInterval   time.Duration // how often Stripe's events are read
	Observe        Observer

	// AskTime makes a cheap call to Stripe: the ledger's clock learns the time from the reply. nil
	// where that is the host's.
	AskTime func(context.Context) error

	Problems *problem.Board // where the bridge raises what keeps it from its promise; nil: nowhere

	Changed func(p payment.Payment) // told of every change once it is on disk; it returns at once. nil: nobody is told
}

// Observer is told what happened, for metrics. Its methods return at once.
type Observer interface {
	Event(outcome string)
	Confirmation(outcome string)
	Attempt(action payment.Step, outcome string, took time.Duration)
	Payment(before, after payment.Payment) // before is zero for a new one
}

// Bridge turns payments into credits, or gives them back. It is safe for concurrent use.
type Bridge struct {
	c                Config
	notehubDue       chan struct{} // something may be due for Notehub
	stripeDue        chan struct{} // for Stripe
	timersDue        chan struct{} // in time
	lookupsDue       chan struct{} // a session may have to be looked up
	confirmationsDue chan struct{} // a confirmation may be awaited
	asking           singleflight.Group
	unknownSessions  negativeCache
	earlyChecks      earlyChecks
	unshown          unshown
	watched          chan struct{} // somebody looks at a payment
	late             atomic.Bool
	fastPath         fastPath
	time             timekeeper

	lateness lateness

	eventsRead, answersRead atomic.Bool // once since the start

	started time.Time   // a local instant: when this process began to work on the ledger
	listed  atomic.Bool // Stripe's list of events was read once since the start
	strays  atomic.Bool // a machine confirmed a credit of a payment that is not known
	odd     oddEvents
	sent    sentEvents
	others  atomic.Int64 // endpoints of others that do not accept what ours does

	returning *returning

	soon  chan struct{} // Stripe's events are to be read before their time
	extra *rate.Limiter // how often that may be
	// since the last reading began, a charge of ours came whose payment was not known yet
	chargeEarly atomic.Bool
	// when the last whole reading of them began, in Unix milliseconds by Stripe's clock; 0: none
	// since the start
	began atomic.Int64
}

// New makes a bridge; Run sets it to work.
func New(c Config) *Bridge {
	signal := func() chan struct{} { return make(chan struct{}, 1) }
	return &Bridge{
		c:                c,
		started:          time.Now(),
		notehubDue:       signal(),
		stripeDue:        signal(),
		timersDue:        signal(),
		lookupsDue:       signal(),
		confirmationsDue: signal(),
		soon:             signal(),
		watched:          signal(),
		returning:        newReturning(),
		extra:            rate.NewLimiter(rate.Every(time.Hour), earlyAtOnce),
	}
}

// caughtUp: what happened while nobody listened is known.
func (b *Bridge) caughtUp() bool { return b.eventsRead.Load() && b.answersRead.Load() }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
