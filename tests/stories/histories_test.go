package stories

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"notepay/internal/app"
	"notepay/internal/apptest"
	"notepay/internal/bridge"
	"notepay/internal/config"
	"notepay/internal/fixture"
	"notepay/internal/ledger"
	"notepay/internal/ledger/ledgertest"
	"notepay/internal/payment"
	"notepay/internal/sandbox"
)

// realHistory is one random course of events through the real bridge in fake time, with the ledger
// on disk and the simulated vendors in process. The histories of internal/bridge are many and have
// no I/O. These are few and leave out only the sockets.
type realHistory struct {
	*testing.T
	*rand.Rand
	seed       uint64
	settings   config.Settings
	confirming bool
	stripe     *sandbox.Stripe
	notehub    *sandbox.Notehub
	machines   []*sandbox.Machine
	path       string
	host       apptest.HostClock // of the service; the vendors use fake time

	ledger  *ledger.Ledger
	bridge  *bridge.Bridge
	handler http.Handler
	kill    func()

	copied  string // a copy of the ledger, "" for none
	stamped bool   // it is a backup

	sold     []sandbox.Session
	byOthers map[string]bool // sessions with a refund or dispute from outside
	story    []string
}

func (h *realHistory) tell(format string, args ...any) {
	h.story = append(h.story, time.Now().UTC().Format("02 15:04:05.000  ")+fmt.Sprintf(format, args...))
}

func (h *realHistory) fail(format string, args ...any) {
	h.Fatalf("seed %d: %s\n%s", h.seed, fmt.Sprintf(format, args...), strings.Join(h.story, "\n"))
}

// TestRealHistories runs random histories. NOTEPAY_REAL_HISTORIES sets how many, and
// NOTEPAY_HISTORY_SEED the first seed.
func TestRealHistories(t *testing.T) {
	t.Parallel()
	wanted, first := 120, rand.Uint64()
	if apptest.UnderRace {
		wanted = 4
	}
	for name, value := range map[string]any{"NOTEPAY_REAL_HISTORIES": &wanted, "NOTEPAY_HISTORY_SEED": &first} {
		if given := os.Getenv(name); given != "" {
			if _, err := fmt.Sscan(given, value); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	if testing.Short() && !apptest.UnderRace {
		wanted /= 5
	}
	const parts = 4
	for part := range uint64(parts) {
		t.Run(fmt.Sprintf("part %d", part+1), func(t *testing.T) {
			t.Parallel()
			for seed := first + part; seed < first+uint64(wanted) && !t.Failed(); seed += parts {
				synctest.Test(t, func(t *testing.T) {
					h := &realHistory{
						T:        t,
						Rand:     rand.New(rand.NewPCG(seed, 0)),
						seed:     seed,
						byOthers: map[string]bool{},
					}
					h.run()
				})
			}
		})
	}
}

func (h *realHistory) run() {
	h.settings = config.Settings{
		StripeSecretKey:     fixture.TestKey,
		StripePriceID:       fixture.Warm,
		StripeWebhookSecret: fixture.TestSecret,
		NotehubClientID:     "client",
		NotehubClientSecret: fixture.HubSecret,
		NotehubProjectUID:   fixture.Project,
		NotehubAPIURL:       "http://notehub.test",
		NotehubAuthURL:      "http://notehub.test/oauth2/token",
		StripeAPIURL:        "http://stripe.test",
		CreditLifetime:      10 * time.Minute,
		RefreshInterval:     15 * time.Minute,
		PollInterval:        time.Minute,
		Capture:             "immediate",
	}
	if h.confirming = h.IntN(2) == 0; h.confirming {
		h.settings.ConfirmWithin = 3 * time.Minute
		if h.IntN(2) == 0 {
			h.settings.Capture = "on_start"
		}
	}
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.handler.ServeHTTP(w, r) })
	h.stripe = sandbox.NewStripe(
		sandbox.StripeConfig{
			Key:         fixture.TestKey,
			Report:      h,
			CheckoutURL: "https://buy.test",
			RetryDelays: []time.Duration{time.Second, time.Minute},
			Client:      &http.Client{Transport: sandbox.InProcess(front)},
		},
	)
	defer h.stripe.Close()
	h.stripe.SetEndpoint("http://pay.test/webhook/stripe", fixture.TestSecret)
	h.notehub = sandbox.NewNotehub(
		sandbox.NotehubConfig{Project: fixture.Project, ClientID: "client", ClientSecret: fixture.HubSecret, Report: h},
	)
	h.stripe.AddPrice(sandbox.Price{ID: fixture.Warm, Name: "Warm wash", Currency: "eur", Amount: 350, Active: true})
	for _, uid := range []string{"dev:1", "dev:2"} {
		h.notehub.AddDevice(sandbox.Device{UID: uid, LastActivity: time.Now()})
		h.machines = append(
			h.machines,
			sandbox.NewMachine(
				h.notehub, sandbox.MachineConfig{Device: uid, Confirms: h.confirming, Original: !h.confirming},
			),
		)
	}
	h.path = ledgertest.Fresh(h)
	if h.IntN(3) == 0 {
		h.step()
	}
	h.open()
	defer func() { h.kill() }()
	h.pass(2 * time.Second)
	h.pay()
	for range h.IntN(25) {
		h.happen()
	}
	if h.IntN(2) == 0 {
		h.restore() // if there is a copy, because few of them are restored on the way
	}
	h.quiet()
	h.check()
}

