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

// MachineConfig selects the firmware of a machine.
type MachineConfig struct {
	Device string // UID of the Notecard
	// Original selects the original firmware. It reads only the first three keys of a note, starts
	// for each note, and never answers. It keeps no credit ids and ignores the expiry.
	Original   bool
	Confirms   bool          // answers each note in payment_ack.qo
	Every      time.Duration // interval of the steps in Run; 0: only Step steps
	MissExpiry bool          // starts for an expired credit too, like a machine with a wrong clock
}

// Behavior describes what a machine does with the credits it fetches from now on. The zero value
// is a machine that works.
type Behavior struct {
	Refuse     string        // state that it answers instead of starting: "failed" or "busy"; "": it starts
	Code       string        // code of that answer, e.g. "E-DOOR"
	Silent     bool          // never answers; with Refuse it neither starts nor answers
	AnswerLate time.Duration // delay before each answer
	Twice      bool          // sends each answer twice
	LosePower  bool          // loses power once, after it fetched a note and before it starts; see SetPower
}

// Machine fetches notes from payment.qi and starts. It never forgets a credit id. All its methods
// are safe for concurrent use. It acts only in Step, so an action that is due waits for the next
// step.
//
// Every firmware but the original writes fetched notes to its flash before it acts, and handles
// them when power returns. A firmware that confirms runs one timed credit at a time and answers
// "busy" to others. It stops when a note says that the credit is refunded or ended. Its answers
// wait in the Notecard while there is no connection.
type Machine struct {
	hub    *Notehub
	config MachineConfig

	mu       sync.Mutex // guards the fields below; held during a Step, so steps do not overlap
	offline  bool
	dark     bool // without power
	behavior Behavior
	seen     map[string]bool
	flash    []Note // fetched, and not handled when the power failed
	starts   []Start
	running  []Start // timed starts that have not ended
	outbox   []confirmation
}

// Start is one start of a machine.
type Start struct {
	CreditID, SessionID string
	At                  time.Time
	Delay               time.Duration // before a timed start begins to run
	Duration            time.Duration // 0: not timed
}

// Ends returns when a start ends by itself, or At if it is not timed.
func (s Start) Ends() time.Time {
	if s.Duration == 0 {
		return s.At
	}
	return s.At.Add(s.Delay + s.Duration)
}

// confirmation is an answer that has not been sent.
type confirmation struct {
	due                 time.Time
	credit, state, code string
}

// NewMachine returns a machine that is online, works and has never started.
func NewMachine(n *Notehub, c MachineConfig) *Machine {
	return &Machine{hub: n, config: c, seen: make(map[string]bool)}
}

// SetOnline connects or disconnects the machine. While offline it fetches nothing, and its answers
// wait. A running start continues.
func (m *Machine) SetOnline(online bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offline = !online
}

// SetPower switches the power. Without power the machine takes no steps, but a running start still
// ends at its time.
func (m *Machine) SetPower(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dark = !on
}

// SetBehavior changes the behavior from now on. Answers that are already waiting are sent
// unchanged.
func (m *Machine) SetBehavior(b Behavior) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behavior = b
}

// Starts returns all starts so far, oldest first.
func (m *Machine) Starts() []Start {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.starts)
}

// Running returns the newest timed start that has not ended. The result ok is false if there is
// none.
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

// Run calls Step at the configured interval until the context ends. If the interval is 0, it
// returns at once.
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

// Step does everything that is due. It ends timed starts, fetches pending notes, starts once for
// each new credit that has not expired, and sends answers.
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
	if m.behavior.LosePower && len(notes) > 0 {
		m.behavior.LosePower, m.dark = false, true
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
		m.seen[s.CreditID] = true // so that a credit that arrives later does not start
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
	case m.behavior.Refuse != "":
		m.confirm(s.CreditID, m.behavior.Refuse, m.behavior.Code)
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

// finish ends the running starts for which over returns true.
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
	if !m.confirms() || credit == "" || m.behavior.Silent {
		return
	}
	given := confirmation{due: time.Now().Add(m.behavior.AnswerLate), credit: credit, state: state, code: code}
	m.outbox = append(m.outbox, given)
	if m.behavior.Twice {
		m.outbox = append(m.outbox, given)
	}
}

// answer sends the answers that are due. An answer that Notehub does not take stays in the outbox.
func (m *Machine) answer() {
	m.outbox = slices.DeleteFunc(m.outbox, func(c confirmation) bool {
		if c.due.After(time.Now()) {
			return false
		}
		body := map[string]any{"credit_id": c.credit, "state": c.state, "code": c.code}
		return m.hub.AddEvent(m.config.Device, confirmationFile, body) != ""
	})
}
