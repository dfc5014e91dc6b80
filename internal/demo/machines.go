package demo

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"notepay/internal/sandbox"
)

const creditFile = "payment.qi"

// defaultPrice is the price of a machine without a price of its own in Notehub.
var defaultPrice = sandbox.Price{
	ID:       "price_1DemoOneStart",
	Name:     "One start",
	Currency: "usd",
	Amount:   200,
	Active:   true,
}

// kind describes one of the simulated machines.
type kind struct {
	key, name, uid, what string          // what: where the machine is, in a few words
	price                sandbox.Price   // set in its fleet's variable stripe_price_id at Notehub
	more                 []sandbox.Price // other plans, if it sells several
	program              time.Duration   // duration of a start if the note has none
	running              string          // label while it runs
	original             bool            // the firmware reads only the first three keys of a note and never answers
}

// kinds returns the machines in the order of the page. Each has a drawing in page/KEY.svg.
func kinds() []kind {
	price := func(id, name string, amount int64, duration string) sandbox.Price {
		p := sandbox.Price{ID: "price_1Demo" + id, Name: name, Currency: "usd", Amount: amount, Active: true}
		if duration != "" {
			p.Metadata = map[string]string{"duration": duration}
		}
		return p
	}
	snack := price("Snack", "One snack", 180, "")
	snack.Metadata = map[string]string{"pulses": "1"} // on the coin input
	return []kind{
		{
			key:     "washer",
			name:    "Washer 3",
			uid:     "dev:864475040000003",
			what:    "A laundromat",
			price:   price("WarmWash", "Warm wash", 350, "40s"),
			program: 40 * time.Second,
			running: "Washing",
		},
		{
			key:     "locker",
			name:    "Locker 12",
			uid:     "dev:864475040000012",
			what:    "A parcel locker",
			price:   withCode(price("OpenLocker", "Open the locker", 200, "")),
			program: 15 * time.Second,
			running: "Door open",
		},
		{
			key:   "charger",
			name:  "Charger A",
			uid:   "dev:864475040000021",
			what:  "A parking lot",
			price: price("Charge", "Charge the car", 500, "1m"),
			more: []sandbox.Price{
				price("ChargeShort", "Charge for a short stop", 300, "30s"),
				price("ChargeLong", "Charge until it is full", 900, "2m"),
			},
			program: time.Minute,
			running: "Charging",
		},
		{
			key:      "vending",
			name:     "Snack machine",
			uid:      "dev:864475040000034",
			what:     "A waiting room",
			price:    snack,
			program:  10 * time.Second,
			running:  "Serving",
			original: true,
		},
	}
}

// withCode returns the price of a door, whose customers get a code.
func withCode(p sandbox.Price) sandbox.Price {
	p.Metadata = map[string]string{"access_code": "true"}
	return p
}

// plans returns what a machine sells.
func (k kind) plans() []sandbox.Price { return append([]sandbox.Price{k.price}, k.more...) }

//go:embed page
var files embed.FS

// machine is a simulated Notecard with its host.
type machine struct {
	kind
	host    *sandbox.Machine
	card    *sandbox.Notecard // for a board of the maker's own
	board   boards            // guarded by Demo.mu
	drawing template.HTML
	cut     time.Time // when its power cut was turned on; guarded by Demo.mu

	// The fields below belong to Run's goroutine.
	shownFetches map[string]bool // notes already shown on the wire
	shownStarts  int             // number of starts already shown
	shownAnswers int             // number of answers already shown
}

