// Package alert tells owners what is wrong, and when it is over.
//
// It compares what is wrong now with what each target was told, which the ledger keeps. So nothing is
// queued: a target that cannot be reached gets one message of the present state later, and a restart
// repeats nothing. If the process stops between sending and storing, one message may be repeated.
// A target gets at most one message of a kind in ten minutes.
//
// The package detects nothing, and no payment waits for it. It does not know the services, which
// internal/notify does.
package alert

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"notepay/internal/ledger"
	"notepay/internal/message"
	"notepay/internal/notify"
	"notepay/internal/problem"
)

// Item is one thing that is wrong.
type Item struct {
	Kind Kind
	Key  string // names the item within its kind, without line breaks
	Text string // one line
	Page string // the console's page about the item; "" for that of the kind
}

// Ledger is the part of *ledger.Ledger that the alerter uses.
type Ledger interface {
	AlertStates(ctx context.Context) ([]ledger.AlertState, error)
	SaveAlertState(ctx context.Context, s ledger.AlertState) error
	// Leads reports whether this instance leads. Only the leader sends.
	Leads() bool
}

// Config configures an Alerter.
type Config struct {
	Targets  []*notify.Target
	Sender   *notify.Sender
	Ledger   Ledger
	Name     string // of the business, at the beginning of each message
	Link     string // PUBLIC_URL; "": messages have no links
	Problems *problem.Board
	Log      *slog.Logger

	// Look returns what is wrong. After an error, the items of the kinds in the ledger are missing.
	Look func(ctx context.Context) ([]Item, error)
	// Digest returns the text about the time since from.
	Digest func(ctx context.Context, from, to time.Time) (string, error)
	// DigestAt returns the time of the digest on the day of now; the zero time if there is none.
	DigestAt func(now time.Time) time.Time
}

// Alerter sends alerts. Run must be called once. Status and Test are safe for concurrent use.
type Alerter struct {
	c       Config
	items   map[Kind]map[string]*item
	looked  time.Time // when they were updated
	targets []*target
	results chan result

	loaded bool      // the ledger's states were read since this instance leads
	led    bool      // this instance led last, so it also tells that the ledger cannot be reached
	ledAt  time.Time // when it last led
	saveAt time.Time // after a failure, when to store what was told again

	mu       sync.Mutex
	statuses []Status
}

// item is an Item over time.
type item struct {
	Item
	first, last time.Time // when it was seen
}

// target is a notify.Target and what it was told. Only Run uses it.
type target struct {
	*notify.Target
	number   int // its place in ALERT_URLS, from 1
	told     map[Kind]*told
	busy     bool
	failures int
	retryAt  time.Time
	began    time.Time // of this process
}

// told is what a target was told of a kind.
type told struct {
	open   bool
	at     time.Time
	number int64
	keys   map[string]bool
	dirty  bool // not stored yet
}

// job is a message on its way.
type job struct {
	kind Kind
	open bool
	keys map[string]bool
	m    notify.Message
}

type result struct {
	t   *target
	j   job
	err error
}

// Status is how the last attempt to send to a target ended.
type Status struct {
	Number  int
	Service string
	Sent    time.Time // the last success since the start; zero for none
	Failed  time.Time // the last failure, if no success came after it
	Err     string    // its cause, without secrets
}

const (
	// lookInterval is how often Run compares.
	lookInterval = 10 * time.Second
	// maxLines is how many items a message names.
	maxLines = 5
	// storeTimeout bounds the storing of what was told.
	storeTimeout = 5 * time.Second
	// saveAgain is the time between two attempts to store.
	saveAgain = time.Minute
	// failuresToRaise is how many failures in a row become a problem of the service.
	failuresToRaise = 3
	// lostLead is how long an instance that led tells that the ledger cannot be reached.
	lostLead = 2 * time.Minute
)

