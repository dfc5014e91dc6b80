package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/payment"
	"notepay/internal/upstream"
)

var midday = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// unsent returns a payment of a ten-minute credit, paid at midday.
func unsent() payment.Payment {
	return payment.Next(payment.Payment{ID: payment.CreditID("cs_test_1"), SessionID: "cs_test_1", Funds: payment.Paid,
		Delivery: payment.Queued, Amount: 350, Currency: "eur", PaidAt: midday, CreatedAt: midday,
		ExpiresAt: midday.Add(10 * time.Minute)}, midday)
}

// answer is what a vendor answers to a call, and whether it did what was asked for.
type answer struct {
	err     error
	applied bool
	gate    chan struct{} // the answer comes when this is closed
}

// script holds the answers to the next calls, by what is called for; then each is done, and yes is
// said.
type script struct {
	mu      sync.Mutex
	answers map[payment.Step][]answer
	calls   map[payment.Step]int
}

// What is called for beside the steps of a payment.
const (
	forAnswers  payment.Step = "confirmations"
	forEvents   payment.Step = "events"
	forSessions payment.Step = "sessions"
	forSession  payment.Step = "session"
	forRefunds  payment.Step = "refunds"
)

func (s *script) will(call payment.Step, answers ...answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[payment.Step][]answer{}
	}
	s.answers[call] = answers
}

// take gives the next answer, and does what is asked for unless it says otherwise.
func (s *script) take(call payment.Step, do func() error) error {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = map[payment.Step]int{}
	}
	s.calls[call]++
	a := answer{applied: true}
	if list := s.answers[call]; len(list) > 0 {
		a, s.answers[call] = list[0], list[1:]
	}
	var err error
	if a.applied {
		err = do()
	}
	s.mu.Unlock()
	if a.gate != nil {
		<-a.gate
	}
	if a.err != nil {
		return a.err
	}
	return err
}

func (s *script) called(call payment.Step) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

// hub is the little of Notehub that matters here: it keeps notes until they are fetched, and what
// machines answer. What the wire does to calls is shown elsewhere; here it is about what is on disk
// between them.
type hub struct {
	script
	posted  []payment.Note
	pending []waiting
	said    []payment.Confirmation
}

type waiting struct {
	id, device string
	note       payment.Note
}

func (h *hub) PostNote(_ context.Context, device string, n payment.Note) error {
	return h.take(payment.StepPostNote, func() error {
		h.posted = append(h.posted, n)
		h.pending = append(h.pending, waiting{fmt.Sprintf("1:%d", len(h.posted)), device, n})
		return nil
	})
}

func (h *hub) PendingNotes(_ context.Context, device string) (list []payment.PendingNote, err error) {
	err = h.take(payment.StepCheckPending, func() error {
		for _, w := range h.pending {
			if w.device == device {
				list = append(
					list,
					payment.PendingNote{ID: w.id, CreditID: w.note.CreditID, PaymentStatus: w.note.PaymentStatus},
				)
			}
		}
		return nil
	})
	return list, err
}

func (h *hub) DeleteNote(_ context.Context, device, id string) error {
	return h.take(payment.StepRecall, func() error {
		n := slices.IndexFunc(h.pending, func(w waiting) bool { return w.device == device && w.id == id })
		if n < 0 {
			return &upstream.Error{Outcome: upstream.Rejected, Status: 404}
		}
		h.pending = slices.Delete(h.pending, n, n+1)
		return nil
	})
}

// Confirmations gives two at a time, and the one under the cursor again.
func (h *hub) Confirmations(
	_ context.Context,
	cursor string,
) (list []payment.Confirmation, next string, more bool, err error) {
	err = h.take(forAnswers, func() error {
		read, _ := strconv.Atoi(cursor)
		end := min(read+2, len(h.said))
		list = slices.Clone(h.said[max(read-1, 0):end])
		if next = strconv.Itoa(end); end == 0 {
			next = ""
		}
		more = end < len(h.said)
		return nil
	})
	return list, next, more, err
}

// fetch has all Notecards fetch what waits for them.
func (h *hub) fetch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = nil
}

// hears has a machine answer.
func (h *hub) hears(c payment.Confirmation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, c)
}

func (h *hub) notes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.posted)
}

// account is the little of Stripe that matters here: what was taken, held and given back, and what
// it tells of it.
type account struct {
	script
	intents  map[string]*intent
	stored   map[string]error          // a server's error is answered again under the same key
	events   []Event                   // oldest first
	sessions []payment.CheckoutSession // oldest first
}

type intent struct {
	session payment.CheckoutSession
	status  string // of the intent: "succeeded", "requires_capture", "canceled"
	refunds []payment.RefundRecord
	broke   bool // no refund is paid out: the balance is too low
}

