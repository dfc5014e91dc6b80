// Package bridge turns payments into credits. For every payment that Stripe collects, the machine
// gets exactly one credit or the customer gets the money back.
//
// When Receive or Confirm returns nil, the event and its consequences are durable, and the
// payment's row holds the next step. Receive records what Stripe reports, and runReconcile reads
// what Stripe's webhooks missed. Confirm and runConfirmations record what machines answer. runQueue
// claims due payments, makes their calls and records the outcomes. operator.go holds the operator's
// decisions. Every decision about a payment is a function of internal/payment, and every change
// goes through update.
//
// The package does not know the vendors' wire formats. It cannot know what a machine that does not
// confirm does with a fetched credit.
package bridge

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/notecrypt"
	"notepay/internal/payment"
	"notepay/internal/problem"
	"notepay/internal/upstream"
)

// Notehub makes the bridge's calls to Notehub. Each method makes one attempt. On failure it returns
// an *upstream.Error.
type Notehub interface {
	// PostNote adds a note to a device's queue, the notefile file.
	PostNote(ctx context.Context, device, file string, note payment.Note) error
	// PostEncrypted adds an encrypted note in the same way.
	PostEncrypted(ctx context.Context, device, file string, note notecrypt.Body) error
	// PendingNotes lists the notes that the device has not fetched.
	PendingNotes(ctx context.Context, device, file string) ([]payment.PendingNote, error)
	// DeleteNote deletes a pending note. upstream.Rejected means that the note is gone: the device
	// has fetched it.
	DeleteNote(ctx context.Context, device, file, noteID string) error
	// Confirmations reads a page of the machines' answers after cursor, oldest first. "" is the
	// beginning. The note at the cursor may be returned again. next is the cursor of the next page,
	// and more reports whether that page has notes already.
	Confirmations(ctx context.Context, cursor string) (list []payment.Confirmation, next string, more bool, err error)
}

// Stripe makes the bridge's calls to Stripe. Each method makes one attempt. On failure it returns
// an *upstream.Error.
type Stripe interface {
	// Session reads a Checkout Session by its id (cs_...) or its PaymentIntent (pi_...), with the
	// state of intent and charge. It returns upstream.Rejected if there is none.
	Session(ctx context.Context, id string) (payment.CheckoutSession, error)
	// Capture captures an authorization. Calls with the same key capture it once.
	Capture(ctx context.Context, intent, key string) error
	// Release cancels an authorization.
	Release(ctx context.Context, intent, key string) error
	// Refund makes a refund. Calls with the same credit and number make one.
	Refund(ctx context.Context, o payment.RefundOrder) (payment.RefundRecord, error)
	// Refunds lists all refunds of a PaymentIntent.
	Refunds(ctx context.Context, intent string) ([]payment.RefundRecord, error)
	// Events reads a page of the events since a time, newest first. The page begins after the event
	// with the id after, or with the newest event if after is "". An event that cannot be read has
	// Odd set, and does not stop the others.
	Events(ctx context.Context, since time.Time, after string) (events []Event, last string, more bool, err error)
	// Sessions reads a page of the completed sessions opened since a time, in the same way. odd
	// names the sessions that cannot be read.
	Sessions(ctx context.Context, since time.Time,
		after string) (sessions []payment.CheckoutSession, odd []string, last string, more bool, err error)
}

// Event holds the fields of a Stripe event that notepay uses. Metadata and Intent are set if the
// object has them. Session is set for checkout.session.* events, Refund for refund.* events,
// Refunded for charge.refunded, and Dispute for charge.dispute.* events. A foreign or skipped event
// has no object.
type Event struct {
	ID       string
	Type     string
	ObjectID string
	Intent   string // the event's PaymentIntent, "" if it names none
	Livemode bool
	Created  time.Time
	Metadata map[string]string
	Session  *payment.CheckoutSession
	Refund   *payment.RefundRecord
	Refunded int64 // refunded total of the charge, in minor currency units
	// The last four digits, of charge.refunded and charge.succeeded; "" if no card paid.
	Card       string
	ReceiptURL string // Stripe's receipt, of the same events
	// The dispute's status: "needs_response", "won", "lost", "warning_closed", ... ObjectID is its
	// id.
	Dispute string
	Body    string // as stored: without customer_details, billing_details and shipping

	Listed  bool // read from Stripe's list, and not delivered by a webhook
	Pending int  // endpoints that have not accepted the event; -1: unknown
	// why the event cannot be read, else ""; the other fields hold what could be read
	Odd     string
	Foreign bool   // names a connected account, or by webhook a context; see repeatOf
	Skipped string // why such events are ignored, else ""

	DisputeAmount   int64 // minor units of DisputeCurrency
	DisputeCurrency string
	DisputeDue      time.Time // until when Stripe takes evidence; zero if it does not say
	Refundable      bool      // Stripe allows refunds of the disputed charge

	// Of a Payment Link: Active reports whether customers can pay through it, and Limited whether
	// Stripe deactivates it after some payments.
	Active, Limited bool
}

