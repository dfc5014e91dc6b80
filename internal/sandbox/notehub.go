package sandbox

import (
	"context"
	"crypto/ecdh"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// NotehubConfig describes the simulated project.
type NotehubConfig struct {
	ClientID, ClientSecret string // OAuth2 client; POST /oauth2/token issues tokens
	Token                  string // personal access token that is accepted too; "": none
	Project                string // app:...
	// PerMinute is the number of requests allowed in any minute, including token calls. More are
	// answered with 429 and Retry-After. 0 means no limit.
	PerMinute int
	TokenLife time.Duration // 0: 30 minutes
	// AnswerFiles are the notefiles whose events the route delivers. If nil, it is payment_ack.qo.
	AnswerFiles []string
	MaxPending  int // notes that may be pending in one file of a device; 0: 100
	// Client sends events through the route. It never follows redirects. If nil, a plain client is
	// used.
	Client *http.Client
	// RouteDelays are the waits before the route's retries. If nil, they are 30 s, 90 s and 4 min.
	// If empty, the route does not retry.
	RouteDelays []time.Duration
	Report      Reporter // receives malformed requests; may be nil
	// Unknown sets behavior of the real service that is not known. The zero value is the safe
	// assumption.
	Unknown NotehubUnknown
}

// Notehub is a simulated Notehub project. It is an http.Handler for /oauth2/token and /v1/. All its
// methods are safe for concurrent use. If it has a route, close it when done.
type Notehub struct {
	Script
	config     NotehubConfig
	operations []hubOperation

	running    context.Context // ends with Close
	stop       context.CancelFunc
	background sync.WaitGroup // deliveries

	mu         sync.Mutex // guards the fields below
	devices    []*Device  // in the order in which they were added
	byUID      map[string]*Device
	oddDevices []json.RawMessage
	fleets     []*fleet
	variables  map[string]string
	tokens     map[string]time.Time // issued access tokens, with their expiry
	issued     int
	minute     slidingMinute
	notes      []*Note // every note ever posted, oldest first
	pending    map[string][]*Note
	changes    int
	events     []hubEvent
	connected  map[string]bool // devices that receive signals
	// races holds devices that fetch a note just before its next delete. The value says whether
	// Notehub finds the note all the same.
	races map[string]bool
	raced map[string][]*Note // fetched just before a delete, and not yet returned by Fetch
	late  time.Duration      // delay until a new note is listed

	private  map[string]*ecdh.PrivateKey // of the Notecards, made when needed
	keyTexts map[string]string           // what the API says of a device's key instead of it

	route       route
	delivery    Delivery
	tries       map[string][]RouteTry // by event id
	outstanding int                   // deliveries that have not ended
}

// slidingMinute allows at most limit requests in any minute.
type slidingMinute struct {
	limit int
	seen  []time.Time // allowed requests of the last minute, oldest first
}

// wait counts a request and returns 0, or returns how long the caller must wait.
func (m *slidingMinute) wait(now time.Time) time.Duration {
	for len(m.seen) > 0 && now.Sub(m.seen[0]) >= time.Minute {
		m.seen = m.seen[1:]
	}
	if len(m.seen) >= m.limit {
		return m.seen[0].Add(time.Minute).Sub(now)
	}
	m.seen = append(m.seen, now)
	return 0
}

type fleet struct {
	uid, label string
	created    time.Time
	variables  map[string]string
}

// Device is a Notecard of the project.
type Device struct {
	UID, Name    string // Name is serial_number in the API
	Fleets       []string
	Disabled     bool
	Periodic     bool      // connects from time to time; false: stays connected
	LastActivity time.Time // zero: never seen
	Variables    map[string]string
}

// Note is a note that was posted for a device. It is pending until it is fetched or deleted.
type Note struct {
	ID, File, Device string
	Body             map[string]any
	Posted           time.Time
	Fetched, Deleted bool
	FetchedAt        time.Time
}

// hubEvent is a note from a machine, in the JSON of note-go's note.Event.
type hubEvent struct {
	Event    string         `json:"event"`
	File     string         `json:"file"`
	Req      string         `json:"req"`
	When     int64          `json:"when"`
	Received float64        `json:"received"`
	Device   string         `json:"device"`
	Name     string         `json:"sn,omitempty"`
	App      string         `json:"app"`
	Fleets   []string       `json:"fleets,omitempty"`
	Body     map[string]any `json:"body"`
}

// NewNotehub returns a project without devices.
func NewNotehub(c NotehubConfig) *Notehub {
	if c.TokenLife == 0 {
		c.TokenLife = 30 * time.Minute
	}
	if c.MaxPending == 0 {
		c.MaxPending = 100
	}
	if c.RouteDelays == nil {
		c.RouteDelays = usualRouteDelays()
	}
	client := http.Client{}
	if c.Client != nil {
		client = *c.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Client = &client
	n := &Notehub{
		config:    c,
		tokens:    make(map[string]time.Time),
		pending:   make(map[string][]*Note),
		byUID:     make(map[string]*Device),
		connected: make(map[string]bool),
		private:   make(map[string]*ecdh.PrivateKey),
		keyTexts:  make(map[string]string),
		races:     make(map[string]bool),
		raced:     make(map[string][]*Note),
		tries:     make(map[string][]RouteTry),
		minute:    slidingMinute{limit: c.PerMinute},
	}
	n.running, n.stop = context.WithCancel(context.Background())
	n.operations = n.allOperations()
	return n
}

// AddDevice adds a device, or replaces the one with the same UID.
func (n *Notehub) AddDevice(d Device) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d.Fleets, d.Variables = slices.Clone(d.Fleets), maps.Clone(d.Variables)
	if old := n.byUID[d.UID]; old != nil {
		*old = d
		return
	}
	n.devices, n.byUID[d.UID] = append(n.devices, &d), &d
}

// AddOddDevice adds a raw JSON record to every listing of devices, such as a record with a field of
// another type. No other call returns it.
func (n *Notehub) AddOddDevice(record string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.oddDevices = append(n.oddDevices, json.RawMessage(record))
}

// RemoveDevice removes a device and its pending notes.
func (n *Notehub) RemoveDevice(uid string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.byUID, uid)
	n.devices = slices.DeleteFunc(n.devices, func(d *Device) bool { return d.UID == uid })
	for key, notes := range n.pending {
		if notes[0].Device == uid {
			delete(n.pending, key)
		}
	}
}