func (i *intent) back() (sum int64) {
	for _, r := range i.refunds {
		if r.Status != "failed" && r.Status != "canceled" {
			sum += r.Amount
		}
	}
	return sum
}

var errNone = &upstream.Error{Outcome: upstream.Rejected, Status: 404}

// once does something under an idempotency key.
func (a *account) once(call payment.Step, key string, do func() error) error {
	a.mu.Lock()
	err, again := a.stored[key]
	a.mu.Unlock()
	if again {
		return err
	}
	err = a.take(call, do)
	if e, ok := errors.AsType[*upstream.Error](err); ok && e.Status >= 500 {
		a.mu.Lock()
		a.stored[key] = err
		a.mu.Unlock()
	}
	return err
}

func (a *account) Session(_ context.Context, id string) (s payment.CheckoutSession, err error) {
	err = a.take(forSession, func() error {
		for _, i := range a.intents {
			if i.session.ID == id || i.session.PaymentIntent == id {
				s = i.session
				s.IntentStatus, s.Refunded = i.status, i.back()
				return nil
			}
		}
		return errNone
	})
	return s, err
}

func stripeRefuses(err error) error {
	return &upstream.Error{Outcome: upstream.Rejected, Status: 400, Err: err}
}

func (a *account) Capture(_ context.Context, id, key string) error {
	return a.once(payment.StepCapture, key, func() error {
		switch i := a.intents[id]; i.status {
		case "requires_capture":
			i.status = "succeeded"
			return nil
		case "canceled":
			return stripeRefuses(payment.ErrAlreadyCanceled)
		}
		return stripeRefuses(payment.ErrAlreadyCaptured)
	})
}

func (a *account) Release(_ context.Context, id, key string) error {
	return a.once(payment.StepCancel, key, func() error {
		switch i := a.intents[id]; i.status {
		case "requires_capture":
			i.status = "canceled"
			return nil
		case "canceled":
			return stripeRefuses(payment.ErrAlreadyCanceled)
		}
		return stripeRefuses(payment.ErrAlreadyCaptured)
	})
}

func (a *account) Refund(_ context.Context, o payment.RefundOrder) (r payment.RefundRecord, err error) {
	err = a.once(payment.StepRefund, fmt.Sprintf("refund:%s:%d", o.Credit, o.Number), func() error {
		i := a.intents[o.Intent]
		if n := slices.IndexFunc(i.refunds, func(r payment.RefundRecord) bool { return r.Credit == o.Credit && r.Number == o.Number }); n >= 0 {
			r = i.refunds[n]
			return nil
		}
		switch {
		case i.broke:
			return stripeRefuses(payment.ErrBalance)
		case i.session.Disputed:
			return stripeRefuses(payment.ErrDisputed)
		case i.back() >= i.session.Amount:
			return stripeRefuses(payment.ErrAlreadyRefunded)
		case i.back()+o.Amount > i.session.Amount:
			return stripeRefuses(errors.New("more than is left"))
		}
		r = payment.RefundRecord{
			ID:     fmt.Sprintf("re_%d", len(i.refunds)+1),
			Intent: o.Intent,
			Credit: o.Credit,
			Number: o.Number,
			Amount: o.Amount,
			Status: "succeeded",
		}
		i.refunds = append(i.refunds, r)
		return nil
	})
	return r, err
}

func (a *account) Refunds(_ context.Context, id string) (list []payment.RefundRecord, err error) {
	err = a.take(forRefunds, func() error {
		list = slices.Clone(a.intents[id].refunds)
		return nil
	})
	return list, err
}

func (a *account) Events(
	_ context.Context,
	since time.Time,
	after string,
) (list []Event, last string, more bool, err error) {
	err = a.take(forEvents, func() error {
		list, last, more = page(a.events, after, func(e Event) (string, bool) { return e.ID, !e.Created.Before(since) })
		return nil
	})
	return list, last, more, err
}

func (a *account) Sessions(
	_ context.Context,
	since time.Time,
	after string,
) (list []payment.CheckoutSession, odd []string, last string, more bool, err error) {
	err = a.take(forSessions, func() error {
		list, last, more = page(
			a.sessions,
			after,
			func(s payment.CheckoutSession) (string, bool) { return s.ID, !s.Created.Before(since) },
		)
		return nil
	})
	return list, nil, last, more, err
}

// page gives two at a time, newest first.
func page[T any](all []T, after string, of func(T) (id string, wanted bool)) (list []T, last string, more bool) {
	behind := after == ""
	for _, t := range slices.Backward(all) {
		id, wanted := of(t)
		switch {
		case !wanted:
		case !behind:
			behind = id == after
		case len(list) == 2:
			return list, last, true
		default:
			list, last = append(list, t), id
		}
	}
	return list, last, false
}

func (a *account) intent(session string) *intent {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.intents["pi_"+session]
}

