package bridge

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"notepay/internal/fleet"
	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/payment"
	"notepay/internal/upstream"
	"notepay/internal/vendortime"
)

var midday = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// unsent returns a payment for a ten-minute credit, paid at midday.
func unsent() payment.Payment {
	return payment.Next(payment.Payment{ID: payment.CreditID("cs_test_1"), SessionID: "cs_test_1", Funds: payment.Paid,
		Delivery: payment.Queued, Amount: 350, Currency: "eur", PaidAt: midday, CreatedAt: midday,
		ExpiresAt: midday.Add(10 * time.Minute)}, midday)
}

// house is a bridge whose steps a test takes by hand. A test can crash it and open it again.
type house struct {
	*testing.T
	path   string
	clock  *vendortime.Clock // nil: the host's
	hub    *hub
	money  *account
	change []func(*Config)
	l      *ledger.Ledger
	b      *Bridge
	told   *published
	stop   func() // ends Run
}

// confirming configures machines that confirm.
func confirming(c *Config) { c.ConfirmWithin = 5 * time.Minute }

// hasty configures machines that have to confirm within a minute.
func hasty(c *Config) { c.ConfirmWithin = time.Minute }

// held configures authorizations that are captured when the machine confirms.
func held(c *Config) { confirming(c); c.ManualCapture = true }

func newHouse(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	return newHouseAt(t, ledgertest.Fresh(t), nil, change...)
}

func newHouseAt(t *testing.T, database string, clock *vendortime.Clock, change ...func(*Config)) *house {
	t.Helper()
	h := &house{T: t, told: &published{}, path: database, clock: clock, hub: &hub{}, change: change,
		money: &account{intents: map[string]*intent{}, stored: map[string]error{}}}
	h.open()
	err := h.l.Update(t.Context(), func(tx *ledger.Tx) error {
		for _, owner := range []string{"project", "dev:1", "dev:2"} {
			if err := tx.SaveVariables(ledger.Variables{Owner: owner, ReadAt: tx.Now}); err != nil {
				return err
			}
		}
		return errors.Join(tx.SaveDevice(ledger.Device{UID: "dev:1", Name: "Washer"}),
			tx.SaveDevice(ledger.Device{UID: "dev:2"}))
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
	if h.l, err = ledger.OpenBy(context.Background(), h.path, h.clock); err != nil {
		h.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(h.Output(), nil))
	f, err := fleet.New(context.Background(),
		fleet.Config{Ledger: h.l, Log: log, Interval: 15 * time.Minute, LinkLimiter: upstream.NewLimiter(0, 1)})
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
		Observe:        h.told,
	}
	for _, change := range h.change {
		change(&c)
	}
	h.b = New(c)
	h.b.eventsRead.Store(true) // a test by hand misses nothing; Run reads for itself
	h.b.answersRead.Store(true)
}

// close stops the bridge and closes the ledger. A test in a synctest bubble calls it before it
// ends.
func (h *house) close() {
	h.Helper()
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
	if h.l == nil {
		return
	}
	h.told.check(h)
	if err := h.l.Close(); err != nil {
		h.Error(err)
	}
	h.l = nil
}

// reopen is a crash: only what is on disk survives.
func (h *house) reopen() {
	h.Helper()
	h.close()
	h.open()
}

// run starts the bridge, until close.
func (h *house) run() {
	h.b.eventsRead.Store(false)
	h.b.answersRead.Store(false)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	b := h.b
	go func() { b.Run(ctx, ctx); close(done) }()
	h.stop = func() { cancel(); <-done }
}

// pays makes a customer pay, and returns the session's event.
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

// paidTimed makes a customer pay for five minutes through a link, and delivers the event.
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

// looksUp makes the due look-ups.
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

// says delivers a machine's answer by the route.
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

// claim claims a vendor's due payments.
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
	time.Sleep(max(time.Until(p.DueAt), 0)) // takes no time in a synctest bubble
	q := h.b.notehub()
	if step == payment.StepCapture || step == payment.StepCancel || step == payment.StepRefund {
		q = h.b.stripe()
	}
	return h.claim(q, 1)[0]
}

// does waits for a step, makes its call and records the outcome.
func (h *house) does(session string, step payment.Step) {
	h.Helper()
	h.b.execute(context.Background(), h.due(session, step))
}

// finish runs the bridge until the payments are closed and nothing is due for them.
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

// keepsThePromise checks that the machine has the credit and we have the money, or that the
// customer has exactly the money back.
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
		h.Errorf("%s: machine %s %q, intent %s, %d refunded", p.SessionID, p.Delivery, p.Reason, i.status, i.back())
	case i.back() > i.session.Amount:
		h.Errorf("%s: %d refunded of %d", p.SessionID, i.back(), i.session.Amount)
	}
}
