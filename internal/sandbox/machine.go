package sandbox

import (
	"context"
	"sync"
	"time"
)

const (
	creditFile       = "payment.qi"
	confirmationFile = "payment_ack.qo"
)

// MachineConfig says which firmware a machine has.
type MachineConfig struct {
	Device     string        // UID of its Notecard
	Original   bool          // knows only the first three keys of a note: starts for each, keeps no ids, knows no expiry
	Confirms   bool          // answers each note in payment_ack.qo
	Every      time.Duration // how often Run fetches; 0: only Step does
	MissExpiry bool          // starts for an expired credit too, as a machine does whose clock is wrong
}

// Machine takes notes from payment.qi and starts. It keeps the credit ids that it has seen for ever.
type Machine struct {
	hub    *Notehub
	config MachineConfig

	mu     sync.Mutex // guards all below; held through a Step, so steps do not overlap
	off    bool
	seen   map[string]bool
	starts []Start
}

// Start is one start of a machine.
type Start struct {
	CreditID, SessionID string
	At                  time.Time
	Duration            time.Duration // 0: not a timed one
}

// NewMachine returns a machine that is online and has never started.
func NewMachine(n *Notehub, c MachineConfig) *Machine {
	return &Machine{hub: n, config: c, seen: make(map[string]bool)}
}

// SetOnline connects the machine or cuts it off. Offline it fetches nothing.
func (m *Machine) SetOnline(online bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off = !online
}

// Starts returns all starts so far, oldest first.
func (m *Machine) Starts() []Start {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Start(nil), m.starts...)
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

// Step fetches what is pending and starts once for each credit that is new and has not expired.
func (m *Machine) Step() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return
	}
	for _, note := range m.hub.Fetch(m.config.Device, creditFile) {
		m.receive(note)
	}
}

func (m *Machine) receive(note Note) {
	status, _ := note.Body["payment_status"].(string)
	session, _ := note.Body["session_id"].(string)
	credit, _ := note.Body["credit_id"].(string)
	expires, expiring := note.Body["expires"].(float64)
	seconds, _ := note.Body["duration_s"].(float64)
	if status != "completed" {
		return // a machine that confirms would stop here; there is nothing that runs
	}
	now := time.Now()
	if !m.config.Original && credit != "" {
		if m.seen[credit] {
			m.confirm(credit, "duplicate")
			return
		}
		m.seen[credit] = true
		if expiring && now.Unix() > int64(expires) && !m.config.MissExpiry {
			m.confirm(credit, "expired")
			return
		}
	}
	m.starts = append(m.starts, Start{CreditID: credit, SessionID: session, At: now, Duration: time.Duration(seconds) * time.Second})
	m.confirm(credit, "started")
}

func (m *Machine) confirm(credit, state string) {
	if m.config.Confirms && credit != "" {
		m.hub.AddEvent(m.config.Device, confirmationFile, map[string]any{"credit_id": credit, "state": state, "code": ""})
	}
}
