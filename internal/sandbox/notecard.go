package sandbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxNotecardLine = 16 << 10 // bytes of a request
	maxNotecardOut  = 100      // notes that wait for Notehub
)

// NotecardFaults are the faults of a Notecard. The zero value is a Notecard that works.
type NotecardFaults struct {
	LoseReplies   int  // so many of the next requests are carried out, and their replies are lost
	GarbleReplies int  // so many of the next requests are carried out, and a byte of each reply is changed
	Mute          bool // carries out nothing and replies to nothing
	NoTime        bool // does not know the time
	Twice         bool // receives each note twice, as after a session that ended in the middle
	Overtaking    bool // puts a note that arrives before those that wait
	Full          bool // has no room for notes of the host
}

// Notecard is the Notecard of a device as its host sees it: one line of JSON in, one line out. It
// answers the requests hub.set, hub.status, note.get, note.add, env.get, card.time, card.attn and
// card.version. All its methods are safe for concurrent use.
//
// It keeps its queues, its notes for Notehub and its hub.set while the host is without power. It
// takes notes from Notehub as hub.set orders, and only while it is online.
type Notecard struct {
	hub    *Notehub
	device string

	mu        sync.Mutex // guards the fields below
	faults    NotecardFaults
	offline   bool
	settings  hubSettings
	received  time.Time // when notes were last taken from Notehub
	timeKnown bool
	queues    map[string][]Note // by notefile, oldest first
	outbox    []outgoing
	attn      attention
}

// hubSettings holds the settings of hub.set. Inbound and outbound are minutes.
type hubSettings struct {
	Product  string `json:"product"`
	Mode     string `json:"mode"`
	Sync     bool   `json:"sync"`
	Inbound  int    `json:"inbound"`
	Outbound int    `json:"outbound"`
}

// regular reports whether the Notecard connects by itself. Without both intervals it behaves as in
// the mode minimum (schema hub.set).
func (s hubSettings) regular() bool {
	return (s.Mode == "continuous" || s.Mode == "periodic") && s.Inbound != 0 && s.Outbound != 0
}

// outgoing is a note of the host that Notehub does not have yet.
type outgoing struct {
	file string
	body map[string]any
	due  time.Time // zero: no time
}

// attention is the state of the pin ATTN. The pin is HIGH unless it is armed and has not fired.
type attention struct {
	low   bool
	files []string // that make it fire
	until time.Time
	fired []string // what happened since it was armed
}

// NewNotecard returns the Notecard of a device. It connects to Notehub after hub.set.
func NewNotecard(n *Notehub, device string) *Notecard {
	return &Notecard{hub: n, device: device, queues: make(map[string][]Note)}
}

// SetFaults changes the faults from now on.
func (c *Notecard) SetFaults(f NotecardFaults) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = f
}

// SetOnline connects or disconnects the Notecard. It is online at first.
func (c *Notecard) SetOnline(online bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offline = !online
}

// Restart takes the power from the Notecard for a moment. It forgets the time until it has synced,
// and its pin is no longer armed.
func (c *Notecard) Restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeKnown, c.attn = false, attention{}
}

// Waiting returns the notes of a notefile that the host has not removed, oldest first.
func (c *Notecard) Waiting(file string) []Note {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.queues[file])
}

// Unsent returns the number of notes of the host that Notehub does not have yet.
func (c *Notecard) Unsent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.outbox)
}

// ATTN reports whether the pin is HIGH.
func (c *Notecard) ATTN() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pin()
}

func (c *Notecard) pin() bool {
	if c.attn.low && !c.attn.until.IsZero() && !c.hub.Now().Before(c.attn.until) {
		c.attn.low, c.attn.fired = false, append(c.attn.fired, "timeout")
	}
	return !c.attn.low
}

// Sync exchanges what is due with Notehub. Requests do the same, so it is needed only for ATTN and
// for a host that is silent.
func (c *Notecard) Sync() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchange()
}

func (c *Notecard) exchange() {
	now := c.hub.Now()
	if c.offline || c.settings.Product == "" || c.settings.Mode == "off" {
		return
	}
	c.send(now)
	if !c.settings.regular() {
		return
	}
	c.timeKnown = true
	interval := time.Duration(c.settings.Inbound) * time.Minute
	if !(c.settings.Mode == "continuous" && c.settings.Sync) && now.Sub(c.received) < interval {
		return
	}
	c.received = now
	for _, note := range c.hub.fetchInbound(c.device) {
		c.take(note)
	}
}

// take puts a note of Notehub into its queue.
func (c *Notecard) take(note Note) {
	copies := []Note{note}
	if c.faults.Twice {
		copies = append(copies, note)
	}
	if c.faults.Overtaking {
		c.queues[note.File] = append(copies, c.queues[note.File]...)
	} else {
		c.queues[note.File] = append(c.queues[note.File], copies...)
	}
	if slices.Contains(c.attn.files, note.File) && !slices.Contains(c.attn.fired, note.File) {
		c.attn.low, c.attn.fired = false, append(c.attn.fired, note.File)
	}
}

