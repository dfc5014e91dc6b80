package sandbox

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

func (n *Notehub) allOperations() []hubOperation {
	const listing = "pageSize pageNum deviceUID fleetUID serialNumber"
	return []hubOperation{
		{"GET", "", "", n.getProject},
		{"GET", "/environment_variables", "", n.getProjectVariables},
		{"GET", "/devices", listing, n.listDevices},
		{"GET", "/fleets", "", n.listFleets},
		{"GET", "/fleets/{fleet}/devices", listing, n.listDevices},
		{"GET", "/fleets/{fleet}/environment_variables", "", n.getFleetVariables},
		{"GET", "/devices/public-keys", "pageSize pageNum", n.listPublicKeys},
		{"GET", "/devices/{device}/public-key", "", n.getPublicKey},
		{"GET", "/devices/{device}", "", n.getDevice},
		{"GET", "/devices/{device}/environment_variables", "", n.getDeviceVariables},
		{"POST", "/devices/{device}/notes/{file}", "", n.postNote},
		{"GET", "/devices/{device}/notes/{file}", "max", n.getNotes},
		{"DELETE", "/devices/{device}/notes/{file}/{note}", "", n.deleteNote},
		{"GET", "/devices/{device}/files", "pending files", n.getFiles},
		{"DELETE", "/devices/{device}/files", "", n.deleteFiles},
		{"POST", "/devices/{device}/signal", "", n.signal},
		{"GET", "/devices/{device}/sessions", "pageSize pageNum", n.listSessions},
		{"GET", "/routes", "", n.listRoutes},
		{"POST", "/routes", "", n.createRoute},
		{"GET", "/routes/{route}", "", n.getRoute},
		{"GET", "/events-cursor", "files limit cursor sortOrder deviceUID", n.listEvents},
	}
}

func (n *Notehub) getProject(*hubQuery) (any, *hubError) {
	return object{"uid": n.config.Project, "label": "Sandbox", "created": "2026-01-01T00:00:00Z", "role": "owner"}, nil
}

func (n *Notehub) getProjectVariables(*hubQuery) (any, *hubError) {
	return object{"environment_variables": cloned(n.variables)}, nil
}

// listDevices returns a filtered page of devices: 50 by default, at most 10,000. A repeated filter
// matches any of its values.
func (n *Notehub) listDevices(q *hubQuery) (any, *hubError) {
	size, problem := q.integer("pageSize", 50, 1, 10_000)
	if problem != nil {
		return nil, problem
	}
	number, problem := q.integer("pageNum", 1, 1, 1_000_000)
	if problem != nil {
		return nil, problem
	}
	fleets := q.Values["fleetUID"]
	if uid := q.path["fleet"]; uid != "" {
		fleets = []string{uid}
	}
	data := []any{}
	matched := 0
	for _, d := range n.devices {
		if !anyOf(q.Values["deviceUID"], d.UID) || !anyOf(q.Values["serialNumber"], d.Name) ||
			!anyOf(fleets, d.Fleets...) {
			continue
		}
		matched++
		if matched > (number-1)*size && len(data) < size {
			data = append(data, deviceObject(d))
		}
	}
	for _, record := range n.oddDevices {
		if number == 1 { // not counted in the page's size
			data = append(data, record)
		}
	}
	return object{"devices": data, "has_more": matched > number*size}, nil
}

// anyOf reports whether one of the values is wanted. An empty filter matches everything.
func anyOf(wanted []string, values ...string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(values, func(v string) bool { return slices.Contains(wanted, v) })
}

func (n *Notehub) getDevice(q *hubQuery) (any, *hubError) {
	return deviceObject(n.byUID[q.path["device"]]), nil
}

// deviceObject renders a device. The field last_activity is null if the device was never seen. The
// field disabled is omitted when false.
func deviceObject(d *Device) object {
	var seen any
	if !d.LastActivity.IsZero() {
		seen = d.LastActivity.UTC().Format(time.RFC3339)
	}
	rendered := object{
		"uid":           d.UID,
		"serial_number": d.Name,
		"provisioned":   "2026-01-01T00:00:00Z",
		"last_activity": seen,
		"product_uid":   "product:com.example.sandbox:machines",
		"fleet_uids":    append([]string{}, d.Fleets...),
		"voltage":       4.1,
		"temperature":   21.5,
	}
	if d.Disabled {
		rendered["disabled"] = true
	}
	return rendered
}