// open starts the service as the program does.
func (h *realHistory) open() {
	var err error
	if h.ledger, err = ledger.OpenBy(h.Context(), h.path, h.host.Clock()); err != nil {
		h.fail("open: %v", err)
	}
	s := &h.settings
	server, err := app.New(h.Context(), app.Config{
		Settings: s,
		Ledger:   h.ledger,
		Notehub:  apptest.HubOf(s, sandbox.InProcess(h.notehub)),
		Stripe:   apptest.StripeOf(s, sandbox.InProcess(h.stripe)),
		Log:      slog.New(slog.DiscardHandler),
		Version:  fixture.TestVersion,
	})
	if err != nil {
		h.fail("assemble: %v", err)
	}
	devices := server.Fleet
	h.bridge, h.handler = server.Bridge, server.Handler()
	ctx, stop := context.WithCancel(context.WithoutCancel(h.Context()))
	var loops sync.WaitGroup
	loops.Go(func() { devices.Run(ctx) })
	loops.Go(func() { h.bridge.Run(ctx, ctx) })
	opened := h.ledger
	h.kill = func() {
		if err := opened.Close(); err != nil { // before the stop, so that no call in flight is recorded
			h.Errorf("close: %v", err)
		}
		stop()
		loops.Wait()
	}
}

// pass advances the fake time, and the machines that are on work every few seconds.
func (h *realHistory) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(5*time.Second, time.Until(end)))
		for _, m := range h.machines {
			m.Step()
		}
	}
	synctest.Wait()
}

func (h *realHistory) pay() {
	// a paused machine has no active link
	links := slices.DeleteFunc(h.stripe.Links(), func(l sandbox.Link) bool { return !l.Active })
	if len(links) == 0 || len(h.sold) > 4 {
		return
	}
	o := sandbox.PayOptions{
		NoWebhook:   h.IntN(4) == 0,
		EventsFirst: []string{"", "intent", "only-session", "only-intent"}[h.IntN(4)],
	}
	session, err := h.stripe.Pay(links[h.IntN(len(links))].ID, o)
	if err != nil {
		h.fail("pay: %v", err)
	}
	h.tell("a customer pays %s (%+v)", session.ID, o)
	h.sold = append(h.sold, session)
}

// trouble returns a random outcome for one request.
func (h *realHistory) trouble() sandbox.Outcome {
	return []sandbox.Outcome{
		{Applied: true},
		{},
		{Status: 500},
		{Applied: true, Status: 500},
		{Status: 503},
		{Applied: true, Status: 502},
		{Status: 429, Header: http.Header{"Retry-After": {"7"}}},
		{Applied: true, Status: 200, Delay: 20 * time.Second},
		{Applied: true, Status: 200, Delay: 9 * time.Second, DelayEffect: true},
		{Applied: true, Status: 200, Delay: 3 * time.Second},
	}[h.IntN(10)]
}

const everyNote = "{any} /v1/projects/{project}/devices/{rest...}"