// SetDevice changes a device. It does nothing if the device does not exist.
func (n *Notehub) SetDevice(uid string, change func(*Device)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.byUID[uid]; d != nil {
		change(d)
	}
}

// AddFleet adds a fleet, or replaces the one with the same UID. Membership is set in Device.Fleets.
func (n *Notehub) AddFleet(uid, label string, variables map[string]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	added := &fleet{uid: uid, label: label, created: n.Now(), variables: cloned(variables)}
	for i, f := range n.fleets {
		if f.uid == uid {
			n.fleets[i] = added
			return
		}
	}
	n.fleets = append(n.fleets, added)
}

// SetProjectVariables replaces the project's environment variables.
func (n *Notehub) SetProjectVariables(variables map[string]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.variables = maps.Clone(variables)
}

// RevokeTokens revokes every access token issued so far.
func (n *Notehub) RevokeTokens() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.tokens)
}

// TokensIssued returns the number of access tokens issued so far.
func (n *Notehub) TokensIssued() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.issued
}

// Notes returns every note posted for a device, oldest first. For "" it returns those of all
// devices.
func (n *Notehub) Notes(device string) []Note {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []Note
	for _, posted := range n.notes {
		if device == "" || posted.Device == device {
			found = append(found, *posted)
		}
	}
	return found
}

// Pending returns the pending notes in a file of a device, oldest first.
func (n *Notehub) Pending(device, file string) []Note {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []Note
	for _, waiting := range n.pending[device+" "+file] {
		found = append(found, *waiting)
	}
	return found
}

// Fetch takes the pending notes in a file, oldest first, as the Notecard does. It updates the
// device's last activity. A disabled device gets nothing.
func (n *Notehub) Fetch(device, file string) []Note {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.byUID[device]
	if d == nil || d.Disabled {
		return nil
	}
	d.LastActivity = n.Now()
	key := device + " " + file
	var taken []Note
	for _, note := range n.raced[key] {
		taken = append(taken, *note)
	}
	for _, waiting := range n.pending[key] {
		waiting.Fetched, waiting.FetchedAt = true, n.Now()
		taken = append(taken, *waiting)
	}
	delete(n.raced, key)
	delete(n.pending, key)
	return taken
}

// SetListedLate delays when a new note is listed as pending. The Notecard still receives it at
// once.
func (n *Notehub) SetListedLate(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late = d
}

// listed returns the notes listed as pending in a file of a device, oldest first.
func (n *Notehub) listed(key string) []*Note {
	waiting := n.pending[key]
	end := slices.IndexFunc(waiting, func(w *Note) bool { return n.Now().Sub(w.Posted).Abs() < n.late })
	if end < 0 {
		return waiting
	}
	return waiting[:end]
}

// RaceNextDelete lets a Notecard fetch its pending note just before the next delete of that note
// (U15). The next Fetch returns the note. If found is true, Notehub still deletes the note and
// answers 200. Otherwise it answers that there is no such note.
func (n *Notehub) RaceNextDelete(device string, found bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.races[device] = found
}

// AddEvent accepts a note from a machine (a .qo file). The route delivers it, and the events cursor
// lists it. It returns the event's id. It returns "" if the device is disabled, and the Notecard
// must then try again.
func (n *Notehub) AddEvent(device, file string, body map[string]any) (eventID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.Now()
	e := hubEvent{
		Event:    uuid(),
		File:     file,
		Req:      "note.add",
		When:     now.Unix(),
		Received: float64(now.UnixMicro()) / 1e6,
		Device:   device,
		App:      n.config.Project,
		Body:     body,
	}
	if d := n.byUID[device]; d != nil {
		if d.Disabled {
			return ""
		}
		d.LastActivity = now
		e.Name, e.Fleets = d.Name, slices.Clone(d.Fleets)
	}
	n.events = append(n.events, e)
	n.send(e)
	return e.Event
}

// Answers returns the notes that a device's machine sent in the notefiles of the route, oldest first. The ID of
// each is its event's.
func (n *Notehub) Answers(device string) []Note {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []Note
	for _, e := range n.events {
		if e.Device == device && slices.Contains(n.answerFiles(), e.File) {
			found = append(found, Note{
				ID:     e.Event,
				File:   e.File,
				Device: device,
				Body:   e.Body,
				Posted: time.UnixMicro(int64(e.Received * 1e6)),
			})
		}
	}
	return found
}

// SetConnected sets whether a device is connected, which decides whether it receives a signal.
func (n *Notehub) SetConnected(device string, connected bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.connected[device] = connected
}

func (n *Notehub) fleet(uid string) *fleet {
	for _, f := range n.fleets {
		if f.uid == uid {
			return f
		}
	}
	return nil
}

// uuid returns a random id in the form of RFC 4122.
func uuid() string {
	const digits = "0123456789abcdef"
	id := []byte("xxxxxxxx-xxxx-4xxx-axxx-xxxxxxxxxxxx")
	for i, random := 0, randomText(len(id)); i < len(id); i++ {
		if id[i] == 'x' {
			id[i] = digits[random[i]%16]
		}
	}
	return string(id)
}