// listSessions returns the one session of a device that was ever seen. The session of a continuous
// device is open.
func (n *Notehub) listSessions(q *hubQuery) (any, *hubError) {
	if _, problem := q.integer("pageSize", 50, 1, 10_000); problem != nil {
		return nil, problem
	}
	sessions := []object{}
	if d := n.byUID[q.path["device"]]; !d.LastActivity.IsZero() && cmp.Or(q.Get("pageNum"), "1") == "1" {
		session := object{
			"session":       uuid(),
			"device":        d.UID,
			"continuous":    !d.Periodic,
			"session_began": d.LastActivity.Unix(),
		}
		if d.Periodic {
			session["session_ended"], session["why_session_closed"] = d.LastActivity.Unix()+20, "done"
		}
		sessions = append(sessions, session)
	}
	return object{"sessions": sessions, "has_more": false}, nil
}

func (n *Notehub) listFleets(*hubQuery) (any, *hubError) {
	data := []object{}
	for _, f := range n.fleets {
		data = append(data, object{
			"uid":                   f.uid,
			"label":                 f.label,
			"created":               f.created.UTC().Format(time.RFC3339),
			"environment_variables": f.variables,
		})
	}
	return object{"fleets": data}, nil
}

func (n *Notehub) getFleetVariables(q *hubQuery) (any, *hubError) {
	return object{"environment_variables": n.fleet(q.path["fleet"]).variables}, nil
}

func (n *Notehub) getDeviceVariables(q *hubQuery) (any, *hubError) {
	d := n.byUID[q.path["device"]]
	return object{
		"environment_variables":             cloned(d.Variables),
		"environment_variables_env_default": object{},
		"environment_variables_effective":   n.effectiveOf(d),
	}, nil
}

// effectiveOf returns the variables of a device with those of its fleets and the project.
func (n *Notehub) effectiveOf(d *Device) map[string]string {
	effective := cloned(n.variables)
	for _, uid := range n.config.Unknown.fleetsByPrecedence(d.Fleets) {
		if f := n.fleet(uid); f != nil {
			maps.Copy(effective, f.variables)
		}
	}
	maps.Copy(effective, d.Variables)
	return effective
}

// effective returns the variables that a Notecard sees.
func (n *Notehub) effective(device string) map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.byUID[device]; d != nil {
		return n.effectiveOf(d)
	}
	return map[string]string{}
}

// postNote queues a note. Every request makes a new note, and the reply contains no id.
func (n *Notehub) postNote(q *hubQuery) (any, *hubError) {
	device, file := q.path["device"], q.path["file"]
	var given struct {
		Body map[string]any `json:"body"`
	}
	if problem := q.decode(&given); problem != nil {
		return nil, problem
	}
	key := device + " " + file
	switch {
	case !strings.HasSuffix(file, ".qi") && !strings.HasSuffix(file, ".qis") || strings.HasPrefix(file, "_"):
		return nil, hubMalformed("%s is not an inbound queue {notefile-bad-name}", file)
	case given.Body == nil:
		return nil, hubMalformed("a note needs a body")
	case len(q.body) > maxNote:
		return nil, hubMalformed("a request of %d bytes is too large {too-big}", len(q.body))
	case n.byUID[device].Disabled && n.config.Unknown.DisabledRefused:
		return nil, hubRefused(http.StatusForbidden, "device %s is disabled {device-disabled}", device)
	case len(n.pending[key]) >= n.config.MaxPending:
		return nil, hubRefused(n.config.Unknown.fullStatus(),
			"a maximum of %d notes may be pending for device (currently %d)", n.config.MaxPending, len(n.pending[key]))
	}
	n.changes++
	posted := &Note{
		ID:     fmt.Sprintf("1:%d", n.changes*256+rand.IntN(256)),
		File:   file,
		Device: device,
		Body:   given.Body,
		Posted: n.Now(),
	}
	n.notes = append(n.notes, posted)
	n.pending[key] = append(n.pending[key], posted)
	return object{}, nil
}

// getNotes returns the pending notes of a queue, as a map by note id.
func (n *Notehub) getNotes(q *hubQuery) (any, *hubError) {
	limit, problem := q.integer("max", 0, 0, 10_000)
	if problem != nil {
		return nil, problem
	}
	notes := object{}
	waiting := n.listed(q.path["device"] + " " + q.path["file"])
	for i, w := range waiting {
		if limit == 0 || i < limit {
			notes[w.ID] = object{"body": w.Body, "time": w.Posted.Unix()}
		}
	}
	return object{"changes": n.changes, "total": len(waiting), "notes": notes}, nil
}