func (h *realHistory) happen() {
	machine := h.machines[h.IntN(len(h.machines))]
	session := h.sold[h.IntN(len(h.sold))].ID
	switch h.IntN(17) {
	case 0, 1:
		h.pay()
	case 2, 3:
		o := h.trouble()
		h.tell("notehub will answer %+v", o)
		h.notehub.Next(everyNote, o)
	case 4:
		o := h.trouble()
		h.tell("stripe will answer %+v", o)
		h.stripe.Next([]string{"POST /v1/{rest...}", "GET /v1/{rest...}"}[h.IntN(2)], o)
	case 5:
		b := sandbox.Behavior{
			Refuse:     []string{"", "", "failed", "busy"}[h.IntN(4)],
			Silent:     h.IntN(4) == 0,
			Twice:      h.IntN(3) == 0,
			LosePower:  h.IntN(6) == 0,
			AnswerLate: time.Duration(h.IntN(3)*h.IntN(120)) * time.Second,
		}
		h.tell("a machine behaves %+v", b)
		machine.SetBehavior(b)
	case 6:
		online := h.IntN(2) == 0
		h.tell("a machine is online: %v", online)
		machine.SetOnline(online)
		machine.SetPower(true)
	case 7:
		h.byOthers[session] = true
		h.tell(
			"%s is refunded by hand: %v",
			session,
			h.stripe.Refund(session, []int64{0, 100}[h.IntN(2)]) || h.stripe.CancelAuthorization(session),
		)
	case 8:
		h.byOthers[session] = true
		kinds := []string{"needs_response", "needs_response", "warning_needs_response", "prevented"}
		status, amount := kinds[h.IntN(4)], []int64{0, 100}[h.IntN(2)]
		id, end := h.stripe.OpenDispute(session, status, amount), []string{"won", "lost", "warning_closed"}[h.IntN(3)]
		h.tell(
			"%s is disputed: %s %s %d, %s: %v",
			session,
			id,
			status,
			amount,
			end,
			h.IntN(2) == 0 && h.stripe.MoveDispute(id, end),
		)
	case 9:
		mode := sandbox.RefundMode(h.IntN(3))
		h.tell("refunds: %d; one of %s is settled: %v", mode, session, h.stripe.SettleRefund(session, h.IntN(3) > 0))
		h.stripe.SetRefunds(mode)
	case 10:
		if events := h.stripe.Events(); len(events) > 0 {
			e := events[h.IntN(len(events))]
			status, err := h.stripe.Send(e.ID)
			h.tell("%s of %s is sent again: %d %v", e.Type, e.ObjectID, status, err)
		}
	case 12:
		late := time.Duration(h.IntN(3)) * 4 * time.Second
		h.tell("notes are listed %v late", late)
		h.notehub.SetListedLate(late)
	case 11:
		h.tell("the service is killed")
		h.kill()
		h.pass(time.Duration(h.IntN(40)) * time.Second)
		h.open()
	case 13:
		h.step()
	case 14:
		h.copy()
	case 15:
		h.restore()
	}
	waits := []time.Duration{time.Millisecond, time.Second, 4 * time.Second, 20 * time.Second}
	waits = append(waits, time.Minute, 4*time.Minute, 11*time.Minute)
	h.pass(waits[h.IntN(len(waits))])
}

// copy copies the ledger, as a backup or plainly. It makes no plain copy with a queued credit,
// because nothing shows whether the original ledger sends that credit.
func (h *realHistory) copy() {
	waiting := slices.ContainsFunc(h.payments(), func(p payment.Payment) bool { return p.Delivery == payment.Queued })
	if h.stamped = waiting || h.IntN(2) == 0; h.copied != "" {
		return
	}
	h.copied = filepath.Join(h.TempDir(), fmt.Sprintf("copy%d.db", len(h.story)))
	h.tell("the ledger is copied; a backup: %v", h.stamped)
	if h.stamped {
		if err := ledger.Backup(h.Context(), h.path, h.copied); err != nil {
			h.fail("backup: %v", err)
		}
		return
	}
	apptest.PlainCopy(h.T, h.path, h.copied)
}

// restore replaces the ledger by the copy, after the service has accepted all events that Stripe
// sent.
func (h *realHistory) restore() {
	if h.copied == "" {
		return
	}
	for _, e := range h.stripe.Events() {
		if status, err := h.stripe.Send(e.ID); !e.Acked && (err != nil || status != http.StatusOK) {
			h.tell("%s of %s is not accepted (%d, %v): nothing is restored", e.Type, e.ObjectID, status, err)
			return
		}
	}
	h.tell("the copy takes the ledger's place")
	h.kill()
	h.pass(time.Duration(h.IntN(900)) * time.Second)
	h.path = h.copied // like a snapshot of the whole host, where no other file shows that this is a copy
	h.copied = ""
	h.open()
}

