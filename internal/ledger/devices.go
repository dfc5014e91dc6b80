package ledger

import (
	"context"
	"encoding/json"
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
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO devices (uid, name, fleets, disabled, last_activity, spelled)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (uid) DO UPDATE SET spelled = excluded.spelled, name = excluded.name, fleets = excluded.fleets,
		disabled = excluded.disabled, last_activity = excluded.last_activity`,
		d.UID, d.Name, string(fleets), bit(d.Disabled), milliseconds(d.LastActivity), d.Spelled)
	return err
}

// RemoveDevice deletes a device that a complete listing no longer contains, and its variables. Its
// pause stays.
func (tx *Tx) RemoveDevice(uid string) error {
	if err := tx.RemoveVariables(uid); err != nil {
		return err
	}
	_, err := tx.exec(`DELETE FROM devices WHERE uid = $1`, uid)
	return err
}

// Devices reads all devices.
func (l *Ledger) Devices(ctx context.Context) ([]Device, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT uid, name, fleets, disabled, last_activity, spelled FROM devices`)
	return all(rows, err, func(s scanner) (d Device, err error) {
		var fleets string
		err = s.Scan(&d.UID, &d.Name, &fleets, flag{&d.Disabled}, instant{&d.LastActivity}, &d.Spelled)
		if err != nil {
			return d, err
		}
		return d, json.Unmarshal([]byte(fleets), &d.Fleets)
	})
}

// SaveVariables inserts or replaces the variables of an owner.
func (tx *Tx) SaveVariables(v Variables) error {
	values, err := json.Marshal(v.Values)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO variables (owner, value, read_at) VALUES ($1, $2, $3)
		ON CONFLICT (owner) DO UPDATE SET value = excluded.value, read_at = excluded.read_at`,
		v.Owner, string(values), v.ReadAt.UnixMilli())
	return err
}

// RemoveVariables deletes the variables of an owner.
func (tx *Tx) RemoveVariables(owner string) error {
	_, err := tx.exec(`DELETE FROM variables WHERE owner = $1`, owner)
	return err
}

// Variables reads the variables of all owners.
func (l *Ledger) Variables(ctx context.Context) ([]Variables, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT owner, value, read_at FROM variables`)
	return all(rows, err, func(s scanner) (v Variables, err error) {
		var values string
		if err := s.Scan(&v.Owner, &values, instant{&v.ReadAt}); err != nil {
			return v, err
		}
		return v, json.Unmarshal([]byte(values), &v.Values)
	})
}
