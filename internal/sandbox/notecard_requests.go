package sandbox

import (
	"slices"
	"strings"
	"time"
)

// notecardRequest holds the arguments of all requests. Cmd is a request without a reply.
type notecardRequest struct {
	Req      string         `json:"req"`
	Cmd      string         `json:"cmd"`
	ID       any            `json:"id"`
	File     string         `json:"file"`
	Files    []string       `json:"files"`
	Body     map[string]any `json:"body"`
	Delete   bool           `json:"delete"`
	Decrypt  bool           `json:"decrypt"`
	Note     string         `json:"note"`
	Name     string         `json:"name"`
	Names    []string       `json:"names"`
	Seconds  int            `json:"seconds"`
	Product  *string        `json:"product"`
	Mode     *string        `json:"mode"`
	Sync     *bool          `json:"sync"`
	Inbound  *int           `json:"inbound"`
	Outbound *int           `json:"outbound"`
}

// handle carries out a request.
func (c *Notecard) handle(r notecardRequest) (map[string]any, error) {
	name := r.Req
	if name == "" {
		name = r.Cmd
	}
	switch name {
	case "hub.set":
		return c.hubSet(r)
	case "hub.status":
		if c.offline || c.settings.Product == "" || !c.settings.regular() {
			return map[string]any{"status": "disconnected {disconnected}"}, nil
		}
		return map[string]any{"status": "connected (session open) {connected}", "connected": true}, nil
	case "note.get":
		return c.noteGet(r)
	case "note.add":
		return c.noteAdd(r)
	case "env.get":
		return c.envGet(r)
	case "card.time":
		if !c.timeKnown || c.faults.NoTime {
			return map[string]any{"zone": "UTC,Unknown"}, nil
		}
		return map[string]any{"time": c.hub.Now().Unix(), "area": "Boston, MA", "zone": "EST,America/New_York",
			"minutes": -300, "country": "US"}, nil
	case "card.attn":
		return c.cardAttn(r)
	case "card.version":
		return map[string]any{"device": c.device, "name": "notepay sandbox Notecard", "sku": "SANDBOX",
			"version": "notecard-0.0.0", "api": 9, "board": "1.0"}, nil
	}
	return nil, notecardError("unknown request: %q {not-supported}{io}", name)
}

// hubSet changes the settings that the request has, and keeps the others.
func (c *Notecard) hubSet(r notecardRequest) (map[string]any, error) {
	s := c.settings
	if r.Mode != nil {
		if !slices.Contains([]string{"continuous", "periodic", "minimum", "off", "dfu"}, *r.Mode) {
			return nil, notecardError("unknown mode: %q", *r.Mode)
		}
		s.Mode = *r.Mode
	}
	setIf(&s.Product, r.Product)
	setIf(&s.Sync, r.Sync)
	setIf(&s.Inbound, r.Inbound)
	setIf(&s.Outbound, r.Outbound)
	c.settings = s
	return map[string]any{}, nil
}

// setIf sets a value if there is a new one.
func setIf[T any](old *T, changed *T) {
	if changed != nil {
		*old = *changed
	}
}

// noteGet reads the oldest note of an inbound queue. With delete it removes that note, whichever it
// is by then. Notes of a queue have no id, so a repeated request removes the next note.
// With decrypt it returns the text of an encrypted note.
func (c *Notecard) noteGet(r notecardRequest) (map[string]any, error) {
	switch {
	case !isInbound(r.File):
		return nil, notecardError("not an inbound queue: %q {notefile-noexist}", r.File)
	case r.Note != "":
		return nil, notecardError("a note of a queue has no id {note-noexist}")
	case len(c.queues[r.File]) == 0:
		return nil, notecardError("no notes available in queue {note-noexist}")
	}
	note := c.queues[r.File][0]
	if r.Delete {
		c.queues[r.File] = slices.Clone(c.queues[r.File][1:])
	}
	body := note.Body
	if r.Decrypt {
		var err error
		if body, err = c.hub.decrypt(c.device, body); err != nil {
			return nil, notecardError("cannot decrypt the note: %v {bad}", err)
		}
	}
	return map[string]any{"body": body, "time": note.Posted.Unix()}, nil
}

// noteAdd queues a note for Notehub. With sync it is sent at once, otherwise with the next outbound
// sync.
func (c *Notecard) noteAdd(r notecardRequest) (map[string]any, error) {
	switch {
	case !isOutbound(r.File):
		return nil, notecardError("not an outbound queue: %q {notefile-bad-name}", r.File)
	case r.Body == nil:
		return nil, notecardError("a note needs a body or payload")
	case c.faults.Full || len(c.outbox) >= maxNotecardOut:
		return nil, notecardError("no room for more notes {storage-full}")
	}
	o := outgoing{file: r.File, body: r.Body}
	switch {
	case r.Sync != nil && *r.Sync:
		o.due = c.hub.Now()
	case c.settings.regular():
		o.due = c.hub.Now().Add(time.Duration(c.settings.Outbound) * time.Minute)
	}
	c.outbox = append(c.outbox, o)
	total := 0
	for _, other := range c.outbox {
		if other.file == r.File {
			total++
		}
	}
	return map[string]any{"total": total}, nil
}

// envGet returns the effective variables of the device.
func (c *Notecard) envGet(r notecardRequest) (map[string]any, error) {
	variables := c.hub.effective(c.device)
	switch {
	case r.Name != "":
		return map[string]any{"text": variables[r.Name]}, nil
	case r.Names != nil:
		for name := range variables {
			if !slices.Contains(r.Names, name) {
				delete(variables, name)
			}
		}
	}
	return map[string]any{"body": variables}, nil
}

// cardAttn arms or disarms the pin. A pin that has fired stays HIGH until it is armed again. What
// waits in a queue already does not make it fire.
func (c *Notecard) cardAttn(r notecardRequest) (map[string]any, error) {
	var modes []string
	if r.Mode != nil && *r.Mode != "" {
		modes = strings.Split(strings.ReplaceAll(*r.Mode, " ", ""), ",")
	}
	for _, mode := range modes {
		switch mode {
		case "files":
			if len(r.Files) == 0 {
				return nil, notecardError("the mode files needs files")
			}
			c.attn.files = slices.Clone(r.Files)
		case "-files", "-all":
			c.attn.files = nil
		case "disarm":
			c.attn.low, c.attn.until = false, time.Time{}
		case "arm", "rearm":
			if mode == "rearm" && c.attn.low {
				continue
			}
			c.attn.low, c.attn.fired, c.attn.until = true, nil, time.Time{}
			if r.Seconds > 0 {
				// the Notecard looks every 15 s
				until := time.Duration((r.Seconds+14)/15*15) * time.Second
				c.attn.until = c.hub.Now().Add(until)
			}
		default:
			return nil, notecardError("unknown mode: %q", mode)
		}
	}
	reply := map[string]any{}
	if c.pin() {
		reply["set"] = true
	}
	if len(c.attn.fired) > 0 {
		reply["files"] = c.attn.fired
	}
	return reply, nil
}

// isOutbound reports whether a notefile is an outbound queue.
func isOutbound(file string) bool {
	return strings.HasSuffix(file, ".qo") || strings.HasSuffix(file, ".qos")
}

// isInbound reports whether a notefile is an inbound queue.
func isInbound(file string) bool {
	return strings.HasSuffix(file, ".qi") || strings.HasSuffix(file, ".qis")
}