// deleteNote recalls a pending note, unless RaceNextDelete lets the Notecard win.
func (n *Notehub) deleteNote(q *hubQuery) (any, *hubError) {
	device := q.path["device"]
	key := device + " " + q.path["file"]
	at := slices.IndexFunc(n.pending[key], func(w *Note) bool { return w.ID == q.path["note"] })
	found := at >= 0
	if found {
		note := n.pending[key][at]
		if deleted, racing := n.races[device]; racing {
			delete(n.races, device)
			note.Fetched, note.FetchedAt = true, n.Now()
			n.raced[key] = append(n.raced[key], note)
			found = deleted
		}
		note.Deleted = found
		if n.pending[key] = slices.Delete(n.pending[key], at, at+1); len(n.pending[key]) == 0 {
			delete(n.pending, key)
		}
	}
	if !found && !n.config.Unknown.GoneDeleted {
		return nil, hubRefused(http.StatusNotFound, "note %s does not exist {note-noexist}", q.path["note"])
	}
	return object{}, nil
}

// getFiles returns a bare array of the files with their pending notes.
func (n *Notehub) getFiles(q *hubQuery) (any, *hubError) {
	if q.Get("pending") != "true" {
		return nil, hubMalformed("the sandbox lists files only with pending=true")
	}
	files := []object{}
	for _, key := range slices.Sorted(maps.Keys(n.pending)) {
		device, file, _ := strings.Cut(key, " ")
		if device != q.path["device"] || !anyOf(wantedFiles(q), file) {
			continue
		}
		notes := []object{}
		for _, w := range n.listed(key) {
			notes = append(notes, object{"id": w.ID, "body": w.Body, "time": w.Posted.Unix(),
				"pending": true, "edge": false})
		}
		files = append(files, object{"id": file, "notes": notes, "template": ""})
	}
	return files, nil
}

// wantedFiles returns the files parameter, which may be repeated or contain commas.
func wantedFiles(q *hubQuery) []string {
	return strings.FieldsFunc(strings.Join(q.Values["files"], ","), func(r rune) bool { return r == ',' || r == ' ' })
}

func (n *Notehub) deleteFiles(q *hubQuery) (any, *hubError) {
	var given struct {
		Files []string `json:"files"`
	}
	if problem := q.decode(&given); problem != nil {
		return nil, problem
	}
	if len(given.Files) == 0 {
		return nil, hubMalformed("no files are named")
	}
	for _, file := range given.Files {
		for _, w := range n.pending[q.path["device"]+" "+file] {
			w.Deleted = true
		}
		delete(n.pending, q.path["device"]+" "+file)
	}
	return object{}, nil
}

// signal reports whether the device is connected. It stores nothing.
func (n *Notehub) signal(q *hubQuery) (any, *hubError) {
	var given struct {
		Body map[string]any `json:"body"`
	}
	if problem := q.decode(&given); problem != nil {
		return nil, problem
	}
	return object{"connected": n.connected[q.path["device"]]}, nil
}

// listEvents returns a page of events: 50 by default, oldest first unless requested otherwise. The
// cursor is the id of the first event of the page, and an unknown cursor is ignored. The field
// next_cursor is the first event of the next page, or empty if there is none. A caller that
// continues later must remember its last event (specification of events-cursor).
func (n *Notehub) listEvents(q *hubQuery) (any, *hubError) {
	limit, problem := q.integer("limit", 50, 1, 10_000)
	if problem != nil {
		return nil, problem
	}
	events := n.events
	switch order := cmp.Or(q.Get("sortOrder"), "asc"); order {
	case "asc":
	case "desc":
		events = slices.Clone(events)
		slices.Reverse(events)
	default:
		return nil, hubMalformed("sortOrder is asc or desc, not %s", order)
	}
	from := max(0, slices.IndexFunc(events, func(e hubEvent) bool { return e.Event == q.Get("cursor") }))
	page, next, more := []hubEvent{}, "", false
	for _, e := range events[from:] {
		if !anyOf(wantedFiles(q), e.File) || !anyOf(q.Values["deviceUID"], e.Device) {
			continue
		}
		if len(page) == limit {
			next, more = e.Event, true
			break
		}
		page = append(page, e)
	}
	return object{"events": page, "next_cursor": next, "has_more": more}, nil
}