// install adds a machine to the project, online.
func (d *Demo) install(k kind) *machine {
	drawing, err := files.ReadFile("page/" + k.key + ".svg")
	if err != nil {
		panic(fmt.Sprintf("demo: read the drawing of %s: %v", k.name, err))
	}
	var ids []string
	for _, p := range k.plans() {
		d.stripe.AddPrice(p)
		ids = append(ids, p.ID)
	}
	// The fleet has the price, because fleet variables are read in one call before the first link
	// is made.
	fleet := "fleet:" + k.key
	d.notehub.AddFleet(fleet, k.what, map[string]string{
		"stripe_price_id": strings.Join(ids, ","),
		"machine_kind":    k.key,
		"code_E_DOOR":     "Close the door",
	})
	d.notehub.AddDevice(sandbox.Device{UID: k.uid, Name: k.name, LastActivity: time.Now(), Fleets: []string{fleet}})
	d.notehub.SetConnected(k.uid, true)
	return &machine{
		kind: k,
		host: sandbox.NewMachine(d.notehub, sandbox.MachineConfig{
			Device:   k.uid,
			Original: k.original,
			Confirms: !k.original,
		}),
		card:         sandbox.NewNotecard(d.notehub, k.uid),
		board:        boards{ended: make(map[string]bool)},
		drawing:      template.HTML(drawing), // our own file
		shownFetches: make(map[string]bool),
	}
}

// Devices returns the UIDs of the machines, in the order of the page.
func (d *Demo) Devices() []string {
	var uids []string
	for _, m := range d.machines {
		uids = append(uids, m.uid)
	}
	return uids
}

// step steps each machine and shows its fetches, starts and answers on the wire.
func (d *Demo) step() {
	for _, m := range d.machines {
		d.stepBoard(m)
		m.host.Step()
		notes := d.notehub.Notes(m.uid)
		for _, n := range notes {
			if n.Fetched && !m.shownFetches[n.ID] {
				m.shownFetches[n.ID] = true
				d.wire.add(line{
					From:  "Notehub",
					To:    "machine",
					Text:  "the Notecard of " + m.name + " fetches the note",
					Asked: indented(n.Body),
				})
			}
		}
		answers := d.notehub.Answers(m.uid)
		for _, a := range answers[m.shownAnswers:] {
			d.followBoard(m, a, notes)
			d.wire.add(line{
				From:  "machine",
				To:    "Notehub",
				Text:  fmt.Sprintf("%s answers: %s", m.name, answerWords(a)),
				Asked: indented(a.Body),
			})
		}
		m.shownAnswers = len(answers)
		d.mu.Lock()
		starts := m.starts()
		d.mu.Unlock()
		for _, s := range starts[m.shownStarts:] {
			d.wire.add(line{From: "machine", Text: m.name + " starts", Asked: "session " + s.SessionID})
			d.log.Info("machine started", "device", m.uid, "credit", s.CreditID)
		}
		m.shownStarts = len(starts)
	}
	d.redraw()
}

// answerWords returns an answer's state and its code, if any.
func answerWords(a sandbox.Note) string {
	state, _ := a.Body["state"].(string)
	code, _ := a.Body["code"].(string)
	return strings.TrimSpace(state + " " + code)
}

// machineView is the data of a machine's card. State is "idle" or "running".
type machineView struct {
	Key, Name, UID, What, PayURL string
	Offer                        *offer // nil while there is no Payment Link
	Drawing                      template.HTML
	State, Says                  string
	Done, Of                     int // seconds of the running start
	Offline, Dark, Original      bool
	Paused                       string // why notepay does not sell on the machine; "": it sells
	Starts                       int
	Board                        boardView
	Payments                     []paymentView
	Notes                        []noteView
	Switches                     []switchView
	On                           []string // faults that are on, in words
}

// noteView is one note of payment.qi. State is "pending", "taken", "started", "repeat" or
// "recalled".
type noteView struct{ ID, State, Says, At, Body string }

const maxNotes = 2