// send hands the notes that are due to Notehub, with all others of their files. A note that Notehub
// does not take stays.
func (c *Notecard) send(now time.Time) {
	var files []string
	for _, o := range c.outbox {
		if !o.due.IsZero() && !o.due.After(now) {
			files = append(files, o.file)
		}
	}
	c.outbox = slices.DeleteFunc(c.outbox, func(o outgoing) bool {
		if !slices.Contains(files, o.file) || c.hub.AddEvent(c.device, o.file, o.body) == "" {
			return false
		}
		c.timeKnown = true
		return true
	})
}

// fetchInbound takes the pending notes of all files of a device.
func (n *Notehub) fetchInbound(device string) (taken []Note) {
	var files []string
	n.mu.Lock()
	for _, notes := range []map[string][]*Note{n.raced, n.pending} {
		for key := range notes {
			if of, file, _ := strings.Cut(key, " "); of == device && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	n.mu.Unlock()
	slices.Sort(files)
	for _, file := range files {
		taken = append(taken, n.Fetch(device, file)...)
	}
	return taken
}

// errHTTP is the error of Serve if a browser speaks to it.
var errHTTP = errors.New("this is no web server")

var httpRequest = regexp.MustCompile(`(?i) HTTP/\d`)

// Serve reads requests and writes replies until rw ends or fails. The end is not an error. A line
// that is too long, an HTTP request and a failed write are.
func (c *Notecard) Serve(rw io.ReadWriter) error {
	lines := bufio.NewReaderSize(rw, maxNotecardLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return nil // a line without an end was cut off
		case err != nil:
			return fmt.Errorf("read a request: %w", err)
		case httpRequest.Match(line):
			return errHTTP
		}
		if reply := c.Exchange(line); reply != nil {
			if _, err := rw.Write(reply); err != nil {
				return fmt.Errorf("write a reply: %w", err)
			}
		}
	}
}

// Exchange handles one line and returns the reply with its line end. It returns nil if there is
// none.
func (c *Notecard) Exchange(line []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faults.Mute {
		return nil
	}
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return []byte("\r\n")
	}
	given, sequence, err := splitSum(line)
	var r notecardRequest
	reply := map[string]any{}
	if err == nil {
		if jsonErr := json.Unmarshal(given, &r); jsonErr != nil {
			err = notecardError("cannot interpret JSON: %v {bad}{io}", jsonErr)
		}
	}
	if err == nil {
		c.exchange()
		reply, err = c.handle(r)
		c.exchange()
	}
	switch {
	case err != nil:
		reply = map[string]any{"err": err.Error()}
	case r.Req == "":
		return nil // a command has no reply
	}
	if r.ID != nil {
		reply["id"] = r.ID
	}
	text, encodeErr := json.Marshal(reply)
	if encodeErr != nil {
		panic(fmt.Sprintf("sandbox: encode a reply of %s: %v", c.device, encodeErr))
	}
	if sequence != "" {
		text = withSum(text, sequence)
	}
	switch {
	case c.faults.LoseReplies > 0:
		c.faults.LoseReplies--
		return nil
	case c.faults.GarbleReplies > 0:
		c.faults.GarbleReplies--
		text[len(text)/2] ^= 0x15
	}
	return append(text, '\r', '\n')
}

func notecardError(format string, args ...any) error { return fmt.Errorf(format, args...) }

// sum is the last member of a line by note-c: a sequence number and the CRC-32 of the line without
// it.
var sum = regexp.MustCompile(`[, ]"crc":"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{8})"\}$`)

// splitSum returns a request without its sum, and the sequence number. If it has no sum, the
// sequence number is "".
func splitSum(line []byte) (given []byte, sequence string, err error) {
	found := sum.FindSubmatchIndex(line)
	if found == nil {
		return line, "", nil
	}
	given = append(slices.Clone(line[:found[0]]), '}')
	sequence = string(line[found[2]:found[3]])
	want := fmt.Sprintf("%08X", crc32.ChecksumIEEE(given))
	if !strings.EqualFold(want, string(line[found[4]:found[5]])) {
		return nil, sequence, notecardError("request is damaged: wrong CRC {io}")
	}
	return given, sequence, nil
}

// withSum adds the sum to a reply.
func withSum(reply []byte, sequence string) []byte {
	separator := byte(',')
	if len(reply) == len("{}") {
		separator = ' '
	}
	crc := crc32.ChecksumIEEE(reply)
	return fmt.Appendf(slices.Clone(reply[:len(reply)-1]), `%c"crc":"%s:%08X"}`, separator, sequence, crc)
}
