package bridge

import (
	"time"

	"notepay/internal/ledger"
	"notepay/internal/payment"
)

// A machine may say without a credit that it is out of order, or ready again. Notes arrive late and
// in any order, so the machine's own time decides which is the newest.

// applyMachineState stores what a machine says of itself, unless something newer is known.
func (b *Bridge) applyMachineState(tx *update, c payment.Confirmation) (outcome string, err error) {
	if b.c.Fleet.Device(c.DeviceUID) == nil {
		return ConfirmationNoDevice, nil // so the table is bounded by the project's devices
	}
	said := machineState(c, tx.Now)
	last, err := tx.MachineState(c.DeviceUID)
	known, err := ledger.Found(err)
	if err != nil {
		return "", err
	}
	if known && !newer(said, last) {
		return payment.ConfirmationIgnored, nil
	}
	tx.devices = append(tx.devices, c.DeviceUID)
	return payment.ConfirmationTaken, tx.SaveMachineState(said)
}

// machineState returns the state in a note. A Notecard without the time, and one whose clock is
// ahead, count by the time at which Notehub received the note.
func machineState(c payment.Confirmation, now time.Time) ledger.MachineState {
	m := ledger.MachineState{DeviceUID: c.DeviceUID, Out: c.State == payment.MachineOut, At: c.SaidAt, Received: c.At}
	if m.Received.IsZero() || m.Received.After(now) {
		m.Received = now
	}
	if m.At.IsZero() || m.At.After(m.Received) {
		m.At = m.Received
	}
	if m.Out {
		m.Code = c.Code
	}
	return m
}

// newer reports whether a state replaces the last one. Notecards tell whole seconds, so the order in
// which Notehub received the notes of one second counts. If that is the same too, the machine is out
// of order, because then no money is taken.
func newer(said, last ledger.MachineState) bool {
	switch {
	case !said.At.Equal(last.At):
		return said.At.After(last.At)
	case !said.Received.Equal(last.Received):
		return said.Received.After(last.Received)
	}
	return said.Out && !last.Out
}

// resumeMachine ends that a machine is out of order. A note that the machine wrote before does not
// count any more.
func resumeMachine(tx *ledger.Tx, device string) error {
	last, err := tx.MachineState(device)
	if known, err := ledger.Found(err); err != nil || !known || !last.Out {
		return err
	}
	now := tx.Now.Truncate(time.Second) // as a Notecard's time, so that a note of the same second still counts
	return tx.SaveMachineState(ledger.MachineState{DeviceUID: device, At: now, Received: tx.Now})
}
