package notehub

import (
	"context"
	"encoding/json"
)

// ProjectVariables reads the environment variables of the project, their names in small letters:
// Notecards do not tell the case.
func (n *Client) ProjectVariables(ctx context.Context) (map[string]string, error) {
	return n.variables(ctx, call{path: "/environment_variables"})
}

// FleetVariables reads those of all fleets, by fleet UID, in one call. What an odd record leaves
// unknown is as it was when it could last be read. A fleet that could never be read takes no
// payments, rather than be sold at a price that is a guess.
func (n *Client) FleetVariables(ctx context.Context) (map[string]map[string]string, error) {
	var records []json.RawMessage
	err := n.read(ctx, call{path: "/fleets", decode: func(text []byte) (err error) {
		records, err = DecodeList(text, "fleets")
		return err
	}})
	if err != nil {
		return nil, err
	}
	var known map[string]map[string]string
	if last := n.lastFleets.Load(); last != nil {
		known = *last
	}
	fleets, odd := DecodeFleets(records, known)
	n.Odd.Set("Notehub's fleets", odd...)
	n.lastFleets.Store(&fleets)
	return fleets, nil
}

// DeviceVariables reads those that are set on the device itself, without what it inherits.
// upstream.Refused: there is no such device.
func (n *Client) DeviceVariables(ctx context.Context, uid string) (map[string]string, error) {
	return n.variables(ctx, call{path: n.devicePath(uid) + "/environment_variables", device: uid})
}

// variables reads what a level has. A reply without them is not the one that was asked for, and no
// evidence of emptiness.
func (n *Client) variables(ctx context.Context, c call) (variables map[string]string, err error) {
	c.decode = func(text []byte) error {
		members, err := Members(text)
		if err == nil {
			variables, err = DecodeVariables(members["environment_variables"])
		}
		return err
	}
	if err := n.read(ctx, c); err != nil {
		return nil, err
	}
	return variables, nil
}