// Config configures a Bridge. All fields are required, except AskTime, Problems and Changed.
type Config struct {
	Ledger         *ledger.Ledger
	Fleet          *fleet.Fleet
	Notehub        Notehub
	Stripe         Stripe
	NotehubLimiter *upstream.Limiter
	StripeLimiter  *upstream.Limiter
	Log            *slog.Logger
	Project        string        // app:..., the "project" in our metadata
	NoteFile       string        // the notefile of new credits; "": payment.qi
	NoteKey        []byte        // the devices' keys are derived from it; nil: notes are not signed
	Encrypted      bool          // notes are encrypted for their Notecard (experimental)
	Livemode       bool          // whether the Stripe key is live
	Lifetime       time.Duration // of a credit, unless the device has its own; 0: never expires
	ConfirmWithin  time.Duration // machines confirm within this time; 0: they do not
	ManualCapture  bool          // payments are authorized, and captured when the machine confirms
	WebhooksOff    bool          // no webhooks arrive, so Stripe's events are only read from its list
	Routed         bool          // a Notehub route delivers confirmations as well
	ListenEvery    time.Duration // how often to read expected confirmations without a route, if the limit allows it
	PollInterval   time.Duration // how often to read Stripe's events
	Observe        Observer

	// AskTime makes a cheap call to Stripe, from whose reply the ledger's clock learns the time. It
	// is nil if the ledger uses the host's clock.
	AskTime func(context.Context) error

	Problems *problem.Board // receives the bridge's problems; may be nil

	// Changed is called after the commit of each change, and must not block. It may be nil.
	Changed func(p payment.Payment)
}

// Observer counts what happens, for metrics. Its methods must not block.
type Observer interface {
	Event(outcome string)
	Confirmation(outcome string)
	Attempt(action payment.Step, outcome string, took time.Duration)
	Payment(before, after payment.Payment) // before is zero for a new payment
}

// Bridge turns payments into credits or refunds. It is safe for concurrent use.
type Bridge struct {
	c                Config
	notehubDue       *alarm        // of Notehub's queue
	stripeDue        *alarm        // of Stripe's queue
	timersDue        *alarm        // of the deadlines that need no call
	lookupsDue       *alarm        // of the look-ups
	confirmationsDue chan struct{} // a confirmation may be expected
	reads            singleflight.Group
	unknownSessions  negativeCache
	earlyChecks      earlyChecks
	unshown          unshown
	pageOpened       chan struct{} // a customer has opened a payment's page
	late             atomic.Bool
	fastPath         fastPath
	time             timekeeper

	lateness lateness

	eventsRead, answersRead atomic.Bool // each was read once since the start

	// When this process began to use the ledger, by the host's clock. Instances that share a ledger
	// count as one process, which began with the first of them.
	started          time.Time
	listed           atomic.Bool // Stripe's list of events was read once since the start
	unknownConfirmed atomic.Bool // a machine confirmed an unknown credit
	odd              oddEvents
	sent             sentEvents
	failingEndpoints atomic.Int64 // other endpoints that do not accept our events

	held     atomic.Int64  // events that wait for Stripe's list
	stopping chan struct{} // closed by stop
	stop     func()        // called when Run begins to end

	returning *returning

	eventsWanted  chan struct{} // asks runReconcile to read Stripe's events now
	earlyReadings *rate.Limiter // limits such readings
	// When a charge of ours last arrived before its payment, as readingBegan; 0: never.
	chargeEarly atomic.Int64
	// When the last complete reading began, in Unix milliseconds by Stripe's clock; 0: none since
	// the start.
	readingBegan atomic.Int64
}

// New returns a bridge. Run starts it.
func New(c Config) *Bridge {
	signal := func() chan struct{} { return make(chan struct{}, 1) }
	started := c.Ledger.Began()
	if started.IsZero() {
		started = time.Now()
	}
	b := &Bridge{
		c:                c,
		started:          started,
		notehubDue:       newAlarm(),
		stripeDue:        newAlarm(),
		timersDue:        newAlarm(),
		lookupsDue:       newAlarm(),
		confirmationsDue: signal(),
		eventsWanted:     signal(),
		pageOpened:       signal(),
		returning:        newReturning(),
		stopping:         make(chan struct{}),
		earlyReadings:    rate.NewLimiter(rate.Every(time.Hour), maxEarlyReadings),
	}
	b.stop = sync.OnceFunc(func() { close(b.stopping) })
	b.unknownConfirmed.Store(c.Ledger.Joined()) // another instance may have got such a confirmation
	return b
}

// caughtUp reports whether events and confirmations from before the start were read.
func (b *Bridge) caughtUp() bool { return b.eventsRead.Load() && b.answersRead.Load() }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
