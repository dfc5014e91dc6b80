package demo

import (
	"time"

	"notepay/internal/sandbox"
)

// fragment is a part of the page that is replaced when it changes: an element with an id.
type fragment struct{ id, html string }

func (f fragment) message() []byte { return message("fragment", 0, f.html) }

// redraw sends the changed fragments to all open pages.
func (d *Demo) redraw() {
	if d.stream.watched() {
		d.fragments()
	}
}

// fragments renders and returns all fragments. It sends the changed ones, so that all pages show
// the same.
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
		for _, name := range []string{"state", "board", "offer", "payments", "notes", "trouble"} {
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

// troubleView is the list of switches and their states.
type troubleView struct {
	Groups []troubleGroup
	On     []string // faults that are on, in words
}

type troubleGroup struct {
	Name     string
	Switches []switchView
}

type switchView struct {
	fault
	On bool
}

// trouble returns the vendors' switches. A machine's switches are on its card.
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

// stripView shows the progress of the latest purchase and counts the results of all payments.
type stripView struct {
	Machine                      string // of the latest purchase; "" if there was none
	Steps                        []step
	Back                         bool   // the money was returned
	Why                          string // reason of the refund
	Paid, Started, Returned, Due int
}

type step struct {
	Key, Name, Who string
	Done           bool
}

// strip returns the progress of the latest purchase, read from the simulation.
func (d *Demo) strip() stripView {
	starts := make(map[string]bool)
	for _, m := range d.machines {
		for _, s := range m.starts() {
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
		{"webhook", "Webhook", "Stripe tells notepay", latest.received},
		{"note", "Note", "notepay tells Notehub", noted},
		{"start", "Start", "The machine runs", starts[session]},
	}
	if v.Back {
		v.Steps[len(v.Steps)-1] = step{"back", "Money back", "The customer is refunded", true}
		v.Why = whyWords(d.known.payments[session], d.notehub.Answers(device))
	}
	return v
}