// view returns the data of a machine's card at the time now.
func (d *Demo) view(m *machine, now time.Time) machineView {
	v := machineView{
		Key:      m.key,
		Name:     m.name,
		UID:      m.uid,
		What:     m.what,
		Drawing:  m.drawing,
		Offer:    d.offer(m.uid),
		State:    "idle",
		Says:     "Idle",
		Offline:  d.on["offline-"+m.key],
		Original: m.original,
		Paused:   d.known.paused[m.uid],
		Board:    m.board.view(now),
		Payments: d.paymentViews(m),
	}
	for _, f := range m.faults() {
		if v.Board.State != "" && !f.offline {
			continue // the board decides
		}
		v.Switches = append(v.Switches, switchView{f, d.on[f.Key]})
		if d.on[f.Key] {
			v.On = append(v.On, f.Effect)
		}
	}
	if d.notepayURL != "" {
		v.PayURL = d.notepayURL + "/pay?device=" + m.uid
	}
	starts := m.starts()
	v.Starts = len(starts)
	if v.Starts > 0 {
		last := starts[v.Starts-1]
		length := last.Duration
		if length == 0 {
			length = m.program
		}
		goes := m.isRunning(last) // a timed start may end early
		if left := length - now.Sub(last.At); left > 0 && (goes || last.Duration == 0) {
			v.Of = int(length.Seconds())
			seconds := int(math.Ceil(left.Seconds()))
			v.Done = v.Of - seconds
			v.State, v.Says = "running", fmt.Sprintf("%s, %d s left", m.running, seconds)
		}
	}
	notes := d.notehub.Notes(m.uid)
	v.Notes, v.Dark = noteViews(notes, starts), d.isDark(m, notes)
	return v
}

// offer describes a plan that a machine sells.
type offer struct{ Name, Amount string }

// offer returns what the machine's newest active Payment Link sells, which is what the customer
// will see. Of several plans it names the number and the lowest price. It returns nil if there is
// none.
func (d *Demo) offer(uid string) *offer {
	sold := map[string]sandbox.Price{}
	var newest *sandbox.Price
	if d.sessions {
		m := d.machines[slices.Index(d.Devices(), uid)]
		newest = &m.price
		for _, p := range m.plans() {
			sold[p.ID] = p
		}
	}
	for _, l := range slices.Backward(d.stripe.Links()) {
		if l.DeviceUID != uid || !l.Active {
			continue
		}
		for _, p := range d.prices() {
			if p.ID != l.PriceID {
				continue
			}
			if sold[p.ID] = p; newest == nil {
				newest = &p
			}
		}
	}
	if newest == nil {
		return nil
	}
	if len(sold) == 1 {
		return &offer{newest.Name, dollars(newest.Amount)}
	}
	lowest := newest.Amount
	for _, p := range sold {
		lowest = min(lowest, p.Amount)
	}
	return &offer{fmt.Sprintf("%d plans", len(sold)), "from " + dollars(lowest)}
}

func (d *Demo) prices() []sandbox.Price {
	prices := []sandbox.Price{defaultPrice}
	for _, m := range d.machines {
		prices = append(prices, m.plans()...)
	}
	return prices
}

// noteViews returns the latest notes with their results, newest first. If several notes share a
// credit, as many show a start as there were starts.
func noteViews(notes []sandbox.Note, starts []sandbox.Start) (views []noteView) {
	started := make(map[string]int)
	for _, s := range starts {
		started[s.CreditID]++
	}
	for _, n := range notes {
		v := noteView{ID: n.ID, State: "pending", Says: "waits at Notehub", At: clock(n.Posted), Body: indented(n.Body)}
		credit, _ := n.Body["credit_id"].(string)
		switch {
		case n.File != creditFile:
			continue
		case n.Body["payment_status"] != "completed" && n.Fetched:
			v.State, v.Says = "taken", fmt.Sprintf("machine informed: %v", n.Body["payment_status"])
		case n.Deleted:
			v.State, v.Says = "recalled", "recalled"
		case n.Fetched && started[credit] > 0:
			v.State, v.Says = "started", "machine started"
			started[credit]--
		case n.Fetched && slices.ContainsFunc(starts, func(s sandbox.Start) bool { return s.CreditID == credit }):
			v.State, v.Says = "repeat", "repeat, ignored"
		case n.Fetched:
			v.State, v.Says = "taken", "fetched, no start"
		}
		views = append(views, v)
	}
	slices.Reverse(views)
	return views[:min(len(views), maxNotes)]
}

func clock(t time.Time) string { return t.Format("15:04:05") }

func indented(body map[string]any) string {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