type nobody struct{}

func (nobody) Event(string)                                {}
func (nobody) Confirmation(string)                         {}
func (nobody) Payment(_, _ payment.Payment)                {}
func (nobody) Attempt(payment.Step, string, time.Duration) {}

// house is a bridge whose steps a test takes by hand, and which it can lose and open again.
type house struct {
	*testing.T
	path   string
	hub    *hub
	money  *account
	change []func(*Config)
	l      *ledger.Ledger
	b      *Bridge
	stop   func() // ends Run
}

// confirming is a project whose machines confirm.
func confirming(c *Config) { c.ConfirmWithin = 5 * time.Minute }

// hasty is the same where they have to be quick, so that a test has little to wait for.
func hasty(c *Config) { c.ConfirmWithin = time.Minute }

// held is one that holds the money until they do.
func held(c *Config) { confirming(c); c.ManualCapture = true }

func newHouse(t *testing.T, change ...func(*Config)) *house {
	h := &house{T: t, path: filepath.Join(t.TempDir(), "notepay.db"), hub: &hub{}, change: change,
		money: &account{intents: map[string]*intent{}, stored: map[string]error{}}}
	h.open()
	err := h.l.Update(t.Context(), func(tx *ledger.Tx) error {
		for _, owner := range []string{"project", "dev:1", "dev:2"} {
			if err := tx.SaveVariables(ledger.Variables{Owner: owner, ReadAt: tx.Now}); err != nil {
				return err
			}
		}
		return errors.Join(
			tx.SaveDevice(ledger.Device{UID: "dev:1", Name: "Washer"}),
			tx.SaveDevice(ledger.Device{UID: "dev:2"}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	h.reopen()
	t.Cleanup(func() { h.close() })
	return h
}

func (h *house) open() {
	h.Helper()
	var err error
	if h.l, err = ledger.Open(context.Background(), h.path); err != nil {
		h.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(h.Output(), nil))
	f, err := fleet.New(
		context.Background(),
		fleet.Config{Ledger: h.l, Log: log, Interval: 15 * time.Minute, LinkLimiter: upstream.NewLimiter(0, 1)},
	)
	if err != nil {
		h.Fatal(err)
	}
	c := Config{
		Ledger:         h.l,
		Fleet:          f,
		Notehub:        h.hub,
		Stripe:         h.money,
		NotehubLimiter: upstream.NewLimiter(0, 1),
		StripeLimiter:  upstream.NewLimiter(0, 1),
		Log:            log,
		Project:        "app:1",
		Lifetime:       10 * time.Minute,
		ListenEvery:    30 * time.Second,
		PollInterval:   5 * time.Minute,
		Observe:        nobody{},
	}
	for _, change := range h.change {
		change(&c)
	}
	h.b = New(c)
	h.b.eventsRead.Store(true) // where a test works by hand, nothing was missed; Run reads for itself
	h.b.answersRead.Store(true)
}

// close stops the work and closes the ledger; a test in a bubble does so before it ends.
func (h *house) close() {
	h.Helper()
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
	if h.l == nil {
		return
	}
	if err := h.l.Close(); err != nil {
		h.Error(err)
	}
	h.l = nil
}

// reopen is a crash: nothing that was not on disk is known afterwards.
func (h *house) reopen() {
	h.Helper()
	h.close()
	h.open()
}

// run sets the bridge to work as after a start, until close.
func (h *house) run() {
	h.b.eventsRead.Store(false)
	h.b.answersRead.Store(false)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b := h.b
	go func() { b.Run(ctx, ctx); close(done) }()
	h.stop = func() { cancel(); <-done }
}

// pays makes a customer pay; the event of it is Stripe's to deliver.
func (h *house) pays(session, device string) Event {
	return h.paysFor(session, device, 350, nil)
}

func (h *house) paysFor(session, device string, amount int64, change func(*payment.CheckoutSession)) Event {
	now := time.Now()
	s := payment.CheckoutSession{
		ID:            session,
		PaymentStatus: "paid",
		PaymentIntent: "pi_" + session,
		Amount:        amount,
		Currency:      "eur",
		Created:       now,
		PaidAt:        now,
		Metadata:      map[string]string{"device_uid": device, "project": "app:1"},
	}
	status := "succeeded"
	if h.b.c.ManualCapture {
		s.PaymentStatus, status = "unpaid", "requires_capture"
	}
	if change != nil {
		change(&s)
	}
	h.money.mu.Lock()
	defer h.money.mu.Unlock()
	if h.money.intents[s.PaymentIntent] == nil {
		h.money.intents[s.PaymentIntent] = &intent{session: s, status: status}
	}
	return Event{
		ID:       "evt_" + session,
		Type:     "checkout.session.completed",
		ObjectID: session,
		Intent:   s.PaymentIntent,
		Created:  now,
		Session:  &s,
	}
}

// paid makes a customer pay, and delivers the event.
func (h *house) paid(session, device string) {
	h.Helper()
	h.receive(h.pays(session, device))
}

// paidTimed is the same for five minutes' use, as it was sold through a link.
func (h *house) paidTimed(session, device string) {
	h.Helper()
	link := "plink_" + device
	err := h.l.Update(context.Background(), func(tx *ledger.Tx) error {
		return tx.SaveLink(ledger.Link{ID: link, DeviceUID: device, Active: true,
			Plan: payment.Offer{
				PriceID:  "price_1",
				Name:     "Warm wash",
				Amount:   350,
				Currency: "eur",
				Duration: 5 * time.Minute,
			}})
	})
	if err != nil {
		h.Fatal(err)
	}
	h.receive(h.paysFor(session, device, 350, func(s *payment.CheckoutSession) { s.PaymentLink = link }))
}

func (h *house) receive(events ...Event) {
	h.Helper()
	for _, e := range events {
		if err := h.b.Receive(context.Background(), e); err != nil {
			h.Fatal(err)
		}
	}
}

// looksUp asks Stripe for what has to be looked up.
func (h *house) looksUp() {
	h.Helper()
	var due []ledger.Lookup
	err := h.l.Update(context.Background(), func(tx *ledger.Tx) (err error) {
		due, err = tx.ClaimLookups(tx.Now.Add(payment.Lease), 10)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	for _, l := range due {
		h.b.readLookup(context.Background(), l)
	}
}

// says has the machine answer by the route.
func (h *house) says(id, device, session, state string) {
	h.Helper()
	err := h.b.Confirm(
		context.Background(),
		payment.Confirmation{
			EventID:   id,
			DeviceUID: device,
			CreditID:  payment.CreditID(session),
			State:     state,
			At:        time.Now(),
		},
	)
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) payment(session string) payment.Payment {
	h.Helper()
	p, err := h.l.Payment(context.Background(), session)
	if err != nil {
		h.Fatal(err)
	}
	return p
}

// claim claims what is due for a vendor.
func (h *house) claim(q queue, want int) []payment.Payment {
	h.Helper()
	claimed, err := h.b.claim(context.Background(), q, q.slots, q.slots/2)
	if err != nil || len(claimed) != want {
		h.Fatalf("claimed %d (%v); want %d", len(claimed), err, want)
	}
	return claimed
}

// due waits until a step of a payment is due, and claims it.
func (h *house) due(session string, step payment.Step) payment.Payment {
	h.Helper()
	p := h.payment(session)
	if p.Step != step {
		h.Fatalf("the next step is %q; want %q: %+v", p.Step, step, p)
	}
	time.Sleep(max(time.Until(p.DueAt), 0)) // in a bubble: no time passes outside
	q := h.b.notehub()
	if step == payment.StepCapture || step == payment.StepCancel || step == payment.StepRefund {
		q = h.b.stripe()
	}
	return h.claim(q, 1)[0]
}

// does waits for a step, makes its call and settles.
func (h *house) does(session string, step payment.Step) {
	h.Helper()
	h.b.execute(context.Background(), h.due(session, step))
}

// finish works until the payments are closed and nothing is due for them, and stops.
func (h *house) finish(sessions ...string) {
	h.Helper()
	if h.stop == nil {
		h.run()
	}
	for _, session := range sessions {
		for began := time.Now(); ; time.Sleep(20 * time.Second) {
			p := h.payment(session)
			if p.Step == payment.NoStep && (payment.Closed(p) || time.Since(began) > time.Hour) {
				break
			}
			if time.Since(began) > 3*time.Hour {
				h.Errorf("payment of %s is not done after three hours: %+v", session, p)
				break
			}
		}
	}
	for _, session := range sessions {
		h.keepsThePromise(h.payment(session))
	}
	h.close()
}

// keepsThePromise: the machine has the credit and we the money, or the customer has the money back,
// all of it and no more.
func (h *house) keepsThePromise(p payment.Payment) {
	h.Helper()
	i := h.money.intent(p.SessionID)
	taken := i.status == "succeeded" && i.back() < i.session.Amount
	delivered := p.Delivery == payment.Started || p.Delivery == payment.Done ||
		p.Delivery == payment.Fetched && p.ConfirmBy.IsZero()
	switch {
	case !payment.Closed(p) || p.InFlight:
		h.Errorf("%s is not closed: %+v", p.SessionID, p)
	case delivered != taken:
		h.Errorf("%s: machine %s %q, intent %s, %d given back", p.SessionID, p.Delivery, p.Reason, i.status, i.back())
	case i.back() > i.session.Amount:
		h.Errorf("%s: %d given back of %d", p.SessionID, i.back(), i.session.Amount)
	}
}
