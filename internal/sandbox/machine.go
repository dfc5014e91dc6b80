package sandbox

import (
	"cmp"
	"context"
	"math"
	"regexp"
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
	CreditFile string        // where its notes are; "": payment.qi
	AnswerFile string        // where it answers; "": payment_ack.qo
	Decrypts   bool          // its Notecard decrypts notes
	MaxRun     time.Duration // the most that a note may order; 0: four hours, as in the firmware
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
// A firmware that confirms decides as firmware/README.md says, and tests/firmware/vectors.jsonl
// compares it with that firmware. Every firmware but the original keeps fetched notes until it has
// acted, and handles them when power returns. Answers wait in the Notecard while there is no
// connection.
type Machine struct {
	hub    *Notehub
	config MachineConfig

	mu       sync.Mutex // guards the fields below; held during a Step, so steps do not overlap
	offline  bool
	dark     bool // without power
	back     bool // another host has the Notecard
	behavior Behavior
	records  map[string]machineRecord // by credit id
	flash    []Note                   // fetched, and not handled when the power failed
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
	Pulses, Output      int           // of a machine with a coin input, or with several outputs
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
	c.CreditFile, c.AnswerFile = cmp.Or(c.CreditFile, creditFile), cmp.Or(c.AnswerFile, confirmationFile)
	c.MaxRun = cmp.Or(c.MaxRun, maxMachineRun)
	return &Machine{hub: n, config: c, records: make(map[string]machineRecord)}
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

// StandBack leaves the notes that come from now on to another host. What the machine has fetched, it
// ends and answers.
func (m *Machine) StandBack(back bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.back = back
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
	if !m.offline && !m.back {
		notes = append(notes, m.hub.Fetch(m.config.Device, m.config.CreditFile)...)
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
		if m.config.Decrypts {
			body, err := m.hub.decrypt(m.config.Device, note.Body)
			if err != nil {
				continue
			}
			note.Body = body
		}
		m.receive(note)
	}
	if !m.offline {
		m.answer()
	}
}

// machineRecord is what a machine remembers of a credit. Its answer is sent again if the credit
// comes again.
type machineRecord struct {
	state, code string
	expires     uint32 // of an expired credit, which is decided again if it comes with a later one
}

// maxMachineRun is what a note may order at most, without a setting. The firmware calls it max_run_s.
const maxMachineRun = 4 * time.Hour

// receive handles a note in the order of firmware/README.md, unless the machine is older than that.
func (m *Machine) receive(note Note) {
	status, credit := textOf(note, "payment_status"), textOf(note, "credit_id")
	expires := numberOf(note, "expires")
	duration, delay := numberOf(note, "duration_s"), numberOf(note, "delayed_start_s")
	if m.confirms() && !isCreditID(credit) {
		return // it cannot be remembered, so it is removed without a start
	}
	switch {
	case (status == "refunded" || status == "ended") && m.confirms():
		m.stop(credit)
		return
	case status != "completed":
		return
	}
	s := Start{
		CreditID:  credit,
		SessionID: textOf(note, "session_id"),
		At:        m.hub.Now(),
		Delay:     time.Duration(delay) * time.Second,
		Duration:  time.Duration(duration) * time.Second,
		Pulses:    int(numberOf(note, "pulses")),
		Output:    int(numberOf(note, "output")),
	}
	given := machineRecord{state: "started"}
	if r, known := m.records[credit]; !m.config.Original && known && !(r.state == "expired" && expires > r.expires) {
		m.confirm(credit, r.state, r.code)
		return
	}
	switch {
	case !m.config.Original && credit != "" && !m.config.MissExpiry && expires > 0 && s.At.Unix() > int64(expires):
		given = machineRecord{state: "expired", expires: expires}
	case m.confirms() && (max(s.Duration, s.Delay) > m.config.MaxRun || expires == math.MaxUint32):
		given = machineRecord{state: "failed", code: "E-TIME"}
	case m.confirms() && len(m.running) > 0:
		given = machineRecord{state: "busy"}
	case m.behavior.Refuse == "failed":
		given = machineRecord{state: "failed", code: m.behavior.Code[:min(10, len(m.behavior.Code))]}
	case m.behavior.Refuse != "":
		given = machineRecord{state: m.behavior.Refuse, code: m.behavior.Code}
	default:
		m.starts = append(m.starts, s)
		if s.Duration > 0 {
			m.running = append(m.running, s)
		}
	}
	if credit != "" {
		m.records[credit] = given
	}
	m.confirm(credit, given.state, given.code)
}

// stop ends a running credit. A credit that it does not have yet fails when it comes, because its
// money is back.
func (m *Machine) stop(credit string) {
	if slices.ContainsFunc(m.running, func(s Start) bool { return s.CreditID == credit }) {
		m.finish(func(s Start) bool { return s.CreditID == credit })
	} else if r, known := m.records[credit]; !known || r.state == "expired" {
		m.records[credit] = machineRecord{state: "failed", code: "E-STOP"}
	}
}

// textOf returns a member of a note's body, or "" if it is no text.
func textOf(note Note, key string) string {
	s, _ := note.Body[key].(string)
	return s
}

// numberOf returns a member of a note's body as the firmware reads it: 0 if it is missing, no number
// or negative, and the largest value if it is larger or has a fraction.
func numberOf(note Note, key string) uint32 {
	f, _ := note.Body[key].(float64)
	switch {
	case f <= 0:
		return 0
	case f > math.MaxUint32 || f != math.Trunc(f):
		return math.MaxUint32
	}
	return uint32(f)
}

var creditID = regexp.MustCompile(`^cr_[_` + "`" + `a-z0-9]{0,16}$`)

// isCreditID reports whether the firmware can remember a credit id.
func isCreditID(id string) bool { return creditID.MatchString(id) }

// finish ends the running starts for which over returns true.
func (m *Machine) finish(over func(Start) bool) {
	m.running = slices.DeleteFunc(m.running, func(s Start) bool {
		if over(s) {
			m.records[s.CreditID] = machineRecord{state: "done"}
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
		return m.hub.AddEvent(m.config.Device, m.config.AnswerFile, body) != ""
	})
}
