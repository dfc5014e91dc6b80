package sandbox

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	creditFile       = "payment.qi"
	confirmationFile = "payment_ack.qo"
)

// MachineConfig says which firmware a machine has.
type MachineConfig struct {
	Device string // UID of its Notecard
	// knows only the first three keys of a note: starts for each, keeps no ids, knows no expiry,
	// never answers
	Original   bool
	Confirms   bool          // answers each note in payment_ack.qo
	Every      time.Duration // how often Run steps; 0: only Step does
	MissExpiry bool          // starts for an expired credit too, as a machine does whose clock is wrong
}

// Behaviour is what a machine does with the credits it fetches from now on. The zero value is a
// machine in order.
type Behaviour struct {
	Refuse     string        // the state that it answers instead of starting: "failed" or "busy"; "": it starts
	Code       string        // the code of such an answer, e.g. "E-DOOR"
	Silent     bool          // it never answers; with Refuse it does nothing that anybody hears of
	AnswerLate time.Duration // before each answer
	Twice      bool          // it gives each answer twice
	LosePower  bool          // the power fails when it has fetched and not yet started, once; see SetPower
}

// Machine takes notes from payment.qi and starts. It keeps the credit ids that it has seen for
// ever. All its methods are safe for concurrent use; its clock is that of Step, so what is due
// happens at the next one.
//
// A firmware other than the original writes what it fetched into its flash before it acts, and
// takes it up when the power is back. One that confirms runs one timed credit at a time ("busy")
// and stops when a note says that the credit is refunded or ended. Its answers wait in the Notecard
// while there is no connection.
type Machine struct {
	hub    *Notehub
	config MachineConfig

	mu        sync.Mutex // guards all below; held through a Step, so steps do not overlap
	offline   bool
	dark      bool // without power
	behaviour Behaviour
	seen      map[string]bool
	flash     []Note // fetched, and not yet acted on when the power failed
	starts    []Start
	running   []Start // timed, until they end
	outbox    []confirmation
}

// Start is one start of a machine.
type Start struct {
	CreditID, SessionID string
	At                  time.Time
	Delay               time.Duration // before a timed one begins to run
	Duration            time.Duration // 0: not a timed one
}

// Ends returns when a start is over by itself; At if it is not a timed one.
func (s Start) Ends() time.Time {
	if s.Duration == 0 {
		return s.At
	}
	return s.At.Add(s.Delay + s.Duration)
}

// confirmation is an answer on its way.
type confirmation struct {
	due                 time.Time
	credit, state, code string
}

// NewMachine returns a machine that is online, in order and has never started.
func NewMachine(n *Notehub, c MachineConfig) *Machine {
	return &Machine{hub: n, config: c, seen: make(map[string]bool)}
}

// SetOnline connects the machine or cuts it off. Offline it fetches nothing and its answers wait;
// what runs goes on.
func (m *Machine) SetOnline(online bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offline = !online
}

// SetPower switches the power. Without it a machine does nothing at all; what runs ends at its time
// nevertheless.
func (m *Machine) SetPower(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dark = !on
}

// SetBehaviour changes what the machine does from now on. Answers that are on their way already go
// as they were meant to.
func (m *Machine) SetBehaviour(b Behaviour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behaviour = b
}

// Starts returns all starts so far, oldest first.
func (m *Machine) Starts() []Start {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.starts)
}

// Running returns the newest timed start that is not over; ok is false if there is none.
func (m *Machine) Running() (s Start, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range slices.Backward(m.running) {
		if m.hub.Now().Before(s.Ends()) {
			return s, true
		}
	}
	return Start{}, false
}

// Run calls Step every so often until the context ends; not at all if Every is 0.
func (m *Machine) Run(ctx context.Context) {
	if m.config.Every <= 0 {
		return
	}
	tick := time.NewTicker(m.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.Step()
		case <-ctx.Done():
			return
		}
	}
}

// Step does all that is due: it ends what has run its time, fetches what is pending, starts once
// for each credit that is new and has not expired, and sends its answers.
func (m *Machine) Step() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dark {
		return
	}
	m.finish(func(s Start) bool { return !m.hub.Now().Before(s.Ends()) })
	notes := m.flash
	if !m.offline {
		notes = append(notes, m.hub.Fetch(m.config.Device, creditFile)...)
	}
	m.flash = nil
	if m.behaviour.LosePower && len(notes) > 0 {
		m.behaviour.LosePower, m.dark = false, true
		if !m.config.Original {
			m.flash = notes
		}
		return
	}
	for _, note := range notes {
		m.receive(note)
	}
	if !m.offline {
		m.answer()
	}
}

func (m *Machine) receive(note Note) {
	text := func(key string) string { s, _ := note.Body[key].(string); return s }
	number := func(key string) float64 { f, _ := note.Body[key].(float64); return f }
	now := m.hub.Now()
	s := Start{
		CreditID:  text("credit_id"),
		SessionID: text("session_id"),
		At:        now,
		Delay:     time.Duration(number("delayed_start_s")) * time.Second,
		Duration:  time.Duration(number("duration_s")) * time.Second,
	}
	switch status := text("payment_status"); {
	case (status == "refunded" || status == "ended") && m.confirms():
		m.seen[s.CreditID] = true // should its credit come after it
		m.finish(func(running Start) bool { return running.CreditID == s.CreditID })
		return
	case status != "completed":
		return
	}
	if !m.config.Original && s.CreditID != "" {
		expires := number("expires")
		switch {
		case m.seen[s.CreditID]:
			m.confirm(s.CreditID, "duplicate", "")
			return
		case expires > 0 && now.Unix() > int64(expires) && !m.config.MissExpiry:
			m.seen[s.CreditID] = true
			m.confirm(s.CreditID, "expired", "")
			return
		}
		m.seen[s.CreditID] = true
	}
	switch {
	case m.behaviour.Refuse != "":
		m.confirm(s.CreditID, m.behaviour.Refuse, m.behaviour.Code)
		return
	case m.confirms() && len(m.running) > 0:
		m.confirm(s.CreditID, "busy", "")
		return
	}
	m.starts = append(m.starts, s)
	if s.Duration > 0 {
		m.running = append(m.running, s)
	}
	m.confirm(s.CreditID, "started", "")
}

// finish ends the running starts for which over is true.
func (m *Machine) finish(over func(Start) bool) {
	m.running = slices.DeleteFunc(m.running, func(s Start) bool {
		if over(s) {
			m.confirm(s.CreditID, "done", "")
			return true
		}
		return false
	})
}

func (m *Machine) confirms() bool { return m.config.Confirms && !m.config.Original }

// confirm hands an answer to the Notecard.
func (m *Machine) confirm(credit, state, code string) {
	if !m.confirms() || credit == "" || m.behaviour.Silent {
		return
	}
	given := confirmation{due: time.Now().Add(m.behaviour.AnswerLate), credit: credit, state: state, code: code}
	m.outbox = append(m.outbox, given)
	if m.behaviour.Twice {
		m.outbox = append(m.outbox, given)
	}
}

// answer sends the answers that are due. What the Notecard cannot get rid of waits.
func (m *Machine) answer() {
	m.outbox = slices.DeleteFunc(m.outbox, func(c confirmation) bool {
		if c.due.After(time.Now()) {
			return false
		}
		body := map[string]any{"credit_id": c.credit, "state": c.state, "code": c.code}
		return m.hub.AddEvent(m.config.Device, confirmationFile, body) != ""
	})
}
