package ledger

import (
	"context"
	"time"
)

// MachineState is what a machine last said about itself, without a credit.
type MachineState struct {
	DeviceUID string
	Out       bool      // the machine cannot start
	Code      string    // its own, such as "E-DOOR"; "" if it is not out
	At        time.Time // when the machine said so, or the operator resumed sales
	Received  time.Time // when Notehub received it
}

const machineStateColumns = `device_uid, is_out, code, at, received`

func scanMachineState(s scanner) (m MachineState, err error) {
	err = s.Scan(&m.DeviceUID, flag{&m.Out}, &m.Code, instant{&m.At}, instant{&m.Received})
	return m, err
}

// SaveMachineState inserts or replaces the state of a machine.
func (tx *Tx) SaveMachineState(m MachineState) error {
	if err := tx.Changed(ChangedUse, m.DeviceUID); err != nil {
		return err
	}
	_, err := tx.exec(`INSERT INTO machine_states (`+machineStateColumns+`) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (device_uid) DO UPDATE SET is_out = excluded.is_out, code = excluded.code, at = excluded.at,
		received = excluded.received`,
		m.DeviceUID, bit(m.Out), m.Code, m.At.UnixMilli(), m.Received.UnixMilli())
	return err
}

const machineStateOf = `SELECT ` + machineStateColumns + ` FROM machine_states WHERE device_uid = $1`

// MachineState reads the state of a machine, or returns ErrNotFound.
func (tx *Tx) MachineState(uid string) (MachineState, error) {
	rows, err := tx.db.query(machineStateOf, uid)
	return one(rows, err, scanMachineState)
}

// MachineState reads the state of a machine, or returns ErrNotFound.
func (l *Ledger) MachineState(ctx context.Context, uid string) (MachineState, error) {
	rows, err := l.reads.QueryContext(ctx, machineStateOf, uid)
	return one(rows, err, scanMachineState)
}

// MachinesOut reads the states of all machines that are out of order.
func (l *Ledger) MachinesOut(ctx context.Context) ([]MachineState, error) {
	rows, err := l.reads.QueryContext(ctx, `SELECT `+machineStateColumns+` FROM machine_states WHERE is_out = 1`)
	return all(rows, err, scanMachineState)
}