// New returns an alerter.
func New(c Config) *Alerter {
	a := &Alerter{
		c:       c,
		items:   map[Kind]map[string]*item{},
		results: make(chan result, len(c.Targets)),
	}
	for n, t := range c.Targets {
		a.targets = append(a.targets, &target{Target: t, number: n + 1, told: map[Kind]*told{}, began: time.Now()})
		a.statuses = append(a.statuses, Status{Number: n + 1, Service: t.Service})
	}
	return a
}

// Status returns the state of each target, in the order of ALERT_URLS.
func (a *Alerter) Status() []Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Status(nil), a.statuses...)
}

// Test sends a test alert to every target, and returns their errors in the order of ALERT_URLS.
func (a *Alerter) Test(ctx context.Context) []error {
	return SendTest(ctx, a.c.Sender, a.c.Targets, a.c.Name, a.c.Link)
}

// SendTest sends a test alert to every target, and returns their errors.
func SendTest(ctx context.Context, s *notify.Sender, targets []*notify.Target, name, link string) []error {
	errs := make([]error, len(targets))
	var all sync.WaitGroup
	for n, t := range targets {
		all.Go(func() {
			now := time.Now()
			errs[n] = s.Send(ctx, t, notify.Message{
				ID:    messageID(t.ID, string(test), now.String()),
				Kind:  string(test),
				State: notify.Test,
				Title: name + ": test alert",
				Text:  "Alerts arrive here. You need to do nothing.",
				Link:  pageLink(link, "/operator"),
				At:    now,
			})
		})
	}
	all.Wait()
	return errs
}

func pageLink(public, page string) string {
	if public == "" {
		return ""
	}
	return public + page
}

// Run sends alerts until ctx ends.
func (a *Alerter) Run(ctx context.Context) {
	var sends sync.WaitGroup
	defer sends.Wait()
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		if a.scope(ctx); ctx.Err() == nil {
			a.look(ctx)
			a.save(ctx)
			a.send(ctx, &sends)
		}
		select {
		case <-ctx.Done():
			sends.Wait() // their contexts have ended
			for len(a.results) > 0 {
				a.finish(<-a.results)
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
			defer cancel()
			a.save(ctx) // what arrived must not be repeated
			return
		case r := <-a.results:
			a.finish(r)
		case <-tick.C:
		}
	}
}

// owes reports whether a target was told that something of a kind is wrong, and not that it is over.
func (a *Alerter) owes(kind Kind) bool {
	return slices.ContainsFunc(a.targets, func(t *target) bool { return t.told[kind] != nil && t.told[kind].open })
}

// scope finds out whether this instance leads, and reads what the targets were told when the lead
// begins.
func (a *Alerter) scope(ctx context.Context) {
	now := time.Now()
	if !a.c.Ledger.Leads() {
		a.loaded = false
		if now.Sub(a.ledAt) > lostLead && len(a.items[Storage]) == 0 && !a.owes(Storage) {
			a.led = false
		}
		return
	}
	a.led, a.ledAt = true, now
	if a.loaded {
		return
	}
	reading, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	states, err := a.c.Ledger.AlertStates(reading)
	if err != nil {
		if ctx.Err() == nil {
			a.c.Log.Warn("alerts sent before not read", "err", err)
		}
		return
	}
	a.loaded = true
	for _, s := range states {
		for _, t := range a.targets {
			kind := Kind(s.Kind)
			if known := t.told[kind]; t.ID != s.Target || known != nil && known.at.After(s.SentAt) {
				continue
			}
			t.told[kind] = &told{open: s.Open, at: s.SentAt, number: s.Number, keys: map[string]bool{}}
			for _, key := range s.Keys {
				t.told[kind].keys[key] = true
				a.remember(kind, key, now)
			}
		}
	}
}

// remember makes an item that was told before this process began count as open for a while.
func (a *Alerter) remember(kind Kind, key string, now time.Time) {
	if a.items[kind] == nil {
		a.items[kind] = map[string]*item{}
	}
	if a.items[kind][key] == nil {
		a.items[kind][key] = &item{Item: Item{Kind: kind, Key: key}, last: now}
	}
}

