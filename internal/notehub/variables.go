package notehub

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"notepay/internal/terms"
	"notepay/internal/upstream"
)

// ProjectVariables reads the environment variables of the project. The names are in lower case,
// because Notecards ignore their case.
func (n *Client) ProjectVariables(ctx context.Context) (map[string]string, error) {
	return n.variables(ctx, call{path: "/environment_variables"})
}

// FleetVariables reads the environment variables of all fleets in one call, by fleet UID. The map of
// a fleet whose variables could not be decoded is nil. If complete is false the list has a record
// without a UID, which may be any fleet that is missing.
func (n *Client) FleetVariables(
	ctx context.Context,
) (fleets map[string]map[string]string, complete bool, err error) {
	var records []json.RawMessage
	err = n.read(ctx, call{path: "/fleets", decode: func(text []byte) (err error) {
		records, err = decodeList(text, "fleets")
		return err
	}})
	if err != nil {
		return nil, false, err
	}
	fleets, complete, odd := decodeFleets(records)
	n.Odd.set("Notehub's fleets", odd...)
	return fleets, complete, nil
}

// DeviceVariables reads the environment variables that are set on the device itself, without the
// inherited ones. The outcome upstream.Rejected means that there is no such device.
func (n *Client) DeviceVariables(ctx context.Context, uid string) (map[string]string, error) {
	return n.variables(ctx, call{path: n.devicePath(uid) + "/environment_variables", device: uid})
}

// variables reads the environment variables of one level. A reply without them is an error, because
// it is no evidence that none are set.
func (n *Client) variables(ctx context.Context, c call) (variables map[string]string, err error) {
	c.decode = func(text []byte) error {
		members, err := replyMembers(text)
		if err == nil {
			variables, err = decodeVariables(members["environment_variables"])
		}
		return err
	}
	if err := n.read(ctx, c); err != nil {
		return nil, err
	}
	return variables, nil
}

// decodeVariables decodes environment variables, with their names in lower case. Notehub documents
// strings as their values. Another value is kept as its JSON text, because a variable that was set
// must not count as unset. The terms of the machine then say what is wrong. A null value counts as
// unset, and null instead of all variables as an empty map, because Go writes one so.
func decodeVariables(raw json.RawMessage) (map[string]string, error) {
	var members map[string]json.RawMessage
	if len(raw) == 0 || json.Unmarshal(raw, &members) != nil {
		return nil, errors.New("no environment_variables in the reply")
	}
	variables := make(map[string]string, len(members))
	// Upper case sorts first, so of two names that differ only in case the lower-case one wins.
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var text string
		switch {
		case isNull(members[name]):
			continue
		case !field(members[name], &text):
			text = string(members[name])
		}
		variables[strings.ToLower(upstream.Printable(name))] = upstream.Printable(text)
	}
	return variables, nil
}

// decodeFleets decodes the list of fleets into their variables by UID. The map of a fleet with odd
// variables is nil. complete is false if a record has no UID.
func decodeFleets(
	records []json.RawMessage,
) (fleets map[string]map[string]string, complete bool, odd []oddRecord) {
	fleets, complete = make(map[string]map[string]string, len(records)), true
	for i, raw := range records {
		var fields struct {
			UID       json.RawMessage `json:"uid"`
			Label     json.RawMessage `json:"label"`                 // optional
			Variables json.RawMessage `json:"environment_variables"` // optional
		}
		var uid string
		if json.Unmarshal(raw, &fields) != nil || !field(fields.UID, &uid) || uid == "" {
			complete = false
			odd = append(odd, oddRecord{id: place(i), field: "uid"})
			continue
		}
		variables := map[string]string{}
		if !isNull(fields.Variables) {
			var err error
			if variables, err = decodeVariables(fields.Variables); err != nil {
				odd = append(odd, oddRecord{id: displayID(uid), field: "environment_variables"})
				fleets[uid] = nil
				continue
			}
		}
		delete(variables, terms.FleetLabel)
		var label string // the console shows the UID of a fleet without one
		if json.Unmarshal(fields.Label, &label) == nil && label != "" {
			variables[terms.FleetLabel] = label
		}
		fleets[uid] = variables
	}
	return fleets, complete, odd
}
