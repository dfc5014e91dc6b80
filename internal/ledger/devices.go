package ledger

import (
	"context"
	"encoding/json"
	"strings"
	"time"
)

// Device is a Notecard as Notehub last listed it.
type Device struct {
	UID          string // in the form in which UIDs are compared, see package uid
	Spelled      string // as Notehub spells it, "" if that is the same
	Name         string
	Fleets       []string
	Disabled     bool
	LastActivity time.Time // zero: never

	// Problem describes for the operator what in Notehub's record cannot be read or sold. It is ""
	// if there is no problem, and not stored.
	Problem string
	// Unreadable reports that the record does not show whether and how the device sells. It is not
	// stored.
	Unreadable bool
}

// Variables are Notehub's environment variables of one level: project, fleet or device.
type Variables struct {
	Owner  string // "project", or the uid of a fleet or device
	Values map[string]string
	ReadAt time.Time
}

// Unsigned is the SignedBy of a link without a signature.
const Unsigned = "-"

// SaveDevice inserts or replaces a device.
func (tx *Tx) SaveDevice(d Device) error {
	fleets, err := json.Marshal(d.Fleets)
	if err == nil {
		err = tx.Changed(ChangedDevice, d.UID)
	}
	if err != nil {
		return err
	}
	return tx.run(`INSERT INTO devices (uid, name, fleets, disabled, last_activity, spelled)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (uid) DO UPDATE SET spelled = excluded.spelled, name = excluded.name, fleets = excluded.fleets,
		disabled = excluded.disabled, last_activity = excluded.last_activity`,
		d.UID, d.Name, string(fleets), bit(d.Disabled), milliseconds(d.LastActivity), d.Spelled)
}

// RemoveDevice deletes a device that a complete listing no longer contains, and its variables. Its
// pause stays.
func (tx *Tx) RemoveDevice(uid string) error {
	if err := tx.RemoveVariables(uid); err != nil {
		return err
	}
	return tx.run(`DELETE FROM devices WHERE uid = $1`, uid)
}

const devicesFrom = `SELECT uid, name, fleets, disabled, last_activity, spelled FROM devices`

// Devices reads all devices.
func (l *Ledger) Devices(ctx context.Context) ([]Device, error) {
	rows, err := l.reads.QueryContext(ctx, devicesFrom)
	return all(rows, err, scanDevice)
}

// DevicesOf reads those of up to some hundred devices that exist.
func (l *Ledger) DevicesOf(ctx context.Context, uids []string) ([]Device, error) {
	rows, err := l.reads.QueryContext(ctx, devicesFrom+` WHERE uid IN (`+numbered(len(uids))+`)`, anys(uids)...)
	return all(rows, err, scanDevice)
}

func scanDevice(s scanner) (d Device, err error) {
	var fleets string
	err = s.Scan(&d.UID, &d.Name, &fleets, flag{&d.Disabled}, instant{&d.LastActivity}, &d.Spelled)
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal([]byte(fleets), &d.Fleets)
}

// SaveVariables inserts or replaces the variables of an owner.
func (tx *Tx) SaveVariables(v Variables) error {
	values, err := json.Marshal(v.Values)
	if err == nil {
		err = tx.changedVariables(v.Owner)
	}
	if err != nil {
		return err
	}
	return tx.run(`INSERT INTO variables (owner, value, read_at) VALUES ($1, $2, $3)
		ON CONFLICT (owner) DO UPDATE SET value = excluded.value, read_at = excluded.read_at`,
		v.Owner, string(values), v.ReadAt.UnixMilli())
}

// RemoveVariables deletes the variables of an owner.
func (tx *Tx) RemoveVariables(owner string) error {
	if err := tx.changedVariables(owner); err != nil {
		return err
	}
	return tx.run(`DELETE FROM variables WHERE owner = $1`, owner)
}

func (tx *Tx) changedVariables(owner string) error {
	if strings.HasPrefix(owner, "dev:") {
		return tx.Changed(ChangedDevice, owner)
	}
	return tx.Changed(ChangedVariables, owner)
}

const variablesFrom = `SELECT owner, value, read_at FROM variables`

// Variables reads the variables of all owners.
func (l *Ledger) Variables(ctx context.Context) ([]Variables, error) {
	rows, err := l.reads.QueryContext(ctx, variablesFrom)
	return all(rows, err, scanVariables)
}

// VariablesOf reads the variables of up to some hundred owners.
func (l *Ledger) VariablesOf(ctx context.Context, owners []string) ([]Variables, error) {
	rows, err := l.reads.QueryContext(ctx, variablesFrom+` WHERE owner IN (`+numbered(len(owners))+`)`,
		anys(owners)...)
	return all(rows, err, scanVariables)
}

func scanVariables(s scanner) (v Variables, err error) {
	var values string
	if err := s.Scan(&v.Owner, &values, instant{&v.ReadAt}); err != nil {
		return v, err
	}
	return v, json.Unmarshal([]byte(values), &v.Values)
}