// look updates the items.
func (a *Alerter) look(ctx context.Context) {
	found, err := a.c.Look(ctx)
	if err != nil && ctx.Err() == nil {
		a.c.Log.Warn("alerts not looked up", "err", err)
	}
	now := time.Now()
	a.looked = now
	for _, i := range found {
		if a.items[i.Kind] == nil {
			a.items[i.Kind] = map[string]*item{}
		}
		known := a.items[i.Kind][i.Key]
		if known == nil {
			known = &item{first: now}
			a.items[i.Kind][i.Key] = known
		}
		known.Item, known.last = i, now
	}
	for kind, items := range a.items {
		for key, i := range items {
			switch {
			case i.last.Equal(now):
			case err != nil && kind.inLedger():
				i.last = now // unknown, so it stays as it is
			case now.Sub(i.last) >= kind.settle():
				delete(items, key)
			}
		}
	}
}

// send starts sending to each target that is due, one message at a time.
func (a *Alerter) send(ctx context.Context, sends *sync.WaitGroup) {
	now := time.Now()
	for _, t := range a.targets {
		if t.busy || now.Before(t.retryAt) {
			continue
		}
		j, due := a.next(ctx, t, now)
		if !due {
			continue
		}
		t.busy = true
		sends.Go(func() { a.results <- result{t, j, a.c.Sender.Send(ctx, t.Target, j.m)} })
	}
}

// finish applies how an attempt to send ended.
func (a *Alerter) finish(r result) {
	now := time.Now()
	r.t.busy = false
	a.note(r, now)
	if r.err != nil {
		r.t.failures++
		r.t.retryAt = now.Add(retryAfter(r.t.failures))
		a.c.Log.Warn("alert not sent", "target", r.t.number, "kind", r.j.kind, "failures", r.t.failures, "err", r.err)
		a.raise()
		return
	}
	r.t.failures, r.t.retryAt = 0, time.Time{}
	was := r.t.toldOf(r.j.kind, now)
	*was = told{open: r.j.open, at: now, number: was.number + 1, keys: r.j.keys, dirty: true}
	a.c.Log.Info("alert sent", "target", r.t.number, "kind", r.j.kind, "state", r.j.m.State)
	a.raise()
}

func (a *Alerter) note(r result, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &a.statuses[r.t.number-1]
	if r.err != nil {
		s.Failed, s.Err = now, r.err.Error()
		return
	}
	s.Sent, s.Failed, s.Err = now, time.Time{}, ""
}

// raise raises or clears the problem that alerts cannot be sent. Its text names no address.
func (a *Alerter) raise() {
	var failing message.List
	var details []string
	for _, t := range a.targets {
		if t.failures >= failuresToRaise {
			failing = append(failing, message.New("number %d (%s)", t.number, t.Service))
			details = append(details, a.Status()[t.number-1].Err)
		}
	}
	if len(failing) == 0 {
		a.c.Problems.Clear(problem.Alerts)
		return
	}
	a.c.Problems.Raise(problem.Problem{
		Code: problem.Alerts,
		Text: message.New("Alerts cannot be sent to %s of ALERT_URLS. "+
			"notepay keeps trying. Send a test alert on the console's Setup page.", failing),
		Detail: strings.Join(details, "; "),
	})
}

// save stores what was told. After a failure it waits, because a ledger that cannot be written must not
// be bothered more than needed.
func (a *Alerter) save(ctx context.Context) {
	if !a.loaded || time.Now().Before(a.saveAt) {
		return
	}
	for _, t := range a.targets {
		for kind, was := range t.told {
			if !was.dirty {
				continue
			}
			s := ledger.AlertState{Target: t.ID, Kind: string(kind), Open: was.open, SentAt: was.at, Number: was.number}
			for key := range was.keys {
				s.Keys = append(s.Keys, key)
			}
			storing, cancel := context.WithTimeout(ctx, storeTimeout)
			err := a.c.Ledger.SaveAlertState(storing, s)
			cancel()
			if err != nil {
				a.saveAt = time.Now().Add(saveAgain)
				a.c.Log.Warn("sent alert not recorded", "kind", kind, "err", err)
				return
			}
			was.dirty = false
		}
	}
}