// step sets the clock of the service's host to a random error.
func (h *realHistory) step() {
	const day = 24 * time.Hour
	steps := []time.Duration{0, -40 * day, -2 * time.Hour, -20 * time.Minute}
	steps = append(steps, time.Minute, 20*time.Minute, 3*time.Hour, 40*day)
	ahead := steps[h.IntN(len(steps))]
	h.tell("the host's clock is %v ahead", ahead)
	h.host.Set(ahead)
}

// quiet ends all trouble, and advances the time until no payment has a next step.
func (h *realHistory) quiet() {
	h.tell("all is quiet")
	for _, pattern := range []string{everyNote, "POST /v1/{rest...}", "GET /v1/{rest...}"} {
		h.notehub.Clear(pattern)
		h.stripe.Clear(pattern)
	}
	h.stripe.SetRefunds(sandbox.RefundsSucceed)
	h.notehub.SetListedLate(0)
	for _, m := range h.machines {
		m.SetBehavior(sandbox.Behavior{})
		m.SetOnline(true)
		m.SetPower(true)
	}
	for range 200 {
		for _, s := range h.sold {
			h.stripe.SettleRefund(s.ID, true)
		}
		h.pass(2 * time.Minute)
		due := time.Time{}
		for _, p := range h.payments() {
			if p.Step != payment.NoStep || !payment.Closed(p) {
				due = time.Now()
				if p.DueAt.After(due) && (p.Step == payment.StepRefund || p.Step == payment.StepWait) {
					due = p.DueAt
				}
			}
		}
		if due.IsZero() {
			return
		}
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
	}
	h.fail("it is never quiet: %+v", h.payments())
}

func (h *realHistory) payments() []payment.Payment {
	list, _, err := h.ledger.Payments(h.Context(), ledger.Filter{Limit: 100})
	if err != nil {
		h.fail("%v", err)
	}
	return list
}

// check compares the end of each payment with Stripe and the machines.
func (h *realHistory) check() {
	known := map[string]payment.Payment{}
	for _, p := range h.payments() {
		known[p.SessionID] = p
	}
	starts := map[string]int{}
	for _, m := range h.machines {
		for _, s := range m.Starts() {
			starts[cmp.Or(s.CreditID, payment.CreditID(s.SessionID))]++
		}
	}
	sent := map[string]bool{}
	for _, n := range h.notehub.Notes("") {
		credit, _ := n.Body["credit_id"].(string)
		sent[credit] = true
	}
	for _, s := range h.sold {
		charged, held, refunded, status := h.stripe.Money(s.ID)
		p, ok := known[s.ID]
		answers, err := h.ledger.Confirmations(h.Context(), p.ID)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			h.fail("%v", err)
		}
		inTime := false
		for _, c := range answers {
			inTime = inTime || ((c.State == "started" || c.State == "done") && c.At.Before(p.ConfirmBy))
		}
		back := !h.byOthers[s.ID] && (refunded > 0 || status == "canceled")
		switch {
		case !ok && status != "canceled":
			h.fail("%s was paid and is not in the ledger", s.ID)
		case !ok && sent[payment.CreditID(s.ID)]:
			h.fail("the credit of %s was sent, and it is not in the ledger", s.ID)
		case !ok:
		case !payment.Closed(p):
			h.fail("%s is not closed: %+v", s.ID, p)
		case held > 0 && p.Reason != payment.ReasonAdopted: // the operator decides about an adopted payment
			h.fail("the money of %s is never released: %+v", s.ID, p)
		case refunded > charged || p.RefundedAmount != refunded:
			h.fail("%s: %d of %d were refunded, and the ledger has %+v", s.ID, refunded, charged, p)
		case h.confirming && starts[p.ID] > 1:
			h.fail("%s started %d times", s.ID, starts[p.ID])
		case h.confirming && starts[p.ID] > 0 && back && inTime:
			h.fail("%s started, said so in time, and the money went back: %+v", s.ID, p)
		case !h.confirming && starts[p.ID] > 0 && back &&
			(p.Reason != payment.ReasonRecallUnclear || p.ReviewReason == ""):
			h.fail("%s started and the money went back: %+v", s.ID, p)
		}
	}
}
