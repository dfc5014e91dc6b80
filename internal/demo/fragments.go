package demo

import (
	"time"

	"notepay/internal/sandbox"
)

// fragment is a part of the page that is replaced whenever it changes: an element with an id.
type fragment struct{ id, html string }

func (f fragment) message() []byte { return message("fragment", 0, f.html) }

// redraw sends the fragments that changed to everybody who looks.
func (d *Demo) redraw() {
	if d.stream.watched() {
		d.fragments()
	}
}

// fragments returns all as they are now. Those that changed are sent, so that all readers have the
// same.
func (d *Demo) fragments() []fragment {
	d.mu.Lock()
	defer d.mu.Unlock()
	trouble := d.trouble()
	all := []fragment{
		{"strip", render("strip", d.strip())},
		{"banner", render("banner", trouble)},
		{"switches", render("switches", trouble)},
	}
	for _, m := range d.machines {
		v := d.view(m, time.Now())
		for _, name := range []string{"state", "offer", "payments", "notes", "trouble"} {
			all = append(all, fragment{name + "-" + m.key, render(name, v)})
		}
	}
	for _, f := range all {
		if d.sent[f.id] != f.html {
			d.sent[f.id] = f.html
			d.stream.send(f.message())
		}
	}
	return all
}

// troubleView are the switches and which are on.
type troubleView struct {
	Groups []troubleGroup
	On     []string // what is on, in words
}

type troubleGroup struct {
	Name     string
	Switches []switchView
}

type switchView struct {
	fault
	On bool
}

// trouble are the vendors' switches; those of a machine are on its card.
func (d *Demo) trouble() (v troubleView) {
	for _, f := range d.faults() {
		if d.on[f.Key] {
			v.On = append(v.On, f.Phrase())
		}
		if f.machine != nil {
			continue
		}
		if len(v.Groups) == 0 || v.Groups[len(v.Groups)-1].Name != f.Group {
			v.Groups = append(v.Groups, troubleGroup{Name: f.Group})
		}
		last := &v.Groups[len(v.Groups)-1]
		last.Switches = append(last.Switches, switchView{f, d.on[f.Key]})
	}
	return v
}

// stripView is how far the latest purchase has come, and what became of all payments: the promise,
// counted.
type stripView struct {
	Machine                      string // of the latest purchase; "" if there was none
	Steps                        []step
	Back                         bool   // the money came back
	Why                          string // it did
	Paid, Started, Returned, Due int
}

type step struct {
	Key, Name, Who string
	Done           bool
}

// strip reads from the simulated world what happened to the latest purchase.
func (d *Demo) strip() stripView {
	starts := make(map[string]bool)
	for _, m := range d.machines {
		for _, s := range m.host.Starts() {
			starts[s.SessionID] = true
		}
	}
	var v stripView
	var latest paidSession
	for _, p := range d.paidSessions() {
		latest = p
		v.Paid++
		switch {
		case d.isBack(p.ID):
			v.Returned++
		case starts[p.ID]:
			v.Started++
		default:
			v.Due++
		}
	}
	if d.scanned.at.After(latest.at) {
		latest = paidSession{Session: sandbox.Session{DeviceUID: d.scanned.device}}
	}
	device, session := latest.DeviceUID, latest.ID
	noted := false
	if session != "" {
		v.Back = d.isBack(session)
		for _, n := range d.notehub.Notes(device) {
			noted = noted || n.Body["session_id"] == session
		}
	}
	if m := d.machineNamed(device); m != nil {
		v.Machine = m.name
	}
	v.Steps = []step{
		{"scan", "Scan", "A phone reads the sticker", device != ""},
		{"pay", "Pay", "Stripe takes the card", session != ""},
		{"webhook", "Webhook", "Stripe tells notepay", latest.told},
		{"note", "Note", "notepay tells Notehub", noted},
		{"start", "Start", "The machine runs", starts[session]},
	}
	if v.Back {
		v.Steps[len(v.Steps)-1] = step{"back", "Money back", "The customer is refunded", true}
		v.Why = whyWords(d.known.payments[session], d.notehub.Answers(device))
	}
	return v
}
